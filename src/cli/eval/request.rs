//! The request to evaluate: a body from a file, or an event of the journal.

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use clap::ArgGroup;
use grapnel_api::ObjectKey;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    admin::contract::Operation,
    cli::{
        Usage,
        remote::{self, Remote},
        send::{header_pair, payload::BodySource},
    },
};

const NOT_STORED: &str = "--stored is not an event as `grapnel events show ENDPOINT ID -o json` prints it";

/// Where the request comes from.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group(ArgGroup::new("source").required(true)))]
pub(super) struct RequestArgs {
    /// File with the body of the request, - for standard input
    #[arg(long, value_name = "FILE", group = "source", value_parser = data)]
    event: Option<BodySource>,

    /// File with an event of the journal, as `grapnel events show -o json` prints it, - for standard input. Type and id
    /// are determined again. Credentials are not stored, so an expression that needs them fails
    #[arg(long, value_name = "FILE", group = "source", value_parser = data)]
    stored: Option<BodySource>,

    /// Event of a running operator, by its id at the endpoint. Like --stored
    #[arg(long, value_name = "ID", group = "source")]
    from_journal: Option<String>,

    /// Header of the request; replaces a header of the stored event with the same name. May be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE", value_parser = header_pair)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// Content-Type of the request [default: application/json, or that of the stored event]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<HeaderValue>,
}

fn data(text: &str) -> Result<BodySource, std::convert::Infallible> {
    Ok(BodySource::from(text))
}

/// A request.
pub(super) struct EvalRequest {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) received: Timestamp,
}

/// An event as the admin API shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ShownEvent<'a> {
    received_time: Timestamp,
    content_type: Option<String>,
    headers: Vec<Header>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    payload_text: Option<String>,
    payload_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    name: String,
    value: Option<String>,
    value_base64: Option<String>,
}

impl RequestArgs {
    /// Whether standard input is read.
    pub(super) fn is_stdin(&self) -> bool {
        [&self.event, &self.stored].into_iter().any(|data| *data == Some(BodySource::Stdin))
    }

    /// Reads the request, which is for this endpoint.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or is not a stored event, or if the operator has no such event.
    pub(super) async fn read(&self, endpoint: &ObjectKey, remote: &remote::RemoteArgs) -> anyhow::Result<EvalRequest> {
        let mut request = match (&self.event, &self.stored, &self.from_journal) {
            (Some(event), ..) => EvalRequest {
                headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
                body: event.read()?.into(),
                received: Timestamp::now(),
            },
            (None, Some(stored), _) => of_stored(&stored.read()?).context(NOT_STORED)?,
            (None, None, Some(id)) => {
                let path = [&*endpoint.namespace, &*endpoint.name, id.as_str()];
                let shown = Remote::new(remote).await?.get(Operation::ShowEvent, &path, &[]).await?;
                of_stored(shown.body.as_ref())?
            }
            (None, None, None) => return Err(Usage::error("give an event with --event, --stored or --from-journal")),
        };
        for (name, value) in &self.headers {
            request.headers.insert(name, value.clone());
        }
        if let Some(content_type) = &self.content_type {
            request.headers.insert(CONTENT_TYPE, content_type.clone());
        }
        Ok(request)
    }
}

fn of_stored(text: &[u8]) -> anyhow::Result<EvalRequest> {
    let stored: ShownEvent = serde_json::from_slice(text)?;
    let mut headers = HeaderMap::new();
    for header in &stored.headers {
        headers.try_append(HeaderName::try_from(&header.name)?, header.value()?)?;
    }
    if let Some(content_type) = &stored.content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type)?);
    }
    let body = match (&stored.payload, stored.payload_text, stored.payload_base64) {
        (Some(json), ..) => json.get().to_owned().into(),
        (None, Some(text), _) => text.into(),
        (None, None, Some(base64)) => STANDARD.decode(base64).context("payloadBase64 is not base64")?.into(),
        // `"payload": null`.
        (None, None, None) => Bytes::from_static(b"null"),
    };
    Ok(EvalRequest { headers, body, received: stored.received_time })
}

impl Header {
    fn value(&self) -> anyhow::Result<HeaderValue> {
        match &self.value_base64 {
            Some(base64) => {
                Ok(HeaderValue::from_bytes(&STANDARD.decode(base64).context("valueBase64 is not base64")?)?)
            }
            None => Ok(HeaderValue::from_str(self.value.as_deref().unwrap_or_default())?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_events_become_requests() {
        let text = r#"{"sequence":3,"id":"a","type":"t","receivedTime":"2026-01-31T12:00:00Z","contentType":"application/json",
            "bytes":12,"remote":null,"headers":[{"name":"x-a","value":"1"},{"name":"x-b","valueBase64":"/w=="}],
            "payload":{"n":1.10, "b":2}}"#;
        let request = of_stored(text.as_bytes()).unwrap();
        assert_eq!(&request.body[..], br#"{"n":1.10, "b":2}"#, "numbers keep their digits");
        assert_eq!(
            (&request.headers["x-a"], &request.headers["content-type"]),
            (&HeaderValue::from_static("1"), &HeaderValue::from_static("application/json"))
        );
        assert_eq!(request.headers["x-b"].as_bytes(), [0xff]);
        assert_eq!(request.received.to_string(), "2026-01-31T12:00:00Z");
        let body = |payload: &str| {
            let text = format!(r#"{{"receivedTime":"2026-01-31T12:00:00Z","headers":[],{payload}}}"#);
            of_stored(text.as_bytes()).map(|request| request.body)
        };
        assert_eq!(body(r#""payloadText":"a=b""#).unwrap(), "a=b");
        assert_eq!(body(r#""payloadBase64":"aGk=""#).unwrap(), "hi");
        assert_eq!(body(r#""payload":null"#).unwrap(), "null");
        assert!(body(r#""payloadBase64":"?""#).is_err());
        assert!(of_stored(b"{}").is_err());
        let many: Vec<_> = (0..40_000).map(|number| format!(r#"{{"name":"x{number}","value":"1"}}"#)).collect();
        let text = format!(r#"{{"receivedTime":"2026-01-31T12:00:00Z","headers":[{}],"payload":1}}"#, many.join(","));
        assert!(of_stored(text.as_bytes()).is_err(), "more than a map of headers can have");
    }
}
