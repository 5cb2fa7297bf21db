//! The providers' own examples, requests that must be rejected, and signing as the inverse of verification.

use std::time::Duration;

use bytes::Bytes;
use grapnel_payload::headers::is_sensitive;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::testing::{KeyPairs, RSA, STANDARD_SECRET, complete, keys};

mod either;
mod presets;
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

/// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation>
#[test]
fn github_example() {
    let verifier = verifier("GitHub", &["It's a Secret to Everybody"]);
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let now = at(0);
    let judge = |value: &str, body| code(&verifier, &[("X-Hub-Signature-256", value)], body, now);
    assert_eq!(judge(signature, "Hello, World!"), "ok");
    assert_eq!(judge(&signature.to_uppercase().replace("SHA", "sha"), "Hello, World!"), "ok", "hex of either case");
    assert_eq!(judge(signature, "Hello, World"), "invalid_signature");
    assert_eq!(judge(signature, ""), "invalid_signature");
    let hex = signature.strip_prefix("sha256=").unwrap();
    for wrong in [
        "",
        "sha256=",
        hex,
        &format!("sha1={hex}"),
        &format!("SHA256={hex}"),
        &format!("sha256={}", &hex[..62]),
        &format!("sha256={hex}00"),
        &format!("sha256={hex},sha256={hex}"),
        &format!("sha256={hex} sha256={hex}"),
        &format!("sha256={}", hex.replace('7', "g")),
        &format!("sha256= {hex}"),
        &format!("sha256={}", "0".repeat(64)),
        "é",
    ] {
        assert_eq!(judge(wrong, "Hello, World!"), "invalid_signature", "{wrong}");
    }
    assert_eq!(code(&verifier, &[], "Hello, World!", now), "missing_signature");
    assert_eq!(code(&verifier, &[("X-Hub-Signature", signature)], "Hello, World!", now), "missing_signature");
    let twice = [("X-Hub-Signature-256", signature), ("X-Hub-Signature-256", signature)];
    assert_eq!(code(&verifier, &twice, "Hello, World!", now), "invalid_signature");
}

/// <https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/#Examples>
#[test]
fn bitbucket_example() {
    let verifier = verifier("Bitbucket", &["It's a Secret to Everybody"]);
    let signature = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
    assert_eq!(code(&verifier, &[("X-Hub-Signature", signature)], "Hello World!", at(0)), "ok");
    assert_eq!(code(&verifier, &[("X-Hub-Signature", signature)], "Hello, World!", at(0)), "invalid_signature");
    assert_eq!(code(&verifier, &[("X-Hub-Signature-256", signature)], "Hello World!", at(0)), "missing_signature");
}

/// <https://docs.slack.dev/authentication/verifying-requests-from-slack>
#[test]
fn slack_example() {
    let verifier = verifier("Slack", &[SLACK_SECRET]);
    let judge = |time: &str, signature: &str, now| {
        let pairs = [("X-Slack-Request-Timestamp", time), ("X-Slack-Signature", signature)];
        code(&verifier, &pairs, SLACK_BODY, at(now))
    };
    let time = 1_531_420_618;
    assert_eq!(judge(SLACK_TIME, SLACK_SIGNATURE, time), "ok");
    for edge in [time - 300, time + 300] {
        assert_eq!(judge(SLACK_TIME, SLACK_SIGNATURE, edge), "ok");
    }
    for (now, what) in [(time + 301, "a second late"), (time + 3600, "an hour old"), (time - 3600, "an hour ahead")] {
        assert_eq!(judge(SLACK_TIME, SLACK_SIGNATURE, now), "stale_timestamp", "{what}");
    }
    // Another spelling of the same time is different content.
    assert_eq!(judge("01531420618", SLACK_SIGNATURE, time), "invalid_signature");
    for wrong in ["", "-1531420618", "+1531420618", "1531420618.0", "now", "9".repeat(21).as_str()] {
        assert_eq!(judge(wrong, SLACK_SIGNATURE, time), "invalid_signature", "{wrong}");
    }
    let signature = [("X-Slack-Signature", SLACK_SIGNATURE)];
    assert_eq!(code(&verifier, &signature, SLACK_BODY, at(time)), "missing_signature");
    let timestamp = [("X-Slack-Request-Timestamp", SLACK_TIME)];
    assert_eq!(code(&verifier, &timestamp, SLACK_BODY, at(time)), "missing_signature");
    // Without the secret, a caller learns nothing about the clock.
    let wrong = SLACK_SIGNATURE.replace('a', "b");
    assert_eq!(judge(SLACK_TIME, &wrong, time + 3600), "invalid_signature");
}

#[test]
fn rightly_signed_times_out_of_all_proportion_are_stale() {
    let scheme = provider("Slack").unwrap().scheme();
    let Scheme::Signature(hmac) = &scheme else { panic!("Slack signs with an HMAC") };
    let verifier = verifier("Slack", &[SLACK_SECRET]);
    for time in ["0", "18446744073709551615", "99999999999999999999", "9223372036854775808"] {
        let fields = content::PlaceholderValues { timestamp: time.as_bytes(), id: b"", body: b"x" };
        let signature = hmac.signature(&Secret::from(SLACK_SECRET), fields, time).unwrap();
        let pairs = [("X-Slack-Request-Timestamp", time), ("X-Slack-Signature", signature.as_str())];
        for now in [Timestamp::MIN, at(1_531_420_618), Timestamp::MAX] {
            assert_eq!(code(&verifier, &pairs, "x", now), "stale_timestamp", "{time} at {now}");
        }
    }
}

/// The Standard Webhooks libraries' own test: <https://github.com/standard-webhooks/standard-webhooks>.
#[test]
fn standard_webhooks_example() {
    let verifier = verifier("StandardWebhooks", &[STANDARD_SECRET]);
    let time = STANDARD_TIME.to_string();
    let judge = |signature: &str, now| {
        let pairs = [("webhook-id", STANDARD_ID), ("webhook-timestamp", &time), ("webhook-signature", signature)];
        code(&verifier, &pairs, STANDARD_BODY, at(now))
    };
    let now = STANDARD_TIME;
    assert_eq!(judge(STANDARD_SIGNATURE, now), "ok");
    let other = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";
    for list in [
        format!("{other} v2,{} {STANDARD_SIGNATURE} v1,garbage", &STANDARD_SIGNATURE[3..]),
        format!("v1a,hnO3 {STANDARD_SIGNATURE}"),
        STANDARD_SIGNATURE.trim_end_matches('=').to_owned(),
    ] {
        assert_eq!(judge(&list, now), "ok", "{list}");
    }
    for wrong in [
        other,
        &STANDARD_SIGNATURE[3..],
        &STANDARD_SIGNATURE.replace("v1,", "v2,"),
        &STANDARD_SIGNATURE.replace("v1,", "v1a,"),
        &STANDARD_SIGNATURE.replace("v1,", "v1="),
        "v1,",
        "",
        &vec![STANDARD_SIGNATURE; 10_000].join(" "),
        &vec![STANDARD_SIGNATURE; limits::SIGNATURES_PER_HEADER + 1].join(" "),
    ] {
        assert_eq!(judge(wrong, now), "invalid_signature", "{wrong:.80}");
    }
    assert_eq!(judge(STANDARD_SIGNATURE, now + 3600), "stale_timestamp");
    assert_eq!(judge(STANDARD_SIGNATURE, now - 3600), "stale_timestamp");

    let all = [("webhook-id", STANDARD_ID), ("webhook-timestamp", &time), ("webhook-signature", STANDARD_SIGNATURE)];
    for absent in 0..3 {
        let mut pairs = all.to_vec();
        pairs.remove(absent);
        assert_eq!(code(&verifier, &pairs, STANDARD_BODY, at(now)), "missing_signature", "without {:?}", all[absent]);
        let mut pairs = all.to_vec();
        pairs[absent].1 = "";
        assert_eq!(code(&verifier, &pairs, STANDARD_BODY, at(now)), "invalid_signature", "empty {:?}", all[absent]);
        let mut pairs = all.to_vec();
        pairs.push(all[absent]);
        assert_eq!(code(&verifier, &pairs, STANDARD_BODY, at(now)), "invalid_signature", "twice {:?}", all[absent]);
    }
    let mut pairs = all;
    pairs[0].1 = "msg_other";
    assert_eq!(code(&verifier, &pairs, STANDARD_BODY, at(now)), "invalid_signature");
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

/// The same vector for the verifier. Its key pair is the second half of the `whsk_` key there.
#[test]
fn standard_webhooks_asymmetric_example() {
    let public = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
    let time = STANDARD_TIME.to_string();
    let signature = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    let judge = |secrets: &[&str], signature: &str, body: &str| {
        let pairs = [("webhook-id", STANDARD_ID), ("webhook-timestamp", &time), ("webhook-signature", signature)];
        code(&verifier("StandardWebhooks", secrets), &pairs, body, at(STANDARD_TIME))
    };
    let both = [STANDARD_SECRET, public];
    assert_eq!(judge(&[public], signature, STANDARD_BODY), "ok");
    // During a migration from one to the other.
    assert_eq!(judge(&both, signature, STANDARD_BODY), "ok");
    assert_eq!(judge(&both, STANDARD_SIGNATURE, STANDARD_BODY), "ok");
    assert_eq!(judge(&both, &format!("{STANDARD_SIGNATURE} {signature}"), STANDARD_BODY), "ok");
    assert_eq!(judge(&[STANDARD_SECRET], signature, STANDARD_BODY), "invalid_signature");
    assert_eq!(judge(&[public], STANDARD_SIGNATURE, STANDARD_BODY), "invalid_signature");
    assert_eq!(judge(&[public], &signature.replace("v1a", "v1"), STANDARD_BODY), "invalid_signature");
    assert_eq!(judge(&both, &signature.replace("v1a", "v1"), STANDARD_BODY), "invalid_signature");
    assert_eq!(judge(&both, signature, "{}"), "invalid_signature");
    assert_eq!(judge(&[public], &vec![signature; 10_000].join(" "), STANDARD_BODY), "invalid_signature");
}

/// `test_verify_valid_signature` and adjacent tests in sendgrid-python's `test/unit/test_eventwebhook.py`.
#[test]
fn sendgrid_example() {
    let key = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    let other = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqTxd43gyp8IOEto2LdIfjRQrIbsd4SXZkLW6jDutdhXSJCWHw8REntlo7aNDthvj+y7GjUuFDb/R1NGe1OPzpA==";
    let signature = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=";
    let foreign = "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDWYNH3j/0=";
    // The trailing line ending is signed.
    let body = concat!(
        r#"[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","#,
        r#""sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA","#,
        r#""sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","#,
        r#""smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]"#,
        "\r\n"
    );
    let judge = |key: &str, signature: &str, timestamp: &str, body: &str| {
        let pairs = [
            ("X-Twilio-Email-Event-Webhook-Signature", signature),
            ("X-Twilio-Email-Event-Webhook-Timestamp", timestamp),
        ];
        code(&verifier("SendGrid", &[key]), &pairs, body, at(1_600_112_502))
    };
    assert_eq!(judge(key, signature, "1600112502", body), "ok");
    assert_eq!(judge(other, signature, "1600112502", body), "invalid_signature");
    assert_eq!(judge(key, foreign, "1600112502", body), "invalid_signature");
    assert_eq!(judge(key, signature, "timestamp", body), "invalid_signature");
    assert_eq!(judge(key, signature, "1600112503", body), "invalid_signature");
    assert_eq!(judge(key, signature, "1600112502", "payload"), "invalid_signature");
    assert_eq!(judge(key, signature, "1600112502", body.trim_end()), "invalid_signature");
}

#[test]
fn svix_has_two_names_for_each_header() {
    let svix = verifier("Svix", &[STANDARD_SECRET]);
    let time = STANDARD_TIME.to_string();
    let named = |names: [&str; 3]| {
        let [id, timestamp, signature] = names;
        let pairs = [(id, STANDARD_ID), (timestamp, time.as_str()), (signature, STANDARD_SIGNATURE)];
        code(&svix, &pairs, STANDARD_BODY, at(STANDARD_TIME))
    };
    assert_eq!(named(["svix-id", "svix-timestamp", "svix-signature"]), "ok");
    assert_eq!(named(["webhook-id", "webhook-timestamp", "webhook-signature"]), "ok");
    assert_eq!(named(["webhook-id", "svix-timestamp", "svix-signature"]), "missing_signature", "they are not mixed");
    assert_eq!(named(["svix-id", "svix-timestamp", "webhook-signature"]), "missing_signature");
    assert_eq!(svix.credential_headers().count(), 2);
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

/// No published example is complete, so this one is computed with `openssl dgst -sha256 -hmac whsec_test`.
#[test]
fn stripe() {
    let verifier = verifier("Stripe", &["whsec_test"]);
    let body = r#"{"id":"evt_1"}"#;
    let right = "7656fc2882a7ca0a651666b36bf2f2f22ee204f54f608f227498a2419f2890b2";
    let now = at(1_492_774_577);
    let judge = |value: &str| code(&verifier, &[("Stripe-Signature", value)], body, now);
    let other = "5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd";
    assert_eq!(judge(&format!("t=1492774577,v1={right}")), "ok");
    assert_eq!(judge(&format!("t=1492774577,v1={other},v1={right},v0={other}")), "ok");
    for wrong in [
        format!("t=1492774577,v0={right}"),
        format!("t=1492774578,v1={right}"),
        format!("v1={right}"),
        format!("t=,v1={right}"),
        format!("t=-5,v1={right}"),
        format!("t=1492774577,t=1492774577,v1={right}"),
        "t=1492774577".into(),
        right.into(),
        format!("t=1492774577,{}", vec![format!("v1={right}"); 10_000].join(",")),
    ] {
        assert_eq!(judge(&wrong), "invalid_signature", "{wrong:.80}");
    }
    assert_eq!(code(&verifier, &[], body, now), "missing_signature");
    let pairs = [("Stripe-Signature", &*format!("t=1492774577,v1={right}"))];
    assert_eq!(code(&verifier, &pairs, body, at(1_492_774_577 + 3600)), "stale_timestamp");
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

fn schemes() -> impl Strategy<Value = Scheme> {
    // Schemes that accept any secret; `presets` has tests for all.
    let any_secret = PROVIDERS.iter().map(Provider::scheme).filter(|scheme| match scheme {
        Scheme::Signature(scheme) => {
            scheme.key_form != KeyForm::PublicKey && !matches!(scheme.timestamp, Some(TimestampSource::Milliseconds(_)))
        }
        _ => false,
    });
    let preset = proptest::sample::select(any_secret.collect::<Vec<_>>());
    let shape = prop_oneof![
        "[a-z0-9]{0,5}=?".prop_map(|prefix| Shape::Prefixed(prefix.into())),
        Just(Shape::Pairs { signature: "v1".into(), timestamp: Some("t".into()) }),
        Just(Shape::List { version: "v1".into(), public_version: "v1a".into() }),
    ];
    let algorithm =
        prop_oneof![Just(SignatureAlgorithm::Sha1), Just(SignatureAlgorithm::Sha256), Just(SignatureAlgorithm::Sha512)];
    let content =
        proptest::sample::select(vec!["{body}", "{timestamp}.{body}", "{body}{id}", "a{id}.{timestamp}:{body}z"]);
    let free = (shape, algorithm, any::<bool>(), content).prop_map(|(shape, algorithm, base64, content)| {
        let in_signature = matches!(shape, Shape::Pairs { .. });
        let content = ContentTemplate::parse(content).unwrap();
        Scheme::Signature(SignatureScheme {
            header: HeaderName::from_static("x-signature"),
            algorithm,
            encoding: if base64 { SignatureEncoding::Base64 } else { SignatureEncoding::Hex },
            shape,
            timestamp: Some(if in_signature {
                TimestampSource::InSignature
            } else {
                TimestampSource::Header(HeaderName::from_static("x-timestamp"))
            }),
            id_header: content.uses_id().then(|| HeaderName::from_static("x-id")),
            content,
            alternative: None,
            tolerance: Some(Duration::from_secs(60)),
            key_form: KeyForm::Raw,
        })
    });
    let token = proptest::option::of("[A-Z][a-z]{1,6}")
        .prop_map(|scheme| Scheme::Token(TokenScheme { header: HeaderName::from_static("x-token"), scheme }));
    prop_oneof![3 => preset, 3 => free, 1 => token]
}

/// Secrets that fit every form of key.
fn secrets() -> impl Strategy<Value = String> {
    "[A-Za-z0-9+/]{24}|[A-Za-z0-9+/]{32}"
}

proptest! {
    #[test]
    fn what_is_signed_is_accepted(
        scheme in schemes(),
        secret in secrets(),
        other in secrets(),
        body in proptest::collection::vec(any::<u8>(), 0..300),
        now in 0i64..200_000_000_000,
        late in -60i64..=60,
        id in proptest::option::of("[!-~]{1,20}"),
    ) {
        let mut headers = HeaderMap::new();
        if let (Scheme::Signature(SignatureScheme { id_header: Some(name), .. }), Some(id)) = (&scheme, &id) {
            headers.insert(name.clone(), id.parse().unwrap());
        }
        let secret = Secret::from(secret);
        sign_request(&scheme, &secret, &mut headers, &mut body.clone(), at(now)).unwrap();
        let verify = |secrets: Vec<Secret>, headers: &HeaderMap, body: &[u8], now: i64| {
            let verifier = Verifier::new(scheme.clone(), secrets).unwrap();
            verifier.verify(headers, Bytes::copy_from_slice(body), at(now)).map_err(|refusal| refusal.code())
        };
        prop_assert!(verify(vec![secret.clone()], &headers, &body, now + late).is_ok());
        prop_assert!(verify(vec![Secret::from(other.as_str()), secret.clone()], &headers, &body, now).is_ok());
        if secret != Secret::from(other.as_str()) {
            prop_assert_eq!(verify(vec![other.into()], &headers, &body, now).unwrap_err(), "invalid_signature");
        }
        if let Scheme::Signature(SignatureScheme { tolerance: Some(_), .. }) = scheme {
            prop_assert_eq!(verify(vec![secret.clone()], &headers, &body, now + 301).unwrap_err(), "stale_timestamp");
        }
        let mut again = headers.clone();
        sign_request(&scheme, &secret, &mut again, &mut body.clone(), at(now)).unwrap();
        prop_assert_eq!(again, headers, "signing twice changes nothing");
    }

    #[test]
    fn a_flipped_bit_is_refused(
        scheme in schemes(),
        secret in secrets(),
        body in proptest::collection::vec(any::<u8>(), 1..100),
        place in any::<proptest::sample::Index>(),
        bit in 0u8..8,
    ) {
        let now = at(1_700_000_000);
        let secret = Secret::from(secret);
        let mut headers = HeaderMap::new();
        sign_request(&scheme, &secret, &mut headers, &mut body.clone(), now).unwrap();
        let verifier = Verifier::new(scheme.clone(), vec![secret]).unwrap();
        let Scheme::Signature(scheme) = &scheme else { return Ok(()) };

        let mut torn = body.clone();
        torn[place.index(body.len())] ^= 1 << bit;
        let refusal = verifier.verify(&headers, torn.into(), now).unwrap_err();
        prop_assert_eq!(refusal.code(), "invalid_signature");

        // A timestamp beside the signature that is not signed may be changed within the tolerance.
        if scheme.timestamp == Some(TimestampSource::InSignature) && !scheme.content.uses_timestamp() {
            return Ok(());
        }
        // In the signature itself the bit matters unless the text still decodes to the same bytes, as hexadecimal in
        // the other case does.
        let value = headers[&scheme.header].as_bytes().to_vec();
        let mut torn = value.clone();
        torn[place.index(value.len())] ^= 1 << bit;
        if !torn.eq_ignore_ascii_case(&value) || scheme.encoding == SignatureEncoding::Base64 {
            let Ok(torn) = HeaderValue::from_bytes(&torn) else { return Ok(()) };
            headers.insert(scheme.header.clone(), torn);
            prop_assert!(verifier.verify(&headers, body.into(), now).is_err());
        }
    }

    #[test]
    fn garbage_is_never_accepted(
        scheme in schemes(),
        secret in secrets(),
        values in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(prop_oneof![32u8..=126, 128u8..=255], 0..150),
                "(v1|v0|t|sha256|Bearer)[=, ][0-9a-f]{0,128}".prop_map(String::into_bytes),
                "[0-9]{1,25}".prop_map(String::into_bytes),
            ],
            3,
        ),
        now in -377_705_023_201i64..=253_402_207_200,
    ) {
        let verifier = Verifier::new(scheme.clone(), vec![secret.into()]).unwrap();
        let mut headers = HeaderMap::new();
        let names = match &scheme {
            Scheme::Signature(scheme) => {
                let timestamp = match &scheme.timestamp {
                    Some(TimestampSource::Header(name)) => Some(name.clone()),
                    _ => None,
                };
                [Some(scheme.header.clone()), timestamp, scheme.id_header.clone()]
            }
            Scheme::Token(scheme) => [Some(scheme.header.clone()), None, None],
            _ => [None, None, None],
        };
        for (name, value) in names.into_iter().zip(&values) {
            if let Some(name) = name {
                headers.insert(name, HeaderValue::from_bytes(value).unwrap());
            }
        }
        let verdict = verifier.verify(&headers, Bytes::from_static(b"[]"), at(now));
        prop_assert!(verdict.is_err());
    }
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
