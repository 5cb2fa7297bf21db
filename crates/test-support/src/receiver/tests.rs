use std::{future::pending, sync::Once, time::Duration};

use axum::http::Version;
use reqwest::{Certificate, Client, Error};

use super::*;
use crate::certificates::{Authority, PROTOCOLS, Pair};

fn client() -> reqwest::ClientBuilder {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().no_proxy()
}

async fn post(receiver: &Receiver, path: &str) -> Result<u16, Error> {
    let request = client().build().unwrap().post(format!("{}{path}", receiver.url)).body("{}");
    request.timeout(Duration::from_secs(30)).send().await.map(|response| response.status().as_u16())
}

#[tokio::test]
async fn requests_are_answered_as_set_and_kept_in_order() {
    let receiver = Receiver::start().await;
    assert_eq!(post(&receiver, "/first?a=1").await.unwrap(), 200);
    receiver.answer(503);
    assert_eq!(post(&receiver, "/second").await.unwrap(), 503);
    let first = receiver.next().await;
    assert_eq!((&*first.path, &*first.target, first.status()), ("/first", "/first?a=1", Some(200)));
    assert_eq!(&first.body[..], b"{}");
    let rest = receiver.rest();
    assert_eq!(
        rest.iter().map(|request| (&*request.path, request.status())).collect::<Vec<_>>(),
        [("/second", Some(503))]
    );
}

#[tokio::test]
async fn a_script_answers_by_number_and_request_and_may_close_the_connection() {
    let receiver = Receiver::statuses(&[500, 201]).await;
    for expected in [500, 201, 201] {
        assert_eq!(post(&receiver, "/").await.unwrap(), expected);
    }
    let receiver = Receiver::setup().script(async |_, request: Received| match &*request.path {
        "/close" => Reply::Close,
        _ => 204.into(),
    });
    let receiver = receiver.await;
    assert!(post(&receiver, "/close").await.is_err());
    assert_eq!(post(&receiver, "/").await.unwrap(), 204);
    assert_eq!(receiver.rest().iter().map(|request| request.status()).collect::<Vec<_>>(), [None, Some(204)]);
}

#[tokio::test]
async fn a_request_that_is_never_answered_is_seen() {
    let receiver = Receiver::scripted(async |_| pending::<Reply>().await).await;
    let (seen, answered) = (receiver.next(), post(&receiver, "/"));
    tokio::select! {
        seen = seen => assert_eq!(seen.status(), None),
        answered = answered => panic!("{answered:?}"),
    }
}

#[tokio::test]
async fn tls_offers_the_protocols_and_shows_what_the_client_said() {
    let pair = Pair::self_signed("localhost");
    for (protocols, version) in [(PROTOCOLS, Version::HTTP_2), (&[b"http/1.1"], Version::HTTP_11)] {
        let receiver = Receiver::setup().tls(pair.acceptor(protocols)).start().await;
        let trusted = Certificate::from_pem(pair.chain.as_bytes()).unwrap();
        let client = client().tls_certs_only([trusted]).build().unwrap();
        assert_eq!(client.post(receiver.url_of("localhost", "/hook")).send().await.unwrap().status(), 200);
        let request = receiver.next().await;
        assert_eq!((request.version, request.tls.server_name.as_deref()), (version, Some("localhost")));
        assert_eq!((request.tls.certificates, receiver.connections()), (0, 1));
    }
}

#[tokio::test]
async fn clients_without_a_certificate_are_refused_where_one_is_asked_for() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let receiver = Receiver::setup().tls(servers.issue("localhost").acceptor_for(&clients)).start().await;
    let mine = clients.issue("client");
    let trusted = Certificate::from_pem(servers.pem.as_bytes()).unwrap();
    let client = || client().tls_certs_only([trusted.clone()]);
    let url = receiver.url_of("localhost", "/");
    assert!(client().build().unwrap().get(&url).send().await.is_err());
    let identity = reqwest::Identity::from_pem(format!("{}{}", mine.chain, mine.key).as_bytes()).unwrap();
    client().identity(identity).build().unwrap().get(&url).send().await.unwrap();
    assert_eq!(receiver.next().await.tls.certificates, 1);
}
