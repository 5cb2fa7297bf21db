//! Compiles `spec.target.auth` to a header or to an [`OAuthClient`].

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use grapnel_api::{self, KeyReference, Reason, SecretReference};
use grapnel_values::secret::{Secret, header_value};
use http::HeaderValue;
use zeroize::Zeroizing;

use super::{field::Field, tls};
use crate::catalog::target::OAuthClient;

/// Credentials for a receiver.
pub(super) enum Credentials {
    /// A fixed value of `Authorization`.
    Fixed(HeaderValue),
    /// The OAuth client that provides it.
    OAuth(Arc<OAuthClient>),
}

/// Compiles `auth`. `None` if something is missing or invalid.
pub(super) fn credentials(auth: &Field<'_, grapnel_api::TargetAuth>) -> Option<Credentials> {
    match (&auth.basic, &auth.bearer, &auth.oauth2_client_credentials) {
        (Some(pair), None, None) => {
            let pair = auth.at("basic", pair);
            basic(&pair.at("secretRef", &pair.secret_ref)).map(Credentials::Fixed)
        }
        (None, Some(token), None) => {
            let token = auth.at("bearer", token);
            bearer(&token.at("secretKeyRef", &token.secret_key_ref)).map(Credentials::Fixed)
        }
        (None, None, Some(client)) => oauth(&auth.at("oauth2ClientCredentials", client)).map(Credentials::OAuth),
        _ => auth.fail(Reason::InvalidSpec, "exactly one of basic, bearer and oauth2ClientCredentials must be set"),
    }
}

/// Neither part may contain control characters, nor the user name a colon (RFC 7617). The password may be empty, since
/// some services take an API key as the user name.
fn basic(reference: &Field<'_, SecretReference>) -> Option<HeaderValue> {
    let SecretReference { name } = reference.value();
    let username = line(reference.secret_key(name, "username")?);
    let password = line(reference.secret_key_or_empty(name, "password")?);
    if username.contains(&b':') {
        let message = "contains a colon, which is not allowed in a user name";
        return reference.fail(Reason::InvalidSecret, format_args!("key username of Secret {name} {message}"));
    }
    if username.iter().chain(password).any(u8::is_ascii_control) {
        let message = format_args!("username or password of Secret {name} has control characters");
        return reference.fail(Reason::InvalidSecret, message);
    }
    let pair = Zeroizing::new([username, b":", password].concat());
    header("Basic", STANDARD.encode(&pair).as_bytes())
}

/// A token consists of visible characters without blanks (RFC 6750, 2.1).
fn bearer(reference: &Field<'_, KeyReference>) -> Option<HeaderValue> {
    let token = line(reference.secret()?);
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        let KeyReference { name, key } = reference.value();
        let message = format!("key {key} of Secret {name} is not a bearer token: it has spaces or control characters");
        return reference.fail(Reason::InvalidSecret, message);
    }
    header("Bearer", token)
}

fn oauth(client: &Field<'_, grapnel_api::ClientCredentials>) -> Option<Arc<OAuthClient>> {
    // Every part is compiled, so that all problems are reported together.
    let token_url = client.at("tokenUrl", &client.token_url).callable_url();
    let id = client_text(&client.at("clientIdRef", &client.client_id_ref));
    let secret = client_text(&client.at("clientSecretRef", &client.client_secret_ref));
    scopes(client.at("scopes", &client.scopes));
    let tls = client.at("tls", &client.tls).given();
    let identity = match &tls {
        None => None,
        Some(tls) => Some(tls::identity(tls)?),
    };
    let token_url = token_url?;
    if let Some(tls) = tls.filter(|_| token_url.scheme() != "https") {
        return tls.fail(Reason::InvalidSpec, "tls needs a tokenUrl with https");
    }
    Some(Arc::new(OAuthClient {
        token_url,
        id: id?,
        secret: secret?,
        in_body: client.method == Some(grapnel_api::ClientAuthentication::ClientSecretPost),
        scope: client.scopes.join(" "),
        audience: client.audience.clone(),
        tls: identity,
    }))
}

/// The id or the secret of a client: RFC 6749, appendix A.1 and A.2, but also characters beyond ASCII, which some
/// servers issue.
fn client_text(reference: &Field<'_, KeyReference>) -> Option<Secret> {
    let text = line(reference.secret()?);
    if text.is_empty() || text.iter().any(u8::is_ascii_control) || std::str::from_utf8(text).is_err() {
        let KeyReference { name, key } = reference.value();
        let message = format!("key {key} of Secret {name} is empty, is not UTF-8, or has control characters");
        return reference.fail(Reason::InvalidSecret, message);
    }
    Some(Secret::from(text.to_vec()))
}

/// Checks scopes (RFC 6749, 3.3).
fn scopes(scopes: Field<'_, Vec<String>>) {
    for scope in scopes.items() {
        if scope.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte)) {
            let message =
                "a scope must consist of visible characters without spaces, quotes and backslashes (RFC 6749, 3.3)";
            scope.problem(Reason::InvalidSpec, message);
        }
    }
}

/// The value of a Secret without trailing line ending, which files leave behind.
fn line(secret: &Secret) -> &[u8] {
    let bytes = secret.expose();
    bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")).unwrap_or(bytes)
}

fn header(scheme: &str, credentials: &[u8]) -> Option<HeaderValue> {
    header_value(Zeroizing::new([scheme.as_bytes(), b" ", credentials].concat())).ok()
}
