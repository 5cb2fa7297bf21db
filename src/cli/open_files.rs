//! The limit of open files of the process, including sockets.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::limits::OPEN_FILES_RESERVED;

/// Raises the limit as far as the system allows, and returns how many of the `wanted` connections fit below it. Above
/// the limit not only connections would fail but also the journal's files, and with them every event.
pub(super) fn connections(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    let fit = fitting(wanted, limit);
    if fit < wanted {
        tracing::warn!(
            open_files = limit,
            wanted,
            connections = fit,
            "the open-file limit allows fewer connections than --max-connections; raise the limit (ulimit -n) or lower \
             --max-connections"
        );
    }
    fit
}

/// At least one, so that the problem can be inspected.
fn fitting(wanted: usize, limit: Option<u64>) -> usize {
    let room = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    wanted.min(room.saturating_sub(OPEN_FILES_RESERVED).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_to_others() {
        assert_eq!(fitting(4096, None), 4096);
        assert_eq!(fitting(4096, Some(1 << 20)), 4096);
        assert_eq!(fitting(4096, Some(1024)), 1024 - OPEN_FILES_RESERVED);
        assert_eq!(fitting(4096, Some(10)), 1);
        assert_eq!(fitting(16, Some(1024)), 16);
    }
}
