//! A small internet: a network of the test's own in which public, private and metadata addresses are all at hand, with a
//! DNS server that the test commands. The addresses are real, to the kernel and to the program; only nobody else is there.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
};

use axum::http::{self, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UdpSocket},
};
use tokio_rustls::TlsAcceptor;

use crate::program::namespace;
pub(crate) use crate::program::namespace::assert_inside;

/// Where public receivers are.
pub(crate) const PUBLIC: &str = "93.184.216.34";
/// The same in IPv6.
pub(crate) const PUBLIC_V6: &str = "2606:2800:220:1::34";
/// Where nobody must be called.
pub(crate) const FORBIDDEN: &[&str] = &[
    "10.0.0.7",
    "172.16.0.7",
    "192.168.0.7",
    "100.64.0.7",
    "169.254.169.254",
    "169.254.0.7",
    "fd00::7",
    "fd00:ec2::254",
];

/// Runs the test `name` of this binary in a network of its own.
pub(crate) fn inside(name: &str) {
    let directory = grapnel_test_support::directory::temporary();
    let (resolv, nsswitch) = (directory.path().join("resolv.conf"), directory.path().join("nsswitch.conf"));
    std::fs::write(&resolv, "nameserver 127.0.0.1\noptions timeout:1 attempts:5\n").unwrap();
    std::fs::write(&nsswitch, "hosts: files dns\n").unwrap();
    let mut script = String::from("ip link set lo up\n");
    for address in [PUBLIC, PUBLIC_V6].iter().chain(FORBIDDEN) {
        let length = if address.contains(':') { 128 } else { 32 };
        script += &format!("ip address add {address}/{length} dev lo\n");
    }
    script += &format!("mount --bind '{}' /etc/resolv.conf\n", resolv.display());
    script +=
        &format!("if [ -e /etc/nsswitch.conf ]; then mount --bind '{}' /etc/nsswitch.conf; fi\n", nsswitch.display());
    namespace::inside(name, &["--net", "--mount"], &script, "`ip` (Debian: apt-get install iproute2)");
}

/// What a name resolves to: one list after another, and from the start again.
struct Zone {
    answers: Vec<Vec<IpAddr>>,
    queries: usize,
}

/// A DNS server on port 53 of this network. Nothing that it says may be kept (TTL 0).
#[derive(Clone, Default)]
pub(crate) struct Dns {
    zones: Arc<Mutex<HashMap<String, Zone>>>,
}

impl Dns {
    pub(crate) async fn start() -> Self {
        let dns = Self::default();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).await.unwrap();
        let server = dns.clone();
        tokio::spawn(async move {
            let mut query = [0; 512];
            loop {
                let (length, peer) = socket.recv_from(&mut query).await.unwrap();
                let answer = server.answer(&query[..length]);
                socket.send_to(&answer, peer).await.unwrap();
            }
        });
        dns
    }

    /// From now on a name has these addresses, first the first list, at the next question the second, and so on around.
    /// Questions for one family are counted; those for the other are answered with what the list has of it.
    pub(crate) fn set(&self, name: &str, answers: &[&[&str]]) {
        let parse = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        let zone = Zone { answers: answers.iter().map(parse).collect(), queries: 0 };
        self.zones.lock().unwrap().insert(name.into(), zone);
    }

    /// How often the addresses of a name were asked for.
    pub(crate) fn queries(&self, name: &str) -> usize {
        self.zones.lock().unwrap()[name].queries
    }

    /// The answer to a query (RFC 1035, 4.1).
    fn answer(&self, query: &[u8]) -> Vec<u8> {
        const A: u16 = 1;
        const AAAA: u16 = 28;
        let mut at = 12;
        let mut labels = Vec::new();
        while query[at] != 0 {
            let length = usize::from(query[at]);
            labels.push(std::str::from_utf8(&query[at + 1..at + 1 + length]).unwrap());
            at += 1 + length;
        }
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        let question = &query[12..at + 5];
        let mut zones = self.zones.lock().unwrap();
        let zone = zones.get_mut(&labels.join(".").to_lowercase());
        let found: Option<Vec<IpAddr>> = zone.map(|zone| {
            // A resolver asks for both families at a time. A comes first, and what it is told holds for AAAA too.
            if kind == A {
                zone.queries += 1;
            }
            zone.answers[zone.queries.saturating_sub(1) % zone.answers.len()].clone()
        });
        let records: Vec<Vec<u8>> = found.iter().flatten().filter_map(|address| record(*address, kind)).collect();
        fn record(address: IpAddr, kind: u16) -> Option<Vec<u8>> {
            match (address, kind) {
                (IpAddr::V4(address), A) => Some(address.octets().to_vec()),
                (IpAddr::V6(address), AAAA) => Some(address.octets().to_vec()),
                _ => None,
            }
        }
        let mut answer = query[..2].to_vec();
        let code = if found.is_some() { 0 } else { 3 };
        answer.extend([0x85, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
        answer.extend(question);
        for data in records {
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 0, 0, data.len() as u8]);
            answer.extend(data);
        }
        answer
    }
}

/// A server at every address of this network. It tells which of them were connected to, which is what no guard can hide.
#[derive(Clone)]
pub(crate) struct Everywhere {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    connections: Vec<IpAddr>,
    requests: Vec<Request>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The address that was called.
    pub(crate) to: IpAddr,
    pub(crate) path: String,
    /// `Host`, or what HTTP/2 has in its place.
    pub(crate) host: String,
    pub(crate) version: Version,
}

impl Everywhere {
    /// Answers as `answer` says to a path. Every answer closes its connection, so that the next needs another.
    pub(crate) async fn start(port: u16, answer: fn(&str) -> Response<String>) -> Self {
        Self::listen(port, None, answer).await
    }

    /// The same with TLS.
    pub(crate) async fn start_secure(port: u16, tls: TlsAcceptor) -> Self {
        Self::listen(port, Some(tls), ok).await
    }

    async fn listen(port: u16, tls: Option<TlsAcceptor>, answer: fn(&str) -> Response<String>) -> Self {
        let everywhere = Self { seen: Arc::default() };
        // One socket for both families, as is the default.
        let listener = TcpListener::bind(format!("[::]:{port}")).await.unwrap();
        let server = everywhere.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let to = connection.local_addr().unwrap().ip().to_canonical();
                server.seen.lock().unwrap().connections.push(to);
                let (server, tls) = (server.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => server.serve(to, connection, answer).await,
                        Some(tls) => {
                            if let Ok(connection) = tls.accept(connection).await {
                                server.serve(to, connection, answer).await;
                            }
                        }
                    }
                });
            }
        });
        everywhere
    }

    async fn serve(
        self,
        to: IpAddr,
        connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        answer: fn(&str) -> Response<String>,
    ) {
        let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (uri, version) = (request.uri(), request.version());
            let host = request.headers().get("host").and_then(|host| host.to_str().ok());
            let host = host.or(uri.authority().map(|authority| authority.as_str())).unwrap_or_default().to_owned();
            let path = uri.path().to_owned();
            let mut answer = answer(&path);
            if version < Version::HTTP_2 {
                answer.headers_mut().insert("connection", "close".parse().unwrap());
            }
            self.seen.lock().unwrap().requests.push(Request { to, path, host, version });
            async { Ok::<_, std::convert::Infallible>(answer) }
        });
        let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        let _ = http.serve_connection(TokioIo::new(connection), service).await;
    }

    pub(crate) fn connections(&self) -> Vec<IpAddr> {
        self.seen.lock().unwrap().connections.clone()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// Fails if anything else was connected to than the public addresses.
    pub(crate) fn assert_only_public(&self) {
        let public = [PUBLIC, PUBLIC_V6].map(|address| address.parse::<IpAddr>().unwrap());
        let connections = self.connections();
        assert!(connections.iter().all(|address| public.contains(address)), "{connections:?}");
    }
}

pub(crate) fn ok(_: &str) -> Response<String> {
    Response::new(String::new())
}

pub(crate) fn status(code: u16) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
