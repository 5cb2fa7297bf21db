//! The HTTP client for the trace collector.

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use reqwest::redirect::Policy;
use tokio::runtime::Handle;

use crate::{
    dispatch::{
        ClientError,
        client::{platform_roots, tls},
    },
    runtime::limits::{TRACE_ANSWER_BYTES, TRACE_TIMEOUT},
};

/// A client for the export thread, which is outside the runtime. The operator's configuration names the collector, so
/// it may have any address, and no proxy is used.
#[derive(Debug)]
pub(super) struct Collector {
    client: reqwest::Client,
    runtime: Handle,
}

impl Collector {
    /// A client whose requests run on this runtime.
    ///
    /// # Errors
    /// Returns an error if TLS cannot be set up.
    pub(super) fn new(runtime: Handle) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(platform_roots()).map_err(ClientError::from)?)
            .redirect(Policy::none())
            .no_proxy()
            .timeout(TRACE_TIMEOUT)
            .build()?;
        Ok(Self { client, runtime })
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), request.try_into()?);
        let exchange = self.runtime.spawn(async move {
            let mut answer = client.execute(request).await?;
            let status = answer.status();
            let headers = std::mem::take(answer.headers_mut());
            let mut body = BytesMut::new();
            while let Some(chunk) = answer.chunk().await? {
                if body.len().saturating_add(chunk.len()) > TRACE_ANSWER_BYTES {
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            Ok((status, headers, body.freeze()))
        });
        // The URL may contain credentials.
        let (status, headers, body) = exchange.await?.map_err(reqwest::Error::without_url)?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}
