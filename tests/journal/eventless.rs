//! Segments of the embedded engine that have outcomes of kept events, but no kept events.

use grapnel_journal::{Outcome, RedeliveryStep, Selection, Start};

use super::{
    arrivals::{at, dead, delivered, retry},
    embedded::Embedded,
    session::{Bounds, Session, eventually, keep},
};

/// Waits until the log consists of these segments: id and generation.
async fn has_segments(engine: &Embedded, segments: &[(u64, u32)]) {
    let names: Vec<_> = segments.iter().map(|(id, generation)| format!("{id:016x}-{generation:04x}.jnl")).collect();
    eventually(&format!("the log is {names:?}"), async || engine.log_files() == names).await;
}

/// Closes and opens the journal, which begins a segment.
async fn begin_segment(session: &mut Session<'_>) {
    session.journal().close().await.unwrap();
    session.reopen();
}

/// A segment without events keeps its outcomes, which do not hide newer ones of the same events.
#[tokio::test]
async fn the_last_outcome_stays_after_a_sweep() {
    let engine = Embedded::new(Bounds::default());
    let mut session = Session::attached(&engine, Start::Now).await;
    session.append(&["dies", "is delivered", "is retried"], 0).await;
    begin_segment(&mut session).await;
    session.claim(3, 0).await;
    session.settle_all(vec![(1, retry(11)), (2, retry(11)), (3, retry(11))]).await;
    begin_segment(&mut session).await;
    session.claim(2, 50).await;
    session.settle_all(vec![(1, dead(50)), (2, delivered(50))]).await;
    session.append(&["last"], 50).await;
    let before = session.records(None).await;
    assert_eq!(before.iter().map(|record| record.attempts).collect::<Vec<_>>(), [2, 2, 1, 0]);
    assert!(before[1].failure.is_some());
    session.sweep(keep(100, 100), 50).await;
    has_segments(&engine, &[(1, 0), (2, 1), (3, 0)]).await;
    assert_eq!(session.records(None).await, before);
    begin_segment(&mut session).await;
    assert_eq!(session.records(None).await, before);
}

/// The attempts of a redelivered event are counted anew, so that its last outcome has a lower number than earlier ones.
#[tokio::test]
async fn the_outcome_of_a_redelivery_stays_after_a_sweep() {
    let engine = Embedded::new(Bounds::default());
    let mut session = Session::attached(&engine, Start::Now).await;
    session.append(&["a"], 0).await;
    begin_segment(&mut session).await;
    session.claim(1, 0).await;
    session.settle(1, retry(1)).await;
    session.claim(1, 2).await;
    session.settle(1, dead(2)).await;
    begin_segment(&mut session).await;
    session
        .redeliver(&Selection::DeadLettered, RedeliveryStep { from: None, limit: 9, dry_run: false, now: at(3) })
        .await;
    session.claim(1, 3).await;
    // The clock was set back.
    session.settle(1, delivered(1)).await;
    let before = session.records(None).await;
    assert_eq!((before[0].attempts, &before[0].failure), (1, &None));
    begin_segment(&mut session).await;
    session.sweep(keep(100, 100), 50).await;
    has_segments(&engine, &[(1, 0), (2, 1), (4, 0)]).await;
    assert_eq!(session.records(None).await, before);
    begin_segment(&mut session).await;
    assert_eq!(session.records(None).await, before);
}

/// Neighbouring segments without events become one, which is deleted with the last event that it has outcomes of.
#[tokio::test]
async fn segments_of_outcomes_are_merged_and_deleted() {
    let engine = Embedded::new(Bounds::default());
    let mut session = Session::attached(&engine, Start::Now).await;
    session.append(&["old"], 0).await;
    session.append(&["young"], 60).await;
    begin_segment(&mut session).await;
    session.claim(1, 0).await;
    session.settle(1, retry(10)).await;
    begin_segment(&mut session).await;
    session.claim(1, 10).await;
    session.settle(1, retry(20)).await;
    session.sweep(keep(50, 50), 20).await;
    has_segments(&engine, &[(1, 0), (2, 1), (3, 0)]).await;
    begin_segment(&mut session).await;
    session.claim(1, 20).await;
    session.settle(1, delivered(20)).await;
    session.sweep(keep(50, 50), 20).await;
    has_segments(&engine, &[(1, 0), (2, 2), (4, 0)]).await;
    assert_eq!((session.record(1).await.attempts, session.record(1).await.outcome), (3, Outcome::Delivered));
    begin_segment(&mut session).await;
    session.sweep(keep(50, 50), 100).await;
    has_segments(&engine, &[(1, 0), (5, 0)]).await;
    assert_eq!(session.kept().await, [2]);
}
