//! The brokers that `--journal nats://…` names.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// The port of a broker that is named without one.
const PORT: u16 = 4222;

/// Maximum number of brokers in a URL. The brokers tell of the others of their cluster.
const MOST: usize = 64;

/// Maximum length of a host name.
const HOST_BYTES: usize = 253;

/// The addresses of NATS servers: `nats://HOST[:PORT][,HOST[:PORT]…]`, or with `tls://` for connections that have to be encrypted.
///
/// ```
/// use grapnel_journal::nats::NatsServers;
///
/// let servers: NatsServers = "nats://nats-0.nats,nats-1.nats:4223".parse().unwrap();
/// assert_eq!(servers.to_string(), "nats://nats-0.nats:4222,nats-1.nats:4223");
/// assert!("nats://user:password@nats".parse::<NatsServers>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServers {
    scheme: Scheme,
    servers: Vec<Server>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Nats,
    Tls,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(String),
    V6(Ipv6Addr),
}

/// Why a text does not name NATS servers. No message shows user information.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServersError {
    /// The scheme is missing or another one.
    #[error("a NATS URL begins with nats:// or tls://")]
    Scheme,
    /// One server has another scheme than the first.
    #[error("all NATS servers must have the same scheme, nats:// or tls://")]
    MixedSchemes,
    /// The URL contains a user, a password or a token.
    #[error(
        "a NATS URL must not contain a user, a password or a token: command lines are public; put credentials into a file and name it with --nats-creds"
    )]
    UserInfo,
    /// No host between the scheme, commas and a port.
    #[error("a NATS URL names a host for each server: nats://HOST[:PORT][,HOST[:PORT]…]")]
    EmptyHost,
    /// A host that cannot be one.
    #[error("{0:?} is not a host name, an IPv4 address, or an IPv6 address in brackets")]
    Host(String),
    /// A port that cannot be one.
    #[error("{0:?} is not a port between 1 and 65535")]
    Port(String),
    /// Something follows the address.
    #[error("a NATS URL ends after the port: no path, query or fragment")]
    Rest,
    /// More servers than can be of use.
    #[error("a NATS URL names at most {MOST} servers; they tell of the others of their cluster")]
    TooMany,
}

impl NatsServers {
    /// Returns one URL for each server.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("{}://{server}", self.scheme)).collect()
    }

    /// Whether connections have to be encrypted.
    pub fn requires_tls(&self) -> bool {
        self.scheme == Scheme::Tls
    }
}

impl FromStr for NatsServers {
    type Err = ServersError;

    fn from_str(text: &str) -> Result<Self, ServersError> {
        // Before anything of it is shown in another error.
        if text.contains('@') {
            return Err(ServersError::UserInfo);
        }
        let (scheme, addresses) = Scheme::split(text).ok_or(ServersError::Scheme)?;
        let mut servers = Vec::new();
        for address in addresses.split(',') {
            if servers.len() == MOST {
                return Err(ServersError::TooMany);
            }
            let address = match Scheme::split(address) {
                Some((other, _)) if other != scheme => return Err(ServersError::MixedSchemes),
                Some((_, address)) => address,
                None if address.contains("://") => return Err(ServersError::MixedSchemes),
                None => address,
            };
            servers.push(Server::parse(address, PORT)?);
        }
        Ok(Self { scheme, servers })
    }
}

impl Scheme {
    fn split(text: &str) -> Option<(Self, &str)> {
        let (scheme, rest) = text.split_once("://")?;
        match scheme {
            "nats" => Some((Self::Nats, rest)),
            "tls" => Some((Self::Tls, rest)),
            _ => None,
        }
    }
}

impl Server {
    /// Parses `HOST[:PORT]`.
    pub(super) fn parse(text: &str, default: u16) -> Result<Self, ServersError> {
        if text.contains(['/', '?', '#']) {
            return Err(ServersError::Rest);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or_else(|| shown(text, ServersError::Host))?;
                let address = address.parse().map_err(|_| shown(address, ServersError::Host))?;
                let port = match port.strip_prefix(':') {
                    None if port.is_empty() => None,
                    None => return Err(shown(text, ServersError::Host)),
                    Some(port) => Some(port),
                };
                (Host::V6(address), port)
            }
            None => {
                let (name, port) = match text.split_once(':') {
                    Some((name, port)) => (name, Some(port)),
                    None => (text, None),
                };
                if port.is_some_and(|port| port.contains(':')) {
                    // An IPv6 address without brackets.
                    return Err(shown(text, ServersError::Host));
                }
                (Host::named(name)?, port)
            }
        };
        let port = match port {
            None => default,
            Some(port) => match port.parse() {
                Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => number,
                _ => return Err(shown(port, ServersError::Port)),
            },
        };
        Ok(Self { host, port })
    }
}

impl Host {
    fn named(name: &str) -> Result<Self, ServersError> {
        if name.is_empty() {
            return Err(ServersError::EmptyHost);
        }
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        // The last label is empty in a name that ends with a dot.
        let labels = name.strip_suffix('.').unwrap_or(name);
        let named = labels.split('.').all(|label| !label.is_empty() && label.bytes().all(known));
        if named && name.len() <= HOST_BYTES {
            Ok(Self::Name(name.to_owned()))
        } else {
            Err(shown(name, ServersError::Host))
        }
    }
}

/// An error with the beginning of the text that it is about.
fn shown(text: &str, error: impl Fn(String) -> ServersError) -> ServersError {
    error(text.chars().take(60).collect())
}

impl fmt::Display for NatsServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        for (position, server) in self.servers.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            write!(f, "{comma}{server}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nats => "nats",
            Self::Tls => "tls",
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::V6(address) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_more_servers_with_or_without_ports() {
        for (text, urls) in [
            ("nats://nats", vec!["nats://nats:4222"]),
            ("nats://nats-0.nats.svc.:4223", vec!["nats://nats-0.nats.svc.:4223"]),
            ("tls://10.0.0.1,b_c:1", vec!["tls://10.0.0.1:4222", "tls://b_c:1"]),
            ("nats://[::1],[2001:db8::2]:4223", vec!["nats://[::1]:4222", "nats://[2001:db8::2]:4223"]),
            ("nats://a,nats://b", vec!["nats://a:4222", "nats://b:4222"]),
        ] {
            let servers: NatsServers = text.parse().unwrap();
            assert_eq!(servers.urls(), urls, "{text}");
            assert_eq!(servers.requires_tls(), text.starts_with("tls"));
            assert_eq!(servers.to_string().parse(), Ok(servers), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let host = |text: &str| ServersError::Host(text.into());
        let port = |text: &str| ServersError::Port(text.into());
        for (text, error) in [
            ("", ServersError::Scheme),
            ("nats:nats", ServersError::Scheme),
            ("ws://nats", ServersError::Scheme),
            ("NATS://nats", ServersError::Scheme),
            ("nats://a,tls://b", ServersError::MixedSchemes),
            ("nats://a,http://b", ServersError::MixedSchemes),
            ("nats://", ServersError::EmptyHost),
            ("nats://:4222", ServersError::EmptyHost),
            ("nats://a,,b", ServersError::EmptyHost),
            ("nats://a,", ServersError::EmptyHost),
            ("nats://a b", host("a b")),
            ("nats://a..b", host("a..b")),
            ("nats://.", host(".")),
            ("nats://::1", host("::1")),
            ("nats://[::1", host("[::1")),
            ("nats://[::1]4222", host("[::1]4222")),
            ("nats://[fe80::1%eth0]", host("fe80::1%eth0")),
            ("nats://[1.2.3.4]", host("1.2.3.4")),
            ("nats://a:", port("")),
            ("nats://a:0", port("0")),
            ("nats://a:65536", port("65536")),
            ("nats://a:+1", port("+1")),
            ("nats://a:x", port("x")),
            ("nats://a/path", ServersError::Rest),
            ("nats://a:1?tls", ServersError::Rest),
        ] {
            assert_eq!(text.parse::<NatsServers>(), Err(error), "{text}");
        }
        assert_eq!(format!("nats://a{}", ",a".repeat(64)).parse::<NatsServers>(), Err(ServersError::TooMany));
    }

    #[test]
    fn user_information_is_refused_and_not_shown() {
        for text in ["nats://user:sesame@nats", "nats://sesame@nats", "sesame@nats", "nats://a,user:sesame@b:x"] {
            let error = text.parse::<NatsServers>().unwrap_err();
            assert_eq!(error, ServersError::UserInfo);
            assert!(error.to_string().contains("--nats-creds") && !error.to_string().contains("sesame"), "{error}");
        }
    }
}
