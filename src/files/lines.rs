//! The lines of a document's nodes, found by their JSON Pointers.

/// The lines of a document's nodes without the nodes, which may contain Secrets and take a lot of memory.
#[derive(Debug)]
pub(super) struct Lines {
    first: u32,
    /// Hashes of JSON Pointers with their lines, sorted. A collision only makes a report name another line.
    by_pointer: Box<[(PointerHash, u32)]>,
}

impl Lines {
    /// The lines of nodes by the hash of their pointers. The document begins on line `first`.
    pub(super) fn new(first: u64, mut lines: Vec<(PointerHash, u32)>) -> Self {
        lines.sort_unstable();
        Self { first: short(first), by_pointer: lines.into() }
    }

    /// The line on which the document begins.
    pub(super) fn first(&self) -> u64 {
        self.first.into()
    }

    /// See [`Document::line_of`].
    pub(super) fn line_of(&self, pointer: &str) -> u64 {
        let mut pointer = pointer;
        loop {
            let hash = PointerHash::ROOT.then(pointer.as_bytes());
            if let Ok(found) = self.by_pointer.binary_search_by_key(&hash, |(hash, _)| *hash)
                && let Some((_, line)) = self.by_pointer.get(found)
            {
                return (*line).into();
            }
            match pointer.rsplit_once('/') {
                Some((parent, _)) => pointer = parent,
                None => return self.first(),
            }
        }
    }
}

/// The hash of a JSON Pointer (FNV-1a).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PointerHash(u32);

impl PointerHash {
    /// The hash of the empty pointer.
    pub(super) const ROOT: Self = Self(0x811c_9dc5);

    /// The hash of the pointer with more text at its end.
    pub(super) fn then(self, text: &[u8]) -> Self {
        Self(text.iter().fold(self.0, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)))
    }
}

/// A line in 32 bits.
pub(super) fn short(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}
