//! Passes requests of a browser on to the operator, and its responses back as they arrive.

use anyhow::Context;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use reqwest::Client;
use tokio::time::timeout;

use super::{Remote, Way};
use crate::cli::limits::{CLI_TIMEOUT, CONSOLE_RESPONSE_TIME};

impl Remote {
    /// Sends a request, whose URI is a path with a query, with the credential of this connection. Returns the response
    /// when its head has arrived.
    ///
    /// # Errors
    /// Returns an error if there is no response. A request that is not a GET may have taken effect nevertheless.
    pub(in crate::cli) async fn pass(&self, request: Request<Bytes>) -> anyhow::Result<Response<Body>> {
        let shown = self.token().await?;
        let token = shown.as_ref().map(|token| token.as_str());
        match &self.way {
            Way::Direct(client) => self.pass_directly(client, request, token).await,
            Way::Forward(forward) => forward.pass(request, token).await,
        }
    }

    async fn pass_directly(
        &self,
        client: &Client,
        request: Request<Bytes>,
        token: Option<&str>,
    ) -> anyhow::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let mut url = self.url.clone();
        url.set_path(&format!("{}{}", url.path().trim_end_matches('/'), head.uri.path()));
        url.set_query(head.uri.query());
        let mut sent = client.request(head.method, url).headers(head.headers).body(body).timeout(CONSOLE_RESPONSE_TIME);
        if let Some(token) = token {
            sent = sent.bearer_auth(token);
        }
        let response = timeout(CLI_TIMEOUT, sent.send()).await.context("the operator did not respond in time")?;
        let response = response.map_err(reqwest::Error::without_url).with_context(|| self.unreachable())?;
        let mut answer = Response::new(());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        let chunks = stream::unfold(response, |mut response| async move {
            response.chunk().await.map_err(reqwest::Error::without_url).transpose().map(|chunk| (chunk, response))
        });
        Ok(answer.map(|()| Body::from_stream(chunks)))
    }
}
