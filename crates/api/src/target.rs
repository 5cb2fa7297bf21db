//! `spec.target`: who receives, and how it is spoken to.

use grapnel_values::{duration::format, fields};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GoDuration, KeyReference, SecretReference, rules};

/// The receiver. Exactly one of url, urlFrom and service.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.url), has(self.urlFrom), has(self.service)].filter(x, x).size() == 1")
        .message("exactly one of url, urlFrom and service must be set"),
    validation = Rule::new(
        "!has(self.headers) || !has(self.headersFrom) || \
         !self.headers.exists(header, self.headersFrom.exists(other, other.name.lowerAscii() == header.name.lowerAscii()))"
    )
        .message("must not set a header that headers sets; names are compared without regard to case")
        .field_path(".headersFrom")
)]
pub struct Target {
    /// URL to which deliveries are posted: http or https, without credentials. Addresses that the operator's egress
    /// rules forbid are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = fields::URL_BYTES),
        extend("x-kubernetes-validations" = rules::url("set them in target.auth"))
    )]
    pub url: Option<String>,
    /// Source of a URL that is itself a secret, as those of Slack and Teams are. Neither the URL nor the receiver's
    /// response, which may repeat it, is ever shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<UrlSource>,
    /// A Service of the subscription's own namespace to which deliveries are posted, by its name in the cluster's DNS. It
    /// may have private addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Box<ServiceTarget>>,
    /// Headers to send with every delivery.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = rules::unique_headers()
        )
    )]
    pub headers: Vec<HeaderValue>,
    /// Headers whose values come from Secrets in the subscription's namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = rules::unique_headers()
        )
    )]
    pub headers_from: Vec<HeaderFromSecret>,
    /// Credentials for the receiver: sets the header Authorization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Box<TargetAuth>>,
    /// Certificate authorities and client certificate for an https receiver. The platform's certificate authorities are
    /// trusted by default. Certificates are always verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<TargetTls>>,
    /// Timeout of one attempt: fetching a token, connecting, TLS, headers and body. Defaults to 10s, at most 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = format(fields::DELIVERY_TIMEOUT), "x-kubernetes-validations" = rules::duration_at_most(fields::MAX_DELIVERY_TIMEOUT)))]
    pub timeout: Option<GoDuration>,
}

/// A Service of the subscription's own namespace.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTarget {
    /// Its name.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = rules::dns_label()))]
    pub name: String,
    /// Number of its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Path to post to, and a query if there is one. Defaults to `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 1024),
        extend("default" = "/", "x-kubernetes-validations" = rules::request_path())
    )]
    pub path: Option<String>,
    /// How it is spoken to: http or https. The certificate for https has to be for the Service's name in the cluster's
    /// DNS. Defaults to http.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "http"))]
    pub scheme: Option<ServiceScheme>,
}

/// Scheme of the Service: http or https. With https the certificate must be valid for the Service's DNS name. Defaults
/// to http.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ServiceScheme {
    /// Unencrypted.
    Http,
    /// TLS.
    Https,
}

/// A header with its value.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HeaderValue {
    /// Name of the header.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// A header whose value comes from a Secret.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HeaderFromSecret {
    /// Name of the header.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Key of a Secret in the subscription's namespace.
    pub secret_key_ref: KeyReference,
}

/// Where a URL comes from.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UrlSource {
    /// Key of a Secret in the subscription's namespace that holds the URL: http or https, without credentials.
    pub secret_key_ref: KeyReference,
}

/// How the operator proves to a receiver who it is. Exactly one of basic, bearer and oauth2ClientCredentials.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.basic), has(self.bearer), has(self.oauth2ClientCredentials)].filter(x, x).size() == 1")
        .message("exactly one of basic, bearer and oauth2ClientCredentials must be set")
)]
pub struct TargetAuth {
    /// A user name and a password (RFC 7617).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// A static bearer token (RFC 6750).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerAuth>,
    /// Tokens from an authorization server (OAuth 2.0 client credentials, RFC 6749, 4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2_client_credentials: Option<ClientCredentials>,
}

/// A user name and a password.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// Secret with the keys username and password, as those of type kubernetes.io/basic-auth have.
    pub secret_ref: SecretReference,
}

/// A token that does not change by itself.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BearerAuth {
    /// Key of a Secret in the subscription's namespace that holds the token.
    pub secret_key_ref: KeyReference,
}

/// Tokens from an authorization server (OAuth 2.0 client credentials, RFC 6749, 4.4). One is kept until shortly before
/// it expires, or until the receiver answers 401.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tls) || self.tokenUrl.startsWith('https:')").message("tls needs a tokenUrl with https").field_path(".tls")
)]
pub struct ClientCredentials {
    /// URL of the token endpoint: http or https, without credentials. Addresses that the operator's egress rules forbid
    /// are refused. Use https, because the request contains the client secret.
    #[schemars(
        length(min = 1, max = fields::URL_BYTES),
        extend("x-kubernetes-validations" = rules::url("set them in clientIdRef and clientSecretRef"))
    )]
    pub token_url: String,
    /// Key of a Secret in the subscription's namespace that holds the client's id.
    pub client_id_ref: KeyReference,
    /// Key of a Secret in the subscription's namespace that holds the client's secret.
    pub client_secret_ref: KeyReference,
    /// Scopes of the token. Defaults to those that the authorization server chooses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub scopes: Vec<String>,
    /// Parameter `audience` of the token request, if the authorization server requires it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub audience: Option<String>,
    /// How the client's id and secret are sent: ClientSecretBasic (in Authorization) or ClientSecretPost (in the body).
    /// Defaults to ClientSecretBasic, which every authorization server must support (RFC 6749, 2.3.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "ClientSecretBasic"))]
    pub method: Option<ClientAuthentication>,
    /// Certificate authorities and client certificate for the token endpoint. The target's tls does not apply to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TargetTls>,
}

/// How the client's id and secret are sent: ClientSecretBasic (in Authorization) or ClientSecretPost (in the body).
/// Defaults to ClientSecretBasic, which every authorization server must support (RFC 6749, 2.3.1).
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// In Authorization.
    ClientSecretBasic,
    /// In the body.
    ClientSecretPost,
}

/// Whom to trust and what to show over TLS.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.caRef) || has(self.clientCertRef) || has(self.serverName)")
        .message("at least one of caRef, clientCertRef and serverName must be set")
)]
pub struct TargetTls {
    /// Certificate authorities to trust, in PEM, instead of the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CertificateSource>,
    /// Secret with the keys tls.crt and tls.key, as those of type kubernetes.io/tls have: the client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_ref: Option<SecretReference>,
    /// Name for SNI and for the check of the certificate. Defaults to the host of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// Where certificates come from. Exactly one of configMapRef and secretKeyRef.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.configMapRef) != has(self.secretKeyRef)")
        .message("exactly one of configMapRef and secretKeyRef must be set")
)]
pub struct CertificateSource {
    /// Key of a ConfigMap in the subscription's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyReference>,
    /// Key of a Secret in the subscription's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
}
