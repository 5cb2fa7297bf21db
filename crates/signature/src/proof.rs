//! What a kind of proof is. Each kind is one file that implements [`ProofKind`] for its scheme and [`Proof`] for the same with
//! its keys; [`Scheme`] lists them, and nothing else distinguishes them.

use std::{fmt, time::Duration};

use bytes::Bytes;
use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use url::Url;

use super::{
    KeyError, KeyProblem, KeySet, KeySetError, KeysWanted, Refusal, RequiredContext, Scheme, VerificationContext,
};

/// A kind of proof, described by its scheme as plain data.
pub(super) trait ProofKind {
    /// Prepares the keys. A kind without [secrets](Self::needs_secrets) ignores those given.
    fn with_keys(&self, secrets: &[Secret]) -> Result<Box<dyn Proof>, KeyError>;

    /// Adds to a request the proof of a sender that knows `secret`. If the receiver has a public key, `secret` is the
    /// private key.
    fn sign(&self, secret: &Secret, request: &mut UnsignedRequest<'_>) -> Result<(), KeyProblem>;

    /// Returns whether its keys are secrets of the endpoint, rather than fetched or absent.
    fn needs_secrets(&self) -> bool {
        true
    }

    /// Returns what an endpoint must configure besides secrets.
    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }

    /// Returns the scheme with the [parameters](Self::parameters) that it takes; `None` when it takes none.
    fn configured(&self, _: &Parameters) -> Option<Scheme> {
        None
    }

    /// Returns the scheme with another tolerance for its timestamp; `None` when it signs none.
    fn tolerating(&self, _: Duration) -> Option<Scheme> {
        None
    }

    /// Returns the JSON pointer of the time of signing, in milliseconds since 1970, if it is in the body.
    fn time_in_body(&self) -> Option<&'static str> {
        None
    }

    /// Reads keys that are otherwise fetched; `None` when this kind fetches none.
    fn fetched_keys(&self, _: &[u8]) -> Option<Result<KeySet, KeySetError>> {
        None
    }
}

/// A kind of proof with its keys.
pub(super) trait Proof: fmt::Debug + Send + Sync {
    /// Verifies a request, and returns the index of the secret that made the proof; 0 where that makes no difference.
    fn verify(&self, request: &UnverifiedRequest<'_>) -> Result<usize, Refusal>;

    /// Returns the headers that carry a signature or a token.
    fn credential_headers(&self) -> [Option<&HeaderName>; 2];

    /// Returns what must be known of a request in addition to its headers and its body.
    fn needs(&self) -> RequiredContext<'_> {
        RequiredContext::Nothing
    }

    /// Returns the keys required to verify a request, for a kind that needs [`RequiredContext::Keys`].
    fn keys_for(&self, _: &HeaderMap, _: &[u8]) -> Result<KeysWanted, Refusal> {
        Err(keys_unknown())
    }

    /// Returns the HMAC of a text by one of the secrets; `None` when there is no such secret, or it makes no HMACs.
    fn tag(&self, _key: usize, _text: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// A request that is not verified yet.
pub(super) struct UnverifiedRequest<'a> {
    pub(super) context: &'a VerificationContext,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
    pub(super) now: Timestamp,
}

impl UnverifiedRequest<'_> {
    /// Returns the sender's public keys.
    pub(super) fn keys(&self) -> Result<&KeySet, Refusal> {
        match self.context {
            VerificationContext::Keys(keys) => Ok(keys),
            _ => Err(keys_unknown()),
        }
    }
}

/// A request that is to be signed.
pub(super) struct UnsignedRequest<'a> {
    /// The URL, if it is known. It is changed if the scheme requires it to hold a digest of the body.
    pub(super) url: Option<&'a mut Url>,
    pub(super) headers: &'a mut HeaderMap,
    /// It is changed if the scheme has its signature in the body.
    pub(super) body: &'a mut Vec<u8>,
    pub(super) now: Timestamp,
}

/// Something that an endpoint configures for a provider besides secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// Audiences of tokens.
    Audiences,
    /// Email addresses of the callers.
    Emails,
    /// Id of the webhook at the provider.
    WebhookId,
    /// ARNs of topics.
    Topics,
}

impl Parameter {
    /// Every parameter.
    pub const ALL: &[Self] = &[Self::Audiences, Self::Emails, Self::WebhookId, Self::Topics];

    /// Returns the name of its field in `spec.verification.provider`.
    pub fn field(self) -> &'static str {
        match self {
            Self::Audiences => "audiences",
            Self::Emails => "emails",
            Self::WebhookId => "webhookId",
            Self::Topics => "topics",
        }
    }
}

/// The values of parameters; empty where the endpoint configures none.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    /// See [`Parameter::Audiences`].
    pub audiences: Vec<Box<str>>,
    /// See [`Parameter::Emails`].
    pub emails: Vec<Box<str>>,
    /// See [`Parameter::WebhookId`].
    pub webhook_id: Box<str>,
    /// See [`Parameter::Topics`].
    pub topics: Vec<Box<str>>,
}

impl Parameters {
    /// Returns whether a parameter has a value.
    pub fn has(&self, parameter: Parameter) -> bool {
        match parameter {
            Parameter::Audiences => !self.audiences.is_empty(),
            Parameter::Emails => !self.emails.is_empty(),
            Parameter::WebhookId => !self.webhook_id.is_empty(),
            Parameter::Topics => !self.topics.is_empty(),
        }
    }
}

fn keys_unknown() -> Refusal {
    Refusal::InvalidSignature("the sender's public keys are not known".into())
}
