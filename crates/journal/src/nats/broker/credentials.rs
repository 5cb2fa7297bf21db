//! Credentials for the brokers: a file with a JWT and the seed of its key, or with the seed of a key alone.
//!
//! The file is read for every connection, so that credentials can be rotated. No error and no log line shows what is in it.

use std::{io, path::Path};

use async_nats::{Auth, AuthError};
use nkeys::KeyPair;

/// Why a file of credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    /// It has no seed that is one.
    #[error("it holds neither a user JWT with the seed of its key nor the seed of a user key (SU…)")]
    Invalid,
}

/// What the file says.
pub(super) struct Credentials {
    jwt: Option<String>,
    key: KeyPair,
}

impl Credentials {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, CredentialsError> {
        let text = std::fs::read_to_string(path).map_err(CredentialsError::Unreadable)?;
        Self::parse(&text).ok_or(CredentialsError::Invalid)
    }

    /// Finds the JWT and the seed: the lines that begin like one, whatever is around them.
    fn parse(text: &str) -> Option<Self> {
        let lines = || text.lines().map(str::trim);
        let key = KeyPair::from_seed(lines().find(|line| line.starts_with("SU"))?).ok()?;
        // The first part of every JWT is a JSON object in Base64.
        let jwt = lines().find(|line| line.starts_with("eyJ")).map(str::to_owned);
        Some(Self { jwt, key })
    }

    /// Answers a challenge of a broker.
    pub(super) fn answer(self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        auth.signature = Some(self.key.sign(nonce).map_err(AuthError::new)?);
        if self.jwt.is_none() {
            auth.nkey = Some(self.key.public_key());
        }
        auth.jwt = self.jwt;
        Ok(auth)
    }
}
