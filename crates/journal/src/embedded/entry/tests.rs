use std::time::Duration;

use proptest::prelude::*;

use grapnel_api::{Incarnation, ObjectKey};

use super::*;
use crate::{
    Exchange, Failure, SkipReason,
    machine::{Durable, End, Ended, Retry},
};

fn ended() -> impl Strategy<Value = Ended> {
    let time = -1_000_000_000_000_000i64..4_000_000_000_000_000;
    let texts = ("[a-z]{0,9}", any::<String>());
    (any::<u64>(), 0u64..300, any::<u32>(), 0u8..7, time, any::<i32>(), any::<u16>(), texts).prop_map(
        |(sequence, covered, attempt, tag, time, took, status, (reason, message))| {
            let (time, took) = (Micros(time), Duration::from_micros(took.unsigned_abs().into()));
            let status = (status != 0).then_some(status);
            let failure = || Failure {
                time: time.timestamp(),
                reason: reason.as_str().into(),
                status,
                took,
                message: message.as_str().into(),
            };
            let end = match tag {
                0 => End::Delivered(Exchange { time: time.timestamp(), status, took }),
                1 => End::Skipped { reason: SkipReason::Filter, time },
                2 => End::Skipped { reason: SkipReason::Type, time },
                3 => End::Gone,
                5 => End::Skipped { reason: SkipReason::Shadow, time },
                4 => End::Retry { due: Micros(time.0 + 77), failure: failure() },
                _ => End::Dead { failure: failure() },
            };
            Ended { sequence, first: sequence.saturating_sub(covered), attempt, end }
        },
    )
}

fn ranges() -> impl Strategy<Value = Vec<(Sequence, Sequence)>> {
    prop::collection::vec((1u64..1000, 0u64..1000), 0..20).prop_map(|gaps| {
        let mut at = 0;
        let mut range = |(gap, more)| {
            let first = at + gap;
            at = first + more;
            (first, at)
        };
        gaps.into_iter().map(&mut range).collect()
    })
}

fn uid() -> impl Strategy<Value = (ObjectKey, Box<str>)> {
    ("[a-z]{1,9}", "[a-z.]{1,9}", any::<String>())
        .prop_map(|(namespace, name, uid)| (ObjectKey::new(namespace, name), uid.into_boxed_str()))
}

proptest! {
    #[test]
    fn decoding_inverts_encoding(
        ends in prop::collection::vec(ended(), 0..20),
        (removed, damaged, attempted) in (ranges(), ranges(), ranges()),
        (key, uid) in uid(),
        n in any::<[u64; 6]>(),
        sequences in prop::collection::vec(any::<u64>(), 0..20),
        retention in prop::option::of(0u64..u64::MAX - 1),
    ) {
        prop_assert_eq!(decode_ends(encode_ends(&ends)).unwrap(), ends);
        let endpoint = EndpointState {
            key: key.clone(), uid: uid.clone(), incarnation: n[0] as u32, begin: n[1], head: n[2], appended: n[3],
            retention: retention.map(Duration::from_secs), ids_until: Micros(9), former: vec![Former { uid: uid.clone(), begin: n[2], retention: None }],
            removed, damaged,
        };
        prop_assert_eq!(EndpointState::decode(endpoint.encode()).unwrap(), endpoint);
        let dead: Vec<_> = attempted.iter().map(|(first, last)| (*first, Micros(*last as i64))).collect();
        let retries = dead.iter().map(|(first, due)| (*first, Retry { due: *due, attempt: 3 })).collect();
        let state = Durable {
            start: n[0], appended_before: n[1], attempts_begun: n[2], delivered: n[3], attempted, retries, dead,
        };
        let consumer = ConsumerRow { consumer: Incarnation::new(key.clone(), &*uid), endpoint: 7, state };
        prop_assert_eq!(ConsumerRow::decode(consumer.encode()).unwrap(), consumer);
        let end = StateEnd { endpoints: n[0], consumers: n[1], next_endpoint: 5, next_consumer: 6, retired_head: n[2] };
        prop_assert_eq!(StateEnd::decode(end.encode()).unwrap(), end);
        let new = NewEndpoint { endpoint: Incarnation::new(key.clone(), &*uid), incarnation: 3, begin: n[0] };
        prop_assert_eq!(NewEndpoint::decode(new.encode()).unwrap(), new);
        let new = NewConsumer { consumer: Incarnation::new(key, &*uid), endpoint: 3, start: n[0], appended_before: n[1] };
        prop_assert_eq!(NewConsumer::decode(new.encode()).unwrap(), new);
        let mark = Mark { durable: n[0], heads: sequences.iter().map(|s| (*s as u32, *s)).collect() };
        prop_assert_eq!(Mark::decode(mark.encode()).unwrap(), mark);
        let head = SegmentHead { last: n[0], time: Micros(n[1] as i64), previous: n[3], previous_end: n[2] };
        prop_assert_eq!(SegmentHead::decode(head.encode()).unwrap(), head);
        prop_assert_eq!(decode_due(encode_due(Micros(5), &sequences)).unwrap(), (Micros(5), sequences.clone()));
        prop_assert_eq!(decode_sequences(encode_sequences(&sequences)).unwrap(), sequences);
    }

    #[test]
    fn garbage_does_not_panic(row in prop::collection::vec(any::<u8>(), 0..200)) {
        let row = Bytes::from(row);
        let _ = (decode_ends(row.clone()), EndpointState::decode(row.clone()), ConsumerRow::decode(row.clone()));
        let _ = (StateEnd::decode(row.clone()), NewEndpoint::decode(row.clone()), NewConsumer::decode(row.clone()));
        let _ = (Mark::decode(row.clone()), SegmentHead::decode(row.clone()), decode_due(row.clone()));
        let _ = (decode_sequences(row.clone()), decode_ranges(row));
    }
}
