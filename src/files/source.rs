//! The file source: the current files, and what has changed since the last scan.
//!
//! A scan costs one `stat` per file. Only changed files are read, and only their new documents are validated. The
//! objects of all files are then compared by digest with those applied before.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, Metadata},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use ahash::RandomState;
use grapnel_api::{ObjectKey, Reason};

use super::{
    FileLocation, FilesError, InUse, LocatedProblem, ObjectName, Severity,
    defined::{Defined, removed},
    file::{DocumentContent, DocumentEntry, File},
    file_order::number_files,
    object::{Object, Refused},
};
use crate::{
    catalog::{Change, ObjectKind, Problem},
    fast_map::FastMap,
};

/// Number of files that justify another reader thread.
const FILES_PER_THREAD: usize = 8;
/// A set of files and directories.
#[derive(Debug)]
pub struct FileSource {
    paths: Vec<PathBuf>,
    /// Whether objects of other kinds are errors.
    strict: bool,
    /// Whether objects that the API would reject are compiled nevertheless, to find their other problems.
    thorough: bool,
    /// Files that are given as text, and not read.
    texts: HashSet<Arc<Path>>,
    files: BTreeMap<Arc<Path>, File>,
    /// The objects that were returned as changes.
    applied: FastMap<ObjectName, Defined>,
    /// Whether changes are left to return, even if no file changes.
    unfinished: bool,
}

/// The result of a scan.
#[derive(Debug, Default)]
pub struct SourceScan {
    /// Changes since the last scan.
    pub changes: Vec<Change>,
    /// Problems of the files themselves. The index reports problems of objects.
    pub reports: Vec<LocatedProblem>,
}

impl FileSource {
    /// A source of these files and of the manifests directly in these directories.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            strict: false,
            thorough: false,
            texts: HashSet::new(),
            files: BTreeMap::new(),
            applied: FastMap::default(),
            unfinished: true,
        }
    }

    /// Makes objects of other kinds errors; by default they are skipped.
    #[must_use]
    pub fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    /// Finds every problem of an object at once; by default, an object that the API would reject is not compiled. For a
    /// single scan whose configuration is not used.
    #[must_use]
    pub fn thorough(self) -> Self {
        Self { thorough: true, ..self }
    }

    /// Adds a text as if it were a file of this name.
    #[must_use]
    pub fn with_text(mut self, name: &str, text: &str) -> Self {
        let path: Arc<Path> = Arc::from(Path::new(name));
        self.files.insert(Arc::clone(&path), File::of_text(&path, text));
        self.texts.insert(path);
        self
    }

    /// The given files and directories.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Reads the current files. `None` if no file has changed since the last call.
    ///
    /// # Errors
    /// Returns an error if a given path does not exist.
    pub fn scan(&mut self) -> Result<Option<SourceScan>, FilesError> {
        let found = self.list()?;
        let before = self.files.len();
        self.files.retain(|file, _| found.contains_key(&**file) || self.texts.contains(file));
        let mut changed = self.unfinished || self.files.len() != before;
        for path in found.keys() {
            if !self.files.contains_key(&**path) {
                self.files.insert(Arc::from(path.as_path()), File::default());
                changed = true;
            }
        }
        let read = self.files.iter_mut().filter(|(path, _)| !self.texts.contains(*path)).map(|(_, file)| file);
        changed |= refresh(read.zip(&found).collect());
        if !changed {
            return Ok(None);
        }
        self.unfinished = false;
        number_files(&mut self.files);
        let mut reports = Vec::new();
        let complete = self.broken(&mut reports);
        let (mut defined, doubtful) = self.define(&mut reports);
        let kept = self.keep(&mut defined, &doubtful);
        for report in reports.iter_mut().filter(|report| report.object.is_none() && kept.contains(&*report.place.file))
        {
            report.in_use = InUse::Earlier;
        }
        let mut changes = self.changes(defined, &mut reports);
        self.forget();
        changes.push(Change::Synced(complete));
        Ok(Some(SourceScan { changes, reports }))
    }

    /// The location of a problem of an object from this source.
    pub fn place(&self, kind: ObjectKind, key: &ObjectKey, pointer: &str) -> Option<FileLocation> {
        let name = ObjectName { kind: kind.as_str(), key: key.clone() };
        let defined = self.applied.get(&name)?;
        let entry = self.files.get(&*defined.file).and_then(|file| file.entries.get(defined.index));
        let line = match entry.filter(|entry| entry.digest == defined.digest) {
            Some(entry) => entry.lines.line_of(pointer),
            None => defined.line,
        };
        Some(FileLocation { file: defined.file.to_path_buf(), line })
    }

    /// Number of defined objects, by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for name in self.applied.keys() {
            *counts.entry(name.kind).or_default() += 1;
        }
        counts
    }

    /// Number of skipped objects, by kind.
    pub fn skipped(&self) -> BTreeMap<Box<str>, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.files.values().flat_map(|file| &file.entries) {
            if let DocumentContent::Foreign(kind) = &entry.content {
                *counts.entry(kind.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// The current files, in order of name; those of a directory are its manifests, without sub-directories.
    fn list(&self) -> Result<BTreeMap<PathBuf, Metadata>, FilesError> {
        let mut files = BTreeMap::new();
        for path in &self.paths {
            let unreadable = |source| FilesError::Unreadable { path: path.display().to_string(), source };
            let metadata = fs::metadata(path).map_err(unreadable)?;
            if !metadata.is_dir() {
                files.insert(path.clone(), metadata);
                continue;
            }
            for entry in fs::read_dir(path).map_err(unreadable)? {
                let file = entry.map_err(unreadable)?.path();
                if is_manifest(&file)
                    && let Ok(metadata) = fs::metadata(&file)
                    && metadata.is_file()
                {
                    files.insert(file, metadata);
                }
            }
        }
        if files.is_empty() && self.texts.is_empty() {
            let names: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
            return Err(FilesError::Nothing(names.join(", ")));
        }
        Ok(files)
    }

    /// Reports files that cannot be read. Returns whether nothing is missing because of them.
    fn broken(&self, reports: &mut Vec<LocatedProblem>) -> bool {
        let mut complete = true;
        for (path, file) in &self.files {
            complete &= file.good || file.broken.is_empty();
            reports.extend(file.broken.iter().map(|(line, message)| LocatedProblem {
                place: FileLocation { file: path.to_path_buf(), line: *line },
                severity: Severity::Error,
                object: None,
                pointer: String::new(),
                reason: Reason::InvalidSpec,
                message: message.clone(),
                in_use: if file.good { InUse::Earlier } else { InUse::Nothing },
            }));
        }
        complete
    }

    /// Every object that the files define now, and the files with unreadable documents. Of two objects with one name
    /// the first counts.
    fn define(&self, reports: &mut Vec<LocatedProblem>) -> (FastMap<ObjectName, Defined>, HashSet<Arc<Path>>) {
        let mut defined: FastMap<ObjectName, Defined> =
            FastMap::with_capacity_and_hasher(self.applied.len(), RandomState::default());
        let mut doubtful = HashSet::new();
        for (path, file) in &self.files {
            if !file.broken.is_empty() {
                doubtful.insert(Arc::clone(path));
            }
            for (index, entry) in file.entries.iter().enumerate() {
                let (name, warnings) = match &entry.content {
                    DocumentContent::Object(name, warnings) => (name, warnings),
                    DocumentContent::Foreign(kind) => {
                        reports.extend(self.strict.then(|| foreign(path, entry, kind)));
                        continue;
                    }
                    DocumentContent::Unreadable(problems) => {
                        let reported = problems.iter().map(|problem| report(path, entry, problem, Severity::Error));
                        reports.extend(reported);
                        doubtful.insert(Arc::clone(path));
                        continue;
                    }
                };
                if let Some(first) = defined.get(name) {
                    let first = FileLocation { file: first.file.to_path_buf(), line: first.line };
                    let message = format!("already defined at {first}; remove one of the two");
                    let problem = Problem::new("/metadata/name", Reason::InvalidSpec, message);
                    reports.push(report(path, entry, &problem, Severity::Error));
                    continue;
                }
                reports.extend(warnings.iter().map(|warning| report(path, entry, warning, Severity::Warning)));
                let now = Defined::new(path, file.order, index, entry);
                defined.insert(name.clone(), now);
            }
        }
        (defined, doubtful)
    }

    /// Keeps objects that a file no longer seems to define while it has an unreadable document: a typo in a name must
    /// not cost a subscription its events. Returns the files of which objects are kept.
    fn keep(&self, defined: &mut FastMap<ObjectName, Defined>, doubtful: &HashSet<Arc<Path>>) -> HashSet<Arc<Path>> {
        let mut kept = HashSet::new();
        for (name, before) in self.applied.iter().filter(|(_, before)| doubtful.contains(&before.file)) {
            if !defined.contains_key(name) {
                kept.insert(Arc::clone(&before.file));
                defined.insert(name.clone(), before.clone());
            }
        }
        kept
    }

    /// The changes from `applied` to `defined`, in order of name.
    fn changes(&mut self, mut defined: FastMap<ObjectName, Defined>, reports: &mut Vec<LocatedProblem>) -> Vec<Change> {
        let mut gone: Vec<_> = self.applied.keys().filter(|name| !defined.contains_key(*name)).cloned().collect();
        let differs = |(name, now): &(&ObjectName, &Defined)| self.applied.get(*name) != Some(*now);
        let mut news: Vec<_> = defined.iter().filter(differs).map(|(name, now)| (name.clone(), now.clone())).collect();
        gone.sort();
        news.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut changes: Vec<_> = gone.into_iter().map(removed).collect();
        for (name, now) in news {
            match self.object(&now) {
                Some(Object::Refused(Refused { problems, object: Some(object), .. })) if self.thorough => {
                    if let Some(entry) = self.files.get(&*now.file).and_then(|file| file.entries.get(now.index)) {
                        let located = problems.iter().map(|problem| report(&now.file, entry, problem, Severity::Error));
                        reports.extend(located);
                    }
                    changes.push(now.change(name.key, *object));
                }
                Some(object) => changes.push(now.change(name.key, object)),
                None => {
                    // The file has changed again; the next scan reads it.
                    self.unfinished = true;
                    match self.applied.get(&name) {
                        Some(before) => defined.insert(name, before.clone()),
                        None => defined.remove(&name),
                    };
                }
            }
        }
        self.applied = defined;
        changes
    }

    /// The object with this definition, from memory or from the file.
    fn object(&mut self, defined: &Defined) -> Option<Object> {
        let file = self.files.get_mut(&*defined.file)?;
        if file.entries.get(defined.index)?.object.is_none() {
            file.reload(&defined.file);
        }
        let entry = file.entries.get_mut(defined.index).filter(|entry| entry.digest == defined.digest)?;
        entry.object.take()
    }

    /// Drops objects that have been handed over.
    fn forget(&mut self) {
        for (path, file) in self.files.iter_mut().filter(|(_, file)| file.fresh) {
            file.fresh = false;
            for (index, entry) in file.entries.iter_mut().enumerate() {
                let applied = entry.name().and_then(|name| self.applied.get(name));
                if applied.is_some_and(|applied| applied.file == *path && applied.index == index) {
                    entry.object = None;
                }
            }
        }
    }
}

/// A problem of a document.
fn report(path: &Path, entry: &DocumentEntry, problem: &Problem, severity: Severity) -> LocatedProblem {
    LocatedProblem {
        place: FileLocation { file: path.to_path_buf(), line: entry.lines.line_of(&problem.pointer) },
        severity,
        object: entry.name().cloned(),
        pointer: problem.pointer.clone(),
        reason: problem.reason,
        message: problem.to_string(),
        in_use: if severity == Severity::Warning { InUse::Newest } else { InUse::Nothing },
    }
}

fn foreign(path: &Path, entry: &DocumentEntry, kind: &str) -> LocatedProblem {
    let message = format!("`{kind}` is not a kind that Grapnel reads; remove the object, or omit --strict");
    report(path, entry, &Problem::new("/kind", Reason::InvalidSpec, message), Severity::Error)
}

/// Reads the changed files. Returns whether there are any.
fn refresh(mut files: Vec<(&mut File, (&PathBuf, &Metadata))>) -> bool {
    files.retain(|(file, (_, metadata))| file.may_differ(metadata));
    let read = |files: &mut [(&mut File, (&PathBuf, &Metadata))]| {
        files.iter_mut().fold(false, |changed, (file, (path, metadata))| file.refresh(path, metadata) | changed)
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(files.len() / FILES_PER_THREAD);
    if threads < 2 {
        return read(&mut files);
    }
    // At the start, when all files are new.
    let part = files.len().div_ceil(threads);
    thread::scope(|scope| {
        let readers: Vec<_> = files.chunks_mut(part).map(|files| scope.spawn(move || read(files))).collect();
        // A reader panic is a bug, which the next scan meets on its own thread.
        readers.into_iter().fold(false, |changed, reader| reader.join().unwrap_or(true) | changed)
    })
}

/// Names that kubectl takes from a directory; hidden ones belong to mounted volumes.
pub(super) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}
