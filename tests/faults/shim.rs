//! Faults below the program: `shim.c` stands between it and libc, and a file that both sides map says what to do.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Which calls count. Several may be joined with `|`.
pub(crate) mod calls {
    pub(crate) const WRITE: u64 = 1;
    pub(crate) const SYNC: u64 = 2;
    /// Opening a file that was not there.
    pub(crate) const CREATE: u64 = 4;
    pub(crate) const RENAME: u64 = 8;
    pub(crate) const UNLINK: u64 = 16;
    pub(crate) const TRUNCATE: u64 = 32;
    /// Opening a file that was there.
    pub(crate) const OPEN: u64 = 64;
    /// Everything that changes a file or makes a change durable.
    pub(crate) const CHANGES: u64 = WRITE | SYNC | CREATE | RENAME | UNLINK | TRUNCATE;
}

/// Of which files.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Files {
    Any = 0,
    /// Segments of the log.
    Logs = 1,
    /// Copies of heads, indexes, ids, `FORMAT` and `LOCK`.
    Others = 2,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    /// It fails with that errno.
    Fail(u64),
    /// It does not return before something else is set.
    Hang,
    /// SIGKILL instead of it.
    Kill,
    /// SIGKILL after it has been done.
    KillAfter,
    /// Half a write, then SIGKILL; like [`Action::KillAfter`] for other calls.
    Tear,
    /// What has not been synced is lost, with an even seed all of it, with an odd one some pages. Then SIGKILL.
    PowerCut { seed: u64 },
}

pub(crate) const EIO: u64 = 5;
pub(crate) const ENOSPC: u64 = 28;

/// A fault to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) calls: u64,
    pub(crate) files: Files,
    pub(crate) action: Action,
    /// So many matching calls pass first.
    pub(crate) skip: u64,
    /// Then so many are acted on.
    pub(crate) times: u64,
}

impl Fault {
    /// At every matching call, from the first one on.
    pub(crate) fn always(calls: u64, files: Files, action: Action) -> Self {
        Self { calls, files, action, skip: 0, times: 1 << 40 }
    }

    /// Once, after `skip` matching calls.
    pub(crate) fn once(calls: u64, files: Files, action: Action, skip: u64) -> Self {
        Self { calls, files, action, skip, times: 1 }
    }
}

/// The hand on the switch.
pub(crate) struct Shim {
    library: PathBuf,
    control: PathBuf,
    file: File,
}

impl Shim {
    /// A control file in `directory`; nothing fails yet.
    pub(crate) fn new(directory: &Path) -> Self {
        let control = directory.join("control");
        fs::write(&control, [0; 4096]).unwrap();
        let file = File::options().read(true).write(true).open(&control).unwrap();
        let shim = Self { library: compiled(), control, file };
        shim.clear();
        shim
    }

    /// Puts it below a program whose files are in `directory`.
    pub(crate) fn under(&self, command: &mut Command, directory: &Path) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAULTS_CONTROL", &self.control)
            .env("FAULTS_DIRECTORY", directory);
    }

    /// From now on this happens.
    pub(crate) fn set(&self, fault: Fault) {
        // Off while it changes.
        self.put(2, 0);
        let (action, error, seed) = match fault.action {
            Action::Fail(error) => (1, error, 0),
            Action::Hang => (6, 0, 0),
            Action::Kill => (2, 0, 0),
            Action::KillAfter => (3, 0, 0),
            Action::Tear => (4, 0, 0),
            Action::PowerCut { seed } => (5, 0, seed),
        };
        self.put(0, fault.calls);
        self.put(1, fault.files as u64);
        self.put(3, error);
        self.put(4, fault.skip);
        self.put(5, fault.times);
        self.put(7, seed);
        self.put(8, 0);
        self.put(9, 0);
        self.put(2, action);
    }

    /// Only so many bytes may be written from now on; then the disk is full.
    pub(crate) fn leave_room(&self, bytes: u64) {
        self.put(6, bytes);
    }

    /// Nothing fails any more.
    pub(crate) fn clear(&self) {
        self.put(2, 0);
        self.put(6, u64::MAX);
    }

    /// How often it has acted since it was set.
    pub(crate) fn acted(&self) -> u64 {
        self.get(9)
    }

    fn put(&self, at: u64, value: u64) {
        self.file.write_all_at(&value.to_ne_bytes(), at * 8).unwrap();
    }

    fn get(&self, at: u64) -> u64 {
        let mut value = [0; 8];
        self.file.read_exact_at(&mut value, at * 8).unwrap();
        u64::from_ne_bytes(value)
    }
}

/// Compiles `shim.c`, once for all tests.
fn compiled() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c");
    let mut hasher = DefaultHasher::new();
    fs::read(&source).unwrap().hash(&mut hasher);
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{:x}.so", hasher.finish()));
    if !library.exists() {
        // Renamed into place: tests run side by side.
        let mine = library.with_extension(std::process::id().to_string());
        let compiler = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
            .args([&mine, &source])
            .args(["-ldl", "-lpthread"])
            .output()
            .expect("a C compiler is needed (Debian: apt-get install build-essential)");
        assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
        fs::rename(mine, &library).unwrap();
    }
    library
}
