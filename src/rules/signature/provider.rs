//! The senders that are known by name: one table, a row a sender.

use http::HeaderName;

use super::{
    Algorithm, Content, Encoding, Handshake, HmacScheme, KeyForm, Scheme, Shape, TimestampSource, content::Part,
};
use crate::rules::{identity::Source, limits::DEFAULT_TOLERANCE, pointer::JsonPointer};

/// A sender.
#[derive(Debug)]
pub struct Provider {
    /// As it is written in a `WebhookEndpoint`.
    pub name: &'static str,
    /// Where it describes its signatures.
    pub docs: &'static str,
    /// Where the type of its events is, in order.
    pub kinds: &'static [Place],
    /// Where the id of its events is, in order.
    pub ids: &'static [Place],
    /// What it asks before it sends events.
    pub handshake: Handshake,
    scheme: fn() -> Scheme,
}

/// A place in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A header, in lower case.
    Header(&'static str),
    /// A JSON pointer into the body.
    Pointer(&'static str),
}

impl Place {
    /// The same as a source; `None` only if the table had a name that is not one.
    pub(in crate::rules) fn source(&self) -> Option<Source> {
        match self {
            Self::Header(name) => name.parse().ok().map(Source::Header),
            Self::Pointer(pointer) => JsonPointer::parse(pointer).ok().map(Source::Pointer),
        }
    }
}

impl Provider {
    /// How it signs, with the tolerance that it recommends.
    pub fn scheme(&self) -> Scheme {
        (self.scheme)()
    }
}

static PROVIDERS: &[Provider] = &[
    Provider {
        name: "GitHub",
        docs: "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        kinds: &[Place::Header("x-github-event")],
        ids: &[Place::Header("x-github-delivery")],
        handshake: Handshake::None,
        scheme: || {
            Scheme::Hmac(HmacScheme {
                header: HeaderName::from_static("x-hub-signature-256"),
                algorithm: Algorithm::Sha256,
                encoding: Encoding::Hex,
                shape: Shape::Prefixed("sha256=".into()),
                content: Content::of([Part::Body]),
                timestamp: None,
                id_header: None,
                tolerance: None,
                key_form: KeyForm::Raw,
            })
        },
    },
    Provider {
        name: "Stripe",
        docs: "https://docs.stripe.com/webhooks#verify-manually",
        kinds: &[Place::Pointer("/type")],
        ids: &[Place::Pointer("/id")],
        handshake: Handshake::None,
        scheme: || {
            Scheme::Hmac(HmacScheme {
                header: HeaderName::from_static("stripe-signature"),
                algorithm: Algorithm::Sha256,
                encoding: Encoding::Hex,
                // `v0` is a made-up signature of test events; accepting it would be a downgrade.
                shape: Shape::Pairs { signature: "v1".into(), timestamp: Some("t".into()) },
                content: Content::of([Part::Timestamp, Part::Literal(".".into()), Part::Body]),
                timestamp: Some(TimestampSource::InSignature),
                id_header: None,
                tolerance: Some(DEFAULT_TOLERANCE),
                // `whsec_` is a part of the key, and nothing is decoded.
                key_form: KeyForm::Raw,
            })
        },
    },
    Provider {
        name: "Slack",
        docs: "https://docs.slack.dev/authentication/verifying-requests-from-slack",
        kinds: &[Place::Pointer("/event/type"), Place::Pointer("/type")],
        ids: &[Place::Pointer("/event_id")],
        handshake: Handshake::SlackUrlVerification,
        scheme: || {
            Scheme::Hmac(HmacScheme {
                header: HeaderName::from_static("x-slack-signature"),
                algorithm: Algorithm::Sha256,
                encoding: Encoding::Hex,
                shape: Shape::Prefixed("v0=".into()),
                content: Content::of([
                    Part::Literal("v0:".into()),
                    Part::Timestamp,
                    Part::Literal(":".into()),
                    Part::Body,
                ]),
                timestamp: Some(TimestampSource::Header(HeaderName::from_static("x-slack-request-timestamp"))),
                id_header: None,
                tolerance: Some(DEFAULT_TOLERANCE),
                key_form: KeyForm::Raw,
            })
        },
    },
    Provider {
        name: "StandardWebhooks",
        docs: "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
        kinds: &[Place::Pointer("/type")],
        ids: &[Place::Header("webhook-id")],
        handshake: Handshake::None,
        scheme: || {
            Scheme::Hmac(HmacScheme {
                header: HeaderName::from_static("webhook-signature"),
                algorithm: Algorithm::Sha256,
                encoding: Encoding::Base64,
                shape: Shape::List { version: "v1".into() },
                content: standard_webhooks(),
                timestamp: Some(TimestampSource::Header(HeaderName::from_static("webhook-timestamp"))),
                id_header: Some(HeaderName::from_static("webhook-id")),
                tolerance: Some(DEFAULT_TOLERANCE),
                key_form: KeyForm::WhsecBase64,
            })
        },
    },
];

/// What Standard Webhooks signs, with either kind of key.
pub(super) fn standard_webhooks() -> Content {
    let dot = || Part::Literal(".".into());
    Content::of([Part::Id, dot(), Part::Timestamp, dot(), Part::Body])
}

/// The sender of that name, written as in a `WebhookEndpoint`.
pub fn provider(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

/// The names of all senders.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROVIDERS.iter().map(|provider| provider.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{secret::Secret, signature::Verifier};

    #[test]
    fn every_row_is_sound() {
        assert_eq!(names().collect::<Vec<_>>(), ["GitHub", "Stripe", "Slack", "StandardWebhooks"]);
        for name in names() {
            let provider = provider(name).unwrap();
            assert!(provider.docs.starts_with("https://"), "{name}");
            for place in provider.kinds.iter().chain(provider.ids) {
                assert!(place.source().is_some(), "{name}: {place:?}");
            }
            // Long enough for every form of key, and base64.
            let verifier = Verifier::new(provider.scheme(), vec![Secret::from("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]);
            assert!(verifier.is_ok(), "{name}: {verifier:?}");
        }
    }

    #[test]
    fn names_are_exact() {
        assert!(provider("github").is_none() && provider("").is_none());
    }
}
