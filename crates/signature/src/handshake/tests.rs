use grapnel_payload::reading::Reading;

use super::*;
use crate::{Scheme, limits::CHALLENGE_BYTES, provider, testing::verified};

fn verifier(name: &str, secret: &str) -> Verifier {
    Verifier::new(provider(name).unwrap().scheme(), vec![secret.into()]).unwrap()
}

fn reply_to(handshake: Handshake, content_type: &str, body: &'static str) -> Option<HandshakeReply> {
    answered(handshake, content_type, body).unwrap()
}

fn answered(
    handshake: Handshake,
    content_type: &str,
    body: &'static str,
) -> Result<Option<HandshakeReply>, MalformedPayload> {
    let verified = verified(body);
    let payload = Payload::read(&Reading::default(), Some(content_type), verified.body());
    let verifier = verifier("Zoom", "123456");
    assert_eq!(Handshake::None.reply(&payload, &verified, &verifier), Ok(None));
    handshake.reply(&payload, &verified, &verifier)
}

#[test]
fn slack_gets_its_challenge_back() {
    // The body of https://docs.slack.dev/reference/events/url_verification.
    let body = r#"{"token":"Jhj5dZrVaK7ZwHHjRyZWjbDl","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let reply = reply_to(Handshake::SlackUrlVerification, "application/json", body).unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(reply.body, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P");
}

#[test]
fn everything_else_of_slack_is_an_event() {
    for body in [
        r#"{"type":"event_callback","challenge":"x"}"#,
        r#"{"event":{"type":"url_verification"},"challenge":"x"}"#,
        "[]",
    ] {
        assert_eq!(reply_to(Handshake::SlackUrlVerification, "application/json", body), None, "{body}");
    }
    let form = "type=url_verification&challenge=x";
    assert_eq!(reply_to(Handshake::SlackUrlVerification, "application/x-www-form-urlencoded", form), None);
    let plain = r#"{"type":"url_verification","challenge":"x"}"#;
    assert_eq!(reply_to(Handshake::SlackUrlVerification, "text/plain", plain), None);
}

#[test]
fn zoom_gets_its_token_signed() {
    let body = r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}"#;
    let reply = reply_to(Handshake::ZoomUrlValidation, "application/json", body).unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    // By `printf qgg8vlvZRS6UYooatFL8Aw | openssl dgst -sha256 -hmac 123456`.
    let expected = r#"{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"1e67187e50a5ca19fc8a70ada83b125475cd48311008c2c13c0b183b0245bf02"}"#;
    assert_eq!(reply.body, expected);
    let event = r#"{"event":"meeting.started","payload":{"plainToken":"x"}}"#;
    assert_eq!(reply_to(Handshake::ZoomUrlValidation, "application/json", event), None);
}

#[test]
fn a_question_without_its_field_is_neither_answered_nor_an_event() {
    for (handshake, body, place) in [
        (Handshake::SlackUrlVerification, r#"{"type":"url_verification"}"#, "/challenge"),
        (Handshake::SlackUrlVerification, r#"{"type":"url_verification","challenge":{}}"#, "/challenge"),
        (Handshake::SlackUrlVerification, r#"{"type":"url_verification","challenge":""}"#, "/challenge"),
        (Handshake::ZoomUrlValidation, r#"{"event":"endpoint.url_validation"}"#, "/payload/plainToken"),
        (Handshake::ZoomUrlValidation, r#"{"event":"endpoint.url_validation","payload":{}}"#, "/payload/plainToken"),
        (
            Handshake::ZoomUrlValidation,
            r#"{"event":"endpoint.url_validation","payload":{"plainToken":7.5}}"#,
            "/payload/plainToken",
        ),
    ] {
        let malformed = answered(handshake, "application/json", body).unwrap_err();
        assert!(malformed.sentence.contains(place), "{malformed}");
    }
}

#[test]
fn discord_has_two_pings() {
    let ping = |body| reply_to(Handshake::DiscordPing, "application/json", body);
    assert_eq!(ping(r#"{"type":1,"id":"7"}"#).unwrap().body, r#"{"type":1}"#);
    let reply = ping(r#"{"version":1,"application_id":"1","type":0}"#).unwrap();
    assert_eq!(reply, HandshakeReply::empty(StatusCode::NO_CONTENT, HeaderMap::new()));
    for event in
        [r#"{"type":2,"data":{}}"#, r#"{"version":1,"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}"#, "{}", "[1]"]
    {
        assert_eq!(ping(event), None, "{event}");
    }
}

#[test]
fn x_gets_its_challenge_signed() {
    let verifier = verifier("X", "consumer-secret");
    let crc = |query: &str| Handshake::XCrc.crc(Some(query), &verifier);
    let reply = crc("crc_token=9b4507b3-9040-4669-9ca3-6b94edb50553&nonce=z").unwrap();
    // By `printf 9b4507b3-… | openssl dgst -sha256 -hmac consumer-secret -binary | base64`.
    assert_eq!(reply.body, r#"{"response_token":"sha256=NhN+8FRk3FiSPXyqxXmpVRtiLiWoawvOgUBuXwGUTL4="}"#);
    assert_eq!(reply.headers[CONTENT_TYPE], "application/json");
    let long = format!("crc_token={}", "a".repeat(CHALLENGE_BYTES + 1));
    for wrong in ["", "crc_token=", "token=a", "crc_token=a&crc_token=b", "crc_token=%7B%7D", "crc_token=%22", &long] {
        assert_eq!(crc(wrong), None, "{wrong:.40}");
    }
    assert_eq!(Handshake::XCrc.crc(None, &verifier), None);
    assert_eq!(Handshake::None.crc(Some("crc_token=a"), &verifier), None);
    let open = Verifier::new(Scheme::None, vec![]).unwrap();
    assert_eq!(Handshake::XCrc.crc(Some("crc_token=a"), &open), None, "nothing to sign with");
}

#[test]
fn questions_without_a_signature_get_back_what_they_show() {
    let verifier = verifier("GitHub", "s");
    let headers = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-okta-verification-challenge"),
        HeaderValue::from_static("abc\"def"),
    )]);
    let none = HeaderMap::new();
    let token = Secret::from("meatyhamhock\n");
    let ask = |handshake: Handshake, method, query, headers| {
        let question = Question { method, query, headers, per_minute: None, verify_token: Some(&token) };
        handshake.answer(question, &verifier).map(|reply| String::from_utf8(reply.body.to_vec()).unwrap())
    };
    // The query of Meta's documentation.
    let query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock";
    let meta = |query| ask(Handshake::MetaChallenge, &Method::GET, Some(query), &none);
    assert_eq!(meta(query).as_deref(), Some("1158201444"));
    for wrong in [
        "",
        "hub.challenge=1&hub.verify_token=meatyhamhock",
        "hub.mode=subscribe&hub.verify_token=meatyhamhock",
        "hub.mode=subscribe&hub.verify_token=meatyhamhock&hub.challenge=",
        "hub.mode=subscribe&hub.verify_token=meatyhamhock&hub.challenge=%3Cscript%3E",
        "hub.mode=subscribe&hub.verify_token=meatyhamhock&hub.challenge=1&hub.challenge=2",
        "hub.mode=unsubscribe&hub.verify_token=meatyhamhock&hub.challenge=1",
        "hub.mode=subscribe&hub.verify_token=meatyhamhock&hub.challenge=111111111111111111111",
        "hub.mode=subscribe&hub.challenge=1",
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=",
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=meatyhamhoc",
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=x&hub.verify_token=meatyhamhock",
    ] {
        assert_eq!(meta(wrong), None, "{wrong}");
    }
    let okta = |headers| ask(Handshake::OktaChallenge, &Method::GET, None, headers);
    assert_eq!(okta(&headers).as_deref(), Some(r#"{"verification":"abc\"def"}"#));
    assert_eq!(okta(&none), None);
    assert_eq!(ask(Handshake::Head, &Method::HEAD, None, &none).as_deref(), Some(""));
    for handshake in [Handshake::Head, Handshake::None, Handshake::SlackUrlVerification] {
        assert_eq!(ask(handshake, &Method::GET, Some(query), &headers), None, "{handshake:?}");
    }
}

#[test]
fn what_a_challenge_could_be_signed_for_is_no_event() {
    for (body, expected) in [
        (r#" {"for_user_id":"1"}"#, true),
        ("123", false),
        ("null", false),
        ("[1]", false),
        ("abc", false),
        ("a=b", false),
    ] {
        let verified = verified(body);
        assert_eq!(Handshake::XCrc.is_event(&verified), expected, "{body}");
        assert!(Handshake::DiscordPing.is_event(&verified));
    }
}
