//! Messages that Python and OpenSSL signed after the documentation: see `tests/data`.

use http::HeaderValue;
use serde_json::Value;

use super::*;
use crate::{
    Handshake, Task, VerificationContext, Verifier,
    testing::{RSA, SNS},
};

const NOTIFICATION: &str = include_str!("../tests/data/sns-notification.json");
const SUBSCRIPTION: &str = include_str!("../tests/data/sns-subscription.json");
const UNSUBSCRIBE: &str = include_str!("../tests/data/sns-unsubscribe.json");
const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:MyTopic";
const TIME: &str = "2012-05-02T00:54:06.655Z";

fn scheme(topic: &str) -> SnsScheme {
    SnsScheme {
        topics: vec!["arn:aws:sns:us-west-2:123456789012:Other".into(), topic.into()],
        tolerance: Duration::from_secs(60),
    }
}

/// What becomes of a body, with the certificate that a fetch returns.
fn judged(scheme: &SnsScheme, certificate: &str, headers: &HeaderMap, body: &str, now: &str) -> Result<(), Refusal> {
    let verifier = Verifier::new(Scheme::Sns(scheme.clone()), vec![]).unwrap();
    let wanted = verifier.keys_for(headers, body.as_bytes())?;
    assert!(matches!(wanted.source, KeySource::Certificate(url) if url.starts_with("https://sns.us-west-2.")));
    let keys = VerificationContext::Keys(KeySet::certificate(certificate.as_bytes()).unwrap().into());
    verifier.verify_with(&keys, headers, Bytes::copy_from_slice(body.as_bytes()), now.parse().unwrap()).map(drop)
}

fn judge(body: &str) -> &'static str {
    judged(&scheme(TOPIC), SNS[0], &HeaderMap::new(), body, TIME).map_or_else(|refusal| refusal.code(), |()| "ok")
}

/// A message with another value of a field; none removes it.
fn with(body: &str, field: &str, value: Option<&str>) -> String {
    let mut message: Value = serde_json::from_str(body).unwrap();
    match value {
        Some(value) => message[field] = value.into(),
        None => drop(message.as_object_mut().unwrap().remove(field)),
    }
    message.to_string()
}

#[test]
fn every_message_is_verified_over_its_own_fields() {
    for (body, signed) in [
        (NOTIFICATION, &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"][..]),
        (SUBSCRIPTION, &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]),
        (UNSUBSCRIBE, &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]),
    ] {
        assert_eq!(judge(body), "ok");
        for field in signed {
            assert_ne!(judge(&with(body, field, Some("other"))), "ok", "{field}");
            assert_ne!(judge(&with(body, field, None)), "ok", "{field}");
        }
        for field in ["Signature", "SignatureVersion", "SigningCertURL"] {
            assert_eq!(judge(&with(body, field, Some(""))), "invalid_signature", "{field}");
            assert_eq!(judge(&with(body, field, None)), "missing_signature", "{field}");
        }
    }
    // A notification does not sign them, and does not have them.
    assert_eq!(judge(&with(NOTIFICATION, "Token", Some("t"))), "ok");
    let kind = with(NOTIFICATION, "Type", Some("SubscriptionConfirmation"));
    assert_eq!(judge(&kind), "invalid_signature");
    assert_eq!(judge(&with(NOTIFICATION, "SignatureVersion", Some("2"))), "invalid_signature");
    assert_eq!(judge(&with(SUBSCRIPTION, "SignatureVersion", Some("1"))), "invalid_signature");
}

#[test]
fn only_listed_topics_and_certificates_of_sns_count() {
    let refused = |scheme: &SnsScheme, certificate, headers: &HeaderMap| {
        judged(scheme, certificate, headers, NOTIFICATION, TIME).unwrap_err().to_string()
    };
    let none = HeaderMap::new();
    assert!(refused(&scheme("arn:aws:sns:us-west-2:123456789012:mytopic"), SNS[0], &none).contains("topics"));
    let unset = SnsScheme { topics: vec![], ..scheme(TOPIC) };
    assert!(refused(&unset, SNS[0], &none).contains("topics"));
    assert!(refused(&scheme(TOPIC), SNS[1], &none).contains("does not match"));
    // The same key, in a certificate for no name of SNS.
    assert!(refused(&scheme(TOPIC), RSA[0].2, &none).contains("name of SNS"));
    let raw = HeaderMap::from_iter([(RAW, HeaderValue::from_static("true"))]);
    assert!(refused(&scheme(TOPIC), SNS[0], &raw).contains("raw message delivery"));
}

#[test]
fn the_time_is_that_of_the_publication() {
    let at =
        |now| judged(&scheme(TOPIC), SNS[0], &HeaderMap::new(), NOTIFICATION, now).map_err(|refusal| refusal.code());
    assert_eq!(at("2012-05-02T00:55:06Z"), Ok(()));
    assert_eq!(at("2012-05-02T00:55:07Z"), Err("stale_timestamp"));
    assert_eq!(at("2012-05-02T00:53:06Z"), Err("stale_timestamp"));
}

#[test]
fn bodies_that_are_no_message_are_unsigned() {
    for body in ["", "{}", "[]", "null", "7", r#"{"Type":"Notification"}"#, "Message=a", "\u{feff}{}"] {
        assert_eq!(judge(body), "missing_signature", "{body}");
    }
    assert_eq!(judge(&with(NOTIFICATION, "Type", Some("Other"))), "missing_signature");
}

/// A message that is verified and read in another way would be a replay without its id.
#[test]
fn a_message_is_read_as_it_is_verified() {
    let message: Value = serde_json::from_str(NOTIFICATION).unwrap();
    let order = [
        "Type",
        "MessageId",
        "Token",
        "TopicArn",
        "Subject",
        "Message",
        "SubscribeURL",
        "Timestamp",
        "SignatureVersion",
        "Signature",
        "SigningCertURL",
    ];
    let array = Value::from(order.map(|field| message[field].clone()).to_vec());
    assert_eq!(judge(&array.to_string()), "missing_signature");
    for other in [r#""\ud800""#, "1e999", &format!("{}{}", "[".repeat(1000), "]".repeat(1000))] {
        let more = NOTIFICATION.replacen('{', &format!(r#"{{"Other":{other},"#), 1);
        assert_eq!(judge(&more), "invalid_signature", "{other}");
    }
    assert_eq!(judge(&NOTIFICATION.replacen('{', r#"{"Other":[1],"#, 1)), "ok");
}

#[test]
fn confirmations_are_no_events() {
    let task = |body: &str| {
        confirmation(&Bytes::copy_from_slice(body.as_bytes())).map(|reply| reply.and_then(|reply| reply.task))
    };
    assert_eq!(task(NOTIFICATION), Ok(None));
    assert_eq!(task(UNSUBSCRIBE), Ok(Some(Task::ReportEnd)), "its SubscribeURL would subscribe again");
    let Ok(Some(Task::Visit(url))) = task(SUBSCRIPTION) else { panic!("a URL to visit") };
    assert!(url.as_str().starts_with("https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&"), "{url}");
    let elsewhere = with(SUBSCRIPTION, "SubscribeURL", Some("https://evil.example/?Action=ConfirmSubscription"));
    assert!(task(&elsewhere).unwrap_err().sentence.contains("SubscribeURL"));
    assert_eq!(Handshake::SnsConfirmation.method(), None);
}

#[test]
fn what_is_signed_here_is_accepted() {
    let private = Secret::from(RSA[0].0);
    let sign = |body: &str| {
        let mut body = body.as_bytes().to_vec();
        let scheme =
            Scheme::Sns(scheme(TOPIC)).configured(&Parameters { topics: vec![TOPIC.into()], ..Parameters::default() });
        crate::sign_request(&scheme, &private, &mut HeaderMap::new(), &mut body, TIME.parse().unwrap()).map(|()| body)
    };
    for body in ["plain text", r#"{"a":1}"#, "", NOTIFICATION, SUBSCRIPTION, r#"{"Message":"m","MessageId":"7"}"#] {
        let signed = String::from_utf8(sign(body).unwrap()).unwrap();
        assert_eq!(judge(&signed), "ok", "{signed}");
    }
    let wrapped: Value = serde_json::from_slice(&sign(r#"{"a":1}"#).unwrap()).unwrap();
    assert_eq!(wrapped["Message"], r#"{"a":1}"#);
    let draft: Value = serde_json::from_slice(&sign(r#"{"Message":"m","MessageId":"7"}"#).unwrap()).unwrap();
    assert_eq!((draft["MessageId"].as_str(), draft["Type"].as_str()), (Some("7"), Some("Notification")));
}
