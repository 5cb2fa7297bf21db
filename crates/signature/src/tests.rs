//! Rules of all schemes: rotation, credentials, contradictions, signing.

use std::time::Duration;

use bytes::Bytes;
use grapnel_payload::headers::is_sensitive;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::*;
use crate::testing::{KeyPairs, RSA, STANDARD_SECRET, complete, keys};

mod either;
mod examples;
mod presets;
mod properties;
mod tokens;
mod vectors;

const SLACK_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const SLACK_TIME: &str = "1531420618";
const SLACK_BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
const SLACK_SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

const STANDARD_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const STANDARD_TIME: i64 = 1_614_265_330;
const STANDARD_BODY: &str = r#"{"test": 2432232314}"#;
const STANDARD_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn verifier(name: &str, secrets: &[&str]) -> Verifier {
    Verifier::new(provider(name).unwrap().scheme(), secrets.iter().map(|secret| Secret::from(*secret)).collect())
        .unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
        .collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// Returns `ok`, or the code of the rejection.
fn code(verifier: &Verifier, pairs: &[(&str, &str)], body: &str, now: Timestamp) -> &'static str {
    match verifier.verify(&headers(pairs), Bytes::copy_from_slice(body.as_bytes()), now) {
        Ok(verified) => {
            assert_eq!(verified.body(), body);
            "ok"
        }
        Err(refusal) => refusal.code(),
    }
}

#[test]
fn the_signer_makes_the_standard_webhooks_example() {
    let signer = Signer::new(DeliveryScheme::StandardWebhooks, vec![STANDARD_SECRET.into()]).unwrap();
    let made = signer.sign(STANDARD_ID, STANDARD_TIME, STANDARD_BODY.as_bytes());
    assert_eq!(made, [(HeaderName::from_static("webhook-signature"), HeaderValue::from_static(STANDARD_SIGNATURE))]);
}

/// `test_asymmetric_key_signing` of the Svix server (`server/svix-server/src/worker.rs`), the reference for `v1a`.
#[test]
fn the_signer_makes_the_asymmetric_example() {
    let key = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    let signer = Signer::new(DeliveryScheme::Ed25519, vec![key.into()]).unwrap();
    let made = signer.sign(STANDARD_ID, STANDARD_TIME, STANDARD_BODY.as_bytes());
    let expected = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    assert_eq!(made, [(HeaderName::from_static("webhook-signature"), HeaderValue::from_static(expected))]);
}

#[test]
fn several_secrets_all_sign() {
    let header = HeaderName::from_static("x-webhook-signature");
    let hex = DeliveryScheme::HmacSha256Hex { header: header.clone() };
    let sign = |scheme: &DeliveryScheme, secrets: &[&str], body: &str| {
        let secrets = secrets.iter().map(|secret| Secret::from(*secret)).collect();
        let made = Signer::new(scheme.clone(), secrets).unwrap().sign(STANDARD_ID, STANDARD_TIME, body.as_bytes());
        let [(name, value)] = made.as_slice() else { panic!("one header") };
        (name.clone(), value.to_str().unwrap().to_owned())
    };
    // GitHub's example without its prefix is exactly this scheme.
    let github = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let secret = "It's a Secret to Everybody";
    assert_eq!(sign(&hex, &[secret], "Hello, World!"), (header, github.into()));
    let (_, both) = sign(&hex, &[secret, "new"], "Hello, World!");
    assert_eq!(both.split_once(',').map(|(old, new)| (old, new.len())), Some((github, 64)));

    let (_, value) =
        sign(&DeliveryScheme::StandardWebhooks, &[STANDARD_SECRET, "whsec_AAAAAAAAAAAAAAAAAAAAAAAA"], STANDARD_BODY);
    let time = STANDARD_TIME.to_string();
    let pairs = [("webhook-id", STANDARD_ID), ("webhook-timestamp", &time), ("webhook-signature", &value)];
    for secret in [STANDARD_SECRET, "whsec_AAAAAAAAAAAAAAAAAAAAAAAA"] {
        let receiver = verifier("StandardWebhooks", &[secret]);
        assert_eq!(code(&receiver, &pairs, STANDARD_BODY, at(STANDARD_TIME)), "ok", "either may be known");
    }
}

#[test]
fn signers_refuse_keys_of_another_kind() {
    let error = Signer::new(DeliveryScheme::StandardWebhooks, vec!["whsk_AAAA".into()]).unwrap_err();
    assert!(matches!(error.problem, KeyProblem::WrongKind { .. }));
    let error = Signer::new(DeliveryScheme::Ed25519, vec![STANDARD_SECRET.into()]).unwrap_err();
    assert!(matches!(error.problem, KeyProblem::WrongKind { .. }));
    let header = HeaderName::from_static("x");
    let error = Signer::new(DeliveryScheme::HmacSha256Hex { header }, vec![]).unwrap_err();
    assert_eq!(error.problem, KeyProblem::NoSecrets);
}

#[test]
fn any_of_several_secrets_matches() {
    let rotating = verifier("Slack", &["new", SLACK_SECRET]);
    let pairs = [("X-Slack-Request-Timestamp", SLACK_TIME), ("X-Slack-Signature", SLACK_SIGNATURE)];
    assert_eq!(code(&rotating, &pairs, SLACK_BODY, at(1_531_420_618)), "ok");
    let other = verifier("Slack", &["new", "newer"]);
    assert_eq!(code(&other, &pairs, SLACK_BODY, at(1_531_420_618)), "invalid_signature");
}

#[test]
fn tokens() {
    let bearer = TokenScheme { header: http::header::AUTHORIZATION, scheme: Some("Bearer".into()) };
    let verifier = Verifier::new(Scheme::Token(bearer), vec!["s3cret\n".into(), "other".into()]).unwrap();
    let judge = |value: &str| code(&verifier, &[("Authorization", value)], "", at(0));
    for right in ["Bearer s3cret", "bearer s3cret", "BEARER   s3cret", "Bearer other"] {
        assert_eq!(judge(right), "ok", "{right}");
    }
    for wrong in ["s3cret", "Bearer", "Bearer ", "Bearers3cret", "Basic s3cret", "Bearer s3cre", "Bearer s3cret2", ""] {
        assert_eq!(judge(wrong), "invalid_signature", "{wrong}");
    }
    assert_eq!(code(&verifier, &[], "", at(0)), "missing_signature");
    let twice = [("Authorization", "Bearer s3cret"), ("Authorization", "Bearer s3cret")];
    assert_eq!(code(&verifier, &twice, "", at(0)), "invalid_signature");

    let plain = TokenScheme { header: HeaderName::from_static("x-gitlab-token"), scheme: None };
    let verifier = Verifier::new(Scheme::Token(plain), vec!["s3cret".into()]).unwrap();
    assert_eq!(code(&verifier, &[("X-Gitlab-Token", "s3cret")], "", at(0)), "ok");
    assert_eq!(code(&verifier, &[("X-Gitlab-Token", "S3cret")], "", at(0)), "invalid_signature");
}

#[test]
fn no_verification_lets_everything_in() {
    let open = Verifier::new(Scheme::None, vec![]).unwrap();
    assert_eq!(code(&open, &[], "anything", at(0)), "ok");
    assert_eq!(open.credential_headers().count(), 0);
}

#[test]
fn credentials_are_signature_and_token_headers_only() {
    let names = |verifier: &Verifier| verifier.credential_headers().map(HeaderName::to_string).collect::<Vec<_>>();
    assert_eq!(names(&verifier("StandardWebhooks", &[STANDARD_SECRET])), ["webhook-signature"]);
    assert_eq!(names(&verifier("Slack", &["x"])), ["x-slack-signature"]);
    let token = TokenScheme { header: http::header::AUTHORIZATION, scheme: None };
    assert_eq!(names(&Verifier::new(Scheme::Token(token), vec!["x".into()]).unwrap()), ["authorization"]);
}

#[test]
fn nothing_secret_is_printed() {
    let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let hmac = verifier("StandardWebhooks", &[secret]);
    let signer = Signer::new(DeliveryScheme::StandardWebhooks, vec![secret.into()]).unwrap();
    assert!(!format!("{hmac:?}{signer:?}").contains(secret));
    let pairs = [("webhook-id", "i"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AAAA")];
    let refusal = hmac.verify(&headers(&pairs), Bytes::from_static(b"payload"), at(0)).unwrap_err();
    assert!(!format!("{refusal} {refusal:?}").contains("AAAA"));
    assert!(refusal.to_string().contains("webhook-signature"), "{refusal}");
    let verified = Verifier::new(Scheme::None, vec![]).unwrap().verify(&HeaderMap::new(), "payload".into(), at(0));
    assert!(!format!("{verified:?}").contains("payload"));
}

#[test]
fn schemes_that_contradict_themselves_are_refused() {
    let hmac = |change: fn(&mut SignatureScheme)| {
        let Scheme::Signature(mut scheme) = provider("GitHub").unwrap().scheme() else {
            panic!("GitHub signs with an HMAC")
        };
        change(&mut scheme);
        Verifier::new(Scheme::Signature(scheme), vec!["x".into()]).map_err(|error| error.problem)
    };
    assert!(hmac(|_| {}).is_ok());
    for wrong in [
        hmac(|scheme| scheme.content = ContentTemplate::parse("{timestamp}{body}").unwrap()),
        hmac(|scheme| scheme.content = ContentTemplate::parse("{id}{body}").unwrap()),
        hmac(|scheme| scheme.timestamp = Some(TimestampSource::InSignature)),
        hmac(|scheme| scheme.tolerance = Some(Duration::from_secs(1))),
        hmac(|scheme| {
            scheme.content = ContentTemplate::parse("{timestamp}{body}").unwrap();
            scheme.timestamp = Some(TimestampSource::Milliseconds("/t"));
        }),
    ] {
        assert!(matches!(wrong, Err(KeyProblem::Scheme(_))), "{wrong:?}");
    }
    let none = Verifier::new(provider("GitHub").unwrap().scheme(), vec![]).unwrap_err();
    assert_eq!(none.problem, KeyProblem::NoSecrets, "a verifier without keys would let nobody in, or everybody");
}

/// Wildcards never forward a header that proves the sender; they do forward the id of an event.
#[test]
fn wildcards_never_match_what_proves_the_sender() {
    for provider in PROVIDERS {
        let (name, scheme) = (provider.name, provider.scheme());
        let verifier = Verifier::new(scheme.clone(), vec![keys(&scheme).public]).unwrap();
        for header in verifier.credential_headers() {
            assert!(is_sensitive(header), "{name}: {header}");
        }
        if let Scheme::Signature(scheme) = scheme
            && let Some(plain) = scheme.id_header
        {
            assert!(!is_sensitive(&plain), "{name}");
        }
    }
}
