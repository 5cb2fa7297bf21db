//! `spec.verification`: how requests prove who sent them.

use grapnel_values::{fields, provider::ProviderName};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{GoDuration, rules};

/// How requests are verified.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.provider), has(self.hmac), has(self.token), has(self.basic), has(self.jwt), has(self.serviceAccount), has(self.none)].filter(x, x).size() == 1")
        .message("exactly one of provider, hmac, token, basic, jwt, serviceAccount and none must be set"),
    validation = Rule::new("!(has(self.provider) || has(self.hmac) || has(self.token) || has(self.basic)) || has(self.none) || has(self.serviceAccount) || has(self.jwt) || (has(self.provider) && self.provider.name in ['DockerHub', 'Quay', 'Google', 'PayPal', 'AmazonSNS']) || (has(self.secretRefs) && self.secretRefs.size() > 0)")
        .message("secretRefs must name at least one Secret key")
        .field_path(".secretRefs")
        .reason(Reason::FieldValueRequired),
    validation = Rule::new("!(has(self.none) || has(self.serviceAccount) || has(self.jwt) || (has(self.provider) && self.provider.name in ['DockerHub', 'Quay', 'Google', 'PayPal', 'AmazonSNS'])) || !has(self.secretRefs) || self.secretRefs.size() == 0")
        .message("secretRefs cannot be used with jwt, serviceAccount, none and the providers DockerHub, Quay, Google, PayPal and AmazonSNS")
        .field_path(".secretRefs")
        .reason(Reason::FieldValueForbidden)
)]
pub struct Verification {
    /// Keys of Secrets in the endpoint's namespace. List several to rotate them: a request is accepted if any of them
    /// verifies it. A changed Secret is used at once. With basic the key is that of the password, and the username is
    /// under `username` in the same Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name", "key"]))]
    pub secret_refs: Vec<KeyReference>,

    /// Preset for a known provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Box<Provider>>,

    /// A custom HMAC signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<Box<Hmac>>,

    /// A shared secret, sent unchanged in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,

    /// A username and a password in `Authorization: Basic` (RFC 7617). Each of secretRefs names a Secret such as those of
    /// type `kubernetes.io/basic-auth`: its key `username`, and the key of the password, which is `password` in those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,

    /// A signed token (JSON Web Token, RFC 7519) of an issuer, such as an OpenID provider, in `Authorization: Bearer`.
    /// The token does not cover the body. No Secret is needed: Grapnel fetches the issuer's public keys, and again when
    /// they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Box<Jwt>>,

    /// Callers inside the cluster, authenticated by a ServiceAccount token in `Authorization: Bearer`. Needs no Secret.
    /// Requires an operator in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountVerification>,

    /// No verification: every request is accepted. Must be set explicitly as `none: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoVerification>,
}

impl Verification {
    /// The names of the Secrets that it refers to; some may be there more than once.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secret_refs.iter().map(|reference| reference.name.as_str())
    }
}

/// A key of a Secret or ConfigMap in the object's own namespace.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Preset for a known provider.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.name == 'Google' ? (has(self.audiences) && has(self.emails)) : (!has(self.audiences) && !has(self.emails))")
        .message("audiences and emails are required for Google, and not allowed for other providers"),
    validation = Rule::new("(self.name == 'PayPal') == has(self.webhookId)")
        .message("webhookId is required for PayPal, and not allowed for other providers")
        .field_path(".webhookId"),
    validation = Rule::new("(self.name == 'Meta') == has(self.verifyToken)")
        .message("verifyToken is required for Meta, and not allowed for other providers")
        .field_path(".verifyToken"),
    validation = Rule::new("(self.name == 'AmazonSNS') == has(self.topics)")
        .message("topics is required for AmazonSNS, and not allowed for other providers")
        .field_path(".topics")
)]
pub struct Provider {
    /// The provider.
    #[schemars(schema_with = "provider_names")]
    pub name: ProviderName,
    /// How far the signed timestamp may be from now, for senders that sign one. Defaults to what the sender
    /// recommends: 1m for Linear, 24h for SendGrid and AmazonSNS, 96h for PayPal, 5m for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<GoDuration>,
    /// Google only: audiences; a token must have been issued for one of them. It is that of the push subscription, by
    /// default the URL that it calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub audiences: Option<Vec<String>>,
    /// Google only: email addresses of the service accounts that may call. Any Google customer can get a token for any
    /// audience, so only this list restricts the senders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 3, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub emails: Option<Vec<String>>,
    /// PayPal only: the id of the webhook, as PayPal shows it in the webhook's settings. PayPal signs it, so that
    /// events of other webhooks are rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50), extend("x-kubernetes-validations" = rules::alphanumeric()))]
    pub webhook_id: Option<String>,
    /// AmazonSNS only: the ARNs of the topics whose messages are accepted and whose subscriptions are confirmed. Every
    /// AWS account can make SNS sign a message, so only this list restricts the senders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        extend(
            "x-kubernetes-list-type" = "set",
            "items" = { "type": "string", "maxLength": 400, "x-kubernetes-validations": rules::sns_topic() }
        )
    )]
    pub topics: Option<Vec<String>>,
    /// Meta only: the key of a Secret with the verify token that you enter in the webhook's settings. Grapnel answers
    /// the request by which Meta checks the URL only if it shows this token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub verify_token: Option<KeyReference>,
}

/// The names of the provider table, as an enumeration.
fn provider_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ProviderName::ALL })
}

/// A signature made with a hash-based message authentication code (RFC 2104).
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.signedContent) || self.signedContent.contains('{body}')")
        .message("signedContent must contain {body}")
        .field_path(".signedContent"),
    validation = Rule::new("!has(self.signedContent) || !self.signedContent.contains('{timestamp}') || has(self.timestampHeader)")
        .message("signedContent uses {timestamp}, so timestampHeader must be set")
        .field_path(".timestampHeader")
        .reason(Reason::FieldValueRequired),
    validation = Rule::new("!has(self.signedContent) || !self.signedContent.contains('{id}') || has(self.idHeader)")
        .message("signedContent uses {id}, so idHeader must be set")
        .field_path(".idHeader")
        .reason(Reason::FieldValueRequired),
    validation = Rule::new("!has(self.tolerance) || has(self.timestampHeader)")
        .message("tolerance needs timestampHeader")
        .field_path(".timestampHeader")
        .reason(Reason::FieldValueRequired)
)]
pub struct Hmac {
    /// Header that carries the signature.
    #[schemars(length(min = 1, max = 128))]
    pub header: String,
    /// Hash function: SHA1, SHA256 or SHA512.
    pub algorithm: Algorithm,
    /// How the signature is written: Hex or Base64.
    pub encoding: Encoding,
    /// Text before the signature, such as `sha256=`. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub prefix: Option<String>,
    /// What is signed, with the placeholders {body}, {timestamp} and {id}. Defaults to `{body}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("default" = "{body}"))]
    pub signed_content: Option<String>,
    /// Header that carries the time of signing, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub timestamp_header: Option<String>,
    /// Header with the signed id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub id_header: Option<String>,
    /// Largest difference of the timestamp from now, in either direction. Defaults to 5m where the timestamp is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<GoDuration>,
}

/// Hash functions for an HMAC.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-1, for senders that offer nothing better.
    SHA1,
    /// SHA-256.
    SHA256,
    /// SHA-512.
    SHA512,
}

/// How a signature is written.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal, either case.
    Hex,
    /// Base64, standard alphabet.
    Base64,
}

/// A shared secret, sent unchanged in a header.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Header that carries the token. Defaults to Authorization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), extend("default" = "Authorization"))]
    pub header: Option<String>,
    /// Word before the token, compared without regard to case. Defaults to Bearer in Authorization, to none in any
    /// other header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub scheme: Option<String>,
}

/// A username and a password, which secretRefs name. It has nothing to set.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Basic {}

/// A Secret in the object's own namespace.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Signed tokens of an issuer.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// Issuer of the tokens, equal to their `iss` claim: an https URL.
    #[schemars(length(min = 1, max = 512), extend("x-kubernetes-validations" = rules::keys_url()))]
    pub issuer: String,
    /// Audiences; a token must have been issued for one of them. Choose an audience that nothing else uses, so that no
    /// token for another service is accepted here.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub audiences: Vec<String>,
    /// URL of the issuer's JSON Web Key Set. Defaults to the `jwks_uri` in its `/.well-known/openid-configuration`. The
    /// egress rules apply: a private address needs `--egress-allow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = fields::URL_BYTES), extend("x-kubernetes-validations" = rules::keys_url()))]
    pub jwks_uri: Option<String>,
    /// A CEL expression over claims, those of the token, that gives a bool, such as `claims.repository == 'acme/shop'`.
    /// A token is accepted only if it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub claims: Option<String>,
}

/// Callers inside the cluster, authenticated by a ServiceAccount token.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountVerification {
    /// Audiences; a token must have been issued for one of them. Name one that nothing else uses, such as
    /// `grapnel.dev`, so that no token for another service, such as the API server, is accepted here.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub audiences: Vec<String>,
    /// ServiceAccounts that may call.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub allowed: Vec<ServiceAccountReference>,
}

/// A ServiceAccount.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountReference {
    /// Its namespace. Defaults to the endpoint's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = rules::dns_label()))]
    pub namespace: Option<String>,
    /// Its name.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = rules::dns_subdomain()))]
    pub name: String,
}

/// No verification.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
pub struct NoVerification {}
