//! `--egress-proxy`: what goes through it, what it is asked for, and what passes it by.

use std::sync::{Arc, Mutex};

use grapnel_test_support::certificates::{PROTOCOLS, Pair};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::{
    home::Home,
    program::Grapnel,
    rebinding::{manifests, send, until},
    world::{Dns, Everywhere, PUBLIC, PUBLIC_V6, assert_inside, inside, ok},
};

/// A proxy that opens tunnels, and remembers what it was asked for.
struct Proxy {
    requested: Arc<Mutex<Vec<Vec<String>>>>,
}

/// A port that the proxy opens no tunnel to.
const CLOSED: &str = ":8081";

impl Proxy {
    async fn start(address: &str) -> Self {
        let requested = Arc::<Mutex<Vec<Vec<String>>>>::default();
        let listener = TcpListener::bind(address).await.unwrap();
        let requests = Arc::clone(&requested);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let requests = Arc::clone(&requests);
                tokio::spawn(async move { serve(connection, &requests).await });
            }
        });
        Self { requested }
    }

    /// Targets of all requests, sorted.
    fn targets(&self) -> Vec<String> {
        let requested = self.requested.lock().unwrap();
        let mut targets: Vec<String> =
            requested.iter().map(|lines| lines[0].split(' ').nth(1).unwrap().to_owned()).collect();
        targets.sort();
        targets
    }
}

async fn serve(connection: TcpStream, requests: &Mutex<Vec<Vec<String>>>) {
    let mut connection = BufReader::new(connection);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await.unwrap_or_default() == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    requests.lock().unwrap().push(lines.clone());
    let target = lines[0].strip_prefix("CONNECT ").and_then(|rest| rest.strip_suffix(" HTTP/1.1")).unwrap_or_default();
    if !target.ends_with(CLOSED)
        && let Ok(mut upstream) = TcpStream::connect(target).await
    {
        connection.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await.unwrap();
        let _ = copy_bidirectional(&mut connection, &mut upstream).await;
    } else {
        let _ = connection.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    }
}

#[test]
fn a_proxy_gets_checked_addresses_and_no_names() {
    inside("proxy::checked_addresses");
}

#[tokio::test]
#[ignore = "runs in the network that the test before it makes"]
async fn checked_addresses() {
    assert_inside();
    let dns = Dns::start().await;
    for name in ["receiver.example", "secure.example", "misnamed.example"] {
        dns.set(name, &[&[PUBLIC]]);
    }
    dns.set("six.example", &[&[PUBLIC_V6]]);
    dns.set("inside.example", &[&["10.0.0.7"]]);
    dns.set("flip.example", &[&[PUBLIC], &["169.254.169.254"]]);
    dns.set("opened.example", &[&["172.16.0.7"]]);
    // The proxy is where proxies are, and that is nobody's business but the operator's.
    dns.set("proxy.example", &[&["192.168.0.7"]]);
    let proxy = Proxy::start("192.168.0.7:3128").await;
    let trap = Everywhere::start(3129, ok).await;
    let receiver = Everywhere::start(8080, ok).await;
    let pair = Pair::self_signed("secure.example");
    let (pem, tls) = (&pair.chain, pair.acceptor(PROTOCOLS));
    let secure = Everywhere::start_secure(8443, tls).await;

    let home = Home::new();
    let literal = format!("http://{PUBLIC}:8080/literal");
    let targets = [
        ("plain", "http://receiver.example:8080/plain"),
        ("literal", &literal),
        ("six", "http://six.example:8080/six"),
        ("secure", "https://secure.example:8443/secure"),
        ("misnamed", "https://misnamed.example:8443/misnamed"),
        ("closed", "http://receiver.example:8081/closed"),
        ("inside", "http://inside.example:8080/inside"),
        ("flip", "http://flip.example:8080/flip"),
        ("opened", "http://opened.example:8080/opened"),
        ("here", "http://127.0.0.1:8080/here"),
    ];
    home.write("all.yaml", &manifests(&targets));
    let roots = home.data().with_file_name("roots.pem");
    std::fs::write(&roots, pem).unwrap();
    let (manifests, data) = (home.manifests(), home.data());
    let environment = [
        ("GRAPNEL_EGRESS_PROXY", "http://grapnel:open%20sesame@proxy.example:3128"),
        ("SSL_CERT_FILE", roots.to_str().unwrap()),
        ("HTTPS_PROXY", "http://10.0.0.7:3129"),
        ("HTTP_PROXY", "http://10.0.0.7:3129"),
        ("ALL_PROXY", "http://10.0.0.7:3129"),
        ("RUST_LOG", "trace"),
    ];
    let arguments = ["standalone", "--egress-allow", "172.16.0.0/16", "-f", manifests.to_str().unwrap(), "--data-dir"];
    let grapnel = Grapnel::start_in(&environment, arguments.into_iter().chain([data.to_str().unwrap()]));
    send(&grapnel, "e").await;

    for name in ["plain", "literal", "six", "secure", "opened", "here"] {
        until(&grapnel, name, "its delivery", |status| status["delivered"] == 1).await;
    }
    for (name, reason, says) in [
        ("misnamed", "tls", "certificate"),
        ("closed", "connect", "the egress proxy rejected the tunnel to the target with 403"),
        ("inside", "forbidden", "10.0.0.7 is a private address"),
    ] {
        let status = until(&grapnel, name, "a failure", |status| status["lastFailure"].is_object()).await;
        let failure = &status["lastFailure"];
        assert_eq!(failure["reason"], reason, "{name}: {failure}");
        assert!(failure["message"].as_str().unwrap().contains(says), "{name}: {failure}");
    }
    // The one name that flips: delivered at its first answer, refused at its second.
    let flipped = until(&grapnel, "flip", "its delivery", |status| status["delivered"] == 1).await;
    send(&grapnel, "again").await;
    until(&grapnel, "flip", "another end", |status| {
        status["lastFailure"]["reason"] == "forbidden" || status["delivered"].as_u64() > flipped["delivered"].as_u64()
    })
    .await;

    let targets = proxy.targets();
    let known = ["93.184.216.34:8080", "93.184.216.34:8081", "93.184.216.34:8443", "[2606:2800:220:1::34]:8080"];
    assert!(targets.iter().all(|target| known.contains(&target.as_str())), "{targets:?}");
    assert!(known.iter().all(|known| targets.iter().any(|target| target == known)), "{targets:?}");
    for lines in &*proxy.requested.lock().unwrap() {
        // RFC 7617, 2: the password of its first example, for another user.
        let expected = "Proxy-Authorization: Basic Z3JhcG5lbDpvcGVuIHNlc2FtZQ==";
        assert!(lines.iter().any(|line| line == expected), "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains("example")), "no name is left to the proxy: {lines:?}");
    }
    let requests = receiver.requests();
    let one = |path: &str| requests.iter().find(|request| request.path == path).unwrap();
    assert_eq!(one("/plain").host, "receiver.example:8080", "the receiver is told its own name");
    assert_eq!((one("/opened").to.to_string(), one("/here").to.to_string()), ("172.16.0.7".into(), "127.0.0.1".into()));
    assert!(
        receiver.connections().iter().all(|to| !["10.0.0.7", "169.254.169.254"].contains(&to.to_string().as_str()))
    );
    let secured = secure.requests();
    assert_eq!(secured.iter().map(|request| request.path.as_str()).collect::<Vec<_>>()[..1], ["/secure"]);
    assert!(secured.iter().all(|request| request.path == "/secure"), "{secured:?}");
    assert_eq!(secured[0].version, axum::http::Version::HTTP_2, "HTTP/2 is negotiated through the tunnel");
    assert!(trap.connections().is_empty(), "the environment's proxies are not used");
    let log = grapnel.log();
    for secret in ["sesame", "Z3JhcG5lbDpvcGVuIHNlc2FtZQ"] {
        assert!(!log.contains(secret), "{secret} is logged");
    }
}
