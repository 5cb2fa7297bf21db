//! A file of the data directory that is written whole: under another name, synced, and renamed into place. After a crash
//! it has one content or the other.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A file whose content is a JSON object with the version of its form.
pub(crate) struct KeptFile {
    path: PathBuf,
    version: u32,
    /// What was read or written last.
    written: Mutex<Vec<u8>>,
}

/// Why a file that exists cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptFileError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Its path.
        path: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// It has another form.
    #[error("{path} does not have the expected form")]
    Malformed {
        /// Its path.
        path: String,
        /// The error of the reader.
        #[source]
        source: serde_json::Error,
    },
    /// Another version of Grapnel has written it.
    #[error("{path} was written by another version of Grapnel (form {version})")]
    Version {
        /// Its path.
        path: String,
        /// The version of its form.
        version: u32,
    },
}

/// What is in the file.
#[derive(Serialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

/// The part of it that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl KeptFile {
    /// A file that has the form `version`, whether it exists or not.
    pub(crate) fn new(path: PathBuf, version: u32) -> Self {
        Self { path, version, written: Mutex::default() }
    }

    /// Its path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads at most `bound` bytes of the file; `None` if it does not exist. Blocks the thread.
    pub(crate) fn read<T: DeserializeOwned>(&self, bound: u64) -> Result<Option<T>, KeptFileError> {
        let path = || self.path.display().to_string();
        let mut bytes = Vec::new();
        match File::open(&self.path).and_then(|file| file.take(bound).read_to_end(&mut bytes)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| KeptFileError::Unreadable { path: path(), source })?,
        };
        let malformed = |source| KeptFileError::Malformed { path: path(), source };
        let Version { version } = serde_json::from_slice(&bytes).map_err(malformed)?;
        if version != self.version {
            return Err(KeptFileError::Version { path: path(), version });
        }
        let content = serde_json::from_slice(&bytes).map_err(malformed)?;
        *self.written.lock() = bytes;
        Ok(Some(content))
    }

    /// Replaces the content, unless the file has it already.
    pub(crate) async fn write<T: Serialize>(&self, content: T) -> io::Result<()> {
        let bytes = serde_json::to_vec(&Versioned { version: self.version, content })?;
        if *self.written.lock() == bytes {
            return Ok(());
        }
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || replace(&path, &bytes).map(|()| bytes)).await;
        *self.written.lock() = written.map_err(io::Error::other)??;
        Ok(())
    }
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("json.new");
    let mut file = File::create(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Counts {
        counts: Vec<u32>,
    }

    #[tokio::test]
    async fn a_file_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("counts.json");
        let file = KeptFile::new(path.clone(), 1);
        assert_eq!(file.read::<Counts>(100).unwrap(), None);
        let counts = Counts { counts: vec![1, 2] };
        file.write(&counts).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"version":1,"counts":[1,2]}"#);
        assert_eq!(KeptFile::new(path.clone(), 1).read(100).unwrap().as_ref(), Some(&counts));
        // The same content is not written again.
        fs::remove_file(&path).unwrap();
        file.write(&counts).await.unwrap();
        assert!(!path.exists());
        file.write(&Counts::default()).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"version":1,"counts":[]}"#);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("counts.json");
        let file = KeptFile::new(path.clone(), 1);
        let cases = [
            ("", "does not have the expected form"),
            ("[1]", "does not have the expected form"),
            ("{}", "does not have the expected form"),
            (r#"{"version":1,"counts":"many"}"#, "does not have the expected form"),
            (r#"{"version":2,"counts":{}}"#, "was written by another version of Grapnel (form 2)"),
        ];
        for (content, why) in cases {
            fs::write(&path, content).unwrap();
            let error = file.read::<Counts>(100).unwrap_err().to_string();
            assert_eq!(error, format!("{} {why}", path.display()), "{content}");
        }
        // Longer than the bound.
        fs::write(&path, r#"{"version":1,"counts":[1]}"#).unwrap();
        assert!(matches!(file.read::<Counts>(10), Err(KeptFileError::Malformed { .. })));
        // A directory.
        let file = KeptFile::new(directory.path().to_owned(), 1);
        assert!(matches!(file.read::<Counts>(100), Err(KeptFileError::Unreadable { .. })));
        assert!(file.write(&Counts::default()).await.is_err());
    }
}
