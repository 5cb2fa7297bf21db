use std::net::IpAddr;

use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::testing::validated;

fn time() -> impl Strategy<Value = Timestamp> {
    let seconds = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
    (seconds, 0i32..1_000_000_000).prop_map(|(s, n)| Timestamp::new(s, n).unwrap_or(Timestamp::MAX))
}

fn text() -> impl Strategy<Value = Box<str>> {
    prop_oneof![any::<String>(), Just("x".repeat(300))].prop_map(String::into_boxed_str)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let headers = prop::collection::vec((text(), bytes()), 0..5);
    let remote = any::<Option<IpAddr>>();
    (text(), text(), bytes(), time(), prop::option::of(text()), remote, headers).prop_map(
        |(id, kind, body, received, content_type, remote, headers)| Arrival {
            endpoint: Incarnation::of_file(ObjectKey::new("a", "b")),
            validated: validated(&id, &kind, body),
            received,
            content_type,
            remote,
            headers,
            window: None,
            max_bytes: None,
        },
    )
}

proptest! {
    #[test]
    fn decoding_inverts_encoding(arrival in arrival(), sequence: u64) {
        let event = decode_event(sequence, encode_event(&arrival)).unwrap();
        let (identity, body) = arrival.validated.into_parts();
        prop_assert_eq!(event, StoredEvent {
            sequence,
            id: identity.id,
            kind: identity.kind,
            received: arrival.received,
            content_type: arrival.content_type,
            remote: arrival.remote,
            headers: arrival.headers,
            body,
        });
    }

    /// The start of a record shows what its whole shows.
    #[test]
    fn the_start_of_a_record_is_enough_for_its_summary(arrival in arrival(), sequence: u64, more: prop::sample::Index) {
        let row = encode_event(&arrival);
        let head = row.len() - arrival.validated.body().len();
        let start = row.slice(..head + more.index(row.len() - head + 1));
        let event = decode_event(sequence, row.clone()).unwrap();
        prop_assert_eq!(decode_summary(sequence, start, row.len()), Ok((event.summary(), head)));
        prop_assert!(decode_summary(sequence, row.slice(..head - 1), row.len()).is_err());
    }

    /// A truncated record is an error; only the body may be shorter.
    #[test]
    fn short_records_are_errors(arrival in arrival(), cut: prop::sample::Index) {
        let row = encode_event(&arrival);
        let head = row.len() - arrival.validated.body().len();
        prop_assert!(decode_event(1, row.slice(..cut.index(head))).is_err());
    }

    #[test]
    fn garbage_does_not_panic(mut row in prop::collection::vec(any::<u8>(), 0..200), known: bool) {
        if known && let Some(first) = row.first_mut() {
            *first = codec::ROW;
        }
        let _ = decode_event(1, Bytes::from(row.clone()));
        let _ = decode_summary(1, Bytes::from(row), 100);
    }
}
