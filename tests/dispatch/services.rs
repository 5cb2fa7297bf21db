//! Targets that are Services of the cluster: where their names may lead.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use grapnel::dispatch::{
    Client, ClientOptions, Names, SendError,
    client::{Outgoing, ReceiverResponse},
};
use grapnel_delivery::egress::{EgressPolicy, Reach};
use http::{HeaderMap, StatusCode};
use url::Url;

/// The cluster's DNS.
struct Dns(HashMap<&'static str, Vec<IpAddr>>);

impl Names for Dns {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = self.0.get(name).cloned().ok_or_else(|| io::Error::other("no such name"));
        Box::pin(async move { found })
    }
}

const NAME: &str = "billing.shop.svc.cluster.local";

/// A client for which the Service has these addresses.
fn client(egress: EgressPolicy, addresses: &[IpAddr]) -> Client {
    let names = Arc::new(Dns(HashMap::from([(NAME, addresses.to_vec())])));
    Client::new(ClientOptions { names, ..ClientOptions::new(egress) }).unwrap()
}

async fn post(client: &Client, reach: Reach, host: &str, port: u16) -> Result<ReceiverResponse, SendError> {
    let url = Url::parse(&format!("http://{host}:{port}/hook")).unwrap();
    // Where nobody is, an answer is not waited for.
    let timeout = if port == NOBODY { Duration::from_millis(50) } else { Duration::from_secs(30) };
    client
        .post(Outgoing {
            url,
            secret_url: false,
            oauth: None,
            tls: None,
            reach,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
            timeout,
        })
        .await
}

/// Nobody listens there: a port that IANA has given to a protocol that is long gone.
const NOBODY: u16 = 2;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Addresses of this machine that its neighbours know, as pods have them.
fn own_addresses() -> Vec<IpAddr> {
    let routes: [(IpAddr, IpAddr); 2] =
        [(Ipv4Addr::UNSPECIFIED.into(), address("10.96.0.1")), (Ipv6Addr::UNSPECIFIED.into(), address("fd00::ffff:1"))];
    let own = routes.into_iter().filter_map(|(from, to)| {
        // Connecting a datagram socket only looks up the route.
        let socket = UdpSocket::bind(SocketAddr::new(from, 0)).ok()?;
        socket.connect(SocketAddr::new(to, NOBODY)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    own.filter(|address| !address.is_loopback()).collect()
}

#[tokio::test]
async fn services_are_called_at_the_addresses_that_clusters_give() {
    for own in own_addresses() {
        let listener = tokio::net::TcpListener::bind(SocketAddr::new(own, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move { axum::serve(listener, Router::new()).await });
        // Some machines have addresses that are neither public nor such as clusters give.
        let odd = EgressPolicy::default().for_services().check_address(own).is_err();
        let egress = EgressPolicy::default().allowing(if odd { vec![own.into()] } else { Vec::new() });
        let client = client(egress, &[own]);
        let answer = post(&client, Reach::Service, NAME, port).await.unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "the router knows no path; what counts is that it was asked");
        server.abort();
    }
}

#[tokio::test]
async fn the_same_name_in_a_url_is_guarded_as_ever() {
    for inside in ["10.96.0.7", "172.20.1.1", "192.168.3.4", "100.64.7.7", "fd00::7"] {
        let client = client(EgressPolicy::default(), &[address(inside)]);
        let refused = post(&client, Reach::Url, NAME, NOBODY).await.unwrap_err();
        assert_eq!(refused.reason(), "forbidden", "{inside}: {refused}");
        assert!(refused.to_string().contains("--egress-allow"), "{refused}");
        // A connection that is there, or was tried, changes nothing for the other.
        let tried = post(&client, Reach::Service, NAME, NOBODY).await;
        assert!(!matches!(tried, Err(SendError::Forbidden(_))), "{inside}: {tried:?}");
        assert_eq!(post(&client, Reach::Url, NAME, NOBODY).await.unwrap_err().reason(), "forbidden");
    }
}

#[tokio::test]
async fn no_service_is_on_this_machine_or_where_clouds_keep_credentials() {
    // Even where all of these are allowed to URLs.
    let open = || {
        let everything = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        EgressPolicy::default().allowing(everything).allowing_loopback()
    };
    for (forbidden, class) in [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("169.254.7.7", "link-local"),
        ("fe80::1", "link-local"),
        ("169.254.169.254", "cloud metadata"),
        ("100.100.100.200", "cloud metadata"),
        ("fd00:ec2::254", "cloud metadata"),
        ("224.0.0.1", "multicast"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
    ] {
        for egress in [EgressPolicy::default(), open()] {
            let refused = post(&client(egress, &[address(forbidden)]), Reach::Service, NAME, NOBODY).await.unwrap_err();
            assert_eq!(refused.reason(), "forbidden", "{forbidden}: {refused}");
            assert!(refused.to_string().contains(class), "{forbidden}: {refused}");
            assert!(!refused.to_string().contains("--egress-allow"), "that would not help: {refused}");
        }
    }
}

#[tokio::test]
async fn an_address_in_place_of_a_name_is_judged_too() {
    let client = client(EgressPolicy::default(), &[]);
    for host in ["127.0.0.1", "[::1]", "169.254.169.254", "localhost", "x.localhost"] {
        let refused = post(&client, Reach::Service, host, NOBODY).await.unwrap_err();
        assert_eq!(refused.reason(), "forbidden", "{host}: {refused}");
    }
}

#[tokio::test]
async fn a_service_that_does_not_exist_says_so() {
    let client = client(EgressPolicy::default(), &[]);
    let lost = post(&client, Reach::Service, "nobody.shop.svc.cluster.local", NOBODY).await.unwrap_err();
    assert_eq!(lost.reason(), "dns", "{lost}");
}
