//! Connections through a proxy.
//!
//! A proxy that is asked for a name resolves it itself, and whatever was checked before would not count. So names are
//! resolved and checked here, and the proxy is asked for a tunnel (`CONNECT`, RFC 9110, 9.3.6) to an address that has
//! passed, for `http` as for `https`; TLS, with the certificate's name and all, goes through it end to end. Only public
//! addresses go to the proxy: what is allowed besides, such as loopback, is something else from where the proxy stands.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::{HeaderValue, Uri, header};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tower::Service;
use url::Host;

use super::{failure::SendError, resolver::GuardedResolver};
use crate::rules::{egress, egress_proxy::EgressProxy, limits};

/// An HTTP client all of whose connections to public addresses go through one proxy.
pub(super) struct Tunnelled {
    http: legacy::Client<Connector, reqwest::Body>,
    user_agent: HeaderValue,
}

impl Tunnelled {
    pub(super) fn new(
        proxy: EgressProxy,
        tls: ClientConfig,
        user_agent: HeaderValue,
        resolver: GuardedResolver,
    ) -> Self {
        let route = Route { proxy, resolver, tls: TlsConnector::from(Arc::new(tls)) };
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits::POOL_IDLE)
            .pool_max_idle_per_host(limits::POOL_IDLE_PER_HOST)
            .http1_max_headers(limits::RESPONSE_HEADERS)
            .http2_max_header_list_size(limits::RESPONSE_HEADER_BYTES)
            .retry_canceled_requests(false)
            .build(Connector(Arc::new(route)));
        Self { http, user_agent }
    }

    /// Sends a request, with the headers that the direct client adds by itself.
    pub(super) async fn execute(&self, request: reqwest::Request) -> Result<reqwest::Response, SendError> {
        let mut request = http::Request::try_from(request).map_err(SendError::from_http)?;
        let headers = request.headers_mut();
        headers.entry(header::USER_AGENT).or_insert_with(|| self.user_agent.clone());
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let answer = self.http.request(request).await.map_err(|error| SendError::from_tunnelled(&error))?;
        Ok(answer.map(reqwest::Body::wrap).into())
    }
}

/// Makes connections for the client.
#[derive(Clone)]
struct Connector(Arc<Route>);

struct Route {
    proxy: EgressProxy,
    resolver: GuardedResolver,
    tls: TlsConnector,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = SendError;
    type Future = BoxFuture<'static, Result<Stream, SendError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let route = Arc::clone(&self.0);
        Box::pin(async move { route.connect(&target).await })
    }
}

impl Route {
    async fn connect(&self, target: &Uri) -> Result<Stream, SendError> {
        let secure = target.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = target.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let host = target.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let connection = self.reach(host, port).await?;
        if !secure {
            return Ok(Stream { io: Box::new(TokioIo::new(connection)), h2: false });
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| SendError::Tls(error.to_string()))?;
        let secured = self.tls.connect(name, connection).await.map_err(|error| {
            let tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            if tls { SendError::Tls(error.to_string()) } else { SendError::Connect(error.to_string()) }
        })?;
        let h2 = secured.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Stream { io: Box::new(TokioIo::new(secured)), h2 })
    }

    /// A connection to a host, at the first of its addresses where one comes about.
    async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, SendError> {
        let found = match host.parse::<IpAddr>() {
            Ok(address) => Arc::from([address]),
            Err(_) => self.resolver.addresses(host).await.map_err(|error| SendError::Dns(error.to_string()))?,
        };
        let allowed =
            self.resolver.allowed(host, &found).map_err(|refusal| SendError::Forbidden(refusal.to_string()))?;
        let mut failed = SendError::Dns("it has no address".into());
        for address in allowed.into_iter().take(limits::PROXIED_ADDRESSES) {
            let target = SocketAddr::new(address, port);
            let tried = if egress::is_public(address) {
                self.tunnel(target).await
            } else {
                dial(target).await.map_err(|error| SendError::Connect(error.to_string()))
            };
            match tried {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// A tunnel to an address.
    async fn tunnel(&self, target: SocketAddr) -> Result<TcpStream, SendError> {
        let refused = |why: &dyn std::fmt::Display| SendError::Connect(format!("the egress proxy {why}"));
        let mut connection =
            self.proxy().await.map_err(|error| refused(&format_args!("cannot be reached: {error}")))?;
        let mut request =
            zeroize::Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes());
        if let Some(authorization) = self.proxy.authorization() {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        connection.write_all(&request).await.map_err(|error| refused(&format_args!("hung up: {error}")))?;
        match answer(&mut connection).await {
            Ok(200..=299) => Ok(connection),
            Ok(407) => Err(refused(&"asks for other credentials than it was given (407)")),
            Ok(status) => Err(refused(&format_args!("opens no tunnel to {target}: it answers {status}"))),
            Err(error) => Err(refused(&format_args!("opens no tunnel to {target}: {error}"))),
        }
    }

    /// A connection to the proxy itself. It may be anywhere: the operator's owner names it.
    async fn proxy(&self) -> io::Result<TcpStream> {
        let addresses = match self.proxy.host() {
            Host::Ipv4(address) => Arc::from([IpAddr::V4(address)]),
            Host::Ipv6(address) => Arc::from([IpAddr::V6(address)]),
            Host::Domain(name) => {
                self.resolver.addresses(name).await.map_err(|error| io::Error::new(error.kind(), error.to_string()))?
            }
        };
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        for &address in addresses.iter().take(limits::PROXIED_ADDRESSES) {
            match dial(SocketAddr::new(address, self.proxy.port())).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect(address).await?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

/// The status of the proxy's answer, read up to the end of its headers and no further: what follows is the target's.
async fn answer(connection: &mut TcpStream) -> io::Result<u16> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "its answer is not HTTP/1");
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= limits::PROXY_ANSWER_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer has no end"));
        }
        // Once a connection, and a few hundred bytes that are there already.
        head.push(connection.read_u8().await?);
    }
    let line = head.split(|&byte| byte == b'\r').next().and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.ok_or_else(malformed)?.split(' ');
    match (words.next(), words.next().map(str::parse)) {
        (Some("HTTP/1.1" | "HTTP/1.0"), Some(Ok(status))) => Ok(status),
        _ => Err(malformed()),
    }
}

trait Io: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Io for T {}

/// A connection to a target, whatever it goes through.
struct Stream {
    io: Box<dyn Io>,
    h2: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.h2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
