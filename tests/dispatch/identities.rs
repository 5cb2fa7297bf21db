//! Whom to trust over TLS, what to show and what to ask for.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use grapnel::{
    catalog::{Snapshot, TlsIdentity},
    dispatch::{
        Client, ClientOptions, SendError,
        client::{Outgoing, ReceiverResponse},
    },
};
use grapnel_delivery::egress::{EgressPolicy, Reach};
use grapnel_test_support::{
    certificates::{Authority, PROTOCOLS, Pair},
    receiver::{Receiver, Setup},
};
use http::{HeaderMap, StatusCode, Version};
use url::Url;

use crate::stage::{Stage, subscription};

pub(crate) fn client() -> Client {
    Client::new(ClientOptions::new(EgressPolicy::default().allowing_loopback())).unwrap()
}

pub(crate) fn outgoing(url: Url, tls: Option<TlsIdentity>) -> Outgoing {
    Outgoing {
        url,
        secret_url: false,
        reach: Reach::Url,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        oauth: None,
        tls: tls.map(Arc::new),
        timeout: Duration::from_secs(30),
    }
}

/// The URL to which the receiver gets deliveries if its host is this one.
pub(crate) fn hook(receiver: &Receiver, host: &str) -> Url {
    Url::parse(&receiver.url_of(host, "/hook")).unwrap()
}

/// Trusts this authority only.
pub(crate) fn trusting(authority: &Authority) -> TlsIdentity {
    TlsIdentity::default().trusting(authority.pem.as_bytes()).unwrap()
}

fn secure(pair: &Pair) -> Setup {
    Receiver::setup().tls(pair.acceptor(PROTOCOLS))
}

async fn post(client: &Client, url: Url, tls: TlsIdentity) -> Result<ReceiverResponse, SendError> {
    client.post(outgoing(url, Some(tls))).await
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named_and_nowhere_else() {
    let (authority, other) = (Authority::new(), Authority::new());
    let receiver = secure(&authority.issue("localhost")).start().await;
    let (client, url) = (client(), hook(&receiver, "localhost"));
    let answer = post(&client, url.clone(), trusting(&authority)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let received = receiver.next().await;
    assert_eq!(
        (received.version, received.tls.server_name.as_deref(), received.tls.certificates),
        (Version::HTTP_2, Some("localhost"), 0)
    );
    // Also after a connection has been made that may be used again.
    for identity in [None, Some(trusting(&other)), Some(TlsIdentity::default().calling("localhost").unwrap())] {
        let refused = client.post(outgoing(url.clone(), identity)).await.unwrap_err();
        assert_eq!(refused.reason(), "tls", "{refused}");
    }
    assert!(receiver.rest().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_certificate_is_shown_to_who_asks_for_one() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let receiver = Receiver::setup().tls(servers.issue("localhost").acceptor_for(&clients)).start().await;
    let (client, url) = (client(), hook(&receiver, "localhost"));
    let showing = |authority: &Authority| {
        let pair = authority.issue("grapnel");
        trusting(&servers).showing(pair.chain.as_bytes(), pair.key.as_bytes()).unwrap()
    };
    let answer = post(&client, url.clone(), showing(&clients)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(receiver.next().await.tls.certificates, 1);
    // Without one, or with one of another authority, the connection ends.
    for identity in [trusting(&servers), showing(&servers)] {
        let refused = post(&client, url.clone(), identity).await.unwrap_err();
        assert!(["tls", "io"].contains(&refused.reason()), "{}: {refused}", refused.reason());
    }
    assert!(receiver.rest().is_empty());
}

#[tokio::test]
async fn the_server_name_is_sent_and_verified_and_the_host_stays() {
    let authority = Authority::new();
    let receiver = secure(&authority.issue("inside.example")).start().await;
    let client = client();
    let named = trusting(&authority).calling("inside.example").unwrap();
    for host in ["127.0.0.1", "localhost"] {
        post(&client, hook(&receiver, host), named.clone()).await.unwrap();
        let received = receiver.next().await;
        assert_eq!(received.tls.server_name.as_deref(), Some("inside.example"));
        assert_eq!(received.uri.host(), Some(host), "the receiver is spoken to as it was named");
    }
    for identity in [trusting(&authority), trusting(&authority).calling("other.example").unwrap()] {
        let refused = post(&client, hook(&receiver, "localhost"), identity).await.unwrap_err();
        assert_eq!(refused.reason(), "tls", "{refused}");
    }
    // The address is judged as ever, whatever name is asked for.
    let guarded = Client::new(ClientOptions::new(EgressPolicy::default())).unwrap();
    let refused = post(&guarded, hook(&receiver, "127.0.0.1"), named).await.unwrap_err();
    assert_eq!(refused.reason(), "forbidden", "{refused}");
    assert!(receiver.rest().is_empty());
}

#[tokio::test]
async fn connections_are_shared_by_equal_identities_and_end_when_no_subscription_has_them() {
    let authority = Authority::new();
    let mut receiver = secure(&authority.issue("localhost")).start().await;
    let (client, url) = (client(), hook(&receiver, "localhost"));
    for _ in 0..5 {
        post(&client, url.clone(), trusting(&authority)).await.unwrap();
    }
    assert_eq!(receiver.connections(), 1);
    let stage = Stage::new().await;
    let mut billing = subscription("billing", &url, &stage.metrics);
    billing.target.tls = Some(Arc::new(trusting(&authority)));
    client.retain(&Snapshot::new([], [Arc::new(billing)]));
    post(&client, url.clone(), trusting(&authority)).await.unwrap();
    assert_eq!(receiver.connections(), 1);
    client.retain(&Snapshot::default());
    receiver.open.wait_for(|open| *open == 0).await.unwrap();
    post(&client, url, trusting(&authority)).await.unwrap();
    assert_eq!(receiver.connections(), 2);
    stage.stop().await;
}

/// The host too: whoever reads the status must not learn where events go.
#[tokio::test]
async fn what_goes_wrong_with_a_secret_url_tells_nothing_of_it() {
    let authority = Authority::new();
    let receiver = secure(&authority.issue("inside.example"))
        .respond(|request| http::Response::builder().status(404).body(format!("Cannot POST {}", request.uri)).unwrap());
    let receiver = receiver.await;
    let port = receiver.address.port();
    let guarded = Client::new(ClientOptions::new(EgressPolicy::default())).unwrap();
    let named = trusting(&authority).calling("inside.example").unwrap();
    let mut reasons = Vec::new();
    for (client, url, tls) in [
        (client(), format!("https://hush.localhost:{port}/hush"), trusting(&authority)),
        (client(), format!("https://localhost:{port}/hush?hush"), trusting(&authority)),
        (client(), "https://hush.invalid/hush".to_owned(), trusting(&authority)),
        (client(), "http://127.0.0.1:1/hush".to_owned(), trusting(&authority)),
        (guarded.clone(), "http://10.7.3.1/hush".to_owned(), trusting(&authority)),
        (guarded, "http://hush.localhost/hush".to_owned(), trusting(&authority)),
        (client(), format!("https://127.0.0.1:{port}/hush"), named),
    ] {
        let request = Outgoing { secret_url: true, ..outgoing(Url::parse(&url).unwrap(), Some(tls)) };
        let shown = format!("{request:?}");
        let message = match client.post(request).await {
            Ok(answer) => format!("{} {answer:?}", answer.status),
            Err(error) => format!("{} {error} {error:?}", error.reason()),
        };
        for text in [&shown, &message] {
            for secret in ["hush", "localhost", "10.7.3.1", "127.0.0.1", &port.to_string()] {
                assert!(!text.contains(secret), "{url}: {text}");
            }
        }
        reasons.push(message.split(' ').next().unwrap().to_owned());
    }
    // `hush.localhost` resolves where the system's resolver knows RFC 6761.
    assert!(["dns", "tls"].contains(&reasons[0].as_str()), "{reasons:?}");
    assert_eq!(reasons[1..], ["tls", "dns", "connect", "forbidden", "forbidden", "404"]);
}
