//! Traces: a span for every receipt and every delivery attempt, exported by OTLP over HTTP.
//!
//! The standard environment variables of OpenTelemetry set the endpoint, the sampling and the service name
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>); without an endpoint there are
//! no spans. A receipt continues the trace that its sender names in `traceparent`, the event is stored with the
//! receipt's span, and every attempt is a child of that span. An event is therefore one trace, however late its
//! deliveries are.
//!
//! Spans contain identities and outcomes, but no payloads, headers or URLs of targets. They are passed to a thread of
//! the library, which exports them in batches; spans that the collector cannot keep up with are dropped, and nothing
//! waits for them.

use std::{
    env, fmt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use grapnel_values::traceparent::Traceparent;
use jiff::Timestamp;
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt, TraceState, Tracer, TracerProvider},
};
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanData},
};

/// Why traces cannot be exported although the environment requests them.
#[derive(Debug, thiserror::Error)]
pub enum SpansError {
    /// The protocol is not supported.
    #[error(
        "{variable} is {value:?}; only http/protobuf is spoken here: set it so, and the endpoint's port to match (4318)"
    )]
    Protocol {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The exporter could not be built, for example because the endpoint is not a URL.
    #[error("the exporter cannot be set up")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// The source of spans. Cheap to clone; the default creates none.
#[derive(Clone, Default)]
pub struct Spans(Option<SdkTracer>);

/// The export of spans, to be [ended](Export::end) after the last span has begun.
pub struct Export(SdkTracerProvider);

/// An open span. It ends when it is dropped.
pub struct OpenSpan(opentelemetry_sdk::trace::Span);

/// A delivery attempt to trace.
#[derive(Debug, Clone, Copy)]
pub struct AttemptToTrace<'a> {
    /// Namespace of the subscription.
    pub namespace: &'a str,
    /// Name of the subscription.
    pub subscription: &'a str,
    /// Name of the endpoint.
    pub endpoint: &'a str,
    /// The event's id.
    pub id: &'a str,
    /// The event's type.
    pub kind: &'a str,
    /// The number of the attempt, from 1.
    pub number: u32,
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans").field("on", &self.0.is_some()).finish()
    }
}

/// Sets up tracing as configured by the environment; `None` if it is not configured. `client` connects to the
/// collector.
///
/// The bounds are the library's: at most 2048 spans wait, and are exported in batches of 512 or every five seconds
/// (`OTEL_BSP_…`); 128 attributes of a span are kept.
///
/// # Errors
/// Returns [`SpansError`] if the configuration cannot be applied.
pub fn from_environment(client: impl HttpClient + 'static) -> Result<Option<(Spans, Export)>, SpansError> {
    let set = |variable: &'static str| env::var(variable).ok().filter(|value| !value.is_empty());
    let is = |variable, wanted: &str| set(variable).is_some_and(|value| value.eq_ignore_ascii_case(wanted));
    let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
    if endpoint.is_none() || is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    let protocols = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    if let Some((variable, value)) = protocols.into_iter().find_map(|variable| Some((variable, set(variable)?)))
        && value != "http/protobuf"
    {
        return Err(SpansError::Protocol { variable, value });
    }
    let exporter =
        SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_http_client(client).build()?;
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let named = set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
    if set("OTEL_SERVICE_NAME").is_none() && !named {
        resource = resource.with_service_name("grapnel");
    }
    let processor = BatchSpanProcessor::builder(Noted { exporter, failing: AtomicBool::new(false) }).build();
    let provider = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource.build()).build();
    Ok(Some((Spans(Some(provider.tracer("grapnel"))), Export(provider))))
}

impl Spans {
    /// Whether spans are created.
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// The span of a receipt, from the arrival of the request.
    pub fn receipt(
        &self,
        parent: Option<Traceparent>,
        namespace: &str,
        endpoint: &str,
        received: Timestamp,
    ) -> Option<OpenSpan> {
        self.begin(SpanKind::Server, parent, SystemTime::from(received), || {
            let attributes = vec![
                KeyValue::new("k8s.namespace.name", namespace.to_owned()),
                KeyValue::new("grapnel.endpoint", endpoint.to_owned()),
            ];
            (format!("receive {namespace}/{endpoint}"), attributes)
        })
    }

    /// The span of an attempt, from now on.
    pub fn attempt(&self, parent: Option<Traceparent>, attempt: AttemptToTrace<'_>) -> Option<OpenSpan> {
        self.begin(SpanKind::Client, parent, SystemTime::now(), || {
            let AttemptToTrace { namespace, subscription, endpoint, id, kind, number } = attempt;
            let attributes = vec![
                KeyValue::new("k8s.namespace.name", namespace.to_owned()),
                KeyValue::new("grapnel.subscription", subscription.to_owned()),
                KeyValue::new("grapnel.endpoint", endpoint.to_owned()),
                KeyValue::new("grapnel.event.id", id.to_owned()),
                KeyValue::new("grapnel.event.type", kind.to_owned()),
                KeyValue::new("grapnel.attempt", i64::from(number)),
            ];
            (format!("deliver {namespace}/{subscription}"), attributes)
        })
    }

    fn begin(
        &self,
        kind: SpanKind,
        parent: Option<Traceparent>,
        start: SystemTime,
        about: impl FnOnce() -> (String, Vec<KeyValue>),
    ) -> Option<OpenSpan> {
        let tracer = self.0.as_ref()?;
        let (name, attributes) = about();
        let context =
            parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(remote(parent)));
        let builder = tracer.span_builder(name).with_kind(kind).with_start_time(start).with_attributes(attributes);
        Some(OpenSpan(tracer.build_with_context(builder, &context)))
    }
}

impl OpenSpan {
    /// The context of this span, as passed on.
    pub fn traceparent(&self) -> Option<Traceparent> {
        let context = self.0.span_context();
        Traceparent::of(context.trace_id().to_bytes(), context.span_id().to_bytes(), context.is_sampled())
    }

    /// Adds an event of the receipt; a batch has several.
    pub fn event(&mut self, id: &str, kind: &str, duplicate: bool) {
        self.0.add_event(
            "event",
            vec![
                KeyValue::new("grapnel.event.id", id.to_owned()),
                KeyValue::new("grapnel.event.type", kind.to_owned()),
                KeyValue::new("grapnel.event.duplicate", duplicate),
            ],
        );
    }

    /// Ends the span with the status of the response, if any, and the reason of the failure, if any.
    pub fn end(mut self, status: Option<u16>, error: Option<&str>) {
        if let Some(status) = status {
            self.0.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
        if let Some(error) = error {
            self.0.set_attribute(KeyValue::new("error.type", error.to_owned()));
            self.0.set_status(Status::error(""));
        }
        self.0.end();
    }
}

impl Export {
    /// Exports the remaining spans, for at most `timeout`. Blocks.
    pub fn end(self, timeout: Duration) {
        if let Err(error) = self.0.shutdown_with_timeout(timeout) {
            tracing::warn!(error = %error, "the last spans were not exported");
        }
    }
}

fn remote(parent: Traceparent) -> SpanContext {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from_bytes(parent.trace()), SpanId::from_bytes(parent.span()));
    SpanContext::new(trace, span, flags, true, TraceState::default())
}

/// An exporter that logs when errors begin and when they end.
#[derive(Debug)]
struct Noted {
    exporter: SpanExporter,
    failing: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Noted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let failed = self.failing.swap(result.is_err(), Relaxed);
        match &result {
            Err(error) if !failed => tracing::warn!(error = %reason(error), "spans cannot be exported and are dropped"),
            Ok(()) if failed => tracing::info!("spans are exported again"),
            Ok(()) | Err(_) => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

fn reason(error: &OTelSdkError) -> String {
    match error {
        OTelSdkError::InternalFailure(message) => message.clone(),
        other => other.to_string(),
    }
}
