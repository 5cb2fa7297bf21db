//! The progress of replays in a file, where there is no cluster.
//!
//! A replay in a manifest runs once for each content: its progress is kept under its name and the digest of its spec
//! (apart from `suspend` and `ttlSecondsAfterFinished`) until the files no longer define it. The file is written whole
//! under another name, synced, and renamed into place.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use grapnel_api::{ObjectKey, WebhookReplayStatus};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{limits, store::ProgressStore};
use crate::catalog::{Facts, JournalReading, ObjectKind, ObjectView, ReplayReading, status::ObjectStatus};

/// The name of the file in the data directory.
const NAME: &str = "replays.json";

/// The version of its form.
const VERSION: u32 = 1;

/// The progress of replays in the data directory.
pub struct FileStore {
    path: PathBuf,
    /// What earlier processes have kept.
    known: Mutex<HashMap<(ObjectKey, Arc<str>), ReplayReading>>,
    /// What was written last.
    written: Mutex<Option<Vec<u8>>>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileStoreError {
    /// It cannot be read.
    #[error("the progress of replays in {path} cannot be read")]
    Unreadable {
        /// Its path.
        path: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// It has another form.
    #[error("{path} does not have the form of the progress of replays; remove it to run every replay again")]
    Malformed {
        /// Its path.
        path: String,
        /// The error of the reader.
        #[source]
        source: serde_json::Error,
    },
    /// Another version of Grapnel has written it.
    #[error("{path} was written by another version of Grapnel (form {version}); remove it to run every replay again")]
    Version {
        /// Its path.
        path: String,
        /// The version of its form.
        version: u32,
    },
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
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
    /// Reads the file in this directory, if there is one. Creates the directory if need be. Blocks for a moment.
    ///
    /// # Errors
    /// Returns an error if there is a file that cannot be used: to run every replay again would deliver events again.
    pub fn open(directory: &Path) -> Result<Self, FileStoreError> {
        let path = directory.join(NAME);
        let text = || path.display().to_string();
        fs::create_dir_all(directory).map_err(|source| FileStoreError::Unreadable { path: text(), source })?;
        let mut bytes = Vec::new();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, known: Mutex::default(), written: Mutex::default() });
            }
            opened => {
                let read = opened.and_then(|file| file.take(limits::REPLAY_FILE_BYTES).read_to_end(&mut bytes));
                read.map_err(|source| FileStoreError::Unreadable { path: text(), source })?;
            }
        }
        let content: Content =
            serde_json::from_slice(&bytes).map_err(|source| FileStoreError::Malformed { path: text(), source })?;
        if content.version != VERSION {
            return Err(FileStoreError::Version { path: text(), version: content.version });
        }
        let known = content.replays.into_iter().map(|entry| {
            let key = ObjectKey::new(entry.namespace, entry.name);
            ((key, entry.digest.into()), ReplayReading::of(&entry.status))
        });
        Ok(Self { path, known: Mutex::new(known.collect()), written: Mutex::new(Some(bytes)) })
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

    async fn keep(&self, objects: &[ObjectView]) -> bool {
        let replays = objects.iter().filter_map(Entry::of).collect();
        let present: HashSet<_> = objects.iter().filter(|view| view.kind == ObjectKind::Replay).map(name).collect();
        self.known.lock().retain(|name, _| present.contains(name));
        // These types can always be serialized.
        let bytes = serde_json::to_vec(&Content { version: VERSION, replays }).unwrap_or_default();
        if self.written.lock().as_ref() == Some(&bytes) {
            return true;
        }
        let (path, content) = (self.path.clone(), bytes.clone());
        let written = tokio::task::spawn_blocking(move || replace_file(&path, &content)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => {
                *self.written.lock() = Some(bytes);
                true
            }
            Err(error) => {
                let path = self.path.display();
                tracing::error!(%path, %error, "the progress of replays cannot be written; retrying");
                false
            }
        }
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

/// Replaces a file whole: it has either content after a crash.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("json.new");
    let mut file = File::create(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
