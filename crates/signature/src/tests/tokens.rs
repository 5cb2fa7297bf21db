//! Signed tokens: the claims that they must have, whoever signed them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use grapnel_expression::{ExpectedType, Expression, Scope};
use serde_json::{Value, json};

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_700_000_000;

fn scheme() -> JwtScheme {
    JwtScheme {
        issuers: vec!["https://issuer.example".into()],
        audiences: vec!["grapnel".into(), "other".into()],
        keys: KeySource::Issuer("https://issuer.example".into()),
        emails: Vec::new(),
        claims: None,
    }
}

fn claims() -> Value {
    json!({ "iss": "https://issuer.example", "aud": "grapnel", "exp": NOW + 60, "iat": NOW, "sub": "somebody" })
}

/// Creates a token of any header and claims, signed by the first key.
fn token(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let key = private_key::PrivateKey::read(&RSA[0].0.into()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).unwrap()))
}

fn good_header() -> Value {
    json!({ "alg": "RS256", "kid": "key-1", "typ": "JWT" })
}

fn judge(scheme: &JwtScheme, keys: &str, authorization: &str) -> &'static str {
    let verifier = Verifier::new(Scheme::Jwt(scheme.clone()), vec![]).unwrap();
    let headers = headers(&[("authorization", authorization)]);
    let evidence = VerificationContext::Keys(KeySet::jwks(keys.as_bytes()).unwrap().into());
    let verdict = verifier
        .keys_for(&headers, b"")
        .and_then(|_| verifier.verify_with(&evidence, &headers, Bytes::from_static(b"{}"), at(NOW)));
    verdict.map_or_else(|refusal| refusal.code(), |_| "ok")
}

fn says(claims: &Value) -> &'static str {
    judge(&scheme(), RSA[0].1, &format!("Bearer {}", token(&good_header(), claims)))
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn issuer_and_audience_must_be_right() {
    assert_eq!(says(&claims()), "ok");
    assert_eq!(says(&with("aud", json!(["x", "other"]))), "ok");
    for wrong in [
        with("iss", json!("https://issuer.example/")),
        with("iss", json!("https://evil.example")),
        with("iss", json!(["https://issuer.example"])),
        without("iss"),
        with("aud", json!("grapnel2")),
        with("aud", json!([])),
        with("aud", json!(7)),
        with("aud", json!({ "grapnel": 1 })),
        without("aud"),
        json!([]),
        json!("x"),
    ] {
        assert_eq!(says(&wrong), "invalid_signature", "{wrong}");
    }
}

#[test]
fn times_are_looked_at_with_a_minutes_grace() {
    for (name, seconds, expected) in [
        ("exp", NOW + 1, "ok"),
        ("exp", NOW - 59, "ok"),
        ("exp", NOW - 60, "stale_timestamp"),
        ("exp", 0, "stale_timestamp"),
        ("nbf", NOW, "ok"),
        ("nbf", NOW + 60, "ok"),
        ("nbf", NOW + 61, "stale_timestamp"),
        ("iat", NOW + 60, "ok"),
        ("iat", NOW + 3600, "stale_timestamp"),
        ("iat", 0, "ok"),
    ] {
        assert_eq!(says(&with(name, json!(seconds))), expected, "{name} {seconds}");
    }
    assert_eq!(says(&without("exp")), "invalid_signature", "one without an end is good for ever");
    for name in ["exp", "nbf", "iat"] {
        assert_eq!(says(&with(name, json!("soon"))), "invalid_signature", "{name}");
        assert_eq!(says(&with(name, json!(null))), "invalid_signature", "{name}");
    }
    assert_eq!(says(&with("exp", json!(1e300))), "ok");
}

#[test]
fn the_subject_is_checked_where_it_is_declared() {
    let google = JwtScheme { emails: vec!["a@example.com".into(), "b@example.com".into()], ..scheme() };
    let says = |email: Value, verified: Value| {
        let mut claims = with("email", email);
        claims["email_verified"] = verified;
        judge(&google, RSA[0].1, &format!("Bearer {}", token(&good_header(), &claims)))
    };
    assert_eq!(says(json!("b@example.com"), json!(true)), "ok");
    assert_eq!(says(json!("b@example.com"), json!("true")), "ok");
    for (email, verified) in [
        (json!("c@example.com"), json!(true)),
        (json!("B@example.com"), json!(true)),
        (json!(["b@example.com"]), json!(true)),
        (json!("b@example.com"), json!(false)),
        (json!("b@example.com"), json!("false")),
        (json!("b@example.com"), json!(1)),
        (json!("b@example.com"), json!(null)),
        (json!(null), json!(true)),
    ] {
        assert_eq!(says(email.clone(), verified.clone()), "invalid_signature", "{email} {verified}");
    }
    assert_eq!(judge(&google, RSA[0].1, &format!("Bearer {}", token(&good_header(), &claims()))), "invalid_signature");
}

#[test]
fn the_endpoints_own_rule_must_be_true() {
    let says = |rule: &str| {
        let rule = Expression::compile(rule, Scope::Claims, ExpectedType::Bool).unwrap();
        let scheme = JwtScheme { claims: Some(std::sync::Arc::new(rule)), ..scheme() };
        judge(&scheme, RSA[0].1, &format!("Bearer {}", token(&good_header(), &claims())))
    };
    assert_eq!(says("claims.sub == 'somebody'"), "ok");
    assert_eq!(says("claims.aud == 'grapnel' && claims.exp > 0"), "ok");
    for wrong in ["claims.sub == 'else'", "false", "claims.nothing == 'x'", "has(claims.email)"] {
        assert_eq!(says(wrong), "invalid_signature", "{wrong}");
    }
    // The rule is evaluated only for a genuine token, and does not replace any other check.
    let rule = Expression::compile("true", Scope::Claims, ExpectedType::Bool).unwrap();
    let scheme = JwtScheme { claims: Some(std::sync::Arc::new(rule)), ..scheme() };
    assert_eq!(judge(&scheme, RSA[1].1, &format!("Bearer {}", token(&good_header(), &claims()))), "invalid_signature");
    let late = token(&good_header(), &with("exp", json!(0)));
    assert_eq!(judge(&scheme, RSA[0].1, &format!("Bearer {late}")), "stale_timestamp");
}

#[test]
fn only_its_issuers_keys_count_and_only_for_their_algorithm() {
    let bearer = |header: Value| format!("Bearer {}", token(&header, &claims()));
    assert_eq!(judge(&scheme(), RSA[0].1, &bearer(json!({ "alg": "RS256" }))), "ok", "it names no key");
    assert_eq!(judge(&scheme(), RSA[1].1, &bearer(good_header())), "invalid_signature");
    assert_eq!(judge(&scheme(), &RSA[1].1.replace("key-2", "key-1"), &bearer(good_header())), "invalid_signature");
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "RS512", "kid": "key-1" }),
        json!({ "alg": "PS256" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "EdDSA" }),
        json!({ "alg": "RS256", "kid": "key-2" }),
        json!({ "alg": "RS256", "kid": "" }),
        json!({ "alg": "RS256", "crit": ["b64"], "b64": false }),
        json!({ "kid": "key-1" }),
        json!(["RS256"]),
    ] {
        assert_eq!(judge(&scheme(), RSA[0].1, &bearer(header.clone())), "invalid_signature", "{header}");
    }
    // The public key as the secret of an HMAC: the classic algorithm confusion.
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "HS256" })), part(&claims()));
    let keys = mac::MacKeys::new(mac::Hash::Sha256, &[zeroize::Zeroizing::new(RSA[0].1.as_bytes().to_vec())]).unwrap();
    let forged = URL_SAFE_NO_PAD.encode(keys.tag(0, &[signed.as_bytes()]).unwrap());
    assert_eq!(judge(&scheme(), RSA[0].1, &format!("Bearer {signed}.{forged}")), "invalid_signature");
    assert_eq!(judge(&scheme(), RSA[0].1, &format!("Bearer {signed}.")), "invalid_signature");
}

#[test]
fn a_preset_that_is_not_complete_lets_nobody_in() {
    for (name, empty) in [("Google", "audiences"), ("PayPal", "webhookId")] {
        let preset = provider(name).unwrap().scheme();
        let keys = keys(&preset);
        let mut headers = HeaderMap::new();
        sign_request(&complete(preset.clone()), &keys.private, &mut headers, &mut b"{}".to_vec(), at(NOW)).unwrap();
        let known = match &preset {
            Scheme::Jwt(_) => KeySet::jwks(keys.public.expose()).unwrap(),
            _ => KeySet::certificate(keys.public.expose()).unwrap(),
        };
        let verifier = Verifier::new(preset, vec![]).unwrap();
        let verdict = verifier.verify_with(
            &VerificationContext::Keys(known.into()),
            &headers,
            Bytes::from_static(b"{}"),
            at(NOW),
        );
        assert!(verdict.is_err(), "{name} without {empty}");
    }
}

proptest! {
    #[test]
    fn garbage_is_never_believed(
        authorization in prop_oneof![
            "[ -~]{0,200}",
            "Bearer [A-Za-z0-9_-]{0,60}[.]{0,2}[A-Za-z0-9_-]{0,60}[.]{0,2}[A-Za-z0-9_-]{0,60}",
        ],
        header in "[{}\\[\\]\":,a-z0-9]{0,40}",
        claims in "[{}\\[\\]\":,a-z0-9]{0,40}",
    ) {
        prop_assert_ne!(judge(&scheme(), RSA[0].1, &authorization), "ok");
        let text = format!("Bearer {}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        prop_assert_ne!(judge(&scheme(), RSA[0].1, &text), "ok");
    }
}
