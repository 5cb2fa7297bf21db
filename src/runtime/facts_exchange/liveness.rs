//! Which authors of rows no longer run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::runtime::limits::FACTS_DEAD;

/// When each author of rows was last seen among the live replicas.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    seen: BTreeMap<String, Instant>,
    dead: BTreeSet<String>,
}

impl Liveness {
    /// Takes over which replicas are alive.
    pub(super) fn observe(&mut self, authors: &BTreeSet<&str>, live: &[String], now: Instant) {
        self.seen.retain(|author, _| authors.contains(author.as_str()));
        for author in authors {
            let seen = self.seen.entry((*author).to_owned()).or_insert(now);
            if live.iter().any(|replica| replica == author) {
                *seen = now;
            }
        }
        let dead = self.seen.iter().filter(|(_, seen)| now.duration_since(**seen) >= FACTS_DEAD);
        self.dead = dead.map(|(author, _)| author.clone()).collect();
    }

    /// The authors that no longer run.
    pub(super) fn dead(&self) -> &BTreeSet<String> {
        &self.dead
    }
}
