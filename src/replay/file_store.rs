//! The progress of replays in a file, where there is no cluster.
//!
//! A replay in a manifest runs once for each content: its progress is kept under its name and the digest of its spec
//! (apart from `suspend` and `ttlSecondsAfterFinished`) until the files no longer define it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use grapnel_api::{ObjectKey, WebhookReplayStatus};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{limits, store::ProgressStore};
use crate::{
    catalog::{Facts, JournalReading, ObjectKind, ObjectView, ReplayReading, status::ObjectStatus},
    kept_file::{KeptFile, KeptFileError},
};

/// The name of the file in the data directory.
const NAME: &str = "replays.json";

/// The version of its form.
const VERSION: u32 = 1;

/// The progress of replays in the data directory.
pub struct FileStore {
    file: KeptFile,
    /// What earlier processes have kept.
    known: Mutex<HashMap<(ObjectKey, Arc<str>), ReplayReading>>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the progress of replays cannot be read; without the file every replay runs again")]
pub struct FileStoreError(#[from] KeptFileError);

/// The content of the file.
#[derive(Default, Serialize, Deserialize)]
struct Content {
    replays: Vec<Entry>,
}

/// The progress of one replay.
#[derive(Serialize, Deserialize)]
struct Entry {
    namespace: String,
    name: String,
    digest: String,
    status: WebhookReplayStatus,
}

impl FileStore {
    /// Reads the file in this directory, if there is one. Creates a missing directory. Blocks the thread.
    ///
    /// # Errors
    /// Returns an error if there is a file that cannot be used: to run every replay again would deliver events again.
    pub fn open(directory: &Path) -> Result<Self, FileStoreError> {
        let path = || directory.display().to_string();
        fs::create_dir_all(directory).map_err(|source| KeptFileError::Unreadable { path: path(), source })?;
        let file = KeptFile::new(directory.join(NAME), VERSION);
        let content: Content = file.read(limits::REPLAY_FILE_BYTES)?.unwrap_or_default();
        let known = content.replays.into_iter().map(|entry| {
            let key = ObjectKey::new(entry.namespace, entry.name);
            ((key, entry.digest.into()), ReplayReading::of(&entry.status))
        });
        Ok(Self { known: Mutex::new(known.collect()), file })
    }
}

#[async_trait]
impl ProgressStore for FileStore {
    fn may_act(&self) -> bool {
        true
    }

    fn recall(&self, replay: &ObjectView) -> Option<ReplayReading> {
        self.known.lock().get(&name(replay)).cloned()
    }

    async fn keep(&self, objects: &[Arc<ObjectView>]) -> bool {
        let replays = objects.iter().filter_map(|view| Entry::of(view)).collect();
        let present: HashSet<_> =
            objects.iter().filter(|view| view.kind == ObjectKind::Replay).map(|view| name(view)).collect();
        self.known.lock().retain(|name, _| present.contains(name));
        let written = self.file.write(Content { replays }).await;
        if let Err(error) = &written {
            let path = self.file.path().display();
            tracing::error!(%path, %error, "the progress of replays cannot be written; retrying");
        }
        written.is_ok()
    }
}

/// The name under which the progress of a replay is kept.
fn name(replay: &ObjectView) -> (ObjectKey, Arc<str>) {
    (replay.key.clone(), replay.uid.clone().unwrap_or_default())
}

impl Entry {
    /// The entry of a replay that has begun.
    fn of(view: &ObjectView) -> Option<Self> {
        let Facts::Replay(facts) = &view.facts else { return None };
        facts.read().started?;
        let reading = JournalReading::default();
        let ObjectStatus::Replay(status) = view.typed_status(&reading, Timestamp::now(), &[]) else { return None };
        Some(Self {
            namespace: view.key.namespace.to_string(),
            name: view.key.name.to_string(),
            digest: view.uid.as_deref().unwrap_or_default().to_owned(),
            status,
        })
    }
}
