//! Egress policy: the addresses that deliveries may connect to.
//!
//! ```
//! use grapnel_delivery::egress::EgressPolicy;
//! use url::Url;
//!
//! let policy = EgressPolicy::default();
//! assert!(policy.check_url(&Url::parse("https://hooks.example/in")?).is_ok());
//! assert!(policy.check_address("10.0.0.7".parse()?).is_err(), "private");
//! let policy = policy.allowing(vec!["10.0.0.0/8".parse()?]);
//! assert!(policy.check_address("10.0.0.7".parse()?).is_ok());
//! assert!(policy.check_address("169.254.169.254".parse()?).is_err(), "cloud metadata");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

/// The addresses that deliveries may connect to: public ones, and those explicitly allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    allow: Vec<IpNet>,
    allow_loopback: bool,
    /// Applies the rules for Services instead of those for URLs.
    services: bool,
}

/// How a target is specified, which determines the addresses it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// By URL.
    #[default]
    Url,
    /// As a Service of the cluster; see [`EgressPolicy::for_services`].
    Service,
}

/// An address that deliveries may not connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is a {class} address; {allowed}")]
pub struct Forbidden {
    /// The address.
    pub address: IpAddr,
    /// Class of the address: `loopback`, `private`, `link-local`, …
    pub class: &'static str,
    /// Description of the allowed addresses.
    allowed: &'static str,
}

const FOR_URLS: &str = "allowed are public addresses and the networks in --egress-allow";
const FOR_SERVICES: &str = "a Service has public, private or carrier-grade NAT addresses";

const FOR_METADATA: &str = "it serves credentials, so --egress-allow must name a network that contains nothing else";

/// A URL that deliveries may not use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForbiddenUrl {
    /// The scheme is neither http nor https.
    #[error("the scheme `{0}` is not http or https")]
    Scheme(String),
    /// The URL has a user or password.
    #[error("the URL contains a user name or password; keep credentials in a Secret")]
    Credentials,
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
    /// The port belongs to another protocol; see `OTHER_PROTOCOLS`.
    #[error("port {0} is not a port for HTTP")]
    Port(u16),
    /// The host is `localhost` or a name below it (RFC 6761, 6.3).
    #[error("{0} is this machine; allowed are public addresses and the networks in --egress-allow")]
    Localhost(String),
    /// The host is a literal address that is forbidden.
    #[error(transparent)]
    Address(#[from] Forbidden),
}

impl EgressPolicy {
    /// Also allows these networks.
    #[must_use]
    pub fn allowing(mut self, networks: Vec<IpNet>) -> Self {
        self.allow.extend(networks);
        self
    }

    /// Also allows loopback addresses, as in standalone mode.
    #[must_use]
    pub fn allowing_loopback(mut self) -> Self {
        self.allow_loopback = true;
        self
    }

    /// Returns the policy for Services of the cluster, which the cluster's own DNS resolves. Their addresses are
    /// usually private or carrier-grade NAT addresses, and these are allowed. Host-local addresses (loopback,
    /// link-local, unspecified), multicast and cloud metadata are always forbidden, whatever this policy allows,
    /// because anyone who may create a Service chooses the address that its name resolves to.
    #[must_use]
    pub fn for_services(&self) -> Self {
        Self { services: true, ..self.clone() }
    }

    /// Checks an address. An IPv6 address that embeds an IPv4 address (mapped, NAT64, 6to4) is treated as that address.
    /// Cloud metadata addresses are allowed only by a network that holds nothing else, so that allowing
    /// `169.254.0.0/16` or everything does not expose the machine's credentials.
    ///
    /// # Errors
    ///
    /// [`Forbidden`] with the class of the address.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Forbidden> {
        let meant = meant(address);
        let Some(class) = class(meant) else { return Ok(()) };
        if self.services {
            if IN_CLUSTERS.contains(&class) {
                return Ok(());
            }
            if NEVER_A_SERVICE.contains(&class) {
                return Err(Forbidden { address, class, allowed: FOR_SERVICES });
            }
        }
        let listed = self.allow.iter().any(|network| {
            let holds = network.contains(&address) || network.contains(&meant);
            holds && (class != METADATA || is_metadata(network))
        });
        if listed || (self.allow_loopback && class == LOOPBACK) {
            return Ok(());
        }
        let allowed = match class {
            _ if self.services => FOR_SERVICES,
            METADATA => FOR_METADATA,
            _ => FOR_URLS,
        };
        Err(Forbidden { address, class, allowed })
    }

    /// Checks a URL as far as possible without resolving its name: `http` or `https`, no credentials, no port of
    /// another protocol, and no forbidden address as host. The addresses that a name resolves to must be checked when
    /// connecting.
    ///
    /// # Errors
    ///
    /// [`ForbiddenUrl`] says what is wrong with the URL.
    pub fn check_url(&self, url: &Url) -> Result<(), ForbiddenUrl> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ForbiddenUrl::Scheme(url.scheme().into()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ForbiddenUrl::Credentials);
        }
        let this_machine = match url.host() {
            None => return Err(ForbiddenUrl::NoHost),
            Some(Host::Ipv4(address)) => self.check_literal(address.into())?,
            Some(Host::Ipv6(address)) => self.check_literal(address.into())?,
            Some(Host::Domain(name)) => {
                let bare = name.strip_suffix('.').unwrap_or(name);
                if bare.is_empty() {
                    return Err(ForbiddenUrl::NoHost);
                }
                let local = bare == "localhost" || bare.ends_with(".localhost");
                if local && self.check_address(Ipv4Addr::LOCALHOST.into()).is_err() {
                    return Err(ForbiddenUrl::Localhost(name.into()));
                }
                local
            }
        };
        // The protocol of a Service is up to its owner, as is that of this machine if it is allowed at all.
        let trusted = self.services || this_machine;
        match url.port() {
            Some(port) if port == 0 || (!trusted && OTHER_PROTOCOLS.binary_search(&port).is_ok()) => {
                Err(ForbiddenUrl::Port(port))
            }
            _ => Ok(()),
        }
    }

    /// Checks an address, and returns whether it is this machine.
    fn check_literal(&self, address: IpAddr) -> Result<bool, Forbidden> {
        self.check_address(address)?;
        Ok(class(meant(address)) == Some(LOOPBACK))
    }
}

const LOOPBACK: &str = "loopback";
const PRIVATE: &str = "private";
const LINK_LOCAL: &str = "link-local";
const METADATA: &str = "cloud metadata";
const SHARED: &str = "carrier-grade NAT";
const MULTICAST: &str = "multicast";
const UNSPECIFIED: &str = "unspecified";
const RESERVED: &str = "reserved";
const DOCUMENTATION: &str = "documentation";

/// Address classes that clusters assign to Services and pods.
const IN_CLUSTERS: &[&str] = &[PRIVATE, SHARED];

/// Address classes that never belong to a Service, although its name may resolve to them.
const NEVER_A_SERVICE: &[&str] = &[LOOPBACK, LINK_LOCAL, METADATA, MULTICAST, UNSPECIFIED];

/// Networks that are not globally reachable according to the IANA special-purpose registry (RFC 6890 and its updates),
/// and addresses at which clouds serve instance credentials. The first entry that contains an address determines its
/// class.
const DENIED_V4: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::new(169, 254, 169, 254), 32, METADATA),
    // AWS: credentials of an ECS task and of an EKS pod.
    (Ipv4Addr::new(169, 254, 170, 2), 32, METADATA),
    (Ipv4Addr::new(169, 254, 170, 23), 32, METADATA),
    // Azure's wire server, whose address looks public.
    (Ipv4Addr::new(168, 63, 129, 16), 32, METADATA),
    (Ipv4Addr::new(100, 100, 100, 200), 32, METADATA),
    (Ipv4Addr::new(192, 0, 0, 192), 32, METADATA),
    (Ipv4Addr::new(0, 0, 0, 0), 8, UNSPECIFIED),
    (Ipv4Addr::new(10, 0, 0, 0), 8, PRIVATE),
    (Ipv4Addr::new(100, 64, 0, 0), 10, SHARED),
    (Ipv4Addr::new(127, 0, 0, 0), 8, LOOPBACK),
    (Ipv4Addr::new(169, 254, 0, 0), 16, LINK_LOCAL),
    (Ipv4Addr::new(172, 16, 0, 0), 12, PRIVATE),
    (Ipv4Addr::new(192, 0, 0, 0), 24, RESERVED),
    (Ipv4Addr::new(192, 0, 2, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(192, 88, 99, 0), 24, RESERVED),
    (Ipv4Addr::new(192, 168, 0, 0), 16, PRIVATE),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(203, 0, 113, 0), 24, DOCUMENTATION),
    (Ipv4Addr::new(224, 0, 0, 0), 4, MULTICAST),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, RESERVED),
];

/// The same for IPv6, where only 2000::/3 is global unicast (RFC 4291, 2.4). The last rows are the rest of the space.
const DENIED_V6: &[(Ipv6Addr, u32, &str)] = &[
    // AWS: instance metadata at ::254, pod credentials at ::23.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, METADATA),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, METADATA),
    (Ipv6Addr::UNSPECIFIED, 128, UNSPECIFIED),
    (Ipv6Addr::LOCALHOST, 128, LOOPBACK),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, PRIVATE),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, LINK_LOCAL),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, PRIVATE),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, MULTICAST),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "local NAT64"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "discard-only"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, RESERVED),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, DOCUMENTATION),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, DOCUMENTATION),
    (Ipv6Addr::UNSPECIFIED, 3, RESERVED),
    (Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 0), 2, RESERVED),
    (Ipv6Addr::new(0x8000, 0, 0, 0, 0, 0, 0, 0), 1, RESERVED),
];

/// Ports of protocols other than HTTP, in ascending order: the bad ports of the Fetch Standard
/// (<https://fetch.spec.whatwg.org/#port-blocking>), which browsers block as well. Some of those servers interpret the
/// lines of a request that they understand as commands, so that a body could send mail.
const OTHER_PROTOCOLS: &[u16] = &[
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531,
    532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060,
    5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// Returns whether an address is public.
pub fn is_public(address: IpAddr) -> bool {
    class(meant(address)).is_none()
}

/// Returns the effective address: the IPv4 address that an IPv6 address embeds, or the address itself.
fn meant(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => embedded(six).map_or(address, IpAddr::V4),
    }
}

/// Returns the class of a special address; `None` when it is public.
fn class(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => denied_v4(address).map(|(.., class)| class),
        IpAddr::V6(address) => denied_v6(address).map(|(.., class)| class),
    }
}

fn denied_v4(address: Ipv4Addr) -> Option<(Ipv4Addr, u32, &'static str)> {
    let common = |network: Ipv4Addr| (address.to_bits() ^ network.to_bits()).leading_zeros();
    DENIED_V4.iter().find(|(network, length, _)| common(*network) >= *length).copied()
}

fn denied_v6(address: Ipv6Addr) -> Option<(Ipv6Addr, u32, &'static str)> {
    let common = |network: Ipv6Addr| (address.to_bits() ^ network.to_bits()).leading_zeros();
    DENIED_V6.iter().find(|(network, length, _)| common(*network) >= *length).copied()
}

/// Returns whether a network holds only cloud metadata addresses, including the IPv6 forms that embed IPv4.
fn is_metadata(network: &IpNet) -> bool {
    let length = u32::from(network.prefix_len());
    let row = |address: IpAddr| match address {
        IpAddr::V4(address) => denied_v4(address).map(|(_, length, class)| (length, class)),
        IpAddr::V6(address) => denied_v6(address).map(|(_, length, class)| (length, class)),
    };
    match (row(network.network()), meant(network.network()) == network.network()) {
        (Some((row, METADATA)), true) => length >= row,
        // An IPv6 form that embeds one IPv4 address is identified by all of its bits.
        (_, false) => length == 128 && class(meant(network.network())) == Some(METADATA),
        _ => false,
    }
}

/// Returns the IPv4 address that an IPv6 address embeds: mapped `::ffff:0:0/96` and the deprecated compatible `::/96`
/// (RFC 4291, 2.5.5), NAT64 `64:ff9b::/96` (RFC 6052, 2.1), 6to4 `2002::/16` (RFC 3056, 2).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if address.is_loopback() || address.is_unspecified() {
        return None;
    }
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
