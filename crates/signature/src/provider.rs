//! The senders that are known by name.

mod table;

use std::time::Duration;

use http::HeaderName;

pub use self::table::PROVIDERS;
use super::{
    Algorithm, CertificateScheme, Content, Encoding, Handshake, HeaderNames, JwtScheme, KeyForm, KeySource, Scheme,
    Shape, SignatureOrTokenScheme, SignatureScheme, TimestampSource, TokenScheme, UrlScheme, content::Part,
};

/// A sender.
#[derive(Debug)]
pub struct Provider {
    /// As it is written in a `WebhookEndpoint`.
    pub name: &'static str,
    /// Where it describes its signatures.
    pub docs: &'static str,
    /// Where the type of its events is, in order.
    pub kinds: &'static [Place],
    /// Where the id of its events is, in order. It must be another for every event, and the same when an event is sent
    /// again.
    pub ids: &'static [Place],
    /// What it asks before it sends events.
    pub handshake: Handshake,
    /// How it proves that it is who it is.
    pub(super) proof: Proof,
}

/// A place in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A header, in lower case.
    Header(&'static str),
    /// A JSON pointer into the body.
    Pointer(&'static str),
}

/// How a sender proves that it is who it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof {
    /// By a signature in a header.
    Signature(Signed),
    /// By a signature over the URL, in this header.
    Url(&'static str),
    /// By the secret itself, in this header.
    Token(&'static str),
    /// By a signature in a header, or by the secret itself in this one, as the secret says.
    SignatureOrToken(Signed, &'static str),
    /// By a bearer token of one of these issuers, whose keys are at this URL. For whom it must be issued, and to whom, says
    /// the endpoint.
    Jwt { issuers: &'static [&'static str], keys: &'static str },
    /// By a signature of a certificate that the request names. For which webhook, says the endpoint.
    Certificate { tolerance: Duration },
    /// Not at all.
    None,
}

/// A row of a signature; the same as [`SignatureScheme`], but constant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed {
    pub(super) header: &'static str,
    pub(super) algorithm: Algorithm,
    pub(super) encoding: Encoding,
    pub(super) shape: Form,
    pub(super) content: &'static [Part],
    pub(super) timestamp: Option<Time>,
    pub(super) id: Option<&'static str>,
    /// Signature, timestamp and id.
    pub(super) alternative: Option<[&'static str; 3]>,
    pub(super) tolerance: Option<Duration>,
    pub(super) key_form: KeyForm,
}

/// A constant [`Shape`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Prefix(&'static str),
    Pairs { signature: &'static str, timestamp: Option<&'static str> },
    StandardWebhooks,
}

/// A constant [`TimestampSource`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Time {
    Header(&'static str),
    InSignature,
    Milliseconds(&'static str),
}

impl Provider {
    /// How it signs, with the tolerance that it recommends. What the endpoint has to say is left empty, which lets nobody
    /// in.
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

/// The secret itself in a header.
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

/// The sender of that name, written as in a `WebhookEndpoint`.
pub fn provider(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

/// The names of all senders.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROVIDERS.iter().map(|provider| provider.name)
}

/// What Standard Webhooks signs, with either kind of key.
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
