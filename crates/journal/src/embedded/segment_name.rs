//! Names of segments and of their files.

use std::fmt;

/// The name of a segment. Segments are ordered by id; of two with the same id, the greater generation replaces the
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SegmentName {
    pub(super) id: u64,
    pub(super) generation: u32,
}

impl SegmentName {
    /// Returns the name of the log file.
    pub(super) fn log_file(self) -> String {
        format!("{self}.jnl")
    }

    /// Returns the name of the index file.
    pub(super) fn index_file(self) -> String {
        format!("{self}.idx")
    }

    /// Returns the name of the copy of the segment's records of endpoints and consumers.
    pub(super) fn copy_file(self) -> String {
        format!("{self}.copy")
    }

    /// Returns the name that records of the copy are bound to, so that none is taken for one of the segment.
    pub(super) fn copy(self) -> Self {
        Self { generation: !self.generation, ..self }
    }

    /// Parses the name of a log file.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let (id, generation) = file.strip_suffix(".jnl")?.split_once('-')?;
        let name =
            Self { id: u64::from_str_radix(id, 16).ok()?, generation: u32::from_str_radix(generation, 16).ok()? };
        (name.log_file() == file).then_some(name)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:04x}", self.id, self.generation)
    }
}
