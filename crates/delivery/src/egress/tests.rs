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
        (METADATA, &["169.254.170.2", "169.254.170.23", "fd00:ec2::23", "::ffff:169.254.170.23"]),
        (SHARED, &["100.64.0.0", "100.127.255.255"]),
        (MULTICAST, &["224.0.0.1", "239.255.255.255", "ff02::1", "::ffff:224.0.0.1"]),
        (UNSPECIFIED, &["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"]),
        (RESERVED, &["240.0.0.1", "192.0.0.1", "192.88.99.1", "1::", "4000::", "5f00::1", "8000::", "2001:100::"]),
        (DOCUMENTATION, &["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"]),
        ("benchmarking", &["198.18.0.1", "198.19.255.255"]),
        ("broadcast", &["255.255.255.255"]),
        ("Teredo", &["2001::1"]),
        ("discard-only", &["100::1"]),
        ("local NAT64", &["64:ff9b:1::10.0.0.1", "64:ff9b:1:fffe::1.1.1.1", "64:ff9b:1:a:0:5:600::"]),
        // RFC 8215: the space between the two NAT64 prefixes is unassigned.
        (RESERVED, &["64:ff9b:2::1.1.1.1", "64:ff9b::1:0:0:1", "::ffff:0:127.0.0.1"]),
        (LOOPBACK, &["::127.0.0.1", "::7f00:1"]),
        (PRIVATE, &["::10.0.0.1", "2002:c0a8:101::1", "2002:ac10:1::"]),
        ("Teredo", &["2001:0:4136:e378:8000:63bf:3fff:fdd2"]),
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
fn metadata_is_opened_by_its_own_name_only() {
    let policy = |networks: &[&str]| {
        EgressPolicy::default().allowing(networks.iter().map(|network| network.parse().unwrap()).collect())
    };
    let everything =
        policy(&["0.0.0.0/0", "::/0", "169.254.0.0/16", "169.254.169.254/31", "100.64.0.0/10", "fd00::/8", "::/96"]);
    let addresses = ["169.254.169.254", "169.254.170.23", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254"];
    let forms = ["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::169.254.169.254"];
    for address in addresses.iter().chain(&forms) {
        let refused = everything.check_address(address.parse().unwrap()).unwrap_err();
        assert_eq!(refused.class, METADATA, "{address}");
        assert!(refused.to_string().contains("contains nothing else"), "{refused}");
    }
    assert_eq!(everything.check_address("169.254.1.1".parse().unwrap()), Ok(()));
    for (network, address) in [
        ("169.254.169.254/32", "169.254.169.254"),
        ("169.254.169.254/32", "::ffff:169.254.169.254"),
        ("::ffff:169.254.169.254/128", "::ffff:169.254.169.254"),
        ("fd00:ec2::/32", "fd00:ec2::23"),
        ("fd00:ec2::254/128", "fd00:ec2::254"),
    ] {
        assert_eq!(policy(&[network]).check_address(address.parse().unwrap()), Ok(()), "{network} {address}");
    }
    assert!(policy(&["fd00:ec2::254/128"]).check_address("fd00:ec2::23".parse().unwrap()).is_err());
}

#[test]
fn ports_of_other_protocols_are_refused() {
    assert!(OTHER_PROTOCOLS.is_sorted());
    let policy = EgressPolicy::default().allowing_loopback();
    for port in [0, 22, 25, 53, 110, 143, 465, 587, 993, 6000, 6667, 10080] {
        for host in ["receiver.example", "1.1.1.1", "[2606:4700::1]"] {
            let refused = url(&policy, &format!("https://{host}:{port}/")).unwrap_err();
            assert_eq!(refused, ForbiddenUrl::Port(port), "{host}");
        }
    }
    for port in [80, 443, 3000, 5000, 8000, 8080, 8443, 9000, 9443, 65535] {
        assert_eq!(url(&policy, &format!("https://receiver.example:{port}/")), Ok(()), "{port}");
    }
    assert_eq!(url(&policy, "http://127.0.0.1:6000/"), Ok(()));
    assert_eq!(url(&policy, "http://localhost:0/"), Err(ForbiddenUrl::Port(0)));
    let services = policy.for_services();
    assert_eq!(url(&services, "http://billing.shop.svc.cluster.local:6000/"), Ok(()));
    assert_eq!(url(&services, "http://billing.shop.svc.cluster.local:0/"), Err(ForbiddenUrl::Port(0)));
}

#[test]
fn services_may_be_where_clusters_are_and_nowhere_else() {
    let open: Vec<IpNet> = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let strict = EgressPolicy::default().for_services();
    let loose = EgressPolicy::default().allowing_loopback().allowing(open).for_services();
    for policy in [&strict, &loose] {
        let check = |address: &str| policy.check_address(address.parse().unwrap());
        for address in ["10.96.0.1", "172.16.3.4", "192.168.0.1", "100.64.0.1", "fd00::1", "1.1.1.1", "2606:4700::1"] {
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
    // Addresses in neither list are classified as before.
    assert!(strict.check_address("198.18.0.1".parse().unwrap()).is_err());
    assert_eq!(loose.check_address("198.18.0.1".parse().unwrap()), Ok(()));
}

fn url(policy: &EgressPolicy, url: &str) -> Result<(), ForbiddenUrl> {
    policy.check_url(&Url::parse(url).unwrap())
}

#[test]
fn urls() {
    let policy = EgressPolicy::default();
    for good in ["https://example.com/hook", "http://example.com:8080", "https://1.1.1.1/", "https://[2606:4700::1]/"] {
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
        "http://127.0.0.1./",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://0x7F.0.0x0.1/",
        "http://127.0.1/",
        "http://%31%32%37.0.0.1/",
        "http://127。0。0。1/",
        "http://①②⑦.0.0.1/",
        "http://[0:0:0:0:0:ffff:127.0.0.1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http:\\\\127.0.0.1\\",
        "http:/127.0.0.1/",
        "\thttp://127.0.0.1/\n",
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
