//! Objects that files define, and the changes that they make.

use std::{path::Path, sync::Arc};

use grapnel_api::ObjectKey;

use super::{
    FileLocation, ObjectName,
    document::Digest,
    file::DocumentEntry,
    object::{Object, Refused},
};
use crate::catalog::{Age, Applied, Change, ObjectKind, Unreadable, compile::replay_digest};

/// Bits of an object's number for its position in the file; the others identify the file.
const INDEX_BITS: u32 = 20;
/// Identifies the version of an object and its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Defined {
    pub(super) file: Arc<Path>,
    pub(super) index: usize,
    pub(super) line: u64,
    /// Orders objects by appearance.
    number: u64,
    pub(super) digest: Digest,
}

impl Defined {
    /// The document at `index` of a file with this number.
    pub(super) fn new(file: &Arc<Path>, order: u64, index: usize, entry: &DocumentEntry) -> Self {
        Self {
            file: Arc::clone(file),
            index,
            line: entry.lines.first(),
            number: (order << INDEX_BITS) | index as u64,
            digest: entry.digest,
        }
    }

    /// The change that defines the object.
    pub(super) fn change(&self, key: ObjectKey, object: Object) -> Change {
        let source = Some(FileLocation { file: self.file.to_path_buf(), line: self.line }.to_string());
        let age = Age(None, self.number);
        match object {
            Object::Endpoint(object) => {
                Change::Endpoint(Box::new(Applied { key, object: *object, source, age, uid: None }))
            }
            Object::Subscription(object) => {
                Change::Subscription(Box::new(Applied { key, object: *object, source, age, uid: None }))
            }
            Object::Replay(mut object) => {
                // The progress is in the data directory; a file may be a copy of an object of a cluster.
                object.status = None;
                // A replay with another content is another one, which runs again.
                let uid = Some(replay_digest(&object.spec));
                Change::Replay(Box::new(Applied { key, object: *object, source, age, uid }))
            }
            Object::Secret(data) => Change::Secret(key, Some(data)),
            Object::ConfigMap(data) => Change::ConfigMap(key, Some(data)),
            Object::Namespace(labels) => Change::Namespace(key.name, Some(labels)),
            Object::Refused(Refused { kind, problems, .. }) => {
                Change::Unreadable(Unreadable { kind, key, source, uid: None, generation: None, problems })
            }
        }
    }
}

/// The change that removes an object.
pub(super) fn removed(ObjectName { kind, key }: ObjectName) -> Change {
    match kind {
        "Secret" => Change::Secret(key, None),
        "ConfigMap" => Change::ConfigMap(key, None),
        "Namespace" => Change::Namespace(key.name, None),
        "WebhookEndpoint" => Change::Gone(ObjectKind::Endpoint, key),
        "WebhookReplay" => Change::Gone(ObjectKind::Replay, key),
        _ => Change::Gone(ObjectKind::Subscription, key),
    }
}
