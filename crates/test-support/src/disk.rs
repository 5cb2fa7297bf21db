//! A disk whose power can be cut: a file with an ext4 file system, mounted by a loop device. That takes root.

use std::{fs::File, path::PathBuf, process::Command};

/// Stops a file system where it is (`EXT4_IOC_SHUTDOWN`): nothing more is written, not even its own log
/// (`EXT4_GOING_FLAGS_NOLOGFLUSH`).
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// A mounted file system. It is unmounted and removed when it is dropped.
pub struct Disk {
    image: PathBuf,
    directory: PathBuf,
}

impl Disk {
    /// Makes a file system of so many bytes in the file `image` and mounts it at `directory`, which exists.
    pub fn new(image: PathBuf, directory: PathBuf, bytes: u64) -> Self {
        File::create(&image).unwrap().set_len(bytes).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        let disk = Self { image, directory };
        disk.mount();
        disk
    }

    /// Loses what was written and not synced. Whatever is open on it fails from here on, and has to end before
    /// [`power_on`](Self::power_on).
    pub fn power_off(&self) {
        run(Command::new("python3").args(["-c", SHUTDOWN]).arg(&self.directory));
    }

    /// Mounts it again, with what is on it.
    pub fn power_on(&self) {
        run(Command::new("umount").arg(&self.directory));
        self.mount();
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).args([self.image.as_path(), self.directory.as_path()]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.directory).status();
        let _ = std::fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} takes root, loop devices and e2fsprogs: {why}");
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;
    use crate::directory;

    #[test]
    #[ignore = "takes root and loop devices: just power"]
    fn what_was_synced_survives() {
        let directory = directory::temporary();
        let mounted = directory.path().join("disk");
        fs::create_dir(&mounted).unwrap();
        let disk = Disk::new(directory.path().join("image"), mounted.clone(), 32 << 20);
        for round in 0..3 {
            let write = |name: &str| {
                let mut file = File::create(mounted.join(format!("{name}-{round}"))).unwrap();
                file.write_all(&[7; 10_000]).unwrap();
                file
            };
            write("synced").sync_all().unwrap();
            drop(write("lost"));
            disk.power_off();
            assert!(File::create(mounted.join("late")).is_err());
            disk.power_on();
            assert_eq!(fs::read(mounted.join(format!("synced-{round}"))).unwrap(), [7; 10_000]);
            // Its name may be there, but nothing of it.
            let lost = fs::read(mounted.join(format!("lost-{round}"))).unwrap_or_default();
            assert!(lost.is_empty(), "{} bytes", lost.len());
        }
    }
}
