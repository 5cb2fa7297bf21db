//! Inputs and results of the crate.

use serde_json::json;

use super::*;

#[test]
fn only_what_is_wanted_is_given() {
    let document = document();
    let inputs = inputs(&document);
    let expression = |source, gives| Expression::compile(source, Scope::Delivery, gives).unwrap();
    assert_eq!(expression("payload.paid", ExpectedType::Bool).test(&inputs), Ok(true));
    let error = expression("payload.amount", ExpectedType::Bool).test(&inputs).unwrap_err();
    assert_eq!(error.to_string(), "line 1, column 1: it returns an int; a bool is required");
    assert_eq!(expression("payload.amount", ExpectedType::Text).text(&inputs).unwrap(), "12050");
    assert_eq!(expression("payload.action", ExpectedType::Text).text(&inputs).unwrap(), "opened");
    assert!(expression("payload.lines", ExpectedType::Text).text(&inputs).is_err());
    let error = expression("payload", ExpectedType::Json).json(&inputs, 10).unwrap_err();
    assert!(error.message.contains("exceeds 10 bytes"), "{error}");
}

#[test]
fn payloads_that_are_no_json_are_text_or_bytes() {
    let of = |payload, source| {
        let inputs = Inputs { payload, ..Inputs::default() };
        Expression::compile(source, Scope::Request, ExpectedType::Text).unwrap().text(&inputs).unwrap()
    };
    assert_eq!(of(PayloadInput::Nothing, "payload == null"), "true");
    assert_eq!(of(PayloadInput::Text("a b".into()), "payload.split(' ')[1]"), "b");
    assert_eq!(of(PayloadInput::Bytes(b"\xff\xfe"[..].into()), "size(payload)"), "2");
}

#[test]
fn claims_are_a_map() {
    let claims = json!({ "sub": "repo:acme/shop:ref:refs/heads/main", "aud": ["grapnel"], "n": 1 });
    let test = |source| {
        let expression = Expression::compile(source, Scope::Claims, ExpectedType::Bool).unwrap();
        expression.test(&Inputs { claims: Some(&claims), ..Inputs::default() })
    };
    assert_eq!(test("claims.sub.startsWith('repo:acme/') && 'grapnel' in claims.aud"), Ok(true));
    assert_eq!(test("has(claims.email) && claims.email_verified"), Ok(false));
    assert!(test("claims.email_verified").is_err());
}
