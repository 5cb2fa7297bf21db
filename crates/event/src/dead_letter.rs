//! Dead letters forwarded to another endpoint: their identity there, and how far they may go.
//!
//! A dead letter is the original event (type, body, content type, headers) under a new id, with headers that say why
//! its delivery failed. Only Grapnel writes headers with this prefix: those of senders are never stored.
//!
//! ```
//! use grapnel_event::dead_letter;
//!
//! let trail = dead_letter::trail(None, "shop/orders", "shop/letters")?;
//! assert_eq!(trail, "shop/orders");
//! let circle = dead_letter::trail(Some(&trail), "shop/letters", "shop/orders");
//! assert!(circle.is_err(), "no dead letter returns to an endpoint that it has passed through");
//! # Ok::<(), dead_letter::NotForwarded>(())
//! ```

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::limits::DEAD_LETTER_HOPS;

/// Prefix of every header that describes a dead letter.
pub const HEADER_PREFIX: &str = "grapnel-dead-letter-";

/// The id of the original event, written as in `webhook-id`.
pub const ID: &str = "grapnel-dead-letter-id";
/// When the original event was received (RFC 3339).
pub const RECEIVED: &str = "grapnel-dead-letter-received";
/// The endpoints that the event has passed through, as `namespace/name`, first one first.
pub const TRAIL: &str = "grapnel-dead-letter-trail";
/// The subscription that dead-lettered it, as `namespace/name`.
pub const SUBSCRIPTION: &str = "grapnel-dead-letter-subscription";
/// When it was dead-lettered (RFC 3339).
pub const TIME: &str = "grapnel-dead-letter-time";
/// Number of attempts.
pub const ATTEMPTS: &str = "grapnel-dead-letter-attempts";
/// The reason, as one word.
pub const REASON: &str = "grapnel-dead-letter-reason";
/// HTTP status of the last response, if there was one.
pub const STATUS: &str = "grapnel-dead-letter-status";
/// Details for a human reader.
pub const MESSAGE: &str = "grapnel-dead-letter-message";

/// Returns whether a header, by its lower-case name, describes a dead letter.
pub fn is_header(name: &str) -> bool {
    name.starts_with(HEADER_PREFIX)
}

/// Returns the id of a dead letter. It is always the same for one event and one subscription, so that a dead letter
/// that is forwarded again is recognized as a duplicate. Names are `namespace/name`; `sequence` is the event's position
/// in the endpoint's log.
pub fn id(subscription: &str, endpoint: &str, sequence: u64, event: &str) -> String {
    let mut digest = Sha256::new();
    for part in [subscription, endpoint, event] {
        // The length is included, so that no two lists of parts have the same digest.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.update(sequence.to_be_bytes());
    let digest: [u8; 32] = digest.finalize().into();
    let mut id = String::from("dead-letter-");
    for byte in digest.iter().take(16) {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// Why a dead letter is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotForwarded {
    /// It has passed through that endpoint before.
    #[error("it has come through that endpoint already")]
    Circle,
    /// It has passed through [`DEAD_LETTER_HOPS`] endpoints.
    #[error("it has come through {DEAD_LETTER_HOPS} endpoints already")]
    Far,
}

/// Returns the trail of an event that moves from endpoint `from` to endpoint `to`, as a header value. `trail` is the
/// one it arrived with.
///
/// # Errors
/// When the event must not be forwarded there. Every trail ends, however subscriptions refer to each other's endpoints.
pub fn trail(trail: Option<&str>, from: &str, to: &str) -> Result<String, NotForwarded> {
    let mut stations: Vec<&str> = trail.map(|trail| trail.split(", ").collect()).unwrap_or_default();
    stations.push(from);
    if stations.contains(&to) {
        return Err(NotForwarded::Circle);
    }
    if stations.len() > DEAD_LETTER_HOPS {
        return Err(NotForwarded::Far);
    }
    Ok(stations.join(", "))
}

/// Converts a text to a header value: visible ASCII and spaces stay, anything else becomes `?`.
pub fn header_text(text: &str) -> String {
    text.chars().map(|character| if matches!(character, ' '..='~') { character } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_the_same_for_the_same_and_another_for_others() {
        let ids = [
            id("a/b", "c/d", 1, "evt"),
            id("a/b", "c/d", 2, "evt"),
            id("a/b", "c/d", 1, "evt2"),
            id("a/b", "c/d/", 1, "evt"),
            id("a/bc", "/d", 1, "evt"),
            id("c/d", "a/b", 1, "evt"),
        ];
        assert_eq!(ids[0], id("a/b", "c/d", 1, "evt"));
        for (number, id) in ids.iter().enumerate() {
            assert!(!ids[..number].contains(id));
            assert_eq!(id.len(), "dead-letter-".len() + 32);
        }
    }

    #[test]
    fn a_way_ends_where_it_has_been() {
        assert_eq!(trail(None, "shop/in", "shop/in"), Err(NotForwarded::Circle));
        let first = trail(None, "shop/in", "shop/letters").unwrap();
        assert_eq!(first, "shop/in");
        assert_eq!(trail(Some(&first), "shop/letters", "shop/in"), Err(NotForwarded::Circle));
        assert_eq!(trail(Some(&first), "shop/letters", "shop/last").unwrap(), "shop/in, shop/letters");
    }

    #[test]
    fn text_of_a_header_is_ascii() {
        assert_eq!(header_text("no\tway: \u{fffd}é!"), "no?way: ??!");
    }

    proptest! {
        #[test]
        fn every_way_ends(steps in proptest::collection::vec(0u8..20, 1..60)) {
            let name = |step: &u8| format!("shop/e{step}");
            let (mut here, mut way, mut hops) = (name(&steps[0]), None, 0);
            for step in &steps[1..] {
                match trail(way.as_deref(), &here, &name(step)) {
                    Ok(longer) => {
                        hops += 1;
                        prop_assert!(!longer.split(", ").any(|station| station == name(step)));
                        (here, way) = (name(step), Some(longer));
                    }
                    Err(_) => break,
                }
            }
            prop_assert!(hops <= DEAD_LETTER_HOPS);
        }
    }
}
