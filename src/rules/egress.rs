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

const FOR_URLS: &str = "deliveries go to public addresses and to those that --egress-allow names";
const FOR_SERVICES: &str = "a Service has public, private or carrier-grade NAT addresses";

/// A URL that may not be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForbiddenUrl {
    /// Neither http nor https.
    #[error("the scheme `{0}` is not http or https")]
    Scheme(String),
    /// User or password.
    #[error("the URL holds a user name or a password; put credentials into a header from a Secret")]
    Credentials,
    /// No host.
    #[error("the URL has no host")]
    NoHost,
    /// `localhost` or a name below it (RFC 6761, 6.3).
    #[error("{0} is this machine; deliveries go to public addresses and to those that --egress-allow names")]
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
    /// as that.
    ///
    /// # Errors
    ///
    /// [`Forbidden`] with the class of the address.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Forbidden> {
        let embedded = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => embedded(address).map(IpAddr::V4),
        };
        let meant = embedded.unwrap_or(address);
        let Some(class) = class(meant) else { return Ok(()) };
        if self.services {
            if IN_CLUSTERS.contains(&class) {
                return Ok(());
            }
            if NEVER_A_SERVICE.contains(&class) {
                return Err(Forbidden { address, class, allowed: FOR_SERVICES });
            }
        }
        let listed = self.allow.iter().any(|network| network.contains(&address) || network.contains(&meant));
        if listed || (self.allow_loopback && class == LOOPBACK) {
            return Ok(());
        }
        Err(Forbidden { address, class, allowed: if self.services { FOR_SERVICES } else { FOR_URLS } })
    }

    /// Whether a URL may be called as far as can be said without resolving its name: `http` or `https`, no credentials
    /// in it, and no forbidden address as its host. What a name resolves to must be checked when connecting.
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
        match url.host() {
            None => Err(ForbiddenUrl::NoHost),
            Some(Host::Ipv4(address)) => Ok(self.check_address(address.into())?),
            Some(Host::Ipv6(address)) => Ok(self.check_address(address.into())?),
            Some(Host::Domain(name)) => {
                let bare = name.strip_suffix('.').unwrap_or(name);
                let local = bare == "localhost" || bare.ends_with(".localhost");
                if bare.is_empty() {
                    Err(ForbiddenUrl::NoHost)
                } else if local && self.check_address(Ipv4Addr::LOCALHOST.into()).is_err() {
                    Err(ForbiddenUrl::Localhost(name.into()))
                } else {
                    Ok(())
                }
            }
        }
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
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, METADATA),
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

/// What is special about an address; `None` when it is public.
fn class(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            let differs = |network: Ipv4Addr| (address.to_bits() ^ network.to_bits()).leading_zeros();
            DENIED_V4.iter().find(|(network, length, _)| differs(*network) >= *length).map(|(.., class)| *class)
        }
        IpAddr::V6(address) => {
            let differs = |network: Ipv6Addr| (address.to_bits() ^ network.to_bits()).leading_zeros();
            DENIED_V6.iter().find(|(network, length, _)| differs(*network) >= *length).map(|(.., class)| *class)
        }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class_of(address: &str) -> Option<&'static str> {
        EgressPolicy::default().check_address(address.parse().unwrap()).err().map(|forbidden| forbidden.class)
    }

    #[test]
    fn each_class_of_address() {
        for (class, addresses) in [
            (LOOPBACK, &["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"][..]),
            (PRIVATE, &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.1"]),
            (PRIVATE, &["fc00::", "fdff:ffff::1", "fec0::1", "::ffff:10.1.2.3", "64:ff9b::c0a8:1", "2002:a00:1::"]),
            (LINK_LOCAL, &["169.254.0.1", "fe80::1", "febf::1", "::ffff:169.254.1.1"]),
            (METADATA, &["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"]),
            (METADATA, &["168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"]),
            (SHARED, &["100.64.0.0", "100.127.255.255"]),
            (MULTICAST, &["224.0.0.1", "239.255.255.255", "ff02::1", "::ffff:224.0.0.1"]),
            (UNSPECIFIED, &["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"]),
            (RESERVED, &["240.0.0.1", "192.0.0.1", "192.88.99.1", "1::", "4000::", "5f00::1", "8000::", "2001:100::"]),
            (DOCUMENTATION, &["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"]),
            ("benchmarking", &["198.18.0.1", "198.19.255.255"]),
            ("broadcast", &["255.255.255.255"]),
            ("Teredo", &["2001::1"]),
            ("discard-only", &["100::1"]),
            ("local NAT64", &["64:ff9b:1::10.0.0.1"]),
            (LOOPBACK, &["::127.0.0.1"]),
        ] {
            for address in addresses {
                assert_eq!(class_of(address), Some(class), "{address}");
            }
        }
    }

    #[test]
    fn public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "3ffe::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ] {
            assert_eq!(class_of(address), None, "{address}");
        }
    }

    #[test]
    fn what_is_allowed_passes_in_every_form() {
        let policy = EgressPolicy::default().allowing(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1"] {
            assert_eq!(policy.check_address(address.parse().unwrap()), Ok(()), "{address}");
        }
        for address in ["192.168.0.1", "127.0.0.1", "fc00::1", "::1"] {
            assert!(policy.check_address(address.parse().unwrap()).is_err(), "{address}");
        }
        let policy = EgressPolicy::default().allowing_loopback();
        for address in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(policy.check_address(address.parse().unwrap()), Ok(()), "{address}");
        }
        assert!(policy.check_address("10.0.0.1".parse().unwrap()).is_err());
    }

    #[test]
    fn services_may_be_where_clusters_are_and_nowhere_else() {
        let open: Vec<IpNet> = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        let strict = EgressPolicy::default().for_services();
        let loose = EgressPolicy::default().allowing_loopback().allowing(open).for_services();
        for policy in [&strict, &loose] {
            let check = |address: &str| policy.check_address(address.parse().unwrap());
            for address in
                ["10.96.0.1", "172.16.3.4", "192.168.0.1", "100.64.0.1", "fd00::1", "1.1.1.1", "2606:4700::1"]
            {
                assert_eq!(check(address), Ok(()), "{address}");
            }
            for address in [
                "127.0.0.1",
                "::1",
                "::ffff:127.0.0.1",
                "64:ff9b::127.0.0.1",
                "169.254.169.254",
                "169.254.1.1",
                "fe80::1",
                "100.100.100.200",
                "168.63.129.16",
                "192.0.0.192",
                "fd00:ec2::254",
                "224.0.0.1",
                "ff02::1",
                "0.0.0.0",
                "0.1.2.3",
                "::",
            ] {
                assert!(check(address).is_err(), "{address}");
            }
        }
        // What is in neither list is judged as ever.
        assert!(strict.check_address("198.18.0.1".parse().unwrap()).is_err());
        assert_eq!(loose.check_address("198.18.0.1".parse().unwrap()), Ok(()));
    }

    fn url(policy: &EgressPolicy, url: &str) -> Result<(), ForbiddenUrl> {
        policy.check_url(&Url::parse(url).unwrap())
    }

    #[test]
    fn urls() {
        let policy = EgressPolicy::default();
        for good in
            ["https://example.com/hook", "http://example.com:8080", "https://1.1.1.1/", "https://[2606:4700::1]/"]
        {
            assert_eq!(url(&policy, good), Ok(()), "{good}");
        }
        for loopback in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]:80/",
            "http://[::ffff:7f00:1]/",
            "http://１２７.0.0.1/",
        ] {
            assert!(
                matches!(url(&policy, loopback), Err(ForbiddenUrl::Address(Forbidden { class: LOOPBACK, .. }))),
                "{loopback}"
            );
        }
        for local in ["http://localhost/", "http://LOCALHOST./", "http://a.localhost:8080/"] {
            assert!(matches!(url(&policy, local), Err(ForbiddenUrl::Localhost(_))), "{local}");
            assert_eq!(url(&policy.clone().allowing_loopback(), local), Ok(()), "{local}");
        }
        for scheme in ["ftp://example.com/", "file:///etc/passwd", "unix:/run/x", "data:,x"] {
            assert!(matches!(url(&policy, scheme), Err(ForbiddenUrl::Scheme(_))), "{scheme}");
        }
        for credentials in ["https://user@example.com/", "https://:secret@example.com/"] {
            let error = url(&policy, credentials).unwrap_err();
            assert_eq!(error, ForbiddenUrl::Credentials);
            assert!(!error.to_string().contains("secret"));
        }
        assert_eq!(url(&policy, "http://./"), Err(ForbiddenUrl::NoHost));
    }

    proptest! {
        #[test]
        fn an_embedded_address_is_judged_as_itself(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = v4.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let policy = EgressPolicy::default();
            let expected = policy.check_address(v4.into()).is_ok();
            for v6 in [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(policy.check_address(v6.into()).is_ok(), expected, "{}", v6);
            }
        }

        #[test]
        fn no_address_that_std_calls_special_passes(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
                || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified();
            if special {
                prop_assert!(EgressPolicy::default().check_address(v4.into()).is_err());
            }
        }

        #[test]
        fn outside_global_unicast_only_embedded_addresses_pass(bits in any::<u128>()) {
            let v6 = Ipv6Addr::from_bits(bits);
            if bits >> 125 != 1 && embedded(v6).is_none() {
                prop_assert!(EgressPolicy::default().check_address(v6.into()).is_err());
            }
        }
    }
}
