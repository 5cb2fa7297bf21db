//! Traces, as a collector receives them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;

use crate::{
    home::Home,
    program::{Grapnel, receiver::Receiver},
};

const SENDERS_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SENDERS_SPAN: &str = "b7ad6b7169203331";

/// Spans are sent at once, not after five seconds.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

fn manifest(receiver: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{name: in}}\n\
         spec: {{verification: {{none: {{}}}}, event: {{id: {{pointer: /id}}}}}}\n---\n\
         apiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{name: out}}\n\
         spec: {{endpointRef: {{name: in}}, target: {{url: \"{receiver}/hidden-path\"}}, retry: {{maxAttempts: 2, initialDelay: 100ms}}}}\n"
    )
}

/// The next spans of a collector, and whose they are.
async fn exported(collector: &Receiver, wanted: usize) -> (Resource, Vec<Span>) {
    let (mut resource, mut spans) = (None, Vec::new());
    while spans.len() < wanted {
        let request = collector.next().await;
        assert_eq!((&*request.path, request.header("content-type")), ("/v1/traces", "application/x-protobuf"));
        for part in ExportTraceServiceRequest::decode(request.body).unwrap().resource_spans {
            resource = part.resource;
            spans.extend(part.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    assert_eq!(spans.len(), wanted, "{spans:#?}");
    spans.sort_by_key(|span| span.start_time_unix_nano);
    (resource.unwrap(), spans)
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |value: &KeyValue| match value.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (&*attribute.key, text(attribute))).collect()
}

async fn send(grapnel: &Grapnel, id: &str, headers: &[(&str, &str)]) {
    let all = [&[("content-type", "application/json")], headers].concat();
    let (status, answer) = grapnel
        .post("/default/in", &all, format!(r#"{{"id": "{id}", "type": "paid", "card": "hidden-payload"}}"#))
        .await;
    assert_eq!(status, 200, "{answer}");
}

/// From the sender's span to the receipt, and from there to every attempt, also those after a restart.
#[tokio::test]
async fn one_trace_leads_from_the_sender_to_every_attempt() {
    let (collector, receiver) = (Receiver::start().await, Receiver::start().await);
    let home = Home::new();
    home.write("all.yaml", &manifest(&receiver.url));
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url), SOON];
    let grapnel = home.start_in(&environment);
    receiver.answer(500);
    send(&grapnel, "evt-1", &[("traceparent", &format!("00-{SENDERS_TRACE}-{SENDERS_SPAN}-01"))]).await;
    let failed = receiver.next().await;
    receiver.answer(200);
    let delivered = receiver.next().await;
    let (resource, spans) = exported(&collector, 3).await;

    let about = attributes(&resource.attributes);
    assert_eq!((&*about["service.name"], &*about["service.version"]), ("grapnel", env!("CARGO_PKG_VERSION")));
    let [receipt, first, second] = &spans[..] else { unreachable!() };
    assert!(spans.iter().all(|span| hex::encode(&span.trace_id) == SENDERS_TRACE));
    assert_eq!(hex::encode(&receipt.parent_span_id), SENDERS_SPAN);
    assert_eq!((&*receipt.name, receipt.kind()), ("receive default/in", SpanKind::Server));
    let about = attributes(&receipt.attributes);
    assert_eq!((&*about["grapnel.endpoint"], &*about["http.response.status_code"]), ("in", "200"));
    let event = attributes(&receipt.events[0].attributes);
    assert_eq!((&*event["grapnel.event.id"], &*event["grapnel.event.type"]), ("evt-1", "paid"));
    assert_eq!(event["grapnel.event.duplicate"], "false");
    for (span, arrived, attempt, status) in [(first, &failed, "1", "500"), (second, &delivered, "2", "200")] {
        assert_eq!((&*span.name, span.kind()), ("deliver default/out", SpanKind::Client));
        assert_eq!(span.parent_span_id, receipt.span_id);
        // The receiver goes on with the span of its own attempt.
        assert_eq!(arrived.header("traceparent"), format!("00-{SENDERS_TRACE}-{}-01", hex::encode(&span.span_id)));
        let about = attributes(&span.attributes);
        assert_eq!((&*about["grapnel.attempt"], &*about["http.response.status_code"]), (attempt, status));
        assert_eq!((&*about["grapnel.subscription"], &*about["grapnel.event.id"]), ("out", "evt-1"));
        let failed = span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
        assert_eq!(
            (failed, about.get("error.type").map(|kind| &**kind)),
            (status == "500", (status == "500").then_some("status"))
        );
    }
    let shown = format!("{spans:?}");
    assert!(!shown.contains("hidden"), "a payload or a URL is in {shown}");

    // Without a sender's trace the receipt begins one; the event has it after a restart, too.
    receiver.answer(500);
    send(&grapnel, "evt-2", &[("tracestate", "of=nobody")]).await;
    receiver.next().await;
    grapnel.send_signal("TERM");
    let (status, log) = grapnel.ended().await;
    assert!(status.success(), "{log}");
    receiver.answer(200);
    let (_, before) = exported(&collector, 2).await;
    let grapnel = home.start_in(&environment);
    let delivered = receiver.next().await;
    let (_, after) = exported(&collector, 1).await;
    assert!(before[0].parent_span_id.is_empty(), "{before:?}");
    assert_eq!(after[0].trace_id, before[0].trace_id);
    assert_eq!(after[0].parent_span_id, before[0].span_id);
    assert!(!delivered.headers.contains_key("tracestate"));
    drop(grapnel);
}

/// What the sender or the sampler does not want to be recorded is not, and the receiver is told so.
#[tokio::test]
async fn what_is_not_sampled_is_not_exported() {
    let (collector, receiver) = (Receiver::start().await, Receiver::start().await);
    let home = Home::new();
    home.write("all.yaml", &manifest(&receiver.url));
    let grapnel =
        home.start_in(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/v1/traces", collector.url)), SOON]);
    send(&grapnel, "evt-1", &[("traceparent", &format!("00-{SENDERS_TRACE}-{SENDERS_SPAN}-00"))]).await;
    let arrived = receiver.next().await;
    assert!(arrived.header("traceparent").starts_with(&format!("00-{SENDERS_TRACE}-")), "{arrived:?}");
    assert!(arrived.header("traceparent").ends_with("-00"), "{arrived:?}");
    // What comes later is exported, and nothing before it.
    send(&grapnel, "evt-2", &[]).await;
    receiver.next().await;
    let (_, spans) = exported(&collector, 2).await;
    assert!(spans.iter().all(|span| hex::encode(&span.trace_id) != SENDERS_TRACE), "{spans:?}");
}

/// A collector that is away, or that does not speak HTTP, keeps nobody from serving webhooks, and the log says so.
#[tokio::test]
async fn a_collector_in_trouble_stops_nobody() {
    let (collector, receiver) = (Receiver::start().await, Receiver::start().await);
    collector.answer(503);
    let home = Home::new();
    home.write("all.yaml", &manifest(&receiver.url));
    let grapnel = home.start_in(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url), SOON]);
    send(&grapnel, "evt-1", &[]).await;
    receiver.next().await;
    grapnel
        .eventually("the trouble to be logged", async || {
            grapnel.log().contains("spans cannot be exported and are dropped").then_some(())
        })
        .await;
    collector.answer(200);
    send(&grapnel, "evt-2", &[]).await;
    grapnel
        .eventually("its end to be logged", async || grapnel.log().contains("spans are exported again").then_some(()))
        .await;

    let home = Home::new();
    home.write("all.yaml", &manifest(&receiver.url));
    for environment in [
        [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "not a URL"), SOON],
    ] {
        let grapnel = home.start_in(&environment);
        let log = grapnel.log();
        assert!(log.contains("traces are not exported"), "{log}");
        send(&grapnel, environment[0].1, &[]).await;
        receiver.next().await;
    }
}
