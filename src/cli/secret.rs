//! A secret on the command line, which is never printed.

use std::path::PathBuf;

use anyhow::Context;
use grapnel_values::secret::Secret;
use zeroize::Zeroizing;

use super::Usage;

/// Where the secret comes from.
#[derive(clap::Args)]
#[group(id = "secret_source", multiple = false)]
pub(super) struct SecretArgs {
    /// The secret itself. Other users of this machine can see it while the command runs
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true)]
    secret: Option<String>,

    /// File with the secret; a trailing line break is ignored
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// Environment variable with the secret
    #[arg(long, value_name = "NAME")]
    secret_env: Option<String>,
}

impl std::fmt::Debug for SecretArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretArgs")
            .field("secret", &self.secret.as_ref().map(|_| "***"))
            .field("secret_file", &self.secret_file)
            .field("secret_env", &self.secret_env)
            .finish()
    }
}

impl SecretArgs {
    /// The secret, if one is given.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, the variable is not set, or the secret is empty.
    pub(super) fn read(&self) -> anyhow::Result<Option<Secret>> {
        let bytes = if let Some(secret) = &self.secret {
            Zeroizing::new(secret.clone().into_bytes())
        } else if let Some(path) = &self.secret_file {
            let read =
                std::fs::read(path).with_context(|| format!("cannot read the secret file {}", path.display()))?;
            Zeroizing::new(read)
        } else if let Some(name) = &self.secret_env {
            let value = std::env::var(name).map_err(|error| Usage(format!("--secret-env {name}: {error}")))?;
            Zeroizing::new(value.into_bytes())
        } else {
            return Ok(None);
        };
        if bytes.is_empty() {
            return Err(Usage::error("the secret is empty"));
        }
        Ok(Some(Secret::from(bytes.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_not_shown() {
        let args = SecretArgs { secret: Some("hunter2".into()), secret_file: None, secret_env: None };
        assert!(!format!("{args:?}").contains("hunter2"));
    }
}
