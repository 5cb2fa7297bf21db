use grapnel_payload::reading::Reading;
use grapnel_signature::testing::verified;
use serde_json::{Map, json};

use super::*;

fn globs(types: &[&str]) -> Vec<Glob> {
    types.iter().map(|text| Glob::parse(text).unwrap()).collect()
}

fn set(schema: Value) -> Result<SchemaSet, SchemaError> {
    SchemaSet::compile(vec![(globs(&["*"]), schema)], Unmatched::Accept)
}

fn validate(set: &SchemaSet, kind: &str, content_type: &str, body: &str) -> Result<Validated, Violation> {
    let verified = verified(body.to_owned());
    let payload = Payload::read(&Reading::default(), Some(content_type), verified.body());
    set.validate(verified, &payload, Identity::new("1", kind))
}

fn violations(set: &SchemaSet, body: &str) -> Vec<(String, String)> {
    match validate(set, "t", "application/json", body) {
        Ok(_) => Vec::new(),
        Err(Violation::Schema(places)) => places,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_matches_keeps_its_bytes_and_identity() {
    let set = set(json!({ "type": "object", "required": ["id"] })).unwrap();
    let body = "{ \"id\" : 1 }";
    let validated = validate(&set, "t", "application/json", body).unwrap();
    assert_eq!(validated.body(), body);
    let (identity, bytes) = validated.into_parts();
    assert_eq!((&*identity.kind, &*identity.id, &bytes[..]), ("t", "1", body.as_bytes()));
}

#[test]
fn every_schema_for_the_type_must_match() {
    let rules = vec![
        (globs(&["invoice.*"]), json!({ "required": ["amount"] })),
        (globs(&["invoice.paid", "x"]), json!({ "required": ["paid"] })),
    ];
    let set = SchemaSet::compile(rules, Unmatched::Accept).unwrap();
    let ok = |kind, body| validate(&set, kind, "application/json", body).is_ok();
    assert!(ok("invoice.paid", r#"{"amount":1,"paid":true}"#));
    assert!(!ok("invoice.paid", r#"{"amount":1}"#));
    assert!(!ok("invoice.paid", r#"{"paid":true}"#));
    assert!(ok("invoice.sent", r#"{"amount":1}"#));
    assert!(!ok("x", "{}"));
    assert!(ok("other", "{}"));
    assert!(set.needs_payload("invoice.sent") && !set.needs_payload("other") && !set.is_empty());
}

#[test]
fn unmatched_types() {
    let rules = || vec![(globs(&["a"]), json!(true))];
    let reject = SchemaSet::compile(rules(), Unmatched::Reject).unwrap();
    assert!(validate(&reject, "a", "application/json", "{}").is_ok());
    let violation = validate(&reject, "b", "application/json", "{}").unwrap_err();
    assert_eq!(violation, Violation::UnknownType("b".into()));
    assert_eq!(violation.code(), "unknown_event_type");
    assert!(validate(&SchemaSet::compile(rules(), Unmatched::Accept).unwrap(), "b", "text/plain", "x").is_ok());
    assert!(validate(&SchemaSet::default(), "b", "application/json", "{}").is_ok());
    assert!(SchemaSet::default().is_empty());
}

#[test]
fn violations_name_places_but_no_values() {
    let set = set(json!({
        "properties": {
            "amount": { "type": "integer", "maximum": 10 },
            "mail": { "pattern": "^[a-z]+$", "maxLength": 3 },
            "kind": { "enum": ["a", "b"] },
            "tags": { "items": { "const": "x" }, "uniqueItems": true },
            "extra": { "additionalProperties": false, "propertyNames": { "maxLength": 2 } },
            "any": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
            "not": { "not": { "type": "string" } }
        }
    }))
    .unwrap();
    let body = r#"{"amount":"hunter2","mail":"HUNTER2","kind":"hunter2","tags":["hunter2","hunter2"],
        "extra":{"long":"hunter2"},"any":{"x":"hunter2"},"not":"hunter2"}"#;
    let places = violations(&set, body);
    assert_eq!(places.len(), VIOLATIONS);
    for (path, message) in &places {
        assert!(!message.to_lowercase().contains("hunter2"), "{path}: {message}");
    }
    assert!(places.contains(&("/amount".into(), r#"value is not of type "integer""#.into())), "{places:?}");
    assert!(places.iter().any(|(path, _)| path == "/tags/0"));
    let violation = validate(&set, "t", "application/json", body).unwrap_err();
    assert_eq!(violation.code(), "schema_violation");
    assert!(!violation.to_string().contains("amount"));
}

#[test]
fn violations_are_bounded() {
    let set = set(json!({ "items": { "type": "integer" }, "additionalProperties": { "type": "string" } })).unwrap();
    assert_eq!(violations(&set, &format!("[{}true]", "true,".repeat(1000))).len(), VIOLATIONS);
    let places = violations(&set, &format!(r#"{{"{}":1}}"#, "é".repeat(1000)));
    assert!(places[0].0.len() <= VIOLATION_BYTES && places[0].0.ends_with('…'), "{places:?}");
}

#[test]
fn forms_are_objects_and_opaque_bodies_match_nothing() {
    let set = set(json!({ "required": ["a"] })).unwrap();
    assert!(validate(&set, "t", "application/x-www-form-urlencoded", "a=1").is_ok());
    assert!(validate(&set, "t", "application/x-www-form-urlencoded", "b=1").is_err());
    assert!(validate(&set, "t", "text/plain", "a").is_err());
}

#[test]
fn drafts_by_their_name() {
    let draft4 =
        json!({ "$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": true });
    assert_eq!(violations(&set(draft4).unwrap(), "3").len(), 1);
    let latest = set(json!({ "prefixItems": [{ "type": "string" }] })).unwrap();
    assert_eq!(violations(&latest, "[1]").len(), 1);
    assert!(set(json!({ "$schema": "https://example.com/my-draft" })).is_err());
    let meta = set(json!({ "$ref": "https://json-schema.org/draft/2020-12/schema" })).unwrap();
    assert!(!violations(&meta, r#"{"type":3}"#).is_empty());
}

#[test]
fn nothing_is_fetched() {
    for reference in ["https://example.com/a.json", "http://127.0.0.1/a", "file:///etc/hostname", "urn:x:y"] {
        let error = set(json!({ "properties": { "a": { "$ref": reference } } })).unwrap_err();
        assert!(error.message.contains(reference) && error.message.contains("never fetched"), "{error}");
    }
    assert!(set(json!({ "$ref": "other.json" })).is_err());
    assert!(set(json!({ "$ref": "#/$defs/missing" })).is_err());
}

#[test]
fn what_is_no_schema_says_where() {
    let error = |schema| set(schema).unwrap_err().message;
    let kind = |kind| error(json!({ "properties": { "a": { "type": kind } } }));
    assert_eq!(kind(json!("numbr")), "/properties/a/type: `numbr` is not a type; did you mean number?");
    assert_eq!(kind(json!(["string", "nul"])), "/properties/a/type: `nul` is not a type; did you mean null?");
    assert!(
        kind(json!("date")).contains("`date` is not a type; types are string, number, "),
        "{}",
        kind(json!("date"))
    );
    assert!(kind(json!(["string", null])).contains("write \"null\" in quotes"), "{}", kind(json!(["string", null])));
    assert!(!error(json!({ "properties": { "type": "string" } })).contains("is not a type"));
    assert!(error(json!([])).contains("an object, true or false"));
    for (pattern, why) in [
        ("é(?=a)b", "look-around, including look-ahead and look-behind, is not supported, at character 2"),
        ("(a)\\1", "backreferences are not supported, at character 4"),
        ("ab(c", "unclosed group, at character 3"),
        ("[b-a]", "invalid character class range"),
        ("((a{1000}){1000}){10}", "is larger than "),
    ] {
        let message = error(json!({ "pattern": pattern }));
        assert!(message.starts_with("/pattern: this pattern is") && message.contains(why), "{message}");
    }
    assert!(error(json!({ "const": "x".repeat(SCHEMA_BYTES) })).contains("bytes"));
    let nested = (0..SCHEMA_DEPTH).fold(json!({}), |inner, _| json!({ "not": inner }));
    assert!(error(nested).contains("deep"));
    let shallow = (0..SCHEMA_DEPTH - 1).fold(json!({}), |inner, _| json!({ "not": inner }));
    assert!(set(shallow).is_ok());
    let many = (0..=SCHEMAS).map(|_| (globs(&["*"]), json!(true))).collect();
    assert!(SchemaSet::compile(many, Unmatched::Accept).is_err());
    let second = vec![(globs(&["*"]), json!(true)), (globs(&["*"]), json!(3))];
    assert_eq!(SchemaSet::compile(second, Unmatched::Accept).unwrap_err().index, 1);
}

#[test]
fn patterns_cannot_backtrack() {
    let set = set(json!({ "pattern": "^(a+)+$" })).unwrap();
    assert_eq!(violations(&set, &format!("\"{}b\"", "a".repeat(100_000))).len(), 1);
}

#[test]
fn recursive_schemas_end() {
    let twice = json!([{ "properties": { "a": { "$ref": "#" } } }, { "properties": { "a": { "$ref": "#" } } }]);
    let deep = format!("{}1{}", r#"{"a":"#.repeat(120), "}".repeat(120));
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let set = set(json!({ keyword: twice, "type": "object" })).unwrap();
        let places = violations(&set, &deep);
        assert_eq!(places.len(), 1, "{keyword}");
        assert!(places[0].1.contains("recursive"), "{places:?}");
    }
    for endless in
        [json!({ "$ref": "#" }), json!({ "allOf": [{ "$ref": "#" }] }), json!({ "not": { "not": { "$ref": "#" } } })]
    {
        let _ = violations(&set(endless).unwrap(), "1");
    }
}

#[test]
fn the_deepest_schema_over_the_deepest_body_fits_the_stack() {
    // As deep as both limits allow, at every level of the body.
    let mut schema = json!({ "properties": { "a": { "$ref": "#" } } });
    for _ in 0..SCHEMA_DEPTH / 2 - 2 {
        schema = json!({ "oneOf": [false, schema] });
    }
    let schemas = set(schema).unwrap();
    let deep = format!("{}1{}", r#"{"a":"#.repeat(126), "}".repeat(126));
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let places = thread.spawn(move || violations(&schemas, &deep)).unwrap().join().unwrap();
    assert_eq!(places, []);
}

fn is_too_much(schema: Value, body: &str) -> bool {
    let places = violations(&set(schema).unwrap(), body);
    places.iter().any(|(path, message)| path.is_empty() && message.contains("too many steps"))
}

#[test]
fn large_values_against_large_schemas_are_not_tried() {
    let ones = format!("[{}1]", "1,".repeat(100_000));
    let objects = format!("[{}1]", r#"{"a":1},"#.repeat(20_000));
    let members = format!("{{{}\"x\":1}}", (0..20_000).map(|number| format!("\"k{number}\":1,")).collect::<String>());
    let several = |count: usize| (0..count).map(|number| json!({ "maximum": number + 1000 })).collect::<Vec<_>>();
    assert!(is_too_much(json!({ "items": { "allOf": several(10_000) } }), &ones));
    assert!(is_too_much(
        json!({ "items": { "$ref": "#/$defs/a" }, "$defs": { "a": { "anyOf": several(10_000) } } }),
        &ones
    ));
    let entries: Vec<_> = (0..10_000).map(|number| json!({ "b": number })).collect();
    assert!(is_too_much(json!({ "items": { "enum": entries } }), &objects));
    let patterns: Map<_, _> = (0..1000).map(|number| (format!("a{number}$"), json!(true))).collect();
    assert!(is_too_much(json!({ "patternProperties": patterns }), &members));
    let meta = "https://json-schema.org/draft/2020-12/schema";
    assert!(is_too_much(json!({ "items": { "allOf": vec![json!({ "$ref": meta }); 1000] } }), &ones));
    let searches: Vec<_> = (0..1000).map(|number| json!({ "pattern": format!("a.*b{number}") })).collect();
    assert!(is_too_much(json!({ "allOf": searches }), &format!("\"{}\"", "a".repeat(500_000))));
    let slow = "[ax]{0,400}([ax]{0,400}x){0,20}[0-9][0-9]";
    assert!(is_too_much(json!({ "pattern": slow }), &format!("\"{}\"", "xa".repeat(10_000))));
    assert!(is_too_much(
        json!({ "propertyNames": { "pattern": slow } }),
        &format!("{{\"{}\":1}}", "xa".repeat(10_000))
    ));
    // A circle that doubles at each level costs no more than what the validator does of it.
    let twice = json!([{ "properties": { "a": { "$ref": "#" } } }, { "properties": { "a": { "$ref": "#" } } }]);
    let deep = format!("{}1{}", r#"{"a":"#.repeat(120), "}".repeat(120));
    assert!(!is_too_much(json!({ "allOf": twice, "enum": several(5000) }), &deep));
}

#[test]
fn large_values_against_ordinary_schemas_are_checked() {
    let names: Map<_, _> = (0..5000).map(|n| (format!("p{n}"), json!({ "type": "integer", "minimum": 0 }))).collect();
    let body = format!("{{{}\"x\":1}}", (0..20_000).map(|number| format!("\"p{number}\":1,")).collect::<String>());
    assert_eq!(violations(&set(json!({ "properties": names })).unwrap(), &body), []);
    let text = set(json!({ "pattern": "^[A-Za-z0-9+/=]*$" })).unwrap();
    assert_eq!(violations(&text, &format!("\"{}\"", "QUJD".repeat(1_000_000))), []);
    let names = set(json!({ "items": { "pattern": "^[\\w.-]{1,64}$" } })).unwrap();
    assert_eq!(violations(&names, &format!("[{}\"a\"]", "\"some.body-1234567890\",".repeat(5000))), []);
    let rows = json!({ "items": { "type": "object", "properties": { "a": { "type": "integer" } } } });
    assert_eq!(violations(&set(rows).unwrap(), &format!("[{}{{}}]", r#"{"a":1},"#.repeat(100_000))), []);
}

#[test]
fn patterns_have_one_bound_together() {
    let several = |count: usize, pattern: &str| {
        let schemas: Map<_, _> = (0..count)
            .map(|number| (format!("p{number}"), json!({ "pattern": format!("{pattern}{number}") })))
            .collect();
        set(json!({ "properties": schemas }))
    };
    assert!(several(1, "^\\pL{10}").is_ok());
    assert!(several(1000, "^[a-z0-9-]{1,20}").is_ok());
    let error = several(1000, "^\\pL{10}").unwrap_err();
    assert!(error.message.contains("pattern: this pattern") && error.message.contains("larger"), "{error}");
    // The same pattern many times is compiled once.
    let same = (0..1000).map(|number| (format!("p{number}"), json!({ "pattern": "^\\pL{10}" }))).collect::<Map<_, _>>();
    assert!(set(json!({ "properties": same })).is_ok());
}
