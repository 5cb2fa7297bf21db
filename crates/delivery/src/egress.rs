//! Which addresses may be called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

/// Which addresses deliveries may go to: the public ones, and those that are explicitly allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    allow: Vec<IpNet>,
    allow_loopback: bool,
    /// Judges the addresses of Services rather than those of URLs.
    services: bool,
}

/// How a target is named, and with it where it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// By a URL.
    #[default]
    Url,
    /// As a Service of the cluster: see [`EgressPolicy::for_services`].
    Service,
}

/// An address that may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is a {class} address; {allowed}")]
pub struct Forbidden {
    /// The address.
    pub address: IpAddr,
    /// What it is: `loopback`, `private`, `link-local`, …
    pub class: &'static str,
    /// Which addresses may be called, in words.
    allowed: &'static str,
}

const FOR_URLS: &str = "allowed are public addresses and the networks in --egress-allow";
const FOR_SERVICES: &str = "a Service has public, private or carrier-grade NAT addresses";

const FOR_METADATA: &str = "it serves credentials, so --egress-allow must name a network that contains nothing else";

/// A URL that may not be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForbiddenUrl {
    /// Neither http nor https.
    #[error("the scheme `{0}` is not http or https")]
    Scheme(String),
    /// User or password.
    #[error("the URL contains a user name or password; keep credentials in a Secret")]
    Credentials,
    /// No host.
    #[error("the URL has no host")]
    NoHost,
    /// A port of another protocol: see `OTHER_PROTOCOLS`.
    #[error("port {0} is not a port for HTTP")]
    Port(u16),
    /// `localhost` or a name below it (RFC 6761, 6.3).
    #[error("{0} is this machine; allowed are public addresses and the networks in --egress-allow")]
    Localhost(String),
    /// A literal address that may not be called.
    #[error(transparent)]
    Address(#[from] Forbidden),
}

impl EgressPolicy {
    /// Allows these networks too.
    #[must_use]
    pub fn allowing(mut self, networks: Vec<IpNet>) -> Self {
        self.allow.extend(networks);
        self
    }

    /// Allows this machine too, as the standalone mode does.
    #[must_use]
    pub fn allowing_loopback(mut self) -> Self {
        self.allow_loopback = true;
        self
    }

    /// The policy for Services of the cluster, which are named by its own DNS. Their addresses are private or carrier-grade
    /// NAT ones as a rule, and may be. What is this machine's own business (loopback, link-local, unspecified), multicast
    /// and cloud metadata may not, whatever this policy allows: whoever may create a Service chooses where its name leads.
    #[must_use]
    pub fn for_services(&self) -> Self {
        Self { services: true, ..self.clone() }
    }

    /// Whether an address may be called. An IPv6 address that stands for an IPv4 one (mapped, NAT64, 6to4) is judged
    /// as that. Addresses of cloud metadata take more than to be in an allowed network: the network must hold nothing
    /// else, so that whoever opens `169.254.0.0/16` or everything does not hand out the machine's credentials with it.
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

    /// Whether a URL may be called as far as can be said without resolving its name: `http` or `https`, no credentials
    /// in it, no port of another protocol, and no forbidden address as its host. What a name resolves to must be checked
    /// when connecting.
    ///
    /// # Errors
    ///
    /// [`ForbiddenUrl`] says what is wrong with it.
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
        // A Service speaks what its owner says it speaks, and so does this machine where it may be called at all.
        let trusted = self.services || this_machine;
        match url.port() {
            Some(port) if port == 0 || (!trusted && OTHER_PROTOCOLS.binary_search(&port).is_ok()) => {
                Err(ForbiddenUrl::Port(port))
            }
            _ => Ok(()),
        }
    }

    /// Checks an address; tells whether it is this machine.
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

/// Classes of addresses that clusters give to Services and pods.
const IN_CLUSTERS: &[&str] = &[PRIVATE, SHARED];

/// Classes of addresses at which no Service is, although its name may say so.
const NEVER_A_SERVICE: &[&str] = &[LOOPBACK, LINK_LOCAL, METADATA, MULTICAST, UNSPECIFIED];

/// Networks that are not globally reachable by the IANA special-purpose registry (RFC 6890 and its updates), and
/// addresses that clouds serve instance credentials at. The first that contains an address names its class.
const DENIED_V4: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::new(169, 254, 169, 254), 32, METADATA),
    // AWS: credentials of an ECS task and of an EKS pod.
    (Ipv4Addr::new(169, 254, 170, 2), 32, METADATA),
    (Ipv4Addr::new(169, 254, 170, 23), 32, METADATA),
    // Azure's wire server is the one that looks public.
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

/// The same for IPv6, where only 2000::/3 is global unicast (RFC 4291, 2.4): the last rows are the rest of the space.
const DENIED_V6: &[(Ipv6Addr, u32, &str)] = &[
    // Of AWS: the instance's metadata at ::254, a pod's credentials at ::23.
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

/// Ports, in order, at which other protocols are spoken than HTTP: the bad ports of the Fetch Standard
/// (<https://fetch.spec.whatwg.org/#port-blocking>), which browsers do not post to either. Some of those servers take the
/// lines of a request that they understand for commands, so that a body could send mail.
const OTHER_PROTOCOLS: &[u16] = &[
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531,
    532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060,
    5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// Whether an address is a public one, which anybody may call.
pub fn is_public(address: IpAddr) -> bool {
    class(meant(address)).is_none()
}

/// The address that is reached by an address: itself, or the IPv4 one that it stands for.
fn meant(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => embedded(six).map_or(address, IpAddr::V4),
    }
}

/// What is special about an address; `None` when it is public.
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

/// Whether a network holds addresses of cloud metadata and nothing else, also in the forms of IPv6 that stand for IPv4.
fn is_metadata(network: &IpNet) -> bool {
    let length = u32::from(network.prefix_len());
    let row = |address: IpAddr| match address {
        IpAddr::V4(address) => denied_v4(address).map(|(_, length, class)| (length, class)),
        IpAddr::V6(address) => denied_v6(address).map(|(_, length, class)| (length, class)),
    };
    match (row(network.network()), meant(network.network()) == network.network()) {
        (Some((row, METADATA)), true) => length >= row,
        // What stands for one address of IPv4 is known by all of its bits.
        (_, false) => length == 128 && class(meant(network.network())) == Some(METADATA),
        _ => false,
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped `::ffff:0:0/96` and the deprecated compatible `::/96`
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
