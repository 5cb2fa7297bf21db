//! Random operations of a journal.

use proptest::{prelude::*, sample::Index};

use crate::SkipReason;

pub(super) const ENDPOINTS: usize = 2;
pub(super) const CONSUMERS: usize = 3;

#[derive(Debug, Clone)]
pub(super) enum Op {
    /// To an endpoint, so many events, received so many seconds ahead, with a body of so many bytes, and the share of the
    /// endpoint.
    Append(usize, usize, i64, usize, Option<u64>),
    RecreateEndpoint(usize),
    RecreateConsumer(usize),
    Attach(usize, usize, bool),
    Detach(usize),
    Claim(usize, usize, bool, bool),
    Settle(usize, Vec<(Index, End)>),
    Advance(i64),
    /// Those without a retention are not listed. In steps of so many.
    Sweep([Option<u64>; ENDPOINTS], [Option<u64>; CONSUMERS], usize),
    Redeliver(usize, Pick, usize, bool),
    Checkpoint,
    Restart,
}

#[derive(Debug, Clone)]
pub(super) enum End {
    Delivered,
    Skipped(SkipReason),
    Released,
    Retry(i64),
    Dead,
}

#[derive(Debug, Clone)]
pub(super) enum Pick {
    DeadLettered,
    Retrying,
    Events(Vec<Index>),
    /// So long ago.
    Received(Option<i64>, Option<i64>),
}

fn pick() -> impl Strategy<Value = Pick> {
    let side = || prop::option::weighted(0.7, 0i64..150);
    prop_oneof![
        Just(Pick::DeadLettered),
        Just(Pick::Retrying),
        prop::collection::vec(any::<Index>(), 0..8).prop_map(Pick::Events),
        (side(), side()).prop_map(|(since, until)| Pick::Received(since, until)),
    ]
}

fn op(ahead: i64) -> impl Strategy<Value = Op> {
    let end = prop_oneof![
        3 => Just(End::Delivered),
        1 => prop_oneof![Just(SkipReason::Filter), Just(SkipReason::Type)].prop_map(End::Skipped),
        1 => Just(End::Released),
        3 => (0i64..40).prop_map(End::Retry),
        2 => Just(End::Dead),
    ];
    let ends = prop::collection::vec((any::<Index>(), end), 1..6);
    let kept = |seconds| prop::option::weighted(0.8, 0u64..seconds);
    // Which events are the oldest depends on the order of receipt.
    let share = prop::option::weighted(0.3, 300u64..2000).prop_map(move |share| share.filter(|_| ahead == 0));
    prop_oneof![
        12 => (0..ENDPOINTS, 1usize..5, 0..=ahead, 0usize..300, share)
            .prop_map(|(e, n, ahead, bytes, share)| Op::Append(e, n, ahead, bytes, share)),
        1 => (0..ENDPOINTS).prop_map(Op::RecreateEndpoint),
        1 => (0..CONSUMERS).prop_map(Op::RecreateConsumer),
        5 => (0..CONSUMERS, 0..ENDPOINTS, any::<bool>()).prop_map(|(c, e, now)| Op::Attach(c, e, now)),
        1 => (0..CONSUMERS).prop_map(Op::Detach),
        12 => (0..CONSUMERS, 0usize..6, prop::bool::weighted(0.4), prop::bool::weighted(0.2))
            .prop_map(|(c, limit, in_order, bounded)| Op::Claim(c, limit, in_order, bounded)),
        12 => (0..CONSUMERS, ends).prop_map(|(c, ends)| Op::Settle(c, ends)),
        6 => (0i64..60).prop_map(Op::Advance),
        4 => ([kept(150), kept(150)], [kept(100), kept(100), kept(100)], 1usize..5)
            .prop_map(|(events, letters, limit)| Op::Sweep(events, letters, limit)),
        6 => (0..CONSUMERS, pick(), 1usize..6, prop::bool::weighted(0.2))
            .prop_map(|(c, pick, limit, dry_run)| Op::Redeliver(c, pick, limit, dry_run)),
        2 => Just(Op::Checkpoint),
        3 => Just(Op::Restart),
    ]
}

pub(super) fn ops(ahead: i64) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(ahead), 20..120).prop_map(|mut ops| {
        ops.insert(0, Op::Attach(0, 0, true));
        ops.insert(1, Op::Attach(1, 0, false));
        ops
    })
}
