//! Brokers and flags that do not fit: the replica accepts nothing, and says why without a secret.

use std::fs;

use grapnel_test_support::{
    nats::NatsSettings,
    program::{self, Grapnel},
};
use nkeys::KeyPair;

use crate::{
    site::{Site, ready},
    stage::Stage,
};

/// Waits until a replica says at `/readyz` that it is not ready, for a reason that contains `says`.
async fn not_ready(replica: &Grapnel, says: &str) {
    replica
        .eventually("a reason", async || {
            let (status, text) = replica.admin("/readyz").await;
            if status == 503 && text.contains(says) { Ok(()) } else { Err((status, text)) }
        })
        .await;
    assert_eq!(replica.admin("/healthz").await.0, 200, "it is not dead");
}

/// Brokers that do not let a replica in: it says so, shows no secret, and begins as soon as its credentials are right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_a_reason_and_no_secret() {
    let (allowed, other) = (KeyPair::new_user(), KeyPair::new_user());
    let settings = NatsSettings { sync_always: true, users: vec![allowed.public_key()], ..NatsSettings::default() };
    let directory = grapnel_test_support::directory::temporary();
    let credentials = directory.path().join("user.creds");
    fs::write(&credentials, other.seed().unwrap()).unwrap();
    let site = Site::single(settings).await.with(&["--nats-creds", credentials.to_str().unwrap()]);
    let stage = Stage::at(site).await;
    let a = stage.start("a", &stage.site.brokers.url(), &[]).await;
    not_ready(&a, "uthorization").await;
    stage.refused(&a, "early").await;
    assert!(!a.log().contains(&other.seed().unwrap()), "{}", a.log());
    fs::write(&credentials, allowed.seed().unwrap()).unwrap();
    ready(&a).await;
    stage.send(&a, "early").await;
    stage.taken("early").await;
    // One that tries twice a second, and says so each time, would hide everything else.
    assert!(a.log().matches("uthorization").count() < 20, "{}", a.log());
    assert!(!a.log().contains(&allowed.seed().unwrap()), "{}", a.log());
}

/// Brokers that acknowledge before they sync: nothing is accepted, unless somebody vouches for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsynced_brokers_are_not_trusted() {
    let stage = Stage::at(Site::single(NatsSettings::default()).await).await;
    let a = stage.start("a", &stage.site.brokers.url(), &[]).await;
    not_ready(&a, "sync_interval: always").await;
    stage.refused(&a, "early").await;
    assert!(a.log().contains("sync_interval: always"), "{}", a.log());
    // The objects say so as well, although none is served yet.
    a.eventually("the conditions of every endpoint", async || {
        let (_, objects) = a.admin("/api/v1/objects").await;
        let said = objects.matches(r#""reason":"JournalUnavailable""#).count();
        if said == 2 * crate::site::ENDPOINTS { Ok(()) } else { Err(objects) }
    })
    .await;
    drop(a);
    let stage = Stage::at(stage.site.with(&["--nats-trust-sync"])).await;
    let a = stage.replica("a").await;
    stage.send(&a, "trusted").await;
    stage.taken("trusted").await;
}

/// A password in the URL is neither taken nor shown.
#[test]
fn a_password_in_the_url_is_refused_and_not_shown() {
    for url in
        ["nats://user:hush@127.0.0.1:4222", "tls://hush@127.0.0.1", "nats://127.0.0.1,nats://user:hush@127.0.0.2"]
    {
        let output = program::run(&["standalone", "-f", "none.yaml", "--journal", url]);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(!output.status.success() && text.contains("--nats-creds") && !text.contains("hush"), "{text}");
    }
}

/// Two installations with names of their own on the same brokers share nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn installations_share_nothing() {
    let stage = Stage::at(Site::single(NatsSettings { sync_always: true, ..NatsSettings::default() }).await).await;
    let url = stage.site.brokers.url();
    let a = stage.start("a", &url, &["--nats-name", "one"]).await;
    let b = stage.start("b", &url, &["--nats-name", "two"]).await;
    ready(&a).await;
    ready(&b).await;
    // The same ids, which are no duplicates of one another.
    for (replica, name) in [(&a, "a"), (&b, "b")] {
        stage.send(replica, "shared-id").await;
        replica
            .eventually("its deliveries", async || {
                let arrived = stage.arrived();
                let own = arrived.iter().filter(|it| it.replica == name && it.id == "shared-id").count();
                if own == crate::site::ENDPOINTS { Ok(()) } else { Err(arrived) }
            })
            .await;
    }
    assert_eq!(stage.arrived().len(), 2 * crate::site::ENDPOINTS, "{:?}", stage.arrived());
}
