//! A journal for tests of its parts.

use std::{fs, path::Path};

use bytes::Bytes;
use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;

use super::{EmbeddedJournal, EmbeddedOptions, segment_name::SegmentName};
use crate::{Arrival, testing::validated};

pub(super) fn open(directory: &Path) -> EmbeddedJournal {
    let directory = directory.to_owned();
    EmbeddedJournal::open(EmbeddedOptions { directory, max_bytes: 0, namespace_share: None, strict: false }).unwrap()
}

pub(super) fn object(name: &str) -> Incarnation {
    Incarnation::of_file(ObjectKey::new("shop", name))
}

pub(super) fn arrival(endpoint: &str, id: &str) -> Arrival {
    Arrival {
        endpoint: object(endpoint),
        validated: validated(id, "order.created", Bytes::from_static(b"{}")),
        received: Timestamp::UNIX_EPOCH,
        content_type: None,
        remote: None,
        headers: Vec::new(),
        window: None,
        max_bytes: None,
    }
}

/// Makes it impossible to begin the next segment. Returns what is in the way: a directory.
pub(super) fn block_rotation(journal: &EmbeddedJournal) -> std::path::PathBuf {
    let active = journal.engine.segments.all().last().unwrap().name;
    let path = journal.engine.layout.copy_file(SegmentName { id: active.id + 1, generation: 0 });
    fs::create_dir(&path).unwrap();
    path
}
