//! Problems with their locations in files.

use std::{fmt, path::PathBuf};

use grapnel_api::{ObjectKey, Reason};
use serde::Serialize;

/// A location in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FileLocation {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u64,
}

impl fmt::Display for FileLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// Kind and name of an object. The namespace is empty for kinds without one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The kind.
    pub kind: &'static str,
    /// Namespace and name.
    pub key: ObjectKey,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key } = self;
        if key.namespace.is_empty() { write!(f, "{kind} {}", key.name) } else { write!(f, "{kind} {key}") }
    }
}

/// How serious a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object or file cannot be used.
    Error,
    /// It can be used, but probably does not do what its author means.
    Warning,
}

/// Which version of an object or file is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InUse {
    /// The one with the problem.
    Newest,
    /// An earlier one.
    Earlier,
    /// None.
    Nothing,
}

/// A problem with its location.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocatedProblem {
    /// The location.
    pub place: FileLocation,
    /// How serious it is.
    pub severity: Severity,
    /// The object, if known.
    pub object: Option<ObjectName>,
    /// JSON Pointer (RFC 6901) into the object.
    pub pointer: String,
    /// The reason of the condition.
    pub reason: Reason,
    /// What is wrong and what to do.
    pub message: String,
    /// What is in use in spite of the problem.
    pub in_use: InUse,
}

impl fmt::Display for LocatedProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match (self.severity, self.reason) {
            (Severity::Error, reason) => write!(f, "{reason}: ")?,
            // A valid spec can deserve a warning.
            (Severity::Warning, Reason::InvalidSpec) => f.write_str("warning: ")?,
            (Severity::Warning, reason) => write!(f, "warning: {reason}: ")?,
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.message)?;
        match self.in_use {
            InUse::Earlier => f.write_str("; the last valid version is still in use"),
            InUse::Newest | InUse::Nothing => Ok(()),
        }
    }
}
