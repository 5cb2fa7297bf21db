//! The server between a browser on this machine and the operator: it lets in one browser, and adds the credentials.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;
use url::form_urlencoded;

use super::session::Session;
use crate::cli::{
    limits::{CONSOLE_FORM_BYTES, CONSOLE_REQUESTS},
    remote::Remote,
};

/// Headers of the browser that the operator needs. Cookies, for one, are not among them.
const PASSED: [HeaderName; 3] = [header::ACCEPT, header::CONTENT_TYPE, HeaderName::from_static("last-event-id")];

/// Headers of the operator that are about one connection (RFC 9110, section 7.6.1), or not its business here.
const KEPT_BACK: [HeaderName; 8] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
];

/// The server.
pub(super) struct Proxy {
    remote: Remote,
    session: Session,
    /// The names by which a browser may call this server.
    hosts: [String; 2],
    /// The first page.
    start: String,
    requests: Semaphore,
}

impl Proxy {
    pub(super) fn new(remote: Remote, session: Session, address: SocketAddr, start: String) -> Self {
        let hosts = [address.to_string(), format!("localhost:{}", address.port())];
        Self { remote, session, hosts, start, requests: Semaphore::new(CONSOLE_REQUESTS) }
    }

    pub(super) fn router(self) -> Router {
        Router::new().fallback(serve).with_state(Arc::new(self))
    }

    /// Whether the request calls this server by its own name, so that no site has made its name point here.
    fn is_called_by_name(&self, request: &Request) -> bool {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let is_own = |host: &str| self.hosts.iter().any(|own| own == host);
        hosts.next().is_none()
            && host.is_some_and(is_own)
            && request.uri().authority().is_none_or(|authority| is_own(authority.as_str()))
    }

    /// Whether the request changes nothing, or was sent by a page of this server.
    fn is_own_request(&self, request: &Request) -> bool {
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return true;
        }
        let mut origins = request.headers().get_all(header::ORIGIN).iter();
        let origin = origins.next().and_then(|origin| origin.to_str().ok());
        let host = origin.and_then(|origin| origin.strip_prefix("http://"));
        let called = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        origins.next().is_none() && host.is_some() && host == called
    }

    fn is_signed_in(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        self.session.admits(cookies, Instant::now())
    }

    fn login(&self, query: &str) -> Response {
        let token = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "token");
        let token = token.map(|(_, token)| token).unwrap_or_default();
        match self.session.exchange(&token, Instant::now()) {
            Ok(cookie) => {
                let mut response = signed_in(&self.start);
                if let Ok(cookie) = HeaderValue::try_from(cookie) {
                    response.headers_mut().insert(header::SET_COOKIE, cookie);
                }
                response
            }
            Err(error) => refuse(StatusCode::UNAUTHORIZED, &format!("{error}. Start grapnel console again.")),
        }
    }

    async fn pass(&self, request: Request) -> Response {
        let Ok(_turn) = self.requests.acquire().await else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "grapnel console is stopping");
        };
        let (head, body) = request.into_parts();
        let Ok(body) = to_bytes(body, CONSOLE_FORM_BYTES).await else {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large, or ended early");
        };
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut forwarded = http::Request::new(body);
        let Ok(uri) = path.parse() else { return refuse(StatusCode::BAD_REQUEST, "the address is not valid") };
        *forwarded.uri_mut() = uri;
        *forwarded.method_mut() = head.method;
        for name in PASSED {
            if let Some(value) = head.headers.get(&name) {
                forwarded.headers_mut().insert(name, value.clone());
            }
        }
        match self.remote.pass(forwarded).await {
            Ok(mut response) => {
                for name in KEPT_BACK {
                    response.headers_mut().remove(name);
                }
                response
            }
            Err(error) => refuse(StatusCode::BAD_GATEWAY, &format!("{error:#}. Reload the page to try again.")),
        }
    }
}

async fn serve(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let path = request.uri().path();
    if !proxy.is_called_by_name(&request) {
        return refuse(
            StatusCode::FORBIDDEN,
            &format!("open this page as http://{}/", proxy.hosts.join("/ or http://")),
        );
    }
    if path == "/login" && request.method() == Method::GET {
        return proxy.login(request.uri().query().unwrap_or_default());
    }
    if !proxy.is_signed_in(request.headers()) {
        return refuse(
            StatusCode::UNAUTHORIZED,
            "this browser is not signed in, or its session has ended. Open the URL that grapnel console has printed; it \
             works once, within five minutes. Start grapnel console again for a new one.",
        );
    }
    if !proxy.is_own_request(&request) {
        return refuse(StatusCode::FORBIDDEN, "the request was sent by a page of another site; nothing was done");
    }
    // The API is for programs, which have credentials of their own.
    if path != "/" && !path.starts_with("/console/") {
        return refuse(StatusCode::NOT_FOUND, "there is no such page");
    }
    proxy.pass(request).await
}

/// A page that leads on. A redirect would be followed without the cookie if another site had linked here, because it is
/// for requests of the same site only; a page that moves on by itself is one.
fn signed_in(start: &str) -> Response {
    let start = start.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Grapnel</title>\
         <meta http-equiv=\"refresh\" content=\"0; url={start}\"></head>\
         <body><p>Signed in. <a href=\"{start}\">Go to the console</a></p></body></html>"
    );
    let mut response = (StatusCode::OK, page).into_response();
    confine(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

fn refuse(status: StatusCode, sentence: &str) -> Response {
    let mut response = (status, Body::from(format!("{sentence}\n"))).into_response();
    confine(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn confine(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        // The address of the login has the token in it.
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
