//! The servers that `--journal` names.
//!
//! ```
//! use grapnel_journal::nats::NatsServers;
//!
//! let servers: NatsServers = "nats://nats-0.nats,nats-1.nats:4333".parse()?;
//! assert_eq!(servers.to_string(), "nats://nats-0.nats:4222,nats-1.nats:4333");
//! # Ok::<(), grapnel_journal::nats::ServersError>(())
//! ```

use std::{fmt, str::FromStr};

use crate::limits::NATS_SERVERS;

/// The port of NATS when a URL names none.
const DEFAULT_PORT: u16 = 4222;

/// The servers of one cluster of brokers, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServers {
    tls: bool,
    /// Hosts, IPv6 addresses in brackets, with their ports.
    servers: Vec<(String, u16)>,
}

/// Why a text names no NATS servers. Holds no part of the text, which may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServersError {
    /// Another scheme.
    #[error("the scheme must be nats:// or tls://, and the same for all servers")]
    Scheme,
    /// User and password, or a token.
    #[error(
        "a URL of a NATS server must not contain a user, a password or a token, because command lines are visible to others: write credentials to a file and name it with --nats-creds"
    )]
    UserInfo,
    /// No host, or one with characters that no name has.
    #[error(
        "a host is missing or invalid: expected nats://HOST[:PORT][,HOST[:PORT]…], with IPv6 addresses in brackets"
    )]
    Host,
    /// Not a port.
    #[error("a port is invalid: expected a number from 1 to 65535")]
    Port,
    /// A path, a query or a fragment.
    #[error("unexpected text after a host and port: expected nats://HOST[:PORT][,HOST[:PORT]…]")]
    Path,
    /// Too many servers.
    #[error("too many servers: name at most {NATS_SERVERS}; the client learns the others from them")]
    TooMany,
}

impl NatsServers {
    /// One URL for each server.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|(host, port)| format!("{}{host}:{port}", self.scheme())).collect()
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "tls://" } else { "nats://" }
    }
}

impl FromStr for NatsServers {
    type Err = ServersError;

    fn from_str(text: &str) -> Result<Self, ServersError> {
        // Before all else: an error must not repeat what may be a password.
        if text.contains('@') {
            return Err(ServersError::UserInfo);
        }
        let split = |text| scheme_of(text).ok_or(ServersError::Scheme);
        let (tls, rest) = split(text)?;
        let mut servers = Vec::new();
        for server in rest.split(',') {
            // `nats://a,nats://b`, as NATS' own tools write it.
            let server = if server.contains("://") {
                let (same, server) = split(server)?;
                if same != tls {
                    return Err(ServersError::Scheme);
                }
                server
            } else {
                server
            };
            servers.push(host_and_port(server)?);
        }
        if servers.len() > NATS_SERVERS {
            return Err(ServersError::TooMany);
        }
        Ok(Self { tls, servers })
    }
}

impl fmt::Display for NatsServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.servers.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        write!(f, "{}{}", self.scheme(), servers.join(","))
    }
}

/// Whether the URL asks for TLS, and what follows its scheme.
fn scheme_of(text: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "nats" => Some((false, rest)),
        "tls" => Some((true, rest)),
        _ => None,
    }
}

/// Splits `HOST[:PORT][/]`.
fn host_and_port(server: &str) -> Result<(String, u16), ServersError> {
    let server = server.strip_suffix('/').unwrap_or(server);
    if server.contains(['/', '?', '#']) {
        return Err(ServersError::Path);
    }
    host_port(server, DEFAULT_PORT).map_err(|error| match error {
        HostPortError::Host => ServersError::Host,
        HostPortError::Port => ServersError::Port,
    })
}

/// What is wrong with a host and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostPortError {
    Host,
    Port,
}

/// Splits `HOST[:PORT]`. An IPv6 address is in brackets, and keeps them.
pub(super) fn host_port(text: &str, default: u16) -> Result<(String, u16), HostPortError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(HostPortError::Host)?;
            let address: std::net::Ipv6Addr = address.parse().map_err(|_| HostPortError::Host)?;
            (format!("[{address}]"), port)
        }
        None => {
            let at = text.find(':').unwrap_or(text.len());
            let (host, port) = text.split_at(at);
            if !is_host(host) {
                return Err(HostPortError::Host);
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        // A second colon: an address without brackets.
        Some(port) if port.contains(':') => return Err(HostPortError::Host),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(HostPortError::Port),
        },
        _ => return Err(HostPortError::Port),
    };
    Ok((host, port))
}

/// Whether the text can be the name or the IPv4 address of a host. Names of Compose services may have underscores.
fn is_host(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_host_and_port() {
        for (text, urls) in [
            ("nats://a", vec!["nats://a:4222"]),
            ("NATS://A:1/", vec!["nats://a:1"]),
            ("tls://a.b.svc,c_d:5", vec!["tls://a.b.svc:4222", "tls://c_d:5"]),
            ("nats://a,nats://b:1", vec!["nats://a:4222", "nats://b:1"]),
            (
                "nats://[::1],[fd00::2]:99,10.0.0.1",
                vec!["nats://[::1]:4222", "nats://[fd00::2]:99", "nats://10.0.0.1:4222"],
            ),
        ] {
            let servers: NatsServers = text.parse().unwrap();
            assert_eq!(servers.urls(), urls);
            assert_eq!(servers.to_string().parse(), Ok(servers), "{text}");
        }
    }

    #[test]
    fn other_texts_are_rejected_with_the_reason() {
        use ServersError::{Host, Path, Port, Scheme, TooMany, UserInfo};
        let many = format!("nats://{}", vec!["a"; NATS_SERVERS + 1].join(","));
        for (text, expected) in [
            ("", Scheme),
            ("a:4222", Scheme),
            ("redis://a", Scheme),
            ("nats://a,tls://b", Scheme),
            ("nats://a,http://b", Scheme),
            ("nats://", Host),
            ("nats://a,", Host),
            ("nats://:4222", Host),
            ("nats://fd00::1", Host),
            ("nats://[fd00::1", Host),
            ("nats://[a]", Host),
            ("nats://a b", Host),
            ("nats://a..b", Host),
            ("nats://a:", Port),
            ("nats://a:0", Port),
            ("nats://a:65536", Port),
            ("nats://a:+1", Port),
            ("nats://[::1]x", Port),
            ("nats://a/b", Path),
            ("nats://a?tls=true", Path),
            ("nats://user:hush@a", UserInfo),
            ("nats://hush@a", UserInfo),
            ("redis://user:hush@a", UserInfo),
            (&many, TooMany),
        ] {
            let error = text.parse::<NatsServers>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hush"));
        }
    }
}
