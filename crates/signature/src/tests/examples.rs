//! The providers' own examples, and requests near them that must be rejected.

use super::*;

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
