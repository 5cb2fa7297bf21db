//! Subscriptions whose part of a shared journal does not answer hold up no others.

use std::{
    collections::HashSet,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use grapnel::{
    catalog::{Snapshot, Subscription},
    dispatch::Consumers,
    telemetry::metrics::Metrics,
};
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{Attached, Journal, JournalError, Result, Start, memory::MemoryJournal};
use grapnel_test_support::journal_front::{Front, Fronted};

use crate::stage::{key, subscription};

/// A shared journal, a part of which has no owner, or a paused one.
struct Parted {
    journal: MemoryJournal,
    is_whole: AtomicBool,
}

#[async_trait]
impl Front for Parted {
    fn journal(&self) -> &dyn Journal {
        &self.journal
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn attach(&self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached> {
        match &*consumer.key.name {
            _ if self.is_whole.load(Ordering::SeqCst) => {}
            "without-owner" => return Err(JournalError::Unavailable("no replica owns it".into())),
            "of-paused-owner" => return pending().await,
            _ => {}
        }
        self.journal.attach(consumer, endpoint, start).await
    }
}

fn keys(names: &[&str]) -> HashSet<ObjectKey> {
    names.iter().map(|name| key(name)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_part_of_the_journal_does_not_answer_is_named() {
    let journal = MemoryJournal::new(Default::default());
    let parted = Arc::new(Parted { journal, is_whole: AtomicBool::new(false) });
    let mut consumers = Consumers::new(Arc::new(Fronted(Arc::clone(&parted))), Metrics::new());
    let url = "http://127.0.0.1:9/".parse().unwrap();
    let all = ["of-another", "without-owner", "of-paused-owner"];
    let all = all.map(|name| Arc::new(subscription(name, &url, &Metrics::new())));
    let snapshot = Snapshot::new([], all.clone());
    let waits = |subscription: &Subscription| subscription.facts.read().unattached.is_some();

    let error = consumers.align(&snapshot).await.unwrap_err();
    assert!(matches!(error, JournalError::Unavailable(_)), "{error}");
    assert_eq!(*consumers.awaited(), keys(&["without-owner", "of-paused-owner"]));
    assert_eq!(all.each_ref().map(|it| waits(it)), [false, true, true]);

    // They are known, so nothing of theirs is removed, and nothing is delivered for them.
    let live = snapshot.without(consumers.awaited());
    assert!(live.subscriptions().map(|it| &it.key).eq([&key("of-another")]));
    assert!(all.iter().all(|it| live.knows(&it.incarnation())));

    parted.is_whole.store(true, Ordering::SeqCst);
    consumers.align(&snapshot).await.unwrap();
    assert!(consumers.awaited().is_empty());
    assert!(!all.iter().any(|it| waits(it)));
}
