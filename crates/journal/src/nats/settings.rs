//! How the replicated engine is set up, besides the servers: monitoring URLs, credentials, the installation's name.
//!
//! ```
//! use grapnel_journal::nats::{InstallationName, MonitorUrl};
//!
//! let url: MonitorUrl = "http://nats-0.nats".parse()?;
//! assert_eq!(url.to_string(), "http://nats-0.nats:8222");
//! assert!("two words".parse::<InstallationName>().is_err());
//! # Ok::<(), grapnel_journal::nats::InvalidSetting>(())
//! ```

use std::{fmt, path::PathBuf, str::FromStr};

use super::options::Server;
use crate::limits::{NATS_NAME_CHARS, NATS_SHARDS};

/// The port on which a server of NATS has its monitoring, when a URL names none.
const MONITOR_PORT: u16 = 8222;

/// Settings of the replicated engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// The name of this replica: unique among those that run, and for people to read.
    pub replica: String,
    /// The installation, of which the streams and subjects have their names.
    pub name: InstallationName,
    /// Where the servers report whether they sync before they acknowledge.
    pub monitors: Vec<MonitorUrl>,
    /// Whether someone vouches that the servers sync before they acknowledge, so that no proof is needed.
    pub trust_sync: bool,
    /// Copies of each stream: 3, or 1 on a single server.
    pub replicas: usize,
    /// Number of shards when the streams are created. Streams that exist keep theirs.
    pub shards: u16,
    /// File with the credentials of a user (`.creds`).
    pub credentials: Option<PathBuf>,
    /// PEM file with the authorities that sign the servers' certificates; `None` for those of the platform.
    pub ca: Option<PathBuf>,
    /// PEM file with the client's certificate.
    pub certificate: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    pub key: Option<PathBuf>,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            replica: "grapnel".into(),
            name: InstallationName::default(),
            monitors: Vec::new(),
            trust_sync: false,
            replicas: 3,
            shards: NATS_SHARDS,
            credentials: None,
            ca: None,
            certificate: None,
            key: None,
        }
    }
}

/// Why a text is not a setting of the engine. Holds no part of the text, which may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// Not the URL of a monitoring port.
    #[error("expected http://HOST[:PORT], the monitoring port of a NATS server, without a user, a password or a path")]
    MonitorUrl,
    /// Not the name of an installation.
    #[error(
        "must have 1 to {NATS_NAME_CHARS} lowercase letters, digits and hyphens, and begin and end with a letter or digit"
    )]
    Name,
}

/// The monitoring port of one server: `http://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorUrl(Server);

impl FromStr for MonitorUrl {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let server = text.strip_prefix("http://").ok_or(InvalidSetting::MonitorUrl)?;
        Server::parse(server, MONITOR_PORT).map(Self).map_err(|_| InvalidSetting::MonitorUrl)
    }
}

impl fmt::Display for MonitorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

/// The name of an installation: replicas of one name share their streams, and those of another name never see them.
/// Lowercase, because the names of streams are made of it in upper case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallationName(String);

impl InstallationName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for InstallationName {
    fn default() -> Self {
        Self("grapnel".into())
    }
}

impl FromStr for InstallationName {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = text.bytes().next().is_some_and(plain) && text.bytes().last().is_some_and(plain);
        if ends && text.len() <= NATS_NAME_CHARS && text.bytes().all(|byte| plain(byte) || byte == b'-') {
            Ok(Self(text.into()))
        } else {
            Err(InvalidSetting::Name)
        }
    }
}

impl fmt::Display for InstallationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitoring_ports_are_named_by_host_and_port() {
        for (text, url) in [
            ("http://nats-0.nats", "http://nats-0.nats:8222"),
            ("http://10.0.0.1:80", "http://10.0.0.1:80"),
            ("http://[fd00::1]", "http://[fd00::1]:8222"),
        ] {
            assert_eq!(text.parse::<MonitorUrl>().unwrap().to_string(), url);
        }
        for wrong in ["", "nats", "nats:8222", "https://nats", "nats://nats", "http://", "http://a/varz", "http://a?b"]
        {
            assert_eq!(wrong.parse::<MonitorUrl>(), Err(InvalidSetting::MonitorUrl), "{wrong}");
        }
        let error = "http://user:hush@nats:8222".parse::<MonitorUrl>().unwrap_err();
        assert!(!error.to_string().contains("hush"));
    }

    #[test]
    fn names_of_installations_fit_into_names_of_streams() {
        let longest = "a".repeat(NATS_NAME_CHARS);
        for name in ["grapnel", "a", "0", "team-b", longest.as_str()] {
            assert_eq!(name.parse::<InstallationName>().unwrap().as_str(), name);
        }
        for wrong in ["", "-a", "a-", "A", "a.b", "a_b", "a b", "a*", "a>", "ä", &format!("{longest}a")] {
            assert_eq!(wrong.parse::<InstallationName>(), Err(InvalidSetting::Name), "{wrong}");
        }
    }
}
