//! Compiles `spec.target.auth` to a header or to an [`OAuthClient`].

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use grapnel_api::{self, KeyReference, Reason};
use grapnel_values::secret::{Secret, header_value};
use http::HeaderValue;
use zeroize::Zeroizing;

use super::{Options, Problems, References, target, tls};
use crate::catalog::target::OAuthClient;

const PLACE: &str = "/spec/target/auth";

/// Credentials for a receiver.
pub(super) enum Credentials {
    /// A fixed value of `Authorization`.
    Fixed(HeaderValue),
    /// The OAuth client that provides it.
    OAuth(Arc<OAuthClient>),
}

/// Compiles `auth`. `None` if something is missing or invalid.
pub(super) fn credentials(
    auth: &grapnel_api::TargetAuth,
    references: &References<'_>,
    options: &Options,
    problems: &mut Problems,
) -> Option<Credentials> {
    match (&auth.basic, &auth.bearer, &auth.oauth2_client_credentials) {
        (Some(auth), None, None) => basic(auth, references, problems).map(Credentials::Fixed),
        (None, Some(auth), None) => bearer(auth, references, problems).map(Credentials::Fixed),
        (None, None, Some(client)) => oauth(client, references, options, problems).map(Credentials::OAuth),
        _ => {
            let message = "exactly one of basic, bearer and oauth2ClientCredentials must be set";
            problems.add(PLACE, Reason::InvalidSpec, message);
            None
        }
    }
}

/// Neither part may contain control characters, nor the user name a colon (RFC 7617). The password may be empty, since
/// some services take an API key as the user name.
fn basic(auth: &grapnel_api::BasicAuth, references: &References<'_>, problems: &mut Problems) -> Option<HeaderValue> {
    let pointer = format!("{PLACE}/basic/secretRef");
    let name = &auth.secret_ref.name;
    let key = |key: &str| KeyReference { name: name.clone(), key: key.into() };
    let username = references.secret(&key("username"), &pointer, problems)?;
    let password = references.secret_or_empty(&key("password"), &pointer, problems)?;
    let (username, password) = (line(&username), line(&password));
    let wrong = if username.contains(&b':') {
        Some("key username of Secret {name} contains a colon, which is not allowed in a user name")
    } else if username.iter().chain(password).any(u8::is_ascii_control) {
        Some("username or password of Secret {name} has control characters")
    } else {
        None
    };
    if let Some(wrong) = wrong {
        problems.add(pointer, Reason::InvalidSecret, wrong.replace("{name}", name));
        return None;
    }
    let pair = Zeroizing::new([username, b":", password].concat());
    header("Basic", STANDARD.encode(&pair).as_bytes())
}

/// A token consists of visible characters without blanks (RFC 6750, 2.1).
fn bearer(auth: &grapnel_api::BearerAuth, references: &References<'_>, problems: &mut Problems) -> Option<HeaderValue> {
    let pointer = format!("{PLACE}/bearer/secretKeyRef");
    let reference = &auth.secret_key_ref;
    let secret = references.secret(reference, &pointer, problems)?;
    let token = line(&secret);
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        let KeyReference { name, key } = reference;
        let message = format!("key {key} of Secret {name} is not a bearer token: it has spaces or control characters");
        problems.add(pointer, Reason::InvalidSecret, message);
        return None;
    }
    header("Bearer", token)
}

fn oauth(
    client: &grapnel_api::ClientCredentials,
    references: &References<'_>,
    options: &Options,
    problems: &mut Problems,
) -> Option<Arc<OAuthClient>> {
    let place = format!("{PLACE}/oauth2ClientCredentials");
    let token_url = target::checked_url(&client.token_url, &format!("{place}/tokenUrl"), options, problems);
    let mut secret = |reference: &KeyReference, field: &str| {
        let pointer = format!("{place}/{field}");
        let secret = references.secret(reference, &pointer, problems)?;
        let text = line(&secret);
        // RFC 6749, appendix A.1 and A.2, but also characters beyond ASCII, which some servers issue.
        if text.is_empty() || text.iter().any(u8::is_ascii_control) || std::str::from_utf8(text).is_err() {
            let KeyReference { name, key } = reference;
            let message = format!("key {key} of Secret {name} is empty, is not UTF-8, or has control characters");
            problems.add(pointer, Reason::InvalidSecret, message);
            return None;
        }
        Some(Secret::from(text.to_vec()))
    };
    let id = secret(&client.client_id_ref, "clientIdRef");
    let password = secret(&client.client_secret_ref, "clientSecretRef");
    for (number, scope) in client.scopes.iter().enumerate() {
        // RFC 6749, 3.3.
        if scope.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte)) {
            let message =
                "a scope must consist of visible characters without spaces, quotes and backslashes (RFC 6749, 3.3)";
            problems.add(format!("{place}/scopes/{number}"), Reason::InvalidSpec, message);
        }
    }
    let tls = match &client.tls {
        None => None,
        Some(tls) => Some(tls::identity(tls, &format!("{place}/tls"), references, problems)?),
    };
    let token_url = token_url?;
    if tls.is_some() && token_url.scheme() != "https" {
        problems.add(format!("{place}/tls"), Reason::InvalidSpec, "tls needs a tokenUrl with https");
        return None;
    }
    Some(Arc::new(OAuthClient {
        token_url,
        id: id?,
        secret: password?,
        in_body: client.method == Some(grapnel_api::ClientAuthentication::ClientSecretPost),
        scope: client.scopes.join(" "),
        audience: client.audience.clone(),
        tls,
    }))
}

/// The value of a Secret without trailing line ending, which files leave behind.
fn line(secret: &Secret) -> &[u8] {
    let bytes = secret.expose();
    bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")).unwrap_or(bytes)
}

fn header(scheme: &str, credentials: &[u8]) -> Option<HeaderValue> {
    header_value(Zeroizing::new([scheme.as_bytes(), b" ", credentials].concat())).ok()
}
