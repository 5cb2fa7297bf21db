//! Requests to the token endpoint of an OAuth client.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use grapnel_values::secret::header_value;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use zeroize::Zeroizing;

use crate::catalog::OAuthClient;

/// Builds the request for a token (RFC 6749, 4.4.2). In `Authorization` the id and the secret are form-encoded (RFC 6749, 2.3.1).
pub(super) fn token_request(client: &OAuthClient) -> Request<Full<Bytes>> {
    let text = |secret: &[u8]| Zeroizing::new(String::from_utf8_lossy(secret).into_owned());
    let (id, secret) = (text(client.id.expose()), text(client.secret.expose()));
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !client.scope.is_empty() {
        form.append_pair("scope", &client.scope);
    }
    if let Some(audience) = &client.audience {
        form.append_pair("audience", audience);
    }
    if client.in_body {
        form.append_pair("client_id", &id).append_pair("client_secret", &secret);
    }
    let mut request = Request::new(Full::new(Bytes::from(form.finish())));
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if !client.in_body {
        let pair = Zeroizing::new(format!("{}:{}", encoded(&id), encoded(&secret)));
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())).into_bytes());
        if let Ok(value) = header_value(value) {
            headers.insert(header::AUTHORIZATION, value);
        }
    }
    request
}
