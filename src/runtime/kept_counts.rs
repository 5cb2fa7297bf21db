//! The counts of endpoints in a file, where no cluster keeps their statuses. Those of subscriptions are in the journal.
//! What was counted since the last write is lost with a crash.

use std::{collections::HashMap, path::Path, sync::Arc};

use grapnel_api::{ObjectKey, WebhookEndpointStatus};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{self, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::limits;
use crate::{
    catalog::{EndpointReading, Facts, ObjectView, ObjectViews},
    kept_file::{KeptFile, KeptFileError},
};

/// The name of the file in the data directory.
const NAME: &str = "counts.json";

/// The version of its form.
const VERSION: u32 = 1;

#[derive(Default, Serialize, Deserialize)]
struct Content {
    endpoints: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    namespace: String,
    name: String,
    status: WebhookEndpointStatus,
}

/// The counts in the data directory.
pub(super) struct KeptCounts {
    file: KeptFile,
    /// What an earlier process has counted, of endpoints that this one has not seen yet.
    known: HashMap<ObjectKey, EndpointReading>,
}

impl KeptCounts {
    /// Reads the file in this directory. Without one that can be used, counts begin at zero. Blocks the thread.
    pub(super) fn open(directory: &Path) -> Self {
        let file = KeptFile::new(directory.join(NAME), VERSION);
        let known = read(&file).unwrap_or_else(|error| {
            let error = anyhow::Error::from(error);
            tracing::warn!(error = format!("{error:#}"), "counts of endpoints cannot be read; they begin at zero");
            HashMap::new()
        });
        Self { file, known }
    }

    /// Continues the counts of the objects, and keeps them until `stop`.
    pub(super) async fn run(mut self, mut objects: watch::Receiver<ObjectViews>, stop: CancellationToken) {
        let mut ticks = time::interval(limits::COUNTS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let views = Arc::clone(&objects.borrow_and_update());
            self.resume(&views);
            tokio::select! {
                () = stop.cancelled() => return self.keep(&views).await,
                _ = ticks.tick() => self.keep(&views).await,
                changed = objects.changed() => {
                    if changed.is_err() {
                        stop.cancelled().await;
                    }
                }
            }
        }
    }

    fn resume(&mut self, views: &[Arc<ObjectView>]) {
        if self.known.is_empty() {
            return;
        }
        for view in views {
            if let Facts::Endpoint(facts) = &view.facts
                && let Some(reading) = self.known.remove(&view.key)
            {
                facts.resume(reading);
            }
        }
    }

    async fn keep(&mut self, views: &[Arc<ObjectView>]) {
        // Objects that are not read yet may still come.
        if views.is_empty() {
            return;
        }
        let endpoints = views.iter().filter_map(|view| Entry::of(view)).collect();
        if let Err(error) = self.file.write(Content { endpoints }).await {
            let path = self.file.path().display();
            tracing::warn!(%path, %error, "counts of endpoints cannot be written; retrying");
        }
    }
}

impl Entry {
    /// The counts of an endpoint.
    fn of(view: &ObjectView) -> Option<Self> {
        let Facts::Endpoint(facts) = &view.facts else { return None };
        let status = facts.read().into_status();
        Some(Self { namespace: view.key.namespace.to_string(), name: view.key.name.to_string(), status })
    }
}

fn read(file: &KeptFile) -> Result<HashMap<ObjectKey, EndpointReading>, KeptFileError> {
    let content: Content = file.read(limits::COUNTS_BYTES)?.unwrap_or_default();
    let entries = content.endpoints.into_iter();
    Ok(entries.map(|entry| (ObjectKey::new(entry.namespace, entry.name), EndpointReading::of(&entry.status))).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        assert!(KeptCounts::open(directory.path()).known.is_empty());
        let entry = r#"{"namespace":"shop","name":"in","status":{"received":7,"rejected":1,"duplicates":2}}"#;
        let file = directory.path().join(NAME);
        for content in ["", "{}", "[1]", &format!(r#"{{"version":2,"endpoints":[{entry}]}}"#)] {
            fs::write(&file, content).unwrap();
            assert!(KeptCounts::open(directory.path()).known.is_empty(), "{content}");
        }
        fs::write(&file, format!(r#"{{"version":1,"endpoints":[{entry}]}}"#)).unwrap();
        let known = KeptCounts::open(directory.path()).known;
        let reading = &known[&ObjectKey::new("shop", "in")];
        assert_eq!((reading.received, reading.rejected, reading.duplicates), (7, 1, 2));
    }
}
