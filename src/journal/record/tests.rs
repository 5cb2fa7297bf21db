use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::journal::validated;

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
            endpoint: crate::api::ObjectKey::new("a", "b"),
            validated: validated(&id, &kind, body),
            received,
            content_type,
            remote,
            headers,
            window: None,
        },
    )
}

fn failure() -> impl Strategy<Value = Failure> {
    (time(), text(), prop::option::of(1u16..), text()).prop_map(|(time, reason, status, message)| Failure {
        time,
        reason,
        status,
        message,
    })
}

proptest! {
    #[test]
    fn events_come_back(arrival in arrival(), sequence: u64) {
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

    #[test]
    fn rows_come_back(
        (namespace, name, n) in (text(), text(), any::<[u64; 6]>()),
        gaps in prop::collection::vec((1u64..1000, 0u64..1000), 0..20),
        (received, keep_until) in (time(), time()),
        (dead, attempt, due, failure) in (any::<bool>(), any::<u32>(), time(), failure()),
    ) {
        let endpoint = EndpointRow { namespace: namespace.clone(), name: name.clone(), head: n[0], oldest: n[1], count: n[2], bytes: n[3] };
        prop_assert_eq!(EndpointRow::decode(endpoint.encode()).unwrap(), endpoint);
        let floor = n[1] / 2;
        let mut at = floor;
        let ranges = gaps.into_iter().map(|(gap, more)| { let first = at + gap; at = first + more; (first, at) }).collect();
        let consumer = ConsumerRow {
            namespace, name, endpoint: attempt, start: n[0], floor, delivered: n[2], retrying: n[3], dead: n[4], missing: n[5], ranges,
        };
        prop_assert_eq!(ConsumerRow::decode(consumer.encode()).unwrap(), consumer);
        let index = IndexRow { sequence: n[0], received, keep_until };
        prop_assert_eq!(IndexRow::decode(Bytes::copy_from_slice(&index.encode())).unwrap(), index);
        let state = if dead { ExceptionState::Dead } else { ExceptionState::Retrying };
        let exception = ExceptionRow { state, attempt, due, failure };
        prop_assert_eq!(ExceptionRow::decode(exception.encode()).unwrap(), exception);
        prop_assert_eq!(decode_u32(Bytes::copy_from_slice(&encode_u32(attempt))).unwrap(), attempt);
        prop_assert_eq!(decode_u64(Bytes::copy_from_slice(&encode_u64(n[0]))).unwrap(), n[0]);
    }

    /// No row cut short is taken for a whole one; only the body may be shorter.
    #[test]
    fn short_rows_are_refused(arrival in arrival(), failure in failure(), cut: prop::sample::Index) {
        let row = encode_event(&arrival);
        let head = row.len() - arrival.validated.body().len();
        prop_assert!(decode_event(1, row.slice(..cut.index(head))).is_err());
        let row = ExceptionRow { state: ExceptionState::Dead, attempt: 1, due: failure.time, failure }.encode();
        prop_assert!(ExceptionRow::decode(row.slice(..cut.index(row.len()))).is_err());
    }

    /// Whatever lies there, decoding answers.
    #[test]
    fn garbage_is_no_panic(mut row in prop::collection::vec(any::<u8>(), 0..200), known: bool) {
        if known && let Some(first) = row.first_mut() {
            *first = codec::ROW;
        }
        let row = Bytes::from(row);
        let _ = decode_event(1, row.clone());
        let _ = IndexRow::decode(row.clone());
        let _ = EndpointRow::decode(row.clone());
        let _ = ConsumerRow::decode(row.clone());
        let _ = ExceptionRow::decode(row.clone());
        let _ = (decode_u32(row.clone()), decode_u64(row.clone()));
        let _ = (key::event_sequence(&row), key::exception_sequence(&row), key::number(&row));
        let _ = (key::timed_parts(&row), key::stub_parts(&row));
        if !known && row.first() != Some(&codec::ROW) {
            prop_assert!(decode_event(1, row.clone()).is_err() && ConsumerRow::decode(row).is_err());
        }
    }

    /// The order of the keys is the order of what they name.
    #[test]
    fn keys_are_in_order(a in (any::<u32>(), time(), any::<u64>()), b in (any::<u32>(), time(), any::<u64>())) {
        let timed = |(c, t, s): (u32, Timestamp, u64)| key::timed(key::DUE, c, t, s);
        prop_assert_eq!(timed(a).cmp(&timed(b)), a.cmp(&b));
        prop_assert_eq!(key::timed_parts(&timed(a)).unwrap(), (a.1, a.2));
        prop_assert_eq!(key::event(a.0, a.2).cmp(&key::event(b.0, b.2)), (a.0, a.2).cmp(&(b.0, b.2)));
        prop_assert_eq!(key::event_sequence(&key::event(a.0, a.2)).unwrap(), a.2);
        prop_assert_eq!(key::exception_sequence(&key::exception(a.0, a.2)).unwrap(), a.2);
        let stub = key::stub(a.1, b"index key");
        prop_assert_eq!(key::stub_parts(&stub).unwrap(), (a.1, Bytes::from_static(b"index key")));
    }
}

/// The format on disk does not change by accident.
#[test]
fn the_layout_is_as_documented() {
    let arrival = Arrival {
        endpoint: crate::api::ObjectKey::new("a", "b"),
        validated: validated("i1", "t", Bytes::from_static(b"body")),
        received: Timestamp::new(258, 7).unwrap(),
        content_type: Some("c".into()),
        remote: Some([1, 2, 3, 4].into()),
        headers: vec![("h".into(), Bytes::from_static(b"v"))],
        window: None,
    };
    let expected = [
        &[1, 3, 2, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0][..],
        &[2, b'i', b'1', 1, b't', 1, b'c', 1, 2, 3, 4, 1, 1, b'h', 1, b'v'],
        b"body",
    ];
    assert_eq!(&encode_event(&arrival)[..], expected.concat());
    assert_eq!(key::event(1, 2), [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(&key::index(1, "i1")[..], [0, 0, 0, 1, 0, b'i', b'1']);
    assert_eq!(key::index(1, &"x".repeat(65)).len(), 5 + 32);
}
