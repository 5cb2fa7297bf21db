//! The providers: senders known by name.

mod table;

use std::time::Duration;

use http::HeaderName;

pub use self::table::PROVIDERS;
use super::{
    Algorithm, CertificateScheme, Content, Encoding, Handshake, HeaderNames, JwtScheme, KeyForm, KeySource, Scheme,
    Shape, SignatureOrTokenScheme, SignatureScheme, TimestampSource, TokenScheme, UrlScheme, content::Part,
};

/// A sender known by name.
#[derive(Debug)]
pub struct Provider {
    /// Name used in a `WebhookEndpoint`.
    pub name: &'static str,
    /// URL of the documentation of its signatures.
    pub docs: &'static str,
    /// Locations of the event type, in order of precedence.
    pub kinds: &'static [Place],
    /// Locations of the event id, in order of precedence. The id must differ between events, and stay the same when an
    /// event is sent again.
    pub ids: &'static [Place],
    /// The handshake before it sends events.
    pub handshake: Handshake,
    /// How it authenticates its requests.
    pub(super) proof: Proof,
}

/// A location in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A header name, in lower case.
    Header(&'static str),
    /// A JSON pointer into the body.
    Pointer(&'static str),
}

/// How a sender authenticates its requests.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof {
    /// A signature in a header.
    Signature(Signed),
    /// A signature over the URL, in this header.
    Url(&'static str),
    /// The secret itself, in this header.
    Token(&'static str),
    /// A signature in a header, or the secret itself in this one, depending on the secret.
    SignatureOrToken(Signed, &'static str),
    /// A bearer token of one of these issuers, whose keys are at this URL. The endpoint configures audience and
    /// subject.
    Jwt { issuers: &'static [&'static str], keys: &'static str },
    /// A signature by the key of a certificate that the request names. The endpoint configures the webhook id.
    Certificate { tolerance: Duration },
    /// No authentication.
    None,
}

/// A signature scheme as a table row: [`SignatureScheme`] in constant form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed {
    pub(super) header: &'static str,
    pub(super) algorithm: Algorithm,
    pub(super) encoding: Encoding,
    pub(super) shape: Form,
    pub(super) content: &'static [Part],
    pub(super) timestamp: Option<Time>,
    pub(super) id: Option<&'static str>,
    /// Header names of the signature, the timestamp and the id.
    pub(super) alternative: Option<[&'static str; 3]>,
    pub(super) tolerance: Option<Duration>,
    pub(super) key_form: KeyForm,
}

/// [`Shape`] in constant form.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Prefix(&'static str),
    Pairs { signature: &'static str, timestamp: Option<&'static str> },
    StandardWebhooks,
}

/// [`TimestampSource`] in constant form.
#[derive(Debug, Clone, Copy)]
pub(super) enum Time {
    Header(&'static str),
    InSignature,
    Milliseconds(&'static str),
}

impl Provider {
    /// Returns its scheme, with the tolerance that it recommends. Parts that the endpoint must configure are empty, so
    /// that every request is rejected.
    pub fn scheme(&self) -> Scheme {
        match &self.proof {
            Proof::Signature(row) => Scheme::Signature(row.scheme()),
            Proof::Url(header) => Scheme::Url(UrlScheme { header: HeaderName::from_static(header) }),
            Proof::Token(header) => Scheme::Token(bare(header)),
            Proof::SignatureOrToken(row, header) => {
                Scheme::SignatureOrToken(SignatureOrTokenScheme { signature: row.scheme(), token: bare(header) })
            }
            Proof::Jwt { issuers, keys } => Scheme::Jwt(JwtScheme {
                issuers: issuers.iter().map(|&issuer| issuer.into()).collect(),
                audiences: Vec::new(),
                keys: KeySource::Jwks((*keys).into()),
                emails: Vec::new(),
                claims: None,
            }),
            Proof::Certificate { tolerance } => {
                Scheme::Certificate(CertificateScheme { webhook_id: "".into(), tolerance: *tolerance })
            }
            Proof::None => Scheme::None,
        }
    }
}

/// Returns the scheme of the secret itself in a header.
fn bare(header: &'static str) -> TokenScheme {
    TokenScheme { header: HeaderName::from_static(header), scheme: None }
}

impl Signed {
    fn scheme(&self) -> SignatureScheme {
        SignatureScheme {
            header: HeaderName::from_static(self.header),
            algorithm: self.algorithm,
            encoding: self.encoding,
            shape: match self.shape {
                Form::Prefix(prefix) => Shape::Prefixed(prefix.into()),
                Form::Pairs { signature, timestamp } => {
                    Shape::Pairs { signature: signature.into(), timestamp: timestamp.map(Into::into) }
                }
                Form::StandardWebhooks => Shape::List { version: "v1".into(), public_version: "v1a".into() },
            },
            content: Content::of(self.content),
            timestamp: self.timestamp.map(|time| match time {
                Time::Header(name) => TimestampSource::Header(HeaderName::from_static(name)),
                Time::InSignature => TimestampSource::InSignature,
                Time::Milliseconds(pointer) => TimestampSource::Milliseconds(pointer),
            }),
            id_header: self.id.map(HeaderName::from_static),
            alternative: self.alternative.map(|names| {
                let [signature, timestamp, id] = names.map(HeaderName::from_static);
                HeaderNames { signature, timestamp, id }
            }),
            tolerance: self.tolerance,
            key_form: self.key_form,
        }
    }
}

/// Returns the provider with that name, as used in a `WebhookEndpoint`.
pub fn provider(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

/// Iterates over the names of all providers.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROVIDERS.iter().map(|provider| provider.name)
}

/// Returns the signed content of Standard Webhooks, for either kind of key.
pub(super) fn standard_webhooks() -> Content {
    Content::of(table::STANDARD_WEBHOOKS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verifier, testing::keys};

    #[test]
    fn every_row_is_sound() {
        let mut seen = Vec::new();
        for provider in PROVIDERS {
            let name = provider.name;
            assert!(!seen.contains(&name), "{name} is there twice");
            seen.push(name);
            assert!(provider.docs.starts_with("https://"), "{name}");
            let verifier = Verifier::new(provider.scheme(), vec![keys(&provider.scheme()).public]);
            assert!(verifier.is_ok(), "{name}: {verifier:?}");
        }
        assert_eq!(seen.len(), 21, "{seen:?}");
    }

    #[test]
    fn names_are_exact() {
        assert!(provider("GitHub").is_some());
        assert!(provider("github").is_none() && provider("").is_none());
    }
}
