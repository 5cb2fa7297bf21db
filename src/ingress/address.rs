//! The client address of a request.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: the peer's, or, if the peer is a trusted proxy, the last address in `X-Forwarded-For` that is
/// not a trusted proxy. Each proxy appends the address of its caller, so only what trusted proxies wrote counts, read
/// from the right. Reading stops at an entry that is not an address, since nothing left of it can be relied on.
///
/// IPv4 addresses mapped into IPv6 become IPv4.
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    // Several lines are one list (RFC 9110 section 5.3); a header map can be read backwards only line by line.
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        let Ok(line) = line.to_str() else { return client };
        for entry in line.rsplit(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let Some(address) = parse(entry) else { return client };
            client = address.to_canonical();
            if !is_trusted(client, trusted) {
                return client;
            }
        }
    }
    client
}

/// Whether an address is in one of the networks.
pub fn is_in(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    is_in(address, trusted)
}

/// An address in the forms that proxies write: alone, in brackets, or with a port.
fn parse(entry: &str) -> Option<IpAddr> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = entry.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(peer: &str, lines: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_cannot_say_who_he_is() {
        assert_eq!(of("203.0.113.9", &["192.0.2.1"], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(of("203.0.113.9", &["192.0.2.1"], &[]), "203.0.113.9");
    }

    #[test]
    fn the_last_address_that_is_no_proxy_counts() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        assert_eq!(of("10.0.0.1", &["192.0.2.1"], &trusted), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["127.0.0.1, 192.0.2.1, 10.1.1.1"], &trusted), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["127.0.0.1, 192.0.2.1", "192.0.2.7", "10.1.1.1"], &trusted), "192.0.2.7");
        assert_eq!(of("2001:db8::1", &["2001:db9::5"], &trusted), "2001:db9::5");
    }

    #[test]
    fn proxies_alone_give_the_first_of_them() {
        assert_eq!(of("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &["10.0.0.0/8"]), "10.0.0.3");
        assert_eq!(of("10.0.0.1", &[], &["10.0.0.0/8"]), "10.0.0.1");
    }

    #[test]
    fn mapped_addresses_ports_and_brackets_are_understood() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(of("::ffff:10.0.0.1", &["::ffff:192.0.2.1"], &trusted), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["192.0.2.1:4711"], &trusted), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["[2001:db9::5]:443"], &trusted), "2001:db9::5");
        assert_eq!(of("10.0.0.1", &["[2001:db9::5]"], &trusted), "2001:db9::5");
    }

    #[test]
    fn what_is_no_address_ends_the_reading() {
        assert_eq!(of("10.0.0.1", &["192.0.2.1, unknown, 10.0.0.2"], &["10.0.0.0/8"]), "10.0.0.2");
    }

    proptest! {
        #[test]
        fn never_fails_and_never_believes_a_stranger(line in "[ -~]{0,64}") {
            prop_assert_eq!(of("203.0.113.9", &[&line], &["10.0.0.0/8"]), "203.0.113.9");
            of("10.0.0.1", &[&line], &["10.0.0.0/8"]);
        }
    }
}
