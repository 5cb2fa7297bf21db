//! Connects to the operator in a cluster: finds its pod, and reaches its admin port through the API server, as `kubectl
//! port-forward` does, but without a local port that other users of this machine could use.

mod pod;
mod stream;

use std::{pin::Pin, sync::Arc};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use kube::{
    Api, Client, Config,
    api::ListParams,
    client::{Body, ConfigExt},
    config::AuthInfo,
};
use tokio::{sync::Mutex, task::JoinSet, time::timeout};
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxService};
use zeroize::Zeroizing;

use self::pod::OperatorPod;
use super::JSON;
use crate::{
    cli::limits::{CLI_ADMIN_ANSWER_BYTES, CLI_PORT_FORWARD_ERROR, CLI_TIMEOUT},
    controller::connect,
};

/// The location of the operator, and how to connect to its cluster.
#[derive(Debug, Clone)]
pub(super) struct OperatorLocation {
    /// How to connect to the API server.
    pub(super) cluster: connect::Connection,
    /// Namespace of the operator.
    pub(super) namespace: String,
    /// Labels of its pods.
    pub(super) selector: String,
}

/// A connection to the operator, reopened when necessary.
pub(super) struct Forward {
    pods: Api<OperatorPod>,
    place: OperatorLocation,
    connection: Mutex<Option<Connection>>,
    /// Connections of streamed responses that have ended; see [`stream`].
    idle: Arc<stream::Idle>,
}

/// An HTTP connection through the API server.
struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// The error that the kubelet reports when the connection fails.
    error: Pin<Box<dyn Future<Output = Option<String>> + Send>>,
    /// Drives the connection until it is dropped.
    _driver: JoinSet<()>,
}

/// The token of a kubeconfig, renewed as the kubeconfig specifies.
pub(super) struct RenewedToken(Mutex<BoxService<Request<Body>, Response<()>, BoxError>>);

impl RenewedToken {
    /// The token of a kubeconfig's user.
    ///
    /// # Errors
    /// Returns an error that says what to do if the user has no token.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        let Some(layer) = config.auth_layer().context("the kubeconfig's credentials cannot be used")? else {
            bail!("{}", tokenless(&config.auth_info));
        };
        // The client's own layer adds the header to a request that is not sent.
        let mirror = tower::service_fn(|request: Request<Body>| async move {
            let mut response = Response::new(());
            *response.headers_mut() = request.headers().clone();
            Ok::<_, BoxError>(response)
        });
        Ok(Self(Mutex::new(BoxService::new(layer.layer(mirror)))))
    }

    /// The current token.
    pub(super) async fn show(&self) -> anyhow::Result<Zeroizing<String>> {
        let mut service = self.0.lock().await;
        let shown = async { service.ready().await?.call(Request::new(Body::empty())).await };
        let shown =
            shown.await.map_err(|error| anyhow::anyhow!(error)).context("cannot get a token from the kubeconfig")?;
        let header = shown.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match header.and_then(|header| header.strip_prefix("Bearer ")) {
            Some(token) => Ok(Zeroizing::new(token.trim().to_owned())),
            None => bail!("{}", ask_for_token("a user name and password")),
        }
    }
}

fn tokenless(user: &AuthInfo) -> String {
    if user.client_certificate.is_some() || user.client_certificate_data.is_some() || user.exec.is_some() {
        ask_for_token("a client certificate")
    } else {
        ask_for_token("no credentials")
    }
}

fn ask_for_token(by: &str) -> String {
    format!(
        "the kubeconfig authenticates with {by}, which the operator cannot check; create a token: kubectl create token \
         SERVICEACCOUNT --namespace NAMESPACE > FILE, then --token-file FILE"
    )
}

impl Forward {
    /// A connection to the operator; nothing is connected yet.
    pub(super) fn new(place: OperatorLocation, mut config: Config) -> anyhow::Result<Self> {
        // A user at a terminal should see errors at once.
        config.default_retry = false;
        let client = Client::try_from(config).context("the client of the API server cannot be set up")?;
        Ok(Self {
            pods: Api::namespaced(client, &place.namespace),
            place,
            connection: Mutex::new(None),
            idle: Arc::default(),
        })
    }

    /// Sends a GET request, or a POST request with a body; returns status and response.
    pub(super) async fn ask(
        &self,
        path: &str,
        token: Option<&str>,
        body: Option<Bytes>,
    ) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let uri: Uri = path.parse().context("invalid path")?;
        let exchange = async {
            let mut kept = self.connection.lock().await;
            // The operator closes idle connections.
            if let Some(mut connection) = kept.take().filter(|connection| !connection.sender.is_closed()) {
                match connection.ask(uri.clone(), token, body.clone()).await {
                    Ok(answer) => {
                        *kept = Some(connection);
                        return Ok(answer);
                    }
                    // A posted request may have arrived.
                    Err(error) if body.is_some() => return Err(error),
                    Err(_) => {}
                }
            }
            let mut connection = self.connect().await?;
            match connection.ask(uri, token, body).await {
                Ok(answer) => {
                    *kept = Some(connection);
                    Ok(answer)
                }
                Err(error) => Err(connection.explain(error).await),
            }
        };
        timeout(CLI_TIMEOUT, exchange).await.context("the operator did not respond in time")?
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let (pod, port) = self.find().await?;
        let mut forwarder = self.pods.portforward(&pod, &[port]).await.with_context(|| {
            format!(
                "cannot forward to port {port} of pod {pod} in namespace {}; this needs the verbs get and create on \
                 pods/portforward in that namespace",
                self.place.namespace
            )
        })?;
        let stream = forwarder.take_stream(port).context("the port has no stream")?;
        let error = forwarder.take_error(port).context("the port has no channel for errors")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The request that waits for the response sees the error.
            let _ = connection.await;
        });
        Ok(Connection { sender, error: Box::pin(error), _driver: driver })
    }

    /// A pod of the operator, and its port: a ready one if possible, otherwise a running one. With a full volume the
    /// operator is not ready, and that is when users want to inspect it.
    async fn find(&self) -> anyhow::Result<(String, u16)> {
        let OperatorLocation { namespace, selector, .. } = &self.place;
        let list = self.pods.list(&ListParams::default().labels(selector)).await.with_context(|| {
            format!(
                "cannot look for the operator among the pods of namespace {namespace}; this needs the verb list on \
                 pods in that namespace"
            )
        })?;
        let running = list.items.iter().filter(|pod| pod.is_running());
        let best = running.min_by_key(|pod| (!pod.is_ready(), pod.name()));
        let found = best.and_then(|pod| Some((pod.name()?.to_owned(), pod.port())));
        found.with_context(|| {
            let seen: Vec<&str> = list.items.iter().filter_map(OperatorPod::name).collect();
            match &*seen {
                [] => format!(
                    "namespace {namespace} has no pod with labels {selector}; if the operator runs elsewhere, set \
                     --operator-namespace or --operator-selector"
                ),
                seen => format!("no pod of the operator runs in namespace {namespace}: {}", seen.join(", ")),
            }
        })
    }
}

impl Connection {
    /// Sends a request, and returns the head of its response.
    async fn send(&mut self, request: Request<Bytes>, token: Option<&str>) -> anyhow::Result<Response<Incoming>> {
        let mut request = request.map(Full::new);
        let headers = request.headers_mut();
        headers.insert(header::HOST, header::HeaderValue::from_static("localhost"));
        if let Some(token) = token {
            let mut value = header::HeaderValue::try_from(format!("Bearer {token}"))
                .context("the token has characters that no header can carry")?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// An error of the connection with the reason that the kubelet reports.
    async fn explain(self, error: anyhow::Error) -> anyhow::Error {
        let reported = timeout(CLI_PORT_FORWARD_ERROR, self.error).await.ok().flatten();
        error.context(match reported {
            Some(reported) => format!("the operator's pod cannot be reached: {}", reported.trim()),
            None => "the connection to the operator's pod was closed".to_owned(),
        })
    }

    async fn ask(
        &mut self,
        uri: Uri,
        token: Option<&str>,
        body: Option<Bytes>,
    ) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let request = match body {
            None => Request::get(uri),
            Some(_) => Request::post(uri).header(header::CONTENT_TYPE, JSON),
        };
        let response = self.send(request.body(body.unwrap_or_default())?, token).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), CLI_ADMIN_ANSWER_BYTES).collect().await.map_err(|error| {
            anyhow::anyhow!(
                "the operator's response ended early or is larger than {CLI_ADMIN_ANSWER_BYTES} bytes; lower --limit \
                 ({error})"
            )
        })?;
        Ok((status, body.to_bytes().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(user: &str) -> Config {
        let mut config = Config::new(Uri::from_static("https://127.0.0.1:1"));
        config.auth_info = serde_json::from_str(user).unwrap();
        config
    }

    #[tokio::test]
    async fn the_token_is_that_of_the_kubeconfig() {
        let shown = async |user: &str| RenewedToken::of(&config(user))?.show().await.map(|token| token.to_string());
        assert_eq!(shown(r#"{"token":"abc"}"#).await.unwrap(), "abc");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "from-a-file").unwrap();
        assert_eq!(shown(&json!({ "tokenFile": file }).to_string()).await.unwrap(), "from-a-file");
        let answer =
            r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"run"}}"#;
        let exec = json!({ "exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "echo", "args": [answer],
            "interactiveMode": "Never",
        } });
        assert_eq!(shown(&exec.to_string()).await.unwrap(), "run");
        for (user, word) in [
            (r#"{"client-certificate-data":"eA==","client-key-data":"eA=="}"#, "client certificate"),
            (r#"{"username":"a","password":"b"}"#, "password"),
            ("{}", "no credentials"),
        ] {
            let error = shown(user).await.unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("kubectl create token"), "{error}");
        }
    }
}
