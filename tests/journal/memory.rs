//! The contract for the naive engine, and what only it promises.

use std::sync::{Arc, Mutex};

use grapnel_journal::{
    Appended, EventQuery, Journal, JournalError, Start,
    memory::{MemoryJournal, MemoryOptions},
};

use super::{
    arrivals::{at, delivered, file, sized},
    session::{Bounds, Engine, Session},
};

/// A journal that continues where the one opened before ended.
pub(crate) struct Memory {
    options: MemoryOptions,
    last: Mutex<Option<Arc<MemoryJournal>>>,
}

impl Memory {
    pub(crate) fn new(options: MemoryOptions) -> Self {
        Self { options, last: Mutex::default() }
    }

    /// Its sequences have gaps, and the steps of its lists look at few events.
    fn sparse() -> Self {
        Self::new(MemoryOptions { list_scan: 3, ..MemoryOptions::default() })
    }

    /// What other engines are compared with: it numbers like none of those that are tested, this one included.
    pub(crate) fn model() -> Self {
        Self::new(MemoryOptions { first_sequence: 5, stride: 3, list_scan: 4, ..MemoryOptions::default() })
    }

    /// Its sequences are 1, 2, 3 and so on.
    fn dense() -> Self {
        Self::new(MemoryOptions { first_sequence: 1, stride: 1, ..MemoryOptions::default() })
    }
}

impl Engine for Memory {
    fn open(&self) -> Arc<dyn Journal> {
        let mut last = self.last.lock().unwrap();
        let next = Arc::new(match &*last {
            Some(journal) => journal.reopen(),
            None => MemoryJournal::new(self.options.clone()),
        });
        *last = Some(next.clone());
        next
    }

    fn bounded(&self, Bounds { max_bytes, namespace_share }: Bounds) -> Box<dyn Engine> {
        Box::new(Self::new(MemoryOptions { max_bytes, namespace_share, ..self.options.clone() }))
    }
}

mod sparse {
    use super::Memory;

    crate::journal::contract::journal_contract!(Memory::sparse());
}

mod dense {
    use super::Memory;

    crate::journal::contract::journal_contract!(Memory::dense());
}

/// A full journal reports it, removes settled events for new ones, and refuses when none are left.
#[tokio::test]
async fn a_full_journal_makes_room_or_refuses() {
    let engine = Memory::sparse().bounded(Bounds { max_bytes: 20_000, namespace_share: Some(0) });
    let mut session = Session::attached(&*engine, Start::Now).await;
    let event = |n: u64| vec![sized(&file("in"), &format!("{n:04}"), 1000)];
    let mut stored = 0;
    let refused = loop {
        match session.try_append(event(stored)).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, JournalError::Full(_)) && (10..20).contains(&stored), "{stored}: {refused}");
    assert!(matches!(session.journal().trouble(), Some(JournalError::Full(_))));
    let usage = session.journal().usage();
    assert!(usage.bytes <= 20_000 && usage.disk_bytes == usage.bytes && usage.max_bytes == 20_000, "{usage:?}");
    assert_eq!(session.journal().storage(&file("in")).exhausted, None, "it is not the endpoint's share");
    session.claim(3, 0).await;
    session.settle_all((1..=3).map(|ordinal| (ordinal, delivered(0))).collect()).await;
    assert!(session.journal().trouble().is_none());
    for n in 0..3 {
        assert_eq!(session.append_all(event(stored + n)).await, [Appended::Stored(stored + n + 1)]);
        assert_eq!(session.kept().await, (n + 2..=stored + n + 1).collect::<Vec<_>>(), "only as many as must go");
    }
    session.try_append(event(5000)).await.unwrap_err();
    session.reopen();
    assert_eq!(session.append_all(event(0)).await, [Appended::Duplicate(1)]);
}

/// A step of a list may hold nothing although more follows.
#[tokio::test]
async fn steps_of_lists_may_be_empty() {
    let engine = Memory::sparse();
    let session = Session::open(&engine);
    session.append(&["a", "b", "c"], 0).await;
    session.append(&["d"], 10).await;
    let mut query = EventQuery { since: Some(at(10)), limit: 1, ..Default::default() };
    let first = session.journal().events(&file("in"), query.clone()).await.unwrap();
    assert_eq!((first.events.len(), first.next), (0, Some(session.sequence(3))));
    query.after = session.sequence(3);
    let second = session.journal().events(&file("in"), query).await.unwrap();
    assert_eq!((second.events.len(), second.next), (1, None));
}
