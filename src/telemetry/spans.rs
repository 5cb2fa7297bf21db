//! Traces: a span for every receipt and for every attempt to deliver, sent by OTLP over HTTP.
//!
//! The standard environment variables of OpenTelemetry say where to, how many traces are sampled and under which name
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>); without an endpoint there are no
//! spans. A receipt continues the trace that its sender names in `traceparent`, the event is stored with the receipt's
//! span, and every attempt is a child of that one. So what happens is one trace, however late it happens.
//!
//! Spans say who, what and how it ended: no payloads, no headers, no URLs of targets. They are handed to a thread of the
//! library's, which sends them in batches; when the collector cannot follow they are dropped, and nobody waits.

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

/// Why there are no traces although the environment asks for them.
#[derive(Debug, thiserror::Error)]
pub enum SpansError {
    /// Another protocol than the one that is spoken here.
    #[error(
        "{variable} is {value:?}; only http/protobuf is spoken here: set it so, and the endpoint's port to match (4318)"
    )]
    Protocol {
        /// The variable that says so.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// An endpoint that is none, or the like.
    #[error("the exporter cannot be set up")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Where spans are begun. Cheap to clone; the default begins none.
#[derive(Clone, Default)]
pub struct Spans(Option<SdkTracer>);

/// Where they go, to be [ended](Export::end) when nothing begins any more.
pub struct Export(SdkTracerProvider);

/// A span that is under way. It counts as ended when it is dropped.
pub struct Span(opentelemetry_sdk::trace::Span);

/// A delivery to be traced.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
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
    /// Which attempt it is, from 1.
    pub number: u32,
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans").field("on", &self.0.is_some()).finish()
    }
}

/// Sets up what the environment asks for; `None` when it asks for nothing. `client` is how the collector is reached.
///
/// Bounds are the library's: 2048 spans wait at most, and are sent by 512 or every five seconds (`OTEL_BSP_…`); of a span
/// 128 attributes are kept.
///
/// # Errors
/// [`SpansError`] when what it asks for cannot be done.
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
    /// Whether any are begun.
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// The span of a receipt, from the moment at which the request came.
    pub fn receipt(
        &self,
        parent: Option<Traceparent>,
        namespace: &str,
        endpoint: &str,
        received: Timestamp,
    ) -> Option<Span> {
        self.begin(SpanKind::Server, parent, SystemTime::from(received), || {
            let attributes = vec![
                KeyValue::new("k8s.namespace.name", namespace.to_owned()),
                KeyValue::new("grapnel.endpoint", endpoint.to_owned()),
            ];
            (format!("receive {namespace}/{endpoint}"), attributes)
        })
    }

    /// The span of an attempt, from now on.
    pub fn attempt(&self, parent: Option<Traceparent>, attempt: Attempt<'_>) -> Option<Span> {
        self.begin(SpanKind::Client, parent, SystemTime::now(), || {
            let Attempt { namespace, subscription, endpoint, id, kind, number } = attempt;
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
    ) -> Option<Span> {
        let tracer = self.0.as_ref()?;
        let (name, attributes) = about();
        let context =
            parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(remote(parent)));
        let builder = tracer.span_builder(name).with_kind(kind).with_start_time(start).with_attributes(attributes);
        Some(Span(tracer.build_with_context(builder, &context)))
    }
}

impl Span {
    /// Itself, as it is handed on.
    pub fn traceparent(&self) -> Option<Traceparent> {
        let context = self.0.span_context();
        Traceparent::of(context.trace_id().to_bytes(), context.span_id().to_bytes(), context.is_sampled())
    }

    /// Adds the event that it is about; a batch has several.
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

    /// Ends it: with the status of the answer, if there is one, and with the word for what went wrong, if something did.
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
    /// Sends what is left, for at most `timeout`. Blocks.
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

/// An exporter whose troubles are logged: when they begin, and when they are over.
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
