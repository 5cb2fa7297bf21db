//! The files as they are now, and what changed since the last look.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    Document, FilesError,
    object::{self, Object},
};
use crate::{
    api::{ObjectKey, Reason},
    catalog::{Age, Applied, Change, Kind, Problem, Unreadable},
    rules::limits,
};

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 when it is the file as a whole.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// A problem with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    /// Where.
    pub place: Place,
    /// `kind namespace/name`, when that is known.
    pub object: Option<String>,
    /// The reason of the condition.
    pub reason: Reason,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.place, self.reason)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Kind and name. The namespace of what is in none is empty.
type Name = (&'static str, ObjectKey);

/// `kind namespace/name`.
fn called((kind, key): &Name) -> String {
    if key.namespace.is_empty() { format!("{kind} {}", key.name) } else { format!("{kind} {key}") }
}

/// A set of files and directories.
#[derive(Debug)]
pub struct Source {
    paths: Vec<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    /// What has been given out as changes.
    applied: BTreeMap<Name, Defined>,
}

/// One file as it was read last.
#[derive(Debug, Default)]
struct File {
    stamp: Option<Stamp>,
    /// The documents of the last version that is YAML.
    documents: Vec<Document>,
    /// Whether there ever was such a version.
    good: bool,
    /// Why the newest version cannot be read.
    broken: Option<(u64, String)>,
}

/// Tells one version of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<std::time::SystemTime>,
    bytes: u64,
    /// SHA-256: the text itself may hold Secrets.
    digest: [u8; 32],
}

#[derive(Debug, Clone)]
struct Defined {
    object: Object,
    document: Document,
    place: Place,
    number: u64,
}

impl Source {
    /// A source of these files and of the manifests directly in these directories.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, files: BTreeMap::new(), applied: BTreeMap::new() }
    }

    /// Reads what is there now and tells what changed since the last call, and everything wrong with the files
    /// themselves. Problems of objects are the index's to tell.
    ///
    /// # Errors
    /// When a named path is not there.
    pub fn scan(&mut self) -> Result<(Vec<Change>, Vec<Report>), FilesError> {
        let names = self.list()?;
        self.files.retain(|file, _| names.contains(file));
        let mut reports = Vec::new();
        let mut complete = true;
        for file in &names {
            let state = self.files.entry(file.clone()).or_default();
            state.refresh(file);
            if let Some((line, message)) = &state.broken {
                complete &= state.good;
                let kept = if state.good { "; the last good version is still in use" } else { "" };
                reports.push(Report {
                    place: Place { file: file.clone(), line: *line },
                    object: None,
                    reason: Reason::InvalidSpec,
                    message: format!("{message}{kept}"),
                });
            }
        }
        let (mut defined, doubtful) = self.define(&mut reports);
        self.keep(&mut defined, &doubtful);
        let mut changes = self.changes(defined);
        changes.push(Change::Synced(complete));
        Ok((changes, reports))
    }

    /// The place of a problem of an object that came from here.
    pub fn place(&self, kind: Kind, key: &ObjectKey, pointer: &str) -> Option<Place> {
        let defined = self.applied.get(&(kind.as_str(), key.clone()))?;
        Some(Place { file: defined.place.file.clone(), line: defined.document.line_of(pointer) })
    }

    /// How many objects are defined, by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (kind, _) in self.applied.keys() {
            *counts.entry(*kind).or_default() += 1;
        }
        counts
    }

    /// The files there are now, in order of name; those of a directory are its manifests, not its sub-directories'.
    fn list(&self) -> Result<BTreeSet<PathBuf>, FilesError> {
        let mut files = BTreeSet::new();
        for path in &self.paths {
            let unreadable = |source| FilesError::Unreadable { path: path.display().to_string(), source };
            if !fs::metadata(path).map_err(unreadable)?.is_dir() {
                files.insert(path.clone());
                continue;
            }
            for entry in fs::read_dir(path).map_err(unreadable)? {
                let file = entry.map_err(unreadable)?.path();
                if is_manifest(&file) && file.is_file() {
                    files.insert(file);
                }
            }
        }
        if files.is_empty() {
            let names: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
            return Err(FilesError::Nothing(names.join(", ")));
        }
        Ok(files)
    }

    /// Every object that the files define now, and the files in which some document cannot be read. Of two objects of
    /// one name the first counts.
    fn define(&self, reports: &mut Vec<Report>) -> (BTreeMap<Name, Defined>, BTreeSet<PathBuf>) {
        let mut defined: BTreeMap<Name, Defined> = BTreeMap::new();
        let mut doubtful = BTreeSet::new();
        let mut number = 0;
        for (file, state) in &self.files {
            for document in &state.documents {
                number += 1;
                let report = |problem: &Problem, object: Option<String>| Report {
                    place: Place { file: file.clone(), line: document.line_of(&problem.pointer) },
                    object,
                    reason: problem.reason,
                    message: problem.to_string(),
                };
                let (key, object) = match object::read(document) {
                    Ok(read) => read,
                    Err(problems) => {
                        reports.extend(problems.iter().map(|problem| report(problem, None)));
                        doubtful.insert(file.clone());
                        continue;
                    }
                };
                let name = (object.kind(), key.clone());
                if let Some(first) = defined.get(&name) {
                    let message = format!("defined already at {}; remove one of them", first.place);
                    let problem = Problem::new("/metadata/name", Reason::InvalidSpec, message);
                    reports.push(report(&problem, Some(called(&name))));
                    continue;
                }
                let place = Place { file: file.clone(), line: document.line() };
                defined.insert(name, Defined { object, document: document.clone(), place, number });
            }
        }
        (defined, doubtful)
    }

    /// Keeps what a file defined before and seems to define no longer, when it has a document that cannot be read: a slip
    /// of the pen in a name must not cost a subscription its events.
    fn keep(&self, defined: &mut BTreeMap<Name, Defined>, doubtful: &BTreeSet<PathBuf>) {
        for (name, before) in &self.applied {
            if doubtful.contains(&before.place.file) && !defined.contains_key(name) {
                defined.insert(name.clone(), before.clone());
            }
        }
    }

    /// What has to be told to get from `applied` to `defined`.
    fn changes(&mut self, defined: BTreeMap<Name, Defined>) -> Vec<Change> {
        let mut changes = Vec::new();
        for name in self.applied.keys().filter(|name| !defined.contains_key(*name)) {
            let key = name.1.clone();
            changes.push(match name.0 {
                "Secret" => Change::Secret(key, None),
                "ConfigMap" => Change::ConfigMap(key, None),
                "Namespace" => Change::Namespace(key.name, None),
                "WebhookEndpoint" => Change::Gone(Kind::Endpoint, key),
                _ => Change::Gone(Kind::Subscription, key),
            });
        }
        for (name, now) in &defined {
            let same = self.applied.get(name).is_some_and(|before| {
                before.object == now.object && before.number == now.number && before.place == now.place
            });
            if !same {
                changes.push(now.change(name.1.clone()));
            }
        }
        self.applied = defined;
        changes
    }
}

impl Defined {
    fn change(&self, key: ObjectKey) -> Change {
        let source = Some(self.place.to_string());
        let age = Age(None, self.number);
        match &self.object {
            Object::Endpoint(object) => {
                Change::Endpoint(Box::new(Applied { key, object: (**object).clone(), source, age, uid: None }))
            }
            Object::Subscription(object) => {
                Change::Subscription(Box::new(Applied { key, object: (**object).clone(), source, age, uid: None }))
            }
            Object::Secret(data) => Change::Secret(key, Some(data.clone())),
            Object::ConfigMap(data) => Change::ConfigMap(key, Some(data.clone())),
            Object::Namespace(labels) => Change::Namespace(key.name, Some(labels.clone())),
            Object::Refused(kind, problems) => Change::Unreadable(Unreadable {
                kind: *kind,
                key,
                source,
                uid: None,
                generation: None,
                problems: problems.clone(),
            }),
        }
    }
}

impl File {
    fn refresh(&mut self, path: &Path) {
        match Stamp::read(path, self.stamp.as_ref()) {
            Ok(None) => {}
            Ok(Some((stamp, text))) => {
                match Document::parse(&text) {
                    Ok(documents) => {
                        self.documents = documents.into_iter().flat_map(Document::into_objects).collect();
                        self.good = true;
                        self.broken = None;
                    }
                    Err(error) => self.broken = Some((error.line, error.message)),
                }
                self.stamp = Some(stamp);
            }
            Err(error) => {
                self.broken = Some((0, format!("cannot be read: {error}")));
                self.stamp = None;
            }
        }
    }
}

impl Stamp {
    /// The file's newest version and its text, unless it is the known one.
    fn read(path: &Path, known: Option<&Self>) -> io::Result<Option<(Self, Zeroizing<String>)>> {
        let metadata = fs::metadata(path)?;
        if metadata.len() > limits::MANIFEST_BYTES {
            return Err(io::Error::other(format!("it is larger than {} bytes", limits::MANIFEST_BYTES)));
        }
        let modified = metadata.modified().ok();
        // A file written twice within the clock's grain has one time; so its text decides while it is young.
        let young = modified.and_then(|time| time.elapsed().ok()).is_none_or(|age| age.as_secs() < 2);
        if let Some(known) = known
            && !young
            && known.modified == modified
            && known.bytes == metadata.len()
        {
            return Ok(None);
        }
        let text = Zeroizing::new(fs::read_to_string(path)?);
        let digest = Sha256::digest(text.as_bytes()).into();
        if known.is_some_and(|known| known.digest == digest) {
            return Ok(None);
        }
        Ok(Some((Self { modified, bytes: metadata.len(), digest }, text)))
    }
}

/// Names that kubectl takes from a directory; hidden ones are those of mounted volumes.
fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}
