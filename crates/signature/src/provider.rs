//! The providers: senders known by name. Everything that differs between them is a row of one table, keyed by
//! [`ProviderName`].

mod table;

use grapnel_values::provider::ProviderName;

pub use self::table::PROVIDERS;
use super::{Handshake, Scheme};

/// A sender known by name: a row of the table.
#[derive(Debug)]
pub struct Provider {
    /// Name used in a `WebhookEndpoint`.
    pub name: ProviderName,
    /// URL of the documentation of its signatures.
    pub docs: &'static str,
    /// Locations of the event type, in order of precedence.
    pub kinds: &'static [RequestField],
    /// Locations of the event id, in order of precedence. The id must differ between events, and stay the same when an
    /// event is sent again. The id of a resource is not an event id: several events of the resource have it.
    pub ids: &'static [RequestField],
    /// Size of its largest payload, as its documentation gives it; `None` if no source was found.
    pub largest_payload: Option<&'static str>,
    /// Default of `limits.bodyBytes`, in bytes, where its requests can be larger than the default of other endpoints.
    pub body_bytes: Option<usize>,
    /// Whether it sends an event again.
    pub retries: Retries,
    /// What its bodies are.
    pub bodies: Bodies,
    /// The handshake before it sends events.
    pub handshake: Handshake,
    /// How it authenticates its requests; see [`Provider::scheme`].
    pub(super) scheme: fn() -> Scheme,
}

/// A location in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestField {
    /// A header name, in lower case.
    Header(&'static str),
    /// A JSON pointer into the body.
    Pointer(&'static str),
}

/// What the bodies of a sender are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// What their content type says.
    Typed,
    /// Forms may have the JSON payload in this field; other content types are right.
    Form(&'static str),
    /// JSON, whatever the content type.
    Json,
}

/// Whether a sender sends an event again that was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// Not known: its documentation does not say, or was not found.
    Unknown,
    /// It never does by itself. The text says what a user can do.
    Never(&'static str),
    /// It does. The text says how often.
    Automatic(&'static str),
}

impl Provider {
    /// Returns the row of a provider.
    #[expect(clippy::indexing_slicing, reason = "the table has one row for each name, in the same order")]
    pub fn of(name: ProviderName) -> &'static Self {
        &PROVIDERS[name as usize]
    }

    /// Returns its scheme, with the tolerance that it recommends. Parts that the endpoint must configure are empty, so
    /// that every request is rejected.
    pub fn scheme(&self) -> Scheme {
        (self.scheme)()
    }
}

/// Returns the provider with that name, as used in a `WebhookEndpoint`.
pub fn provider(name: &str) -> Option<&'static Provider> {
    ProviderName::named(name).map(Provider::of)
}

/// Iterates over the names of all providers.
pub fn names() -> impl Iterator<Item = &'static str> {
    ProviderName::ALL.iter().map(|name| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verifier, testing::keys};

    #[test]
    fn every_row_is_sound() {
        for provider in PROVIDERS {
            let name = provider.name;
            assert_eq!(Provider::of(name).name, name);
            assert!(provider.docs.starts_with("https://"), "{name}");
            let verifier = Verifier::new(provider.scheme(), vec![keys(&provider.scheme()).public]);
            assert!(verifier.is_ok(), "{name}: {verifier:?}");
            for place in provider.kinds.iter().chain(provider.ids) {
                match place {
                    RequestField::Header(name) => assert_eq!(*name, name.to_lowercase()),
                    RequestField::Pointer(pointer) => assert!(pointer.starts_with('/'), "{name}: {pointer}"),
                }
            }
        }
    }

    /// Senders do not sign the content type: if it decided how an id in the body is read, a recorded request would be
    /// another event under another content type. Slack's forms have no id.
    #[test]
    fn ids_in_bodies_do_not_depend_on_the_content_type() {
        for provider in PROVIDERS.iter().filter(|provider| provider.name != ProviderName::Slack) {
            let in_body = provider.ids.iter().any(|id| matches!(id, RequestField::Pointer(_)));
            assert!(!in_body || provider.bodies == Bodies::Json, "{}", provider.name);
        }
    }

    /// The id of a request or of a resource at these places has deduplicated different events.
    #[test]
    fn ids_are_those_of_one_event() {
        for provider in PROVIDERS {
            for wrong in ["x-gitlab-event-uuid", "x-gitlab-webhook-uuid", "x-hook-uuid", "x-wc-webhook-delivery-id"] {
                assert!(!provider.ids.contains(&RequestField::Header(wrong)), "{}: {wrong}", provider.name);
            }
        }
        assert!(Provider::of(ProviderName::GitLab).ids.contains(&RequestField::Header("idempotency-key")));
    }
}
