//! Everything that reads bytes from outside, as functions that can be given any bytes.
//!
//! Each of them panics when what it reads breaks a promise: of a bound, of agreement with another reader, or simply that
//! nothing panics. The fuzzer (`cargo fuzz`) looks for such bytes; `tests/corpus.rs` gives them the bytes of `corpus/`,
//! where what was once found stays.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use grapnel::{
    admin,
    catalog::{
        EndpointFacts, Options, SubscriptionFacts,
        admission::Admission,
        compile::{self, Lookup, ReferencedValues, Served, Standing, SubscriptionInputs},
    },
    dispatch::{
        client::ReceiverResponse,
        outcome::{self, classify},
    },
    files::{Document, limits::PROBLEM_CHARS},
    ingress::{address, limits::MAX_HEADERS},
    telemetry::metrics::Metrics,
};
use grapnel_api::{Incarnation, ObjectKey, WebhookEndpoint, WebhookSubscription};
use grapnel_delivery::{
    egress::EgressPolicy,
    retry::{RetryJitter, RetryPolicy, retry_after},
};
use grapnel_event::{
    identity::{IdOrigin, Identity, MalformedPayload, Payload, Reading, Sources, id_defaults, identify, kind_defaults},
    limits::{EVENT_ID_BYTES, EVENT_TYPE_BYTES, VIOLATION_BYTES, VIOLATIONS},
    schema::{SchemaSet, Unmatched, Validated, Violation},
};
use grapnel_expression::{EventInput, ExpectedType, Expression, Inputs, Scope, limits::EXPRESSION_BYTES};
use grapnel_journal::{
    Arrival, RedeliveryPosition, StoredEvent, embedded::fuzzing, limits::FAILURE_MESSAGE_BYTES, record,
};
use grapnel_payload::{
    cloudevents::{self, CloudEvent},
    expression_inputs::expression_headers,
    headers::HeaderGlobs,
    lenient::without_bom,
    limits::{CLOUDEVENTS_BATCH, CLOUDEVENTS_EXTENSIONS},
};
use grapnel_signature::{
    ContentTemplate, DeliveryScheme, JwtScheme, KeySet, KeySource, Scheme, Signer, VerificationContext, Verified,
    Verifier,
    jws::{self, Claims},
    limits::SIGNED_CONTENT_BYTES,
    names, provider,
};
use grapnel_values::{
    duration,
    glob::{Glob, GlobSet},
    label,
    limits::{GLOB_BYTES, MAX_DURATION, POINTER_BYTES, SCALAR_BYTES},
    pointer::JsonPointer,
    quantity,
    secret::Secret,
    traceparent::Traceparent,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use jiff::Timestamp;
use serde_json::Value;

/// A name, which is that of the target and of its corpus, and what is done with the bytes.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[FuzzTarget] = &[
    ("answer", answer),
    ("cloudevents", cloudevents),
    ("content", content),
    ("cursor", cursor),
    ("duration", duration),
    ("egress", egress),
    ("expression", expression),
    ("forwarded", forwarded),
    ("glob", glob),
    ("ids", ids),
    ("index", index),
    ("journal", journal),
    ("jwt", jwt),
    ("keys", keys),
    ("manifest", manifest),
    ("order", order),
    ("payload", payload),
    ("pointer", pointer),
    ("quantity", quantity),
    ("query", query),
    ("record", record),
    ("retry_after", retry_after_header),
    ("schema", schema),
    ("secret", secret),
    ("selector", selector),
    ("signature", signature),
    ("trace", trace),
    ("yaml", yaml),
];

/// The part of the secret that is searched for.
const SECRET_TEXT: &str = "Z3JhcG5lbC1mdXp6";

/// A secret that nobody guesses.
const SECRET: &str = "whsec_Z3JhcG5lbC1mdXp6LXNlY3JldC10aGF0LW5vYm9keS1ndWVzc2Vz";

fn now() -> Timestamp {
    Timestamp::from_second(1_760_000_000).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// What stands before the first empty line, and what after it.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    match data.windows(2).position(|two| two == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &[]),
    }
}

/// Headers, one a line; what is none is left out.
fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(MAX_HEADERS) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = line[colon + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

fn verified(body: &[u8]) -> Verified {
    let open = Verifier::new(Scheme::None, Vec::new()).expect("needs no secret");
    open.verify(&HeaderMap::new(), Bytes::copy_from_slice(body), now()).expect("lets everybody in")
}

/// What a receiver answers: a status, a `Retry-After` in the first line, a body.
pub fn answer(data: &[u8]) {
    let Some((status, rest)) = data.split_first_chunk::<2>() else { return };
    let Ok(status) = StatusCode::from_u16(u16::from_be_bytes(*status) % 900 + 100) else { return };
    let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (first, body) = rest.split_at(line);
    let body = &body[..body.len().min(FAILURE_MESSAGE_BYTES)];
    let answer = ReceiverResponse {
        status,
        retry_after: text(first).map(str::to_owned),
        body_start: Bytes::copy_from_slice(body),
    };
    let policy = RetryPolicy {
        max_attempts: 5,
        initial: Duration::from_secs(5),
        multiplier: 2.0,
        max_delay: Duration::from_secs(3600),
        jitter: RetryJitter::Equal,
        stop_on: vec![410],
    };
    for attempt in [1, 5] {
        let outcome = classify(&policy, attempt, &Ok(answer.clone()), now(), Duration::ZERO, 0.5);
        assert_eq!(outcome.label == outcome::DELIVERED, status.is_success());
        if let Some(failure) = outcome.failure() {
            assert!(failure.message.len() <= FAILURE_MESSAGE_BYTES);
            assert!(!failure.message.chars().any(char::is_control), "{:?}", failure.message);
        }
        if let Some(due) = outcome.next_attempt() {
            assert!(due > now() && due <= now() + policy.max_delay, "{due}");
        }
    }
}

/// A content type in the first line, headers up to an empty line, a body: an event in headers, in the body, or a batch.
pub fn cloudevents(data: &[u8]) {
    let (head, body) = halves(data);
    let line = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
    let (content_type, headers) = (text(&head[..line]), headers(&head[line..]));
    cloudevents::decode(body);
    let attributes = |event: &CloudEvent<'_>| -> Vec<(String, String)> {
        event.attributes().map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned())).collect()
    };
    let lines = |headers: &HeaderMap| -> Vec<(String, Vec<u8>)> {
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
    };
    fn pairs(lines: &[(String, Vec<u8>)]) -> impl Iterator<Item = (&str, &[u8])> {
        lines.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }
    let came = lines(&headers);
    if let Ok(event) = CloudEvent::binary(pairs(&came), content_type, body) {
        let mut written = HeaderMap::new();
        event.to_headers(&mut written);
        let written = lines(&written);
        let again = CloudEvent::binary(pairs(&written), content_type, body).expect("headers of ours");
        let (mut before, mut after) = (attributes(&event), attributes(&again));
        before.sort();
        after.sort();
        assert_eq!(before, after);
        assert!(event.others.len() <= CLOUDEVENTS_EXTENSIONS);
    }
    if let Ok(event) = CloudEvent::structured(body) {
        let written = event.to_structured().expect("every event can be written");
        let again = CloudEvent::structured(&written).expect("an event of ours");
        assert_eq!(attributes(&event), attributes(&again));
        assert_eq!(event.body(), again.body());
    }
    if let Ok(events) = cloudevents::batch(body) {
        assert!(events.len() <= CLOUDEVENTS_BATCH);
        for event in events {
            let _ = CloudEvent::structured(event.get().as_bytes());
        }
    }
}

/// A `signedContent` template.
pub fn content(data: &[u8]) {
    let Some(template) = text(data) else { return };
    if ContentTemplate::parse(template).is_ok() {
        assert!(template.len() <= SIGNED_CONTENT_BYTES);
    }
}

/// Where a list, or a redelivery, goes on.
pub fn cursor(data: &[u8]) {
    let Some(cursor) = text(data) else { return };
    if let Ok(position) = cursor.parse::<RedeliveryPosition>() {
        assert_eq!(position.to_string().parse::<RedeliveryPosition>().ok(), Some(position));
    }
}

/// A duration as Go writes it.
pub fn duration(data: &[u8]) {
    let Some(duration) = text(data) else { return };
    if let Ok(time) = duration::parse(duration) {
        assert!(time <= MAX_DURATION && duration.len() <= SCALAR_BYTES);
    }
}

/// The URL of a target.
pub fn egress(data: &[u8]) {
    let Some(url) = text(data).and_then(|text| url::Url::parse(text).ok()) else { return };
    if EgressPolicy::default().check_url(&url).is_ok() {
        assert!(matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none());
        if let Some(url::Host::Ipv4(address)) = url.host() {
            assert!(EgressPolicy::default().check_address(IpAddr::V4(address)).is_ok(), "{address}");
            assert!(!address.is_loopback() && !address.is_private() && !address.is_link_local(), "{address}");
        }
    }
}

/// An expression up to an empty line, and the payload that it is given.
pub fn expression(data: &[u8]) {
    const MOST: usize = 4096;
    let (source, body) = halves(data);
    let Some(source) = text(source) else { return };
    let headers: [(&str, &[u8]); 2] = [("x-kind", b"a"), ("ce-id", b"%C3%A9")];
    let payload = Payload::read(&Reading::default(), Some("application/json"), &Bytes::copy_from_slice(body));
    let claims = serde_json::json!({ "email": "a@example.com", "groups": ["a"], "exp": 1 });
    let inputs = Inputs {
        event: Some(EventInput { id: "e", kind: "order.paid", time: now(), endpoint: "orders", namespace: "shop" }),
        headers: expression_headers(headers),
        payload: payload.input(body),
        claims: Some(&claims),
    };
    for scope in [Scope::Delivery, Scope::Request, Scope::Claims] {
        for gives in [ExpectedType::Bool, ExpectedType::Text, ExpectedType::Json] {
            let Ok(compiled) = Expression::compile(source, scope, gives) else { continue };
            assert!(source.len() <= EXPRESSION_BYTES);
            assert_eq!(compiled.source(), source);
            match gives {
                ExpectedType::Bool => drop(compiled.test(&inputs)),
                ExpectedType::Text => drop(compiled.text(&inputs)),
                ExpectedType::Json => {
                    if let Ok(json) = compiled.json(&inputs, MOST) {
                        assert!(json.len() <= MOST);
                        serde_json::from_slice::<Value>(&json).expect("it is JSON");
                    }
                }
            }
        }
    }
}

/// `X-Forwarded-For`, by a proxy that is trusted.
pub fn forwarded(data: &[u8]) {
    let headers = headers(data);
    let proxy = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let trusted = ["10.0.0.0/8".parse().expect("a network"), "2001:db8::/32".parse().expect("a network")];
    let stranger = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(address::client(stranger, &headers, &trusted), stranger, "a stranger says nothing");
    assert_eq!(address::client(proxy, &headers, &[]), proxy);
    let client = address::client(proxy, &headers, &trusted);
    assert_eq!(client, client.to_canonical());
}

/// A glob in the first line, a text in the others.
pub fn glob(data: &[u8]) {
    let Some((pattern, text)) = text(data).map(|text| text.split_once('\n').unwrap_or((text, ""))) else { return };
    let Ok(glob) = Glob::parse(pattern) else { return };
    assert!(pattern.len() <= GLOB_BYTES);
    let matches = glob.matches(text);
    if glob.is_literal() {
        assert!(glob.matches(pattern) && matches == (text == pattern));
    }
    assert_eq!(GlobSet::new(vec![glob]).matches(text), matches);
}

/// A file of event ids of the embedded journal.
pub fn ids(data: &[u8]) {
    fuzzing::ids(data);
}

/// An index file of the embedded journal.
pub fn index(data: &[u8]) {
    fuzzing::index(data);
}

/// The payload of a record of the embedded journal other than an event.
pub fn journal(data: &[u8]) {
    fuzzing::record(data);
}

/// A token whose signature nobody has looked at.
pub fn jwt(data: &[u8]) {
    let Some(token) = text(data) else { return };
    if let Some(claims) = Claims::unverified(token) {
        claims.may_be_for(&["grapnel".into()]);
        assert!(jws::is_bearer_token(token), "what is a JWT can be sent as a bearer token");
    }
}

/// A token up to an empty line, and a set of keys: the token is judged by these, and by keys that nobody here has.
pub fn keys(data: &[u8]) {
    const OURS: &[u8] = include_bytes!("../crates/signature/src/tests/data/rsa-1.jwks.json");
    let (token, set) = halves(data);
    let _ = KeySet::certificate(set);
    let mut headers = HeaderMap::new();
    let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", token].concat()) else { return };
    headers.insert(http::header::AUTHORIZATION, value);
    let scheme = JwtScheme {
        issuers: vec!["https://id.example".into()],
        audiences: vec!["grapnel".into()],
        keys: KeySource::Issuer("https://id.example".into()),
        emails: Vec::new(),
        claims: None,
    };
    let verifier = Verifier::new(Scheme::Jwt(scheme), Vec::new()).expect("needs no secret");
    let judge =
        |set: KeySet| verifier.verify_with(&VerificationContext::Keys(set.into()), &headers, Bytes::new(), now());
    assert!(judge(KeySet::jwks(OURS).expect("a set")).is_err(), "let in without a key");
    if let Ok(set) = KeySet::jwks(set) {
        let _ = judge(set);
    }
}

struct One(BTreeMap<String, Secret>, BTreeMap<String, String>);

impl ReferencedValues for One {
    fn secret(&self, key: &ObjectKey) -> Lookup<'_, BTreeMap<String, Secret>> {
        if &*key.name == "s" { Lookup::Found(&self.0) } else { Lookup::Absent }
    }
    fn config_map(&self, key: &ObjectKey) -> Lookup<'_, BTreeMap<String, String>> {
        if &*key.name == "c" { Lookup::Found(&self.1) } else { Lookup::Absent }
    }
}

/// Objects as a user writes them, compiled.
pub fn manifest(data: &[u8]) {
    let Some(documents) = text(data).and_then(|text| Document::parse(text).ok()) else { return };
    let sources = One(
        BTreeMap::from([("k".into(), Secret::from(SECRET))]),
        BTreeMap::from([("k".into(), r#"{"type":"object"}"#.into())]),
    );
    let key = ObjectKey::new("default", "fuzz");
    let options = Options::default();
    for document in documents.into_iter().flat_map(Document::into_objects) {
        let value = &document.value().0;
        // What the author of an object writes into it is no secret.
        if value.to_string().contains(SECRET_TEXT) {
            continue;
        }
        let (compiled, mut problems, admitted, looked_up, outlined);
        if let Ok(object) = serde_json::from_value::<WebhookEndpoint>(value.clone()) {
            let metrics = Metrics::new().endpoint(&key.namespace, &key.name);
            let (uid, facts) = (Arc::from(""), Arc::new(EndpointFacts::default()));
            let served = Served { uid, path_owner: None, facts, metrics, previous: None };
            let endpoint = compile::endpoint(&key, &object.spec, &options, &sources, served);
            outlined = compile::outline_endpoint(&key, &object.spec, &options).references;
            (compiled, problems, looked_up) = (endpoint.object.is_some(), endpoint.problems, endpoint.references);
            admitted = Admission::endpoint().check(value);
        } else if let Ok(object) = serde_json::from_value::<WebhookSubscription>(value.clone()) {
            let metrics = Metrics::new().subscription(&key.namespace, &key.name);
            let delivered = SubscriptionInputs {
                uid: Arc::from(""),
                standing: Standing::Open,
                endpoint_uid: Arc::from(""),
                reading: Reading::default(),
                dead_letter_endpoint: None,
                dead_letters_elsewhere: false,
                facts: Arc::new(SubscriptionFacts::default()),
                metrics,
                previous: None,
            };
            let subscription = compile::subscription(&key, &object.spec, &options, &sources, delivered);
            outlined = compile::outline_subscription(&key, &object.spec, &options);
            (compiled, problems) = (subscription.object.is_some(), subscription.problems);
            looked_up = subscription.references;
            admitted = Admission::subscription().check(value);
        } else {
            continue;
        }
        problems.extend(admitted);
        assert!(compiled || !problems.is_empty(), "refused without a problem: {value}");
        assert!(!compiled || outlined == looked_up, "references are fetched that are not used, or the reverse");
        for problem in problems {
            assert!(!problem.message.contains(SECRET_TEXT), "a secret in a problem");
        }
    }
}

/// The body of a redelivery.
pub fn order(data: &[u8]) {
    admin::understands_order(data, now());
}

/// A content type in the first line, headers up to an empty line, a body.
pub fn payload(data: &[u8]) {
    let (head, body) = halves(data);
    let line = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
    let (content_type, lines) = (text(&head[..line]), &head[line..]);
    let body = verified(body);
    let payload = Payload::read(&Reading::default(), content_type, body.body());
    let headers = headers(lines);
    let find = || {
        std::iter::once(None).chain(names().map(provider)).map(|provider| {
            let sources = |defaults| Sources { explicit: None, defaults, hidden: Vec::new() };
            let (kinds, ids) = (sources(kind_defaults(provider)), sources(id_defaults(provider)));
            identify(&kinds, &ids, &headers, &payload, body.body())
        })
    };
    let before: Vec<_> = find().collect();
    if let (Payload::Json(_), None) = (&payload, payload.flaw()) {
        let value: Value = serde_json::from_slice(without_bom(body.body())).expect("what has no flaw is JSON");
        assert_eq!(payload.value(), Some(&value));
    }
    let after: Vec<_> = find().collect();
    // Every generated id is another one.
    let stable = |found: &Identity| {
        (found.origin, found.kind.clone(), (found.origin != IdOrigin::Generated).then(|| found.id.clone()))
    };
    let stable = |found: &[Result<Identity, MalformedPayload>]| {
        found.iter().map(|found| stable(found.as_ref().expect("no body is refused"))).collect::<Vec<_>>()
    };
    assert_eq!(stable(&before), stable(&after), "the text and its tree say the same");
    for identity in before.into_iter().flatten() {
        assert!((1..=EVENT_ID_BYTES).contains(&identity.id.len()));
        assert!((1..=EVENT_TYPE_BYTES).contains(&identity.kind.len()));
        assert!(!identity.id.chars().chain(identity.kind.chars()).any(char::is_control));
    }
}

/// A JSON pointer.
pub fn pointer(data: &[u8]) {
    let Some(source) = text(data) else { return };
    if let Ok(pointer) = JsonPointer::parse(source) {
        assert_eq!(pointer.as_str(), source);
        assert!(source.len() <= POINTER_BYTES);
    }
}

/// A quantity as Kubernetes writes it.
pub fn quantity(data: &[u8]) {
    let Some(source) = text(data) else { return };
    if quantity::parse(source).is_ok() {
        assert!(source.len() <= SCALAR_BYTES);
    }
}

/// The query of the admin API.
pub fn query(data: &[u8]) {
    let Some(uri) = text(data).and_then(|query| format!("/x?{query}").parse::<Uri>().ok()) else { return };
    admin::understands_query(&uri, now());
}

/// An event as the journal keeps it.
pub fn record(data: &[u8]) {
    let Ok(event) = record::decode_event(7, Bytes::copy_from_slice(data)) else { return };
    let StoredEvent { id, kind, received, content_type, remote, headers, body, .. } = event.clone();
    let arrival = Arrival {
        endpoint: Incarnation::of_file(ObjectKey::new("shop", "orders")),
        validated: Validated::again(Identity::new(id, kind), body),
        received,
        content_type,
        remote,
        headers,
        window: None,
        max_bytes: None,
    };
    let again = record::decode_event(7, record::encode_event(&arrival)).expect("an encoding of ours");
    assert!(again == event, "{:?} {:?}", again.summary(), event.summary());
}

/// `Retry-After`.
pub fn retry_after_header(data: &[u8]) {
    if let Some(value) = text(data) {
        let _ = retry_after(value, now());
    }
}

/// A schema up to an empty line, and a body.
pub fn schema(data: &[u8]) {
    let (schema, body) = halves(data);
    let Ok(schema) = serde_json::from_slice::<Value>(schema) else { return };
    let glob = Glob::parse("*").expect("a glob");
    let Ok(set) = SchemaSet::compile(vec![(vec![glob], schema)], Unmatched::Accept) else { return };
    let body = verified(body);
    let payload = Payload::read(&Reading::default(), Some("application/json"), body.body());
    let none = Sources::default();
    let Ok(identity) = identify(&none, &none, &HeaderMap::new(), &payload, body.body()) else { return };
    if let Err(Violation::Schema(places)) = set.validate(body, &payload, identity) {
        assert!((1..=VIOLATIONS).contains(&places.len()));
        assert!(places.iter().all(|(path, message)| path.len().max(message.len()) <= VIOLATION_BYTES));
    }
}

/// What a Secret holds, as a key of every scheme.
pub fn secret(data: &[u8]) {
    let secret = || Secret::from(data.to_vec());
    let shown = |error: String| {
        // The error's own words, which a secret may be made of, have few digits.
        let digits = data.iter().filter(|byte| byte.is_ascii_digit()).count();
        if let Some(text) = text(data).filter(|_| digits >= 6) {
            assert!(!error.contains(text), "a secret in an error");
        }
    };
    for provider in names().filter_map(provider) {
        if let Err(error) = Verifier::new(provider.scheme(), vec![secret()]) {
            shown(error.to_string());
        }
    }
    for scheme in [DeliveryScheme::StandardWebhooks, DeliveryScheme::Ed25519] {
        match Signer::new(scheme, vec![secret()]) {
            Ok(signer) => assert!(!signer.sign("id", 1, b"{}").is_empty()),
            Err(error) => shown(error.to_string()),
        }
    }
}

/// Label keys and values, and names of headers that are passed on.
pub fn selector(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let _ = label::check_key(text);
    let _ = label::check_value(text);
    if let Ok(globs) = HeaderGlobs::parse(&text.lines().collect::<Vec<_>>()) {
        globs.matches(&HeaderName::from_static("authorization"));
    }
}

/// Headers up to an empty line and a body, against every sender that is known. Nobody here knows the secret.
pub fn signature(data: &[u8]) {
    let (lines, body) = halves(data);
    let headers = headers(lines);
    for provider in names().filter_map(provider) {
        let scheme = provider.scheme();
        let open = scheme == Scheme::None;
        let Ok(verifier) = Verifier::new(scheme, vec![Secret::from(SECRET)]) else { continue };
        let judged = verifier.verify(&headers, Bytes::copy_from_slice(body), now());
        assert!(judged.is_err() || open, "{} let it in", provider.name);
    }
}

/// `traceparent`.
pub fn trace(data: &[u8]) {
    let Some(value) = text(data) else { return };
    if let Some(parent) = Traceparent::parse(value) {
        assert_eq!(Traceparent::parse(&parent.to_string()), Some(parent));
    }
}

/// YAML that knows its lines.
pub fn yaml(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match Document::parse(text) {
        Ok(documents) => {
            for document in documents.into_iter().flat_map(Document::into_objects) {
                // A carriage return alone ends a line of YAML, too (1.2.2, 5.4).
                let lines = text.chars().filter(|c| matches!(c, '\n' | '\r')).count() as u64 + 2;
                for pointer in ["", "/metadata/name", "/spec/0/a~1b", "/items/1"] {
                    assert!(document.line_of(pointer) <= lines, "{pointer}");
                }
                document.value();
            }
        }
        Err(error) => assert!(error.message.chars().count() <= PROBLEM_CHARS),
    }
}
