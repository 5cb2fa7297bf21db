//! Responses whose bodies are read as they arrive. Each has a connection of its own, which is used again after its end.

use std::sync::Arc;

use anyhow::Context;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{Connection, Forward};
use crate::cli::limits::{CLI_TIMEOUT, CONSOLE_IDLE_CONNECTIONS};

/// Connections that wait for a request, at most [`CONSOLE_IDLE_CONNECTIONS`].
#[derive(Default)]
pub(super) struct Idle(Mutex<Vec<Connection>>);

impl Idle {
    fn take(&self) -> Option<Connection> {
        let mut idle = self.0.lock();
        // The operator closes idle connections.
        idle.retain(|connection| !connection.sender.is_closed());
        idle.pop()
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.0.lock();
        if idle.len() < CONSOLE_IDLE_CONNECTIONS {
            idle.push(connection);
        }
    }
}

/// A response that is being read.
struct Streamed {
    connection: Connection,
    body: Incoming,
    idle: Arc<Idle>,
}

impl Forward {
    /// Sends a request to the operator. Returns the response when its head has arrived.
    pub(in crate::cli::remote) async fn pass(
        &self,
        request: Request<Bytes>,
        token: Option<&str>,
    ) -> anyhow::Result<Response<Body>> {
        let exchange = async {
            // Only a request without effect can be repeated if an idle connection turns out to be closed.
            if *request.method() == Method::GET
                && let Some(mut connection) = self.idle.take()
                && let Ok(response) = connection.send(request.clone(), token).await
            {
                return Ok((connection, response));
            }
            let mut connection = self.connect().await?;
            match connection.send(request, token).await {
                Ok(response) => Ok((connection, response)),
                Err(error) => Err(connection.explain(error).await),
            }
        };
        let (connection, response) =
            timeout(CLI_TIMEOUT, exchange).await.context("the operator did not respond in time")??;
        let idle = Arc::clone(&self.idle);
        Ok(response.map(|body| Body::from_stream(chunks(Streamed { connection, body, idle }))))
    }
}

/// The body in chunks.
fn chunks(streamed: Streamed) -> impl futures_util::Stream<Item = Result<Bytes, hyper::Error>> + Send {
    stream::unfold(Some(streamed), |streamed| async {
        let mut streamed = streamed?;
        loop {
            match streamed.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Some((Ok(chunk), Some(streamed)));
                    }
                }
                Some(Err(error)) => return Some((Err(error), None)),
                None => {
                    streamed.idle.put(streamed.connection);
                    return None;
                }
            }
        }
    })
}
