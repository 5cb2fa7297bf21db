//! One manifest file: what it defines, read again only when the file changes.
//!
//! Of a document only its digest, the lines of its nodes and the name of its object are kept. The object itself is
//! handed over to the index; if it is needed again, which is rare, the file is read again.

use std::{
    collections::HashMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    Document, ObjectName,
    document::Digest,
    lines::Lines,
    object::{self, Definition, Object},
};
use crate::{catalog::Problem, files::limits};

/// A file younger than this may change without a new modification time, because clocks of file systems are coarse.
const YOUNG: Duration = Duration::from_secs(2);

/// Size of the stack that may contain remains of Secrets.
const STACK_BYTES: usize = 256 * 1024;

/// A file as last read.
#[derive(Debug, Default)]
pub(super) struct File {
    stamp: Option<Stamp>,
    /// Orders the objects of different files.
    pub(super) order: u64,
    /// The documents of the last version that is valid YAML. Before there is one: those of the newest version that are.
    pub(super) entries: Vec<DocumentEntry>,
    /// Whether there has been such a version.
    pub(super) good: bool,
    /// Why the newest version, or a document of it, cannot be read: line and message.
    pub(super) broken: Vec<(u64, String)>,
    /// Whether objects may be in memory that are no longer needed.
    pub(super) fresh: bool,
}

/// A document of a file.
#[derive(Debug)]
pub(super) struct DocumentEntry {
    pub(super) digest: Digest,
    pub(super) lines: Lines,
    pub(super) content: DocumentContent,
    /// The object, until it is handed over.
    pub(super) object: Option<Object>,
}

/// What a document defines.
#[derive(Debug)]
pub(super) enum DocumentContent {
    /// An object with this name, and what its author probably did not mean.
    Object(ObjectName, Box<[Problem]>),
    /// An object of another kind.
    Foreign(Box<str>),
    /// Nothing, for these reasons.
    Unreadable(Vec<Problem>),
}

/// Distinguishes versions of a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    attributes: Attributes,
    /// SHA-256: the text itself may contain Secrets.
    digest: [u8; 32],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attributes {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
    /// Seconds and nanoseconds of the ctime, which programs cannot set.
    changed: (i64, i64),
}

impl Attributes {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_young(&self) -> bool {
        self.modified.and_then(|time| time.elapsed().ok()).is_none_or(|age| age < YOUNG)
    }
}

impl File {
    /// Whether the file may differ from the version last read.
    pub(super) fn may_differ(&self, metadata: &Metadata) -> bool {
        let attributes = Attributes::of(metadata);
        self.stamp.as_ref().is_none_or(|known| known.attributes != attributes) || attributes.is_young()
    }

    /// Reads the file. Returns whether anything has changed.
    pub(super) fn refresh(&mut self, path: &Path, metadata: &Metadata) -> bool {
        let attributes = Attributes::of(metadata);
        let known = self.stamp.as_ref();
        match read(path, attributes.bytes) {
            Ok((text, digest)) => {
                let same = known.is_some_and(|known| known.digest == digest);
                self.stamp = Some(Stamp { attributes, digest });
                if !same {
                    self.parse(path, &text, true);
                }
                drop(text);
                overwrite_stack();
                !same
            }
            Err(error) => {
                self.stamp = None;
                self.break_off((0, format!("cannot be read: {error}")))
            }
        }
    }

    /// Reads the file again to load its objects.
    pub(super) fn reload(&mut self, path: &Path) {
        // Whatever happens in between, the next scan finds another version.
        self.stamp = None;
        match fs::metadata(path).and_then(|metadata| read(path, metadata.len())) {
            Ok((text, _)) => {
                self.parse(path, &text, false);
                overwrite_stack();
            }
            Err(error) => {
                self.break_off((0, format!("cannot be read: {error}")));
            }
        }
    }

    fn break_off(&mut self, why: (u64, String)) -> bool {
        let news = self.broken != [why.clone()];
        self.broken = vec![why];
        news
    }

    /// A file with this text, which is not read again.
    pub(super) fn of_text(path: &Path, text: &str) -> Self {
        let mut file = Self::default();
        file.parse(path, text, false);
        overwrite_stack();
        file
    }

    /// Parses the documents of a text. With `reuse`, unchanged documents are not validated again.
    fn parse(&mut self, path: &Path, text: &str, reuse: bool) {
        let (documents, errors) = match Document::parse(text) {
            Ok(documents) => (documents, Vec::new()),
            // The earlier version is whole.
            Err(error) if self.good => (Vec::new(), vec![error]),
            Err(error) => Document::parse_each(text, error),
        };
        self.broken = errors.into_iter().map(|error| (error.line, error.message)).collect();
        if self.good && !self.broken.is_empty() {
            return;
        }
        let before = std::mem::take(&mut self.entries);
        let before = before.into_iter().filter(|_| reuse);
        let mut known: HashMap<Digest, DocumentEntry> = before.map(|entry| (entry.digest, entry)).collect();
        let kustomization = is_kustomization(path);
        for document in documents.into_iter().flat_map(Document::into_objects) {
            let (digest, lines) = (document.digest(), document.lines());
            self.entries.push(match known.remove(&digest) {
                Some(entry) => DocumentEntry { lines, ..entry },
                None => DocumentEntry::new(digest, lines, object::read(&document, kustomization)),
            });
        }
        self.good = self.broken.is_empty();
        self.fresh = true;
    }
}

impl DocumentEntry {
    fn new(digest: Digest, lines: Lines, read: Result<Definition, Vec<Problem>>) -> Self {
        let (content, object) = match read {
            Ok(Definition::Object { name, object, warnings }) => {
                (DocumentContent::Object(name, warnings.into()), Some(object))
            }
            Ok(Definition::Foreign { kind }) => (DocumentContent::Foreign(kind), None),
            Err(problems) => (DocumentContent::Unreadable(problems), None),
        };
        Self { digest, lines, content, object }
    }

    /// The name of its object.
    pub(super) fn name(&self) -> Option<&ObjectName> {
        match &self.content {
            DocumentContent::Object(name, _) => Some(name),
            DocumentContent::Foreign(_) | DocumentContent::Unreadable(_) => None,
        }
    }
}

/// Whether the file is a kustomization by its name
/// (<https://kubectl.docs.kubernetes.io/references/kustomize/glossary/#kustomization>).
fn is_kustomization(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    ["kustomization.yaml", "kustomization.yml", "Kustomization"].iter().any(|known| name == *known)
}

/// Overwrites the part of this thread's stack that earlier calls have used: parsers and compilers leave parts of
/// Secrets there. Their heap memory is zeroed when it is freed.
#[inline(never)]
pub(super) fn overwrite_stack() {
    std::hint::black_box(&mut [0_u8; STACK_BYTES]);
}

/// The text of a file and its digest.
fn read(path: &Path, bytes: u64) -> io::Result<(Zeroizing<String>, [u8; 32])> {
    if bytes > limits::MANIFEST_BYTES {
        return Err(io::Error::other(format!("it is larger than {} bytes", limits::MANIFEST_BYTES)));
    }
    let text = Zeroizing::new(fs::read_to_string(path)?);
    let digest = Sha256::digest(text.as_bytes()).into();
    Ok((text, digest))
}
