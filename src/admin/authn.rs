//! Authentication for the admin API.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    extract::{RawPathParams, Request, State},
    http::{HeaderMap, Uri, header, uri},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::{
    Shared,
    authz::{self, Ask, Asks, Authority},
    bearer::bearer,
    response::Problem,
};
use crate::admin::limits::ADMIN_TOKEN_BYTES;

/// Who may use the API.
#[derive(Clone)]
pub enum Access {
    /// Programs on this machine. The `Host` must also be a loopback name or address: otherwise a web page could resolve
    /// its own name to 127.0.0.1 and read events through the visitor's browser (DNS rebinding).
    LoopbackOnly,
    /// Holders of the bearer token in this file (RFC 6750). The file is read for every request, so a new token takes
    /// effect at once. White space around the token is ignored.
    TokenFile(PathBuf),
    /// Holders of a bearer token that the cluster authorizes for the request.
    Cluster(Arc<dyn Authority>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoopbackOnly => f.write_str("LoopbackOnly"),
            Self::TokenFile(path) => f.debug_tuple("TokenFile").field(path).finish(),
            Self::Cluster(_) => f.write_str("Cluster"),
        }
    }
}

/// The peer of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Peer {
    /// The address from which a request comes.
    pub(super) fn of(request: &Request) -> Option<IpAddr> {
        request.extensions().get::<Self>().map(|peer| peer.0.ip())
    }
}

/// Who sends a request that has passed the guard.
#[derive(Clone)]
pub(super) struct Caller {
    /// The user in a cluster; otherwise what is known.
    pub(super) name: Arc<str>,
    /// The bearer token, of those who have one.
    token: Option<Arc<Zeroizing<String>>>,
}

impl Caller {
    fn local() -> Self {
        Self { name: "a client on this machine".into(), token: None }
    }

    /// A user, with or without a token.
    #[cfg(test)]
    pub(super) fn named(name: &str, token: Option<&str>) -> Self {
        Self { name: name.into(), token: token.map(|token| Arc::new(Zeroizing::new(token.to_owned()))) }
    }

    fn token_holder(token: Option<Zeroizing<String>>) -> Self {
        Self { name: "a holder of the admin token".into(), token: token.map(Arc::new) }
    }

    /// The bearer token that the caller has shown.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.as_str())
    }
}

/// The guard of a route: who has access, and what a request to it requires.
#[derive(Clone)]
pub(super) struct Guard {
    shared: Arc<Shared>,
    asks: Asks,
}

impl Guard {
    pub(super) fn new(shared: &Arc<Shared>, asks: Asks) -> Self {
        Self { shared: Arc::clone(shared), asks }
    }

    /// Who sends a request, if it may pass.
    pub(super) async fn admit(
        &self,
        params: &RawPathParams,
        peer: Option<IpAddr>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Caller, Problem> {
        match &self.shared.admin.options.access {
            Access::LoopbackOnly => loopback_only(peer, uri, headers).map(|()| Caller::local()),
            Access::TokenFile(path) => with_token(path, headers).await.map(Caller::token_holder),
            Access::Cluster(authority) => {
                let admitted = authz::admit(&**authority, headers, || (self.asks)(params, uri)).await;
                admitted.map(|(token, name)| Caller { name, token: Some(Arc::new(token)) })
            }
        }
    }
}

impl Shared {
    /// Whether a caller whose request has passed may do something else too.
    pub(super) async fn may(&self, caller: &Caller, ask: &Ask) -> bool {
        match (&self.admin.options.access, &caller.token) {
            (Access::Cluster(authority), Some(token)) => authority.allow(token, ask).await.is_ok(),
            (Access::Cluster(_), None) => false,
            (Access::LoopbackOnly | Access::TokenFile(_), _) => true,
        }
    }
}

/// Lets a request pass, or rejects it. It runs before any lookup, so that responses do not reveal which objects exist.
/// Handlers find the [`Caller`] in the extensions of the request.
pub(super) async fn guard(
    State(guard): State<Guard>,
    params: RawPathParams,
    mut request: Request,
    next: Next,
) -> Response {
    match guard.admit(&params, Peer::of(&request), request.uri(), request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn loopback_only(peer: Option<IpAddr>, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    if !peer.is_some_and(|address| address.to_canonical().is_loopback()) {
        return Err(Problem::forbidden(
            "the admin API accepts only clients on the same machine; to allow others, set --admin-token-file",
        ));
    }
    // The target of an absolute-form request takes precedence over Host (RFC 9112, section 3.2.2); both must be
    // allowed.
    let hosts = headers.get_all(header::HOST).iter().map(|host| uri::Authority::try_from(host.as_bytes()).ok());
    let mut authorities = hosts.chain(uri.authority().cloned().map(Some)).peekable();
    if authorities.peek().is_some() && authorities.all(|authority| authority.is_some_and(|it| is_loopback(it.host()))) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "the admin API accepts only the host names localhost, 127.0.0.1 and [::1]; use one of them, or set \
         --admin-token-file",
    ))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Checks the token. Returns it if it is text.
async fn with_token(path: &Path, headers: &HeaderMap) -> Result<Option<Zeroizing<String>>, Problem> {
    let Some(shown) = bearer(headers) else {
        return Err(Problem::unauthorized("the admin API needs the header Authorization: Bearer <token>"));
    };
    let expected = read_token(path).await.map_err(|error| {
        tracing::warn!(path = %path.display(), %error, "invalid token file; the admin API rejects all requests");
        Problem::unavailable("the operator cannot read its token file; see its log")
    })?;
    // Digests have a fixed length, so that the comparison leaks neither content nor length.
    if bool::from(Sha256::digest(shown).ct_eq(&Sha256::digest(&*expected))) {
        Ok(std::str::from_utf8(shown).ok().map(|token| Zeroizing::new(token.to_owned())))
    } else {
        Err(Problem::unauthorized("this bearer token is not the one in the operator's token file"))
    }
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is empty.
    #[error("it is empty")]
    Empty,
    /// The content is too long to be a token.
    #[error("it is longer than {ADMIN_TOKEN_BYTES} bytes")]
    TooLong,
}

/// The token in a file, without surrounding white space.
pub(super) async fn read_token(path: &Path) -> Result<Zeroizing<Vec<u8>>, TokenFileError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ADMIN_TOKEN_BYTES + 1));
    let limit = u64::try_from(ADMIN_TOKEN_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    tokio::fs::File::open(path).await?.take(limit).read_to_end(&mut bytes).await?;
    if bytes.len() > ADMIN_TOKEN_BYTES {
        return Err(TokenFileError::TooLong);
    }
    let token = Zeroizing::new(bytes.trim_ascii().to_vec());
    if token.is_empty() { Err(TokenFileError::Empty) } else { Ok(token) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn loopback(peer: &str, uri: &str, pairs: &[(&'static str, &'static str)]) -> bool {
        loopback_only(Some(peer.parse().unwrap()), &uri.parse().unwrap(), &headers(pairs)).is_ok()
    }

    #[test]
    fn loopback_needs_a_loopback_peer_and_name() {
        for host in ["localhost", "LocalHost:9090", "127.0.0.1:9090", "127.8.8.8", "[::1]:9090", "[::ffff:127.0.0.1]"] {
            assert!(loopback("127.0.0.1", "/", &[("host", host)]), "{host}");
        }
        assert!(loopback("::1", "/", &[("host", "localhost")]));
        assert!(loopback("::ffff:127.0.0.1", "/", &[("host", "localhost")]));
        assert!(loopback("127.0.0.1", "http://localhost/", &[("host", "localhost")]));
        for peer in ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1"] {
            assert!(!loopback(peer, "/", &[("host", "localhost")]), "{peer}");
        }
        for host in ["attacker.example", "localhost.attacker.example", "127.0.0.1.nip.io", "0.0.0.0", "[::]", "", "a b"]
        {
            assert!(!loopback("127.0.0.1", "/", &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn every_name_given_must_be_loopback() {
        assert!(!loopback("127.0.0.1", "/", &[]));
        assert!(!loopback("127.0.0.1", "/", &[("host", "localhost"), ("host", "attacker.example")]));
        assert!(!loopback("127.0.0.1", "http://attacker.example/", &[("host", "localhost")]));
        assert!(loopback_only(None, &Uri::from_static("/"), &headers(&[("host", "localhost")])).is_err());
    }

    #[tokio::test]
    async fn the_token_is_what_the_file_holds_now() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let shown = |token: &'static str| headers(&[("authorization", token)]);
        assert!(matches!(read_token(&path).await, Err(TokenFileError::Io(_))));
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(read_token(&path).await, Err(TokenFileError::Empty)));
        assert!(with_token(&path, &shown("Bearer ")).await.is_err(), "an empty file lets nobody in");
        std::fs::write(&path, "first\n").unwrap();
        assert!(with_token(&path, &shown("Bearer first")).await.is_ok());
        std::fs::write(&path, "other\n").unwrap();
        assert!(with_token(&path, &shown("Bearer first")).await.is_err());
        assert!(with_token(&path, &shown("Bearer other")).await.is_ok());
        assert!(with_token(&path, &shown("Bearer othe")).await.is_err());
        std::fs::write(&path, "x".repeat(ADMIN_TOKEN_BYTES + 1)).unwrap();
        assert!(matches!(read_token(&path).await, Err(TokenFileError::TooLong)));
    }
}
