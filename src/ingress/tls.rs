//! TLS certificates from files, reloaded without a restart.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::ingress::limits::{TLS_FILE_BYTES, TLS_POLL_INTERVAL};

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    cert: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is too large to be a certificate or key.
    #[error("{0} is larger than {TLS_FILE_BYTES} bytes; it is no certificate or key file")]
    TooLarge(PathBuf),
    /// The certificate file is not a PEM certificate chain.
    #[error("{path} is not a chain of certificates in PEM: {source}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// The certificate file contains no certificate.
    #[error("{0} holds no certificate; it must hold the server's certificate and then its issuers, in PEM")]
    NoCertificate(PathBuf),
    /// The key file contains no PEM private key.
    #[error("{path} holds no private key in PEM (PKCS#8, PKCS#1 or SEC1): {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// Certificate and key do not match or are not supported.
    #[error("certificate {cert} and key {key} cannot be used together: {source}")]
    Pair {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// The TLS configuration is invalid.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

/// The certificate in use, which every handshake reads.
#[derive(Debug, Default)]
struct Current {
    certified: ArcSwapOption<CertifiedKey>,
    /// SHA-256 of the files when they were last read, usable or not.
    seen: Mutex<Option<[u8; 32]>>,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified.load_full()
    }
}

impl TlsFiles {
    /// A certificate chain and its key; nothing is read yet.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: cert.into(), key: key.into(), current: Arc::default() }
    }

    /// Reads the files and returns a configuration that always serves the certificate read last, by this function or by
    /// [`watch`]: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, cryptography by ring.
    ///
    /// # Errors
    /// Returns an error if the files cannot be read or used.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        *self.current.seen.lock() = None;
        self.look()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files once. Returns whether they have changed and are served now. Unusable files are reported as an
    /// error once, and the previous certificate stays.
    fn look(&self) -> Result<bool, TlsError> {
        let (cert, key) = (read(&self.cert)?, Zeroizing::new(read(&self.key)?));
        // Each file has its own digest, so that moving a byte from one to the other changes the result.
        let digest = Sha256::new().chain_update(Sha256::digest(&cert)).chain_update(Sha256::digest(&key)).finalize();
        if self.current.seen.lock().replace(digest.into()) == Some(digest.into()) {
            return Ok(false);
        }
        self.current.certified.store(Some(self.certify(&cert, &key)?));
        Ok(true)
    }

    fn certify(&self, cert: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| TlsError::Certificate { path: self.cert.clone(), source })?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(self.cert.clone()));
        }
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|source| TlsError::Key { path: self.key.clone(), source })?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map(Arc::new).map_err(|source| TlsError::Pair {
            cert: self.cert.clone(),
            key: self.key.clone(),
            source,
        })
    }
}

/// Reloads the files whenever they change and uses them for new connections, until `shutdown`. Unusable files are
/// logged once, and the last good ones stay in use.
///
/// Contents are compared instead of times: a mounted Secret changes by a symbolic link, and both files are small.
pub async fn watch(files: TlsFiles, shutdown: CancellationToken) {
    let mut complaint = None;
    let mut ticks = tokio::time::interval(TLS_POLL_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let looking = files.clone();
        let looked = match tokio::task::spawn_blocking(move || looking.look()).await {
            Ok(looked) => looked,
            // The runtime is shutting down.
            Err(_) => return,
        };
        match looked {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(cert = %files.cert.display(), "TLS certificate renewed");
                complaint = None;
            }
            Err(error) => {
                let error = error.to_string();
                if complaint.as_ref() != Some(&error) {
                    tracing::warn!(%error, "TLS files cannot be used; the certificate in use stays");
                    complaint = Some(error);
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let error = |source| TlsError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(error)?;
    let mut contents = Vec::new();
    file.take(TLS_FILE_BYTES + 1).read_to_end(&mut contents).map_err(error)?;
    if contents.len() as u64 > TLS_FILE_BYTES {
        return Err(TlsError::TooLarge(path.to_owned()));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_replacement_leaves_the_last_good_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let (cert, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
        let write = || {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            std::fs::write(&cert, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            made.cert.der().clone()
        };
        let files = TlsFiles::new(&cert, &key);
        let served = || files.current.certified.load_full().unwrap().cert[0].clone();
        let first = write();
        files.load().unwrap();
        assert!(!files.look().unwrap(), "nothing has changed");
        assert_eq!(served(), first);

        std::fs::write(&key, "half a ke").unwrap();
        assert!(matches!(files.look(), Err(TlsError::Key { .. })));
        assert!(!files.look().unwrap(), "it is said once");
        std::fs::remove_file(&cert).unwrap();
        assert!(matches!(files.look(), Err(TlsError::Read { .. })));
        assert_eq!(served(), first);

        let second = write();
        assert!(files.look().unwrap());
        assert_eq!(served(), second);
    }
}
