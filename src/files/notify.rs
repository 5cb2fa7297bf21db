//! Waits for file changes by inotify(7).
//!
//! Directories are watched instead of files: editors and mounted ConfigMaps replace a file by renaming another one, and
//! a watch of a file stays with the old one. Changes that inotify does not report, such as behind a symbolic link or on
//! a network file system, are found by periodic scans, which therefore continue at a slower pace.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::source::is_manifest;

/// Room for some dozen events.
const BUFFER_BYTES: usize = 4096;

/// Reports file changes.
pub(super) struct Notify {
    inotify: AsyncFd<OwnedFd>,
    paths: Vec<PathBuf>,
    /// The relevant names in each watched directory.
    watches: HashMap<i32, WatchedNames>,
}

/// The relevant names in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WatchedNames {
    /// All manifests.
    Manifests,
    /// These files.
    Files(Vec<PathBuf>),
}

impl WatchedNames {
    fn contains(&self, name: &OsStr) -> bool {
        // A mounted ConfigMap or Secret renames `..data` when it changes.
        name.as_bytes().starts_with(b"..")
            || match self {
                Self::Manifests => is_manifest(Path::new(name)),
                Self::Files(files) => files.iter().any(|file| file.file_name() == Some(name)),
            }
    }
}

impl Notify {
    /// Watches these files and directories.
    ///
    /// # Errors
    /// Returns an error if the system has no inotify, or this user's quota is used up.
    pub(super) fn new(paths: Vec<PathBuf>) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "it is unsound for types that give out a descriptor they do not own; this one does"
        )]
        let inotify = AsyncFd::with_interest(inotify, Interest::READABLE)?;
        let mut notify = Self { inotify, paths, watches: HashMap::new() };
        notify.watch()?;
        Ok(notify)
    }

    /// Watches the directories that exist now; existing watches are kept.
    fn watch(&mut self) -> io::Result<()> {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        let mut watches: HashMap<i32, WatchedNames> = HashMap::new();
        for path in &self.paths {
            if path.is_dir() {
                let watch = inotify::add_watch(self.inotify.get_ref(), path, flags)?;
                watches.insert(watch, WatchedNames::Manifests);
            } else {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let watch = inotify::add_watch(self.inotify.get_ref(), parent.unwrap_or(Path::new(".")), flags)?;
                match watches.entry(watch).or_insert_with(|| WatchedNames::Files(Vec::new())) {
                    WatchedNames::Manifests => {}
                    WatchedNames::Files(files) => files.push(path.clone()),
                }
            }
        }
        self.watches = watches;
        Ok(())
    }

    /// Waits until a file may have changed. Cancel safe.
    ///
    /// # Errors
    /// Returns an error if the system stops reporting changes.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let matters = matters(self.inotify.get_ref(), &self.watches)?;
            ready.clear_ready();
            if matters {
                // A directory may have been replaced.
                return self.watch();
            }
        }
    }
}

/// Reads all pending events. Returns whether one of them is relevant.
fn matters(inotify: &OwnedFd, watches: &HashMap<i32, WatchedNames>) -> io::Result<bool> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut events = inotify::Reader::new(inotify, &mut buffer);
    let mut matters = false;
    loop {
        let event = match events.next() {
            Ok(event) => event,
            Err(Errno::WOULDBLOCK) => return Ok(matters),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let lost = ReadFlags::QUEUE_OVERFLOW | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
        let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
        matters |= event.events().intersects(lost)
            || name.is_some_and(|name| watches.get(&event.wd()).is_some_and(|wanted| wanted.contains(name)));
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tokio::time::timeout;

    use super::*;

    async fn notices(notify: &mut Notify) -> bool {
        timeout(Duration::from_millis(200), notify.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    #[tokio::test]
    async fn changes_of_manifests_are_noticed_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let (path, single) = (directory.path().join("all"), directory.path().join("single.conf"));
        fs::create_dir(&path).unwrap();
        fs::write(&single, "").unwrap();
        let mut notify = Notify::new(vec![path.clone(), single.clone()]).unwrap();
        assert!(!notices(&mut notify).await);
        fs::write(path.join("a.yaml"), "a").unwrap();
        assert!(notices(&mut notify).await, "a new file");
        fs::write(path.join("a.txt"), "a").unwrap();
        fs::write(path.join(".a.yaml"), "a").unwrap();
        fs::write(directory.path().join("other.conf"), "a").unwrap();
        assert!(!notices(&mut notify).await, "not a manifest");
        fs::rename(path.join("a.txt"), path.join("a.yaml")).unwrap();
        assert!(notices(&mut notify).await, "replaced");
        fs::write(&single, "b").unwrap();
        assert!(notices(&mut notify).await, "a single file");
        fs::rename(path.join(".a.yaml"), path.join("..data")).unwrap();
        assert!(notices(&mut notify).await, "a mounted volume");
        fs::remove_file(path.join("a.yaml")).unwrap();
        assert!(notices(&mut notify).await, "removed");
    }

    #[tokio::test]
    async fn a_directory_that_is_replaced_is_watched_again() {
        let directory = tempfile::tempdir().unwrap();
        let (path, fresh) = (directory.path().join("all"), directory.path().join("fresh"));
        fs::create_dir(&path).unwrap();
        fs::create_dir(&fresh).unwrap();
        let mut notify = Notify::new(vec![path.clone()]).unwrap();
        fs::rename(&path, directory.path().join("old")).unwrap();
        fs::rename(&fresh, &path).unwrap();
        assert!(notices(&mut notify).await);
        fs::write(path.join("a.yaml"), "a").unwrap();
        assert!(notices(&mut notify).await);
    }
}
