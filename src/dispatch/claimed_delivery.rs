//! A claimed event, on its way from the claim to the request.

use std::sync::Arc;

use grapnel_journal::{Delivery, Sequence};
use grapnel_payload::reading::Reading;

use super::decoded_event::DecodedEvent;

/// A claimed delivery and what has been parsed of its event.
pub(super) struct ClaimedDelivery {
    pub(super) delivery: Delivery,
    pub(super) decoded: DecodedEvent,
}

impl ClaimedDelivery {
    pub(super) fn new(delivery: Delivery, reading: &Reading) -> Self {
        let decoded = DecodedEvent::new(Arc::clone(&delivery.event), reading.clone());
        Self { delivery, decoded }
    }

    pub(super) fn sequence(&self) -> Sequence {
        self.delivery.event.sequence
    }

    /// Keeps what has been parsed if the budget allows it, and takes its bytes from the budget.
    pub(super) fn keep_within(&mut self, budget: &mut usize) {
        *budget = budget.saturating_sub(self.decoded.keep_within(*budget));
    }

    /// Bytes in memory: its body and what has been parsed of it.
    pub(super) fn held_bytes(&self) -> usize {
        self.delivery.event.body.len() + self.decoded.kept_bytes()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use grapnel_api::ObjectKey;
    use grapnel_expression::{ExpectedType, Expression, Scope};
    use grapnel_journal::StoredEvent;
    use jiff::Timestamp;

    use super::*;
    use crate::dispatch::limits;

    /// A body whose tree is many times as large.
    fn delivery(sequence: Sequence) -> Delivery {
        let event = StoredEvent {
            sequence,
            id: "evt".into(),
            kind: "t".into(),
            received: Timestamp::UNIX_EPOCH,
            content_type: None,
            remote: None,
            headers: Vec::new(),
            body: Bytes::from(format!("[{}[]]", "[],".repeat(20_000))),
        };
        Delivery { event: Arc::new(event), attempt: 1 }
    }

    #[test]
    fn what_waits_between_the_filter_and_the_attempt_stays_within_the_budget() {
        let looks = Expression::compile("size(payload) > 0", Scope::Delivery, ExpectedType::Bool).unwrap();
        let endpoint = ObjectKey::new("shop", "stripe");
        let (budget, mut left) = (limits::HELD_BYTES, limits::HELD_BYTES);
        let waiting = (1..=300).map(|sequence| {
            let mut claimed = ClaimedDelivery::new(delivery(sequence), &Reading::default());
            looks.test(&claimed.decoded.inputs(&looks, &endpoint)).unwrap();
            claimed.keep_within(&mut left);
            claimed
        });
        let waiting: Vec<_> = waiting.collect();
        let bodies: usize = waiting.iter().map(|claimed| claimed.delivery.event.body.len()).sum();
        let held: usize = waiting.iter().map(ClaimedDelivery::held_bytes).sum();
        assert!(held - bodies <= budget && left == budget - (held - bodies), "{held} {bodies} {left}");
        let kept = waiting.iter().filter(|claimed| claimed.decoded.kept_bytes() > 0).count();
        assert!((2..299).contains(&kept), "some are kept, and some are parsed again: {kept}");
    }
}
