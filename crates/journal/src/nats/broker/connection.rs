//! The connection: options, its state, and the exchange of one request for its answers.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_nats::{AuthError, Client, ConnectOptions, Event, HeaderMap, Server, StatusCode};
use bytes::Bytes;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    BrokerError,
    credentials::{Credentials, CredentialsError},
    replies::{Replies, Reply},
    rotation::Rotation,
};
use crate::limits::{NATS_CONNECT_TIMEOUT, NATS_PING_INTERVAL, NATS_RECONNECT_LONGEST, NATS_RECONNECT_SHORTEST};

/// Where the brokers are, and how to be let in.
#[derive(Debug, Clone, Default)]
pub(crate) struct BrokerOptions {
    /// URLs of the brokers.
    pub(crate) urls: Vec<String>,
    /// The name of this client in the lists of the brokers.
    pub(crate) name: String,
    /// A file of credentials: a JWT with the seed of its key, or the seed of a key.
    pub(crate) credentials: Option<PathBuf>,
    /// A file with the certificates of authorities, instead of those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// A file with the certificate of this client.
    pub(crate) certificate: Option<PathBuf>,
    /// A file with the key of that certificate.
    pub(crate) key: Option<PathBuf>,
}

/// Why no connection can be made with these options. Brokers that cannot be reached or refuse are no such error: they are
/// tried until they let this client in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// A file cannot be used.
    #[error("{what} {}", path.display())]
    File {
        /// What it is.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The credentials cannot be used.
    #[error("credentials {}", path.display())]
    Credentials {
        /// Their path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: CredentialsError,
    },
    /// A certificate without its key, or the other way round.
    #[error("a client certificate and its key are only of use together")]
    HalfAnIdentity,
    /// The URLs of the brokers are not ones.
    #[error("the URLs of the brokers are invalid")]
    Urls,
}

/// Whether the brokers can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectionState {
    /// They cannot, for this reason; the client keeps trying.
    Disconnected(String),
    /// A broker is connected.
    Connected,
    /// The connection was closed by [`Broker::close`].
    Closed,
}

/// A connection to the brokers.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(super) client: Client,
    state: watch::Receiver<ConnectionState>,
    replies: Arc<Replies>,
    inbox: Arc<str>,
    _router: Arc<Router>,
}

/// The task that hands out answers. It ends with the last handle, and the connection with it.
struct Router(JoinHandle<()>);

impl Drop for Router {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Broker {
    /// Checks the options and begins to connect. Reconnects in the background until [`close`](Self::close).
    ///
    /// # Errors
    ///
    /// Only for options that cannot be used.
    pub(crate) async fn connect(options: BrokerOptions) -> Result<Self, ConnectError> {
        let (sender, state) = watch::channel(ConnectionState::Disconnected("not connected yet".to_owned()));
        let replies = Arc::new(Replies::default());
        let urls = options.urls.clone();
        let observed = Arc::clone(&replies);
        let with_tls = options.ca.is_some() || urls.iter().any(|url| url.starts_with("tls://"));
        let connect = client_options(options)?.event_callback(move |event| {
            observe(&event, &sender, &observed, with_tls);
            std::future::ready(())
        });
        let client = connect.connect(urls).await.map_err(|_| ConnectError::Urls)?;
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await.map_err(|_| ConnectError::Urls)?;
        let router = Router(tokio::spawn(Arc::clone(&replies).route(answers)));
        Ok(Self { client, state, replies, inbox: inbox.into(), _router: Arc::new(router) })
    }

    /// Whether a broker is connected now.
    pub(crate) fn is_connected(&self) -> bool {
        *self.state.borrow() == ConnectionState::Connected
    }

    /// The state of the connection, and every change.
    pub(crate) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// The most bytes that the connected broker accepts in a message with its headers.
    pub(crate) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// The id of the connected broker, or of the last one: each start of a broker has another id.
    pub(crate) fn server_id(&self) -> Option<String> {
        self.client.try_server_info().map(|info| info.server_id)
    }

    /// Waits until everything sent so far has been written to the connection.
    #[cfg(test)]
    pub(crate) async fn flush(&self) -> Result<(), BrokerError> {
        self.connected().await?;
        self.client.flush().await.map_err(|error| BrokerError::Disconnected(error.to_string()))
    }

    /// Closes the connection and connects to another broker, if there is another one.
    pub(crate) async fn reconnect(&self) {
        // Fails only when the connection was closed.
        let _ = self.client.force_reconnect().await;
    }

    /// Sends what is queued and closes the connection.
    pub(crate) async fn close(&self) {
        if self.is_connected() {
            // Fails only when the connection is closed already.
            let _ = self.client.drain().await;
        }
    }

    /// Sends a message and waits for its one answer.
    pub(super) async fn exchange(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<async_nats::Message, BrokerError> {
        let deadline = Instant::now() + timeout;
        let mut reply = self.send(subject.clone(), headers, payload, 1, deadline, timeout).await?;
        self.answer(&mut reply, &subject, deadline, timeout).await
    }

    /// Sends a message that is answered by up to `answers` messages.
    pub(super) async fn send(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        answers: usize,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Reply, BrokerError> {
        let reply = self.replies.expect(answers);
        let inbox = format!("{}.{}", self.inbox, reply.token());
        let sent = async {
            // What is queued for the next connection would be sent long after its deadline.
            self.connected().await?;
            let sent = if headers.is_empty() {
                self.client.publish_with_reply(subject, inbox, payload).await
            } else {
                self.client.publish_with_reply_and_headers(subject, inbox, headers, payload).await
            };
            sent.map_err(invalid)
        };
        match timeout_at(deadline, sent).await {
            Ok(sent) => sent.map(|()| reply),
            Err(_) => Err(self.late(timeout)),
        }
    }

    /// Waits for the next answer.
    pub(super) async fn answer(
        &self,
        reply: &mut Reply,
        subject: &str,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<async_nats::Message, BrokerError> {
        let answer = match timeout_at(deadline, reply.next()).await {
            Ok(answer) => answer.ok_or_else(|| BrokerError::Disconnected(self.reason()))?,
            Err(_) => return Err(self.late(timeout)),
        };
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(BrokerError::NoResponders(subject.to_owned()));
        }
        Ok(answer)
    }

    /// Waits until a broker is connected.
    pub(super) async fn connected(&self) -> Result<(), BrokerError> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, ConnectionState::Disconnected(_))).await;
        match known.as_deref() {
            Ok(ConnectionState::Connected) => Ok(()),
            _ => Err(BrokerError::Disconnected("the connection was closed".to_owned())),
        }
    }

    /// Waits until a broker is connected, at most until `deadline`.
    pub(super) async fn connected_by(&self, deadline: Instant, timeout: Duration) -> Result<(), BrokerError> {
        timeout_at(deadline, self.connected()).await.unwrap_or_else(|_| Err(self.late(timeout)))
    }

    /// Why a deadline passed.
    fn late(&self, timeout: Duration) -> BrokerError {
        match &*self.state.borrow() {
            ConnectionState::Disconnected(reason) => BrokerError::Disconnected(reason.clone()),
            _ => BrokerError::Timeout(timeout),
        }
    }

    fn reason(&self) -> String {
        match &*self.state.borrow() {
            ConnectionState::Disconnected(reason) => reason.clone(),
            ConnectionState::Connected => "the connection broke".to_owned(),
            ConnectionState::Closed => "the connection was closed".to_owned(),
        }
    }
}

/// Why a message could not be handed to the client.
pub(super) fn invalid(error: async_nats::PublishError) -> BrokerError {
    match error.kind() {
        async_nats::client::PublishErrorKind::Send => BrokerError::Disconnected("the connection was closed".to_owned()),
        kind => BrokerError::Invalid(kind.to_string()),
    }
}

/// Follows what the client tells of its connection.
fn observe(event: &Event, state: &watch::Sender<ConnectionState>, replies: &Replies, with_tls: bool) {
    match event {
        Event::Connected => {
            state.send_replace(ConnectionState::Connected);
        }
        Event::Disconnected => {
            state.send_replace(ConnectionState::Disconnected("the connection broke".to_owned()));
            replies.fail_all();
        }
        Event::Closed => {
            state.send_replace(ConnectionState::Closed);
            replies.fail_all();
        }
        // Of a connection that cannot be made. One that is made reports the end of the trouble.
        Event::ClientError(error) => {
            let mut why = error.to_string();
            // The client does not tell one from the other.
            if with_tls && why.ends_with("IO error") {
                why += " (no server, or no agreement on TLS: check --nats-ca, --nats-cert and the name in the URL)";
            }
            state.send_if_modified(|state| match state {
                ConnectionState::Disconnected(reason) => {
                    let known = *reason == why;
                    *reason = why;
                    !known
                }
                _ => false,
            });
        }
        Event::ServerError(_) | Event::SlowConsumer(_) | Event::LameDuckMode | Event::Draining => {}
    }
}

/// The client's options. Every file is read once, to find what cannot be used.
fn client_options(options: BrokerOptions) -> Result<ConnectOptions, ConnectError> {
    let connect = match options.credentials {
        Some(path) => authenticated(path)?,
        None => ConnectOptions::new(),
    };
    let rotation = Rotation::default();
    let next = move |pool: Vec<Server>, _| {
        let random = getrandom::u64().unwrap_or_default();
        std::future::ready(rotation.next(&pool, random as usize))
    };
    let mut connect = connect
        .name(options.name)
        .reconnect_to_server_callback(next)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(NATS_CONNECT_TIMEOUT)
        .ping_interval(NATS_PING_INTERVAL)
        .reconnect_delay_callback(reconnect_delay);
    if let Some(path) = options.ca {
        connect = connect.add_root_certificates(readable("certificates of authorities", path)?);
    }
    match (options.certificate, options.key) {
        (Some(certificate), Some(key)) => {
            let certificate = readable("client certificate", certificate)?;
            connect = connect.add_client_certificate(certificate, readable("client key", key)?);
        }
        (None, None) => {}
        _ => return Err(ConnectError::HalfAnIdentity),
    }
    Ok(connect)
}

/// Options with which the file of credentials is read for every connection.
fn authenticated(path: PathBuf) -> Result<ConnectOptions, ConnectError> {
    Credentials::read(&path).map_err(|source| ConnectError::Credentials { path: path.clone(), source })?;
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let path = path.clone();
        async move {
            let read = tokio::task::spawn_blocking(move || Credentials::read(&path)).await.map_err(AuthError::new)?;
            read.map_err(AuthError::new)?.answer(&nonce)
        }
    }))
}

fn readable(what: &'static str, path: PathBuf) -> Result<PathBuf, ConnectError> {
    match std::fs::File::open(&path) {
        Ok(_) => Ok(path),
        Err(source) => Err(ConnectError::File { what, path, source }),
    }
}

/// How long to wait before an attempt to connect; `attempt` counts from 1 since the last connection.
fn reconnect_delay(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    NATS_RECONNECT_SHORTEST.saturating_mul(2_u32.saturating_pow(doublings)).min(NATS_RECONNECT_LONGEST)
}
