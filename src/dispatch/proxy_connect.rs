//! Connections through an egress proxy.
//!
//! A proxy that receives a name resolves it itself, which would bypass the egress policy. Names are therefore resolved
//! and checked here, and the proxy is asked for a tunnel (`CONNECT`, RFC 9110, 9.3.6) to a checked address, for `http`
//! as well as `https`. TLS, including the verification of the certificate's name, goes through the tunnel end to end.
//! Only public addresses go to the proxy: other allowed addresses, such as loopback, mean something else at the proxy.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use grapnel_delivery::{egress, egress_proxy::EgressProxy};
use http::Uri;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::BoxError;
use url::Host;

use super::resolver::{GuardedResolver, LookupError};
use crate::{catalog::limits::MAX_DELIVERY_TIMEOUT, dispatch::limits};

/// Connects to targets through a proxy.
pub(super) struct Tunnel {
    proxy: Arc<EgressProxy>,
    resolver: GuardedResolver,
}

/// Why the proxy did not open a tunnel. The messages contain nothing of the target, whose address may be secret.
#[derive(Debug, thiserror::Error)]
#[error("the egress proxy {0}")]
struct NoTunnel(String);

impl Tunnel {
    pub(super) fn new(proxy: Arc<EgressProxy>, resolver: GuardedResolver) -> Self {
        Self { proxy, resolver }
    }

    /// Connects to the host of a URL.
    pub(super) async fn connect(&self, target: &Uri) -> Result<TcpStream, BoxError> {
        let secure = target.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = target.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let host = target.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // A delivery has its own timeout; this one bounds a connection attempt that outlives its delivery.
        match tokio::time::timeout(MAX_DELIVERY_TIMEOUT, self.reach(host, port)).await {
            Ok(reached) => reached,
            Err(_) => Err(NoTunnel("does not respond".into()).into()),
        }
    }

    /// Connects to the first address of a host that accepts the connection.
    async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, BoxError> {
        let found = match host.parse::<IpAddr>() {
            Ok(address) => Arc::from([address]),
            Err(_) => self.resolver.addresses(host).await.map_err(LookupError::Failed)?,
        };
        let allowed = self.resolver.allowed(host, &found).map_err(LookupError::Forbidden)?;
        let mut failed = BoxError::from("the name has no address");
        for address in allowed.into_iter().take(limits::PROXIED_ADDRESSES) {
            let target = SocketAddr::new(address, port);
            let tried = if egress::is_public(address) {
                self.tunnel(target).await.map_err(BoxError::from)
            } else {
                dial(target).await.map_err(BoxError::from)
            };
            match tried {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Opens a tunnel to an address.
    async fn tunnel(&self, target: SocketAddr) -> Result<TcpStream, NoTunnel> {
        let refused = |why: &dyn std::fmt::Display| NoTunnel(why.to_string());
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
        connection
            .write_all(&request)
            .await
            .map_err(|error| refused(&format_args!("closed the connection: {error}")))?;
        match answer(&mut connection).await {
            Ok(200..=299) => Ok(connection),
            Ok(407) => Err(refused(&"requires valid credentials (407); check --egress-proxy")),
            Ok(status) => Err(refused(&format_args!("rejected the tunnel to the target with {status}"))),
            Err(error) => Err(refused(&format_args!("did not open a tunnel to the target: {error}"))),
        }
    }

    /// Connects to the proxy itself. Its address is not checked: the owner of the operator configures it.
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

/// Opens a TCP connection with the same options as direct connections.
async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect(address).await?;
    connection.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(limits::TARGET_KEEPALIVE)
        .with_interval(limits::TARGET_KEEPALIVE)
        .with_retries(limits::TARGET_KEEPALIVE_PROBES);
    SockRef::from(&connection).set_tcp_keepalive(&keepalive)?;
    Ok(connection)
}

/// Reads the status of the proxy's response, up to the end of its headers and no further: what follows belongs to the
/// target.
async fn answer(connection: &mut TcpStream) -> io::Result<u16> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "its response is not HTTP/1");
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= limits::PROXY_ANSWER_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its response is too long"));
        }
        // Byte by byte is cheap enough: it happens once per connection, for a few hundred buffered bytes.
        head.push(connection.read_u8().await?);
    }
    let line = head.split(|&byte| byte == b'\r').next().and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.ok_or_else(malformed)?.split(' ');
    match (words.next(), words.next().map(str::parse)) {
        (Some("HTTP/1.1" | "HTTP/1.0"), Some(Ok(status))) => Ok(status),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_proxy_is_found_out_as_a_dead_receiver_is() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connection = dial(listener.local_addr().unwrap()).await.unwrap();
        let socket = SockRef::from(&connection);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), limits::TARGET_KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), limits::TARGET_KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), limits::TARGET_KEEPALIVE_PROBES);
    }
}
