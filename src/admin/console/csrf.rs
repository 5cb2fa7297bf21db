//! Proof that a form comes from a page of this console: another site can send a form, but cannot read the token in ours.

use axum::http::{HeaderMap, Uri, header};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::admin::{authn::Caller, response::Problem};

/// The key of this process for the tokens in its forms, for callers without a bearer token.
pub(in crate::admin) struct FormKey([u8; 32]);

impl FormKey {
    /// A random key. `None` if the system has no randomness; then no form is accepted.
    pub(in crate::admin) fn new() -> Option<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).ok()?;
        Some(Self(key))
    }
}

/// Tell each use of a key from every other one.
const FORM: &[u8] = b"grapnel console form\0";
const NOTICE: &[u8] = b"grapnel console notice\0";

/// The token in the forms of a caller; empty if there is no key. Its key is what only the caller and the replicas know: the
/// caller's bearer token, so that a form of one replica may be sent to another one. A caller without a bearer token is on
/// the machine of one process, and gets the key of that.
pub(super) fn token(key: Option<&FormKey>, caller: &Caller) -> String {
    mac(key, caller, FORM, &[])
}

/// The seal of a text that this console wrote for a caller; empty if there is no key.
pub(super) fn seal(key: Option<&FormKey>, caller: &Caller, text: &str) -> String {
    mac(key, caller, NOTICE, text.as_bytes())
}

/// Whether this console wrote a text for a caller.
pub(super) fn is_sealed(key: Option<&FormKey>, caller: &Caller, text: &str, shown: &str) -> bool {
    is_same(&seal(key, caller, text), shown)
}

fn is_same(expected: &str, shown: &str) -> bool {
    !expected.is_empty() && bool::from(expected.as_bytes().ct_eq(shown.as_bytes()))
}

fn mac(key: Option<&FormKey>, caller: &Caller, purpose: &[u8], text: &[u8]) -> String {
    let secret = caller.token().map(str::as_bytes).or(key.map(|FormKey(key)| key.as_slice()));
    let mac = secret.and_then(|secret| Hmac::<Sha256>::new_from_slice(secret).ok());
    mac.map_or_else(String::new, |mac| {
        // The length keeps a name and a text apart.
        let name = caller.name.as_bytes();
        let mac =
            mac.chain_update(purpose).chain_update(name.len().to_be_bytes()).chain_update(name).chain_update(text);
        hex::encode(mac.finalize().into_bytes())
    })
}

/// Checks the token of a form.
pub(super) fn check(key: Option<&FormKey>, caller: &Caller, shown: &str) -> Result<(), Problem> {
    if is_same(&token(key, caller), shown) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "this form is not from a page of this operator, or the operator has restarted or your token has changed since; \
         nothing was done: open the subscription again and repeat",
    ))
}

/// Checks that the page that sends a form has the origin to which it sends it. Programs send no `Origin`.
pub(super) fn same_origin(headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = host.or_else(|| headers.get(header::HOST).map(header::HeaderValue::as_bytes));
    let of_origin = [&b"http://"[..], b"https://"].iter().find_map(|scheme| origin.as_bytes().strip_prefix(*scheme));
    if headers.get_all(header::ORIGIN).iter().count() == 1 && of_origin.is_some() && of_origin == host {
        return Ok(());
    }
    Err(Problem::forbidden("the form was sent by a page of another site; nothing was done"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_caller_and_one_process() {
        let (key, other) = (FormKey([1; 32]), FormKey([2; 32]));
        let (dana, eve) = (Caller::named("dana", None), Caller::named("eve", None));
        let shown = token(Some(&key), &dana);
        assert_eq!(shown.len(), 64);
        assert!(check(Some(&key), &dana, &shown).is_ok());
        assert!(check(Some(&key), &eve, &shown).is_err());
        assert!(check(Some(&other), &dana, &shown).is_err());
        assert!(check(Some(&key), &dana, "").is_err());
        assert!(check(None, &dana, "").is_err() && check(None, &dana, &shown).is_err());
    }

    #[test]
    fn a_form_of_one_replica_is_accepted_by_another_one_for_the_same_bearer_token() {
        let (key, other) = (FormKey([1; 32]), FormKey([2; 32]));
        let (dana, renewed) = (Caller::named("dana", Some("secret")), Caller::named("dana", Some("secret-2")));
        let shown = token(Some(&key), &dana);
        assert!(check(Some(&other), &dana, &shown).is_ok() && check(None, &dana, &shown).is_ok());
        assert!(check(Some(&key), &renewed, &shown).is_err());
        assert!(check(Some(&key), &Caller::named("eve", Some("secret")), &shown).is_err());
        assert!(check(Some(&key), &Caller::named("dana", None), &shown).is_err());
    }

    #[test]
    fn a_seal_is_of_one_text_and_one_caller() {
        let (key, other) = (FormKey([1; 32]), FormKey([2; 32]));
        let (dana, eve) = (Caller::named("dana", None), Caller::named("eve", None));
        let seal = seal(Some(&key), &dana, "/s?queued=3");
        let is_sealed = |key, caller, text, shown| is_sealed(key, caller, text, shown);
        assert!(is_sealed(Some(&key), &dana, "/s?queued=3", &seal));
        assert!(!is_sealed(Some(&key), &dana, "/s?queued=4", &seal));
        assert!(
            !is_sealed(Some(&key), &eve, "/s?queued=3", &seal) && !is_sealed(Some(&other), &dana, "/s?queued=3", &seal)
        );
        assert!(!is_sealed(None, &dana, "/s?queued=3", "") && !is_sealed(Some(&key), &dana, "", ""));
        assert_ne!(super::seal(Some(&key), &dana, ""), token(Some(&key), &dana), "a seal is no token of a form");
    }

    #[test]
    fn an_origin_is_that_of_the_server() {
        let sent = |origins: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "127.0.0.1:9090".parse().unwrap());
            for origin in origins {
                headers.append(header::ORIGIN, origin.parse().unwrap());
            }
            same_origin(&headers, &Uri::from_static("/x")).is_ok()
        };
        assert!(sent(&[]) && sent(&["http://127.0.0.1:9090"]) && sent(&["https://127.0.0.1:9090"]));
        for other in
            ["null", "", "http://127.0.0.1:9091", "http://localhost:9090", "http://attacker.example", "127.0.0.1:9090"]
        {
            assert!(!sent(&[other]), "{other}");
        }
        assert!(!sent(&["http://127.0.0.1:9090", "http://attacker.example"]));
    }
}
