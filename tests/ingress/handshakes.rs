//! What senders ask before they send, each answered where it applies and nowhere else.

use std::time::Duration;

use grapnel::{catalog::Endpoint, ingress::IngressOptions};
use grapnel_delivery::rate_limit::{LimitScope, RateLimiter};
use grapnel_signature::{Handshake, PROVIDERS, provider};

use super::{
    client::{Answer, Post, Wire},
    fixture::{Served, endpoint, open_door},
    presets::{all, direct, preset, signed},
};

const JSON: &str = "application/json";

async fn ask(served: &Served, name: &str, body: &str) -> Answer {
    signed(name, direct(name), JSON, body).send(served.address).await
}

#[tokio::test]
async fn signed_questions_are_answered_and_not_stored() {
    let served = all(IngressOptions::default()).await;
    let slack = ask(&served, "Slack", r#"{"type":"url_verification","challenge":"3eZbrw1aBm2r"}"#).await;
    assert_eq!((slack.status, slack.text()), (200, "3eZbrw1aBm2r"));

    let zoom = ask(&served, "Zoom", r#"{"event":"endpoint.url_validation","payload":{"plainToken":"abc"}}"#).await;
    // By `printf abc | openssl dgst -sha256 -hmac "It's a Secret to Everybody"`.
    let tag = "33490a644c4cb6342e77e9c8437002e9e3753e44c909a54f136da003ee2bc5ed";
    assert_eq!(zoom.json(), serde_json::json!({ "plainToken": "abc", "encryptedToken": tag }));

    let interaction = ask(&served, "Discord", r#"{"type":1}"#).await;
    assert_eq!((interaction.status, interaction.text()), (200, r#"{"type":1}"#));
    let event = ask(&served, "Discord", r#"{"version":1,"application_id":"1","type":0}"#).await;
    assert_eq!((event.status, event.body.len()), (204, 0));
    assert!(!event.headers.contains_key("content-type"));

    for name in ["slack", "zoom", "discord"] {
        assert!(served.stored(name).await.is_empty(), "{name}");
        assert_eq!(served.facts(name).received, 0, "{name}");
    }
}

#[tokio::test]
async fn unsigned_questions_are_refused() {
    let served = all(IngressOptions::default()).await;
    for (name, body) in [
        ("Slack", r#"{"type":"url_verification","challenge":"x"}"#),
        ("Zoom", r#"{"event":"endpoint.url_validation","payload":{"plainToken":"abc"}}"#),
        ("Discord", r#"{"type":1}"#),
        ("Discord", r#"{"type":0}"#),
    ] {
        let mut post = signed(name, direct(name), JSON, "{}");
        post.body = body.into();
        let answer = post.send(served.address).await;
        answer.refused(401, "invalid_signature");
        assert!(!answer.text().contains("abc"));
    }
}

#[tokio::test]
async fn the_same_questions_of_others_are_events() {
    let served = all(IngressOptions::default()).await;
    for (name, body) in [
        ("GitHub", r#"{"type":"url_verification","challenge":"x"}"#),
        ("Slack", r#"{"event":"endpoint.url_validation","payload":{"plainToken":"abc"}}"#),
        ("Zoom", r#"{"type":1}"#),
        ("Discord", r#"{"id":"1"}"#),
    ] {
        ask(&served, name, body).await.accepted();
    }
}

#[tokio::test]
async fn questions_without_what_is_to_be_answered_are_malformed() {
    let served = all(IngressOptions::default()).await;
    for (name, body, place) in [
        ("Slack", r#"{"type":"url_verification"}"#, "/challenge"),
        ("Zoom", r#"{"event":"endpoint.url_validation","payload":{}}"#, "/payload/plainToken"),
    ] {
        let answer = ask(&served, name, body).await;
        answer.refused(400, "malformed_payload");
        assert!(answer.text().contains(place), "{}", answer.text());
        assert!(served.stored(&name.to_lowercase()).await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn the_challenge_of_x_is_signed_where_x_sends() {
    let served = all(IngressOptions::default()).await;
    let get = |name: &str, query: &str| Post::to(&format!("/shop/{}{query}", name.to_lowercase()), "").method("GET");
    let answer = get("X", "?crc_token=abc&nonce=1").send(served.address).await;
    // By `printf abc | openssl dgst -sha256 -hmac "It's a Secret to Everybody" -binary | base64`.
    assert_eq!(
        answer.json(),
        serde_json::json!({ "response_token": "sha256=M0kKZExMtjQud+nIQ3AC6eN1PkTJCaVPE22gA+4rxe0=" })
    );
    for query in ["", "?", "?crc_token=", "?crc=abc", "?crc_token=%7B%7D", "?crc_token=a&crc_token=b"] {
        get("X", query).send(served.address).await.refused(400, "malformed_payload");
    }
    let answer = Post::to("/shop/x", "").method("PUT").send(served.address).await;
    answer.refused(405, "method_not_allowed");
    assert_eq!(answer.headers["allow"], "GET, POST");
    for provider in PROVIDERS.iter().filter(|provider| provider.handshake.method().is_none()) {
        let answer = get(provider.name.as_str(), "?crc_token=abc").send(served.address).await;
        answer.refused(405, "method_not_allowed");
        assert_eq!(answer.headers["allow"], "POST", "{}", provider.name);
    }
    assert!(served.stored("x").await.is_empty());
}

#[tokio::test]
async fn unsigned_questions_of_others_are_answered_too() {
    let served = all(IngressOptions::default()).await;
    let get = |path: &str| Post::to(path, "").method("GET");
    let meta = get("/shop/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock")
        .send(served.address)
        .await;
    assert_eq!((meta.status, meta.text()), (200, "1158201444"));
    let other = "/shop/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=t";
    let refused = get(other).send(served.address).await;
    assert!(refused.text().contains("hub.verify_token is not the endpoint's token"), "{}", refused.text());
    refused.refused(400, "malformed_payload");
    get("/shop/meta?hub.challenge=%3Cb%3E").send(served.address).await.refused(400, "malformed_payload");
    let okta = get("/shop/okta").header("X-Okta-Verification-Challenge", "abc").send(served.address).await;
    assert_eq!(okta.json(), serde_json::json!({ "verification": "abc" }));
    get("/shop/okta").send(served.address).await.refused(400, "malformed_payload");
    for name in ["trello", "mailchimp"] {
        let answer = get(&format!("/shop/{name}")).send(served.address).await;
        answer.refused(405, "method_not_allowed");
        assert_eq!(answer.headers["allow"], "HEAD, POST");
    }
    for name in ["meta", "okta", "trello", "mailchimp"] {
        assert!(served.stored(name).await.is_empty(), "{name}");
    }
}

/// Whoever gets a challenge signed has the signature of a body, and that must not be taken for an event in any form.
#[tokio::test]
async fn a_signed_challenge_is_no_event() {
    let served = all(IngressOptions::default()).await;
    let no_object = "the body of this sender's events must be a JSON object";
    let forms = [
        JSON,
        "application/vnd.example+json",
        "application/cloudevents+json",
        "application/cloudevents+json; charset=utf-8",
        "application/cloudevents-batch+json",
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/octet-stream",
        "",
    ];
    // Each token is a text that some form takes for a whole payload: numbers, words of JSON, fields of a form.
    for (token, is_json) in
        [("123", true), ("-1", true), ("1e5", true), ("true", true), ("null", true), ("id=e1", false), ("abc", false)]
    {
        let answer = Post::to(&format!("/shop/x?crc_token={token}"), "").method("GET").send(served.address).await;
        let signature = answer.json()["response_token"].as_str().unwrap().to_owned();
        let signed = || Post::to("/shop/x", token).header("X-Twitter-Webhooks-Signature", signature.as_str());
        for form in forms {
            for attributes in [false, true] {
                let mut post = signed();
                if !form.is_empty() {
                    post = post.header("Content-Type", form);
                }
                if attributes {
                    for (name, value) in [("specversion", "1.0"), ("id", "e1"), ("source", "/s"), ("type", "t")] {
                        post = post.header(&format!("ce-{name}"), value);
                    }
                }
                let sentence = post.send(served.address).await.refused(400, "malformed_payload");
                // What cannot be read at all is refused before, and everything else for this reason and no other: no
                // later step may see it. Without a content type it is read as JSON.
                if is_json || !(form.is_empty() || form.contains("json")) {
                    assert!(sentence.contains(no_object), "{token} as {form:?}: {sentence}");
                }
            }
        }
        // The signature is of the token alone.
        let mut empty = signed();
        empty.body.clear();
        empty.send(served.address).await.refused(401, "invalid_signature");
    }
    assert!(served.stored("x").await.is_empty());
    assert_eq!(served.facts("x").received, 0);
    // Nothing that could be an event, or several, is signed at all.
    for token in ["%5B%7B%7D%5D", "%7B%22id%22%3A1%7D", "[1]"] {
        let path = format!("/shop/x?crc_token={token}");
        Post::to(&path, "").method("GET").send(served.address).await.refused(400, "malformed_payload");
    }
    // Events of X come in as ever.
    ask(&served, "X", r#"{"for_user_id":"1"}"#).await.accepted();
}

#[tokio::test]
async fn cloudevents_senders_ask_for_permission_where_no_preset_is() {
    let limited = RateLimiter::new(2, Duration::from_secs(1), None, LimitScope::Endpoint).unwrap();
    let generic = |name| Endpoint { verifier: open_door(), handshake: Handshake::CloudEvents, ..endpoint(name) };
    let served = Served::with([
        generic("open"),
        Endpoint { rate_limit: Some(limited.into()), ..generic("limited") },
        Endpoint { suspended: true, ..generic("suspended") },
        Endpoint { allowed_sources: ["192.0.2.0/24".parse().unwrap()].into(), ..generic("fenced") },
        preset(provider("GitHub").unwrap(), "github"),
        preset(provider("X").unwrap(), "x"),
    ])
    .await;
    let options = |name: &str| {
        Post::to(&format!("/shop/{name}"), "").method("OPTIONS").header("WebHook-Request-Origin", "emitter.example.com")
    };
    let answer = options("open").header("WebHook-Request-Rate", "120").send(served.address).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.headers["webhook-allowed-origin"], "emitter.example.com");
    assert_eq!(answer.headers["webhook-allowed-rate"], "*");
    assert_eq!(answer.headers["allow"], "POST");
    let answer = options("limited").header("WebHook-Request-Rate", "1200").send(served.address).await;
    assert_eq!(answer.headers["webhook-allowed-rate"], "120");

    for name in ["github", "x"] {
        options(name).send(served.address).await.refused(405, "method_not_allowed");
    }
    let bare = Post::to("/shop/open", "").method("OPTIONS");
    bare.send(served.address).await.refused(405, "method_not_allowed");
    Post::to("/shop/open", "").method("GET").send(served.address).await.refused(405, "method_not_allowed");
    options("suspended").send(served.address).await.refused(503, "suspended");
    options("fenced").send(served.address).await.refused(403, "source_not_allowed");
    // A question does not use up the connection.
    let mut wire = Wire::open(served.address).await;
    assert_eq!(wire.exchange(&options("open").bytes()).await.status, 200);
    assert_eq!(wire.exchange(&Post::to("/shop/open", "{}").bytes()).await.status, 200);
}
