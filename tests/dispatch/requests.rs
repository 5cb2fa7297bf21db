//! What receivers are sent.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ed25519_dalek::{Signature, SigningKey, Verifier as _};
use grapnel_api::Format;
use grapnel_payload::headers::HeaderGlobs;
use grapnel_signature::{
    ContentTemplate, DeliveryScheme, KeyForm, Scheme, Shape, SignatureAlgorithm, SignatureEncoding, SignatureScheme,
    Signer, Verifier, provider,
};
use grapnel_values::{
    glob::{Glob, GlobSet},
    secret::Secret,
};
use http::{HeaderName, HeaderValue};

use crate::stage::{Received, Receiver, Stage, arrival, subscription};

/// What a receiver gets of one event, with the subscription as told.
async fn delivered(adapt: impl FnOnce(&mut grapnel::catalog::Subscription), event: Event) -> Received {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let mut billing = subscription("billing", &receiver.url, &stage.metrics);
    adapt(&mut billing);
    stage.publish([billing]).await;
    let mut arrival = arrival(event.id, event.kind, event.body, stage.now());
    arrival.content_type = event.content_type.map(Into::into);
    arrival.headers =
        event.headers.iter().map(|(name, value)| ((*name).into(), Bytes::copy_from_slice(value.as_bytes()))).collect();
    stage.append_all([arrival]).await;
    let request = receiver.next().await;
    stage.until("billing", "delivered", |progress| progress.delivered == 1).await;
    stage.stop().await;
    request
}

struct Event {
    id: &'static str,
    kind: &'static str,
    content_type: Option<&'static str>,
    headers: &'static [(&'static str, &'static str)],
    body: &'static [u8],
}

const EVENT: Event = Event {
    id: "evt_1",
    kind: "invoice.paid",
    content_type: Some("application/json"),
    headers: &[],
    body: b"{\"amount\": 1.10}",
};

const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn verify(verifier: &Verifier, request: &Received) {
    let verified = verifier.verify(&request.headers, request.body.clone(), crate::stage::start());
    verified.unwrap_or_else(|refusal| panic!("{refusal}: {:?}", request.headers));
}

#[tokio::test]
async fn standard_webhooks_signatures_verify() {
    let signer = Signer::new(
        DeliveryScheme::StandardWebhooks,
        vec![Secret::from("whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQ="), Secret::from(WHSEC)],
    );
    let request = delivered(|billing| billing.signer = Some(signer.unwrap()), EVENT).await;
    let scheme = provider("StandardWebhooks").unwrap().scheme();
    verify(&Verifier::new(scheme.clone(), vec![Secret::from(WHSEC)]).unwrap(), &request);
    let other = Verifier::new(scheme, vec![Secret::from("whsec_bm90IHRoaXMgb25lLCBhbm90aGVyIG9uZQ==")]).unwrap();
    assert!(other.verify(&request.headers, request.body.clone(), crate::stage::start()).is_err());
}

#[tokio::test]
async fn hexadecimal_signatures_verify() {
    let header = HeaderName::from_static("x-webhook-signature");
    let scheme = DeliveryScheme::HmacSha256Hex { header: header.clone() };
    let signer = Signer::new(scheme, vec![Secret::from("hush")]);
    let request = delivered(|billing| billing.signer = Some(signer.unwrap()), EVENT).await;
    let scheme = Scheme::Signature(SignatureScheme {
        header,
        algorithm: SignatureAlgorithm::Sha256,
        encoding: SignatureEncoding::Hex,
        shape: Shape::Prefixed("".into()),
        content: ContentTemplate::parse("{body}").unwrap(),
        timestamp: None,
        id_header: None,
        alternative: None,
        tolerance: None,
        key_form: KeyForm::Raw,
    });
    verify(&Verifier::new(scheme, vec![Secret::from("hush")]).unwrap(), &request);
}

#[tokio::test]
async fn ed25519_signatures_verify() {
    let seed = [7; 32];
    let signer =
        Signer::new(DeliveryScheme::Ed25519, vec![Secret::from(format!("whsk_{}", STANDARD.encode(seed)).as_str())]);
    let request = delivered(|billing| billing.signer = Some(signer.unwrap()), EVENT).await;
    let signature = request.header("webhook-signature").strip_prefix("v1a,").unwrap();
    let signature = Signature::from_slice(&STANDARD.decode(signature).unwrap()).unwrap();
    let mut signed = format!("{}.{}.", request.header("webhook-id"), request.header("webhook-timestamp")).into_bytes();
    signed.extend_from_slice(&request.body);
    SigningKey::from_bytes(&seed).verifying_key().verify(&signed, &signature).unwrap();
}

#[tokio::test]
async fn ids_that_headers_cannot_carry_are_encoded_and_signed_as_sent() {
    let signer = Signer::new(DeliveryScheme::StandardWebhooks, vec![Secret::from(WHSEC)]);
    let request = delivered(|billing| billing.signer = Some(signer.unwrap()), Event { id: "é 1 ", ..EVENT }).await;
    assert_eq!(request.header("webhook-id"), "%C3%A9%201%20");
    let scheme = provider("StandardWebhooks").unwrap().scheme();
    verify(&Verifier::new(scheme, vec![Secret::from(WHSEC)]).unwrap(), &request);
}

#[tokio::test]
async fn every_format_names_the_type_in_a_header() {
    for (format, kind, sent) in [
        (Format::Original, "invoice.paid", "invoice.paid"),
        (Format::Envelope, "größe 100%", "gr%C3%B6%C3%9Fe%20100%25"),
        (Format::CloudEventsBinary, "a\n\"b\"", "a%0A%22b%22"),
        (Format::CloudEventsStructured, "push", "push"),
    ] {
        let request = delivered(|billing| billing.format = format, Event { kind, ..EVENT }).await;
        assert_eq!(request.header("grapnel-event-type"), sent, "{format:?}");
    }
}

#[tokio::test]
async fn originals_are_sent_byte_for_byte() {
    let headers = &[("content-encoding", "gzip")];
    let body = b"\x1f\x8b\x00not really";
    let event = Event { content_type: Some("application/x-thing; a=\"b\""), headers, body, ..EVENT };
    let request = delivered(|_| (), event).await;
    assert_eq!(&request.body[..], body);
    assert_eq!(request.header("content-type"), "application/x-thing; a=\"b\"");
    assert_eq!(request.header("content-encoding"), "gzip");
    let request = delivered(|_| (), Event { content_type: None, body: b"", ..EVENT }).await;
    assert!(request.body.is_empty());
    assert_eq!(request.header("content-length"), "0");
    assert!(!request.headers.contains_key("content-type"));
}

#[tokio::test]
async fn envelopes_wrap_the_payload() {
    let request = delivered(|billing| billing.format = Format::Envelope, EVENT).await;
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(
        std::str::from_utf8(&request.body).unwrap(),
        r#"{"id":"evt_1","type":"invoice.paid","timestamp":"2026-03-01T12:00:00Z","data":{"amount": 1.10}}"#
    );
}

#[tokio::test]
async fn headers_are_passed_on_as_declared_and_never_framing_or_ours() {
    let event = Event {
        headers: &[
            ("x-tenant", "a"),
            ("x-tenant", "b"),
            ("x-other", "no"),
            ("authorization", "Bearer leaked"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("webhook-id", "forged"),
            ("grapnel-event-type", "forged"),
            ("content-type", "text/forged"),
        ],
        ..EVENT
    };
    let request = delivered(
        |billing| {
            billing.forward_headers =
                HeaderGlobs::parse(&["x-ten*", "*-id", "*-type", "content-*", "auth*", "transfer-*"]).unwrap();
            let headers = &mut billing.target.headers;
            for (name, value) in [
                ("x-api-version", "2"),
                ("user-agent", "shop/1"),
                ("host", "forged.test"),
                ("content-length", "1"),
                ("webhook-id", "forged"),
                ("webhook-timestamp", "1"),
                ("grapnel-attempt", "99"),
                ("grapnel-event-type", "forged"),
                ("traceparent", "forged"),
            ] {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
        },
        event,
    )
    .await;
    let tenants: Vec<_> = request.headers.get_all("x-tenant").iter().collect();
    assert_eq!(tenants, ["a", "b"]);
    for absent in ["x-other", "authorization", "transfer-encoding"] {
        assert!(!request.headers.contains_key(absent), "{absent}");
    }
    assert_eq!(request.header("x-api-version"), "2");
    assert_eq!(request.header("user-agent"), "shop/1");
    assert!(request.header("host").starts_with("127.0.0.1:"));
    assert_eq!(request.header("webhook-id"), "evt_1");
    assert_eq!(request.header("grapnel-attempt"), "1");
    assert_eq!(request.header("grapnel-event-type"), "invoice.paid");
    assert_eq!(request.headers.get_all("grapnel-event-type").iter().count(), 1);
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("content-length"), EVENT.body.len().to_string());
    assert_eq!(request.header("traceparent").len(), 55);
}

#[tokio::test]
async fn traces_are_continued() {
    let headers =
        &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("tracestate", "vendor=1")];
    let request = delivered(|_| (), Event { headers, ..EVENT }).await;
    let parts: Vec<_> = request.header("traceparent").split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", "0af7651916cd43dd8448eb211c80319c", "01"));
    assert_ne!(parts[2], "b7ad6b7169203331");
    assert_eq!(request.header("tracestate"), "vendor=1");
    let headers =
        &[("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01"), ("tracestate", "vendor=1")];
    let request = delivered(|_| (), Event { headers, ..EVENT }).await;
    let parts: Vec<_> = request.header("traceparent").split('-').collect();
    assert_eq!((parts.len(), parts[1].len()), (4, 32), "a trace of its own");
    assert_ne!(parts[1], "00000000000000000000000000000000");
    assert!(!request.headers.contains_key("tracestate"));
    let headers = &[
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "vendor=1"),
        ("tracestate", "other=2"),
    ];
    let request = delivered(|_| (), Event { headers, ..EVENT }).await;
    assert!(!request.headers.contains_key("tracestate"), "half a state is none");
}

#[tokio::test]
async fn only_wanted_types_are_delivered() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let mut billing = subscription("billing", &receiver.url, &stage.metrics);
    billing.event_types = GlobSet::new(vec![Glob::parse("invoice.*").unwrap()]);
    stage.publish([billing]).await;
    let now = stage.now();
    for batch in 0..20 {
        let noise = (0..100).map(|number| arrival(&format!("noise_{batch}_{number}"), "cart.updated", b"{}", now));
        stage.append_all(noise).await;
    }
    stage.append("evt_1", "invoice.paid").await;
    assert_eq!(receiver.next().await.header("webhook-id"), "evt_1");
    let progress =
        stage.until("billing", "all settled", |progress| progress.delivered > 0 && progress.in_flight == 0).await;
    assert_eq!((progress.pending, progress.delivered), (0, 1));
    assert!(receiver.rest().is_empty());
    stage.stop().await;
}
