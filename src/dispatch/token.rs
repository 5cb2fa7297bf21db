//! Access tokens of authorization servers: one per OAuth client, fetched once and renewed before it expires.
//!
//! A token is used until shortly before it expires; then one delivery fetches the next while the others wait for it. A
//! failed renewal does no harm while the old token is valid. A 401 from a receiver drops the token, but at most once in
//! [`limits::TOKEN_DROP_PAUSE`]: a receiver that rejects every token must not put load on the authorization server.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use grapnel_values::secret::header_value;
use http::{HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{cache::SingleFlight, dispatch::limits};

/// Why no token is available. The messages contain nothing that was sent, and of the response only standard error
/// codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token endpoint could not be reached, or the connection broke.
    #[error("cannot reach the token endpoint: {0}")]
    Unreachable(String),
    /// The request timed out.
    #[error("no response from the token endpoint within {0:?}")]
    Timeout(Duration),
    /// The token endpoint rejected the request.
    #[error(
        "the token endpoint responded with {}{}",
        .0.as_u16(),
        .1.map(|code| format!(", {code}")).unwrap_or_default()
    )]
    Refused(StatusCode, Option<&'static str>),
    /// The response is not a token.
    #[error("the response of the token endpoint {0} (RFC 6749, 5.1)")]
    Malformed(&'static str),
}

/// An access token.
pub(super) struct AccessToken {
    /// The value of `Authorization`.
    pub(super) header: HeaderValue,
    /// When the next token is fetched.
    renew: Timestamp,
    /// When the token expires.
    expires: Timestamp,
}

type TokenResult = Result<Arc<AccessToken>, TokenError>;

/// The tokens of one OAuth client.
#[derive(Default)]
pub(super) struct Tokens {
    state: Arc<Mutex<State>>,
    /// The fetch in flight, as long as a delivery waits for it.
    fetch: SingleFlight<(), TokenResult>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<AccessToken>>,
    /// When a token was dropped last.
    dropped: Option<Timestamp>,
}

impl State {
    /// The token, unless it is time to renew it.
    fn fresh(&self, now: Timestamp) -> Option<Arc<AccessToken>> {
        self.token.clone().filter(|token| now < token.renew)
    }
}

impl Tokens {
    /// A token valid at `now`, fetched if there is none.
    ///
    /// # Errors
    /// Returns an error if the fetch fails and no valid token is left.
    pub(super) async fn get(
        &self,
        now: Timestamp,
        fetch: impl FnOnce() -> BoxFuture<'static, TokenResult>,
    ) -> TokenResult {
        let left = {
            let state = self.state.lock();
            if let Some(token) = state.fresh(now) {
                return Ok(token);
            }
            state.token.clone().filter(|token| now < token.expires)
        };
        let joined = self.fetch.join(&(), |_| match self.state.lock().fresh(now) {
            // A fetch has ended since.
            Some(token) => Err(token),
            None => Ok(self.store(fetch()).boxed()),
        });
        let answer = match joined {
            Ok(flight) => flight.await,
            Err(token) => Ok(token),
        };
        answer.or_else(|error| left.ok_or(error))
    }

    /// A fetch that stores its token.
    fn store(&self, fetch: BoxFuture<'static, TokenResult>) -> impl Future<Output = TokenResult> + Send + use<> {
        let state = Arc::clone(&self.state);
        async move {
            let answer = fetch.await;
            if let Ok(token) = &answer {
                state.lock().token = Some(Arc::clone(token));
            }
            answer
        }
    }

    /// Records that the receiver answered 401 to a token. Returns whether to fetch another token.
    pub(super) fn refused(&self, token: &Arc<AccessToken>, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        if state.token.as_ref().is_some_and(|current| !Arc::ptr_eq(current, token)) {
            // Another delivery has already replaced it.
            return true;
        }
        let pause = SignedDuration::try_from(limits::TOKEN_DROP_PAUSE).unwrap_or(SignedDuration::MAX);
        if state.dropped.is_some_and(|dropped| now.duration_since(dropped).abs() < pause) {
            return false;
        }
        state.token = None;
        state.dropped = Some(now);
        true
    }
}

/// A token response (RFC 6749, 5.1).
#[derive(Deserialize)]
struct Granted {
    access_token: Option<String>,
    token_type: Option<String>,
    /// Seconds. Some servers write it as a string.
    expires_in: Option<Value>,
    error: Option<String>,
}

/// Reads the response of a token endpoint to a request sent at `now`.
pub(super) fn read(status: StatusCode, body: &Bytes, now: Timestamp) -> Result<AccessToken, TokenError> {
    let granted: Option<Granted> = serde_json::from_slice(body).ok();
    let code = granted.as_ref().and_then(|granted| known(granted.error.as_deref()?));
    if !status.is_success() {
        return Err(TokenError::Refused(status, code));
    }
    let granted = granted.ok_or(TokenError::Malformed("is not a JSON object"))?;
    if granted.error.is_some() {
        return Err(TokenError::Refused(status, code));
    }
    let token = granted.access_token.map(Zeroizing::new).ok_or(TokenError::Malformed("holds no access_token"))?;
    let bearer = granted.token_type.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    if !bearer {
        return Err(TokenError::Malformed("holds no token_type Bearer"));
    }
    if token.is_empty() || token.len() > limits::TOKEN_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::Malformed("has an access_token that is empty, too long or not a valid header value"));
    }
    let header = header_value(Zeroizing::new(format!("Bearer {}", *token).into_bytes()))
        .map_err(|_| TokenError::Malformed("has an access_token that is not a valid header value"))?;
    let lifetime = match granted.expires_in {
        None | Some(Value::Null) => limits::TOKEN_LIFETIME_DEFAULT,
        Some(Value::Number(seconds)) => lifetime(seconds.as_f64()),
        Some(Value::String(seconds)) => lifetime(seconds.trim().parse().ok()),
        Some(_) => return Err(TokenError::Malformed("has an expires_in that is not a number")),
    };
    let after = |time: Duration| {
        let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        now.checked_add(time).unwrap_or(Timestamp::MAX)
    };
    let early = (lifetime / 10).min(limits::TOKEN_RENEW_EARLY);
    Ok(AccessToken { header, renew: after(lifetime.saturating_sub(early)), expires: after(lifetime) })
}

/// A lifetime in seconds, within bounds. A token whose lifetime is negative or not a number is used for one delivery.
fn lifetime(seconds: Option<f64>) -> Duration {
    let seconds = seconds.filter(|seconds| *seconds > 0.0).unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(limits::TOKEN_LIFETIME_MAX).min(limits::TOKEN_LIFETIME_MAX)
}

/// The error codes of RFC 6749, 5.2 and RFC 8707, 2. Others are not repeated: they could contain anything.
fn known(code: &str) -> Option<&'static str> {
    const CODES: [&str; 7] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
    ];
    CODES.into_iter().find(|known| *known == code)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn granted(body: &str) -> Result<AccessToken, TokenError> {
        read(StatusCode::OK, &Bytes::copy_from_slice(body.as_bytes()), at(0))
    }

    fn token(name: &str, lifetime: u32, now: Timestamp) -> AccessToken {
        let body = format!(r#"{{"access_token":"{name}","token_type":"Bearer","expires_in":{lifetime}}}"#);
        read(StatusCode::OK, &Bytes::from(body), now).unwrap()
    }

    #[test]
    fn a_token_is_renewed_before_it_expires() {
        for (expires_in, renew, expires) in [
            ("3600", 3540, 3600),
            ("300", 270, 300),
            ("\"3600\"", 3540, 3600),
            ("null", 270, 300),
            ("0", 0, 0),
            ("-5", 0, 0),
            ("\"soon\"", 0, 0),
            ("1e300", 86_340, 86_400),
        ] {
            let body = format!(r#"{{"access_token":"t","token_type":"bearer","expires_in":{expires_in}}}"#);
            let token = granted(&body).unwrap();
            assert_eq!((token.renew, token.expires), (at(renew), at(expires)), "{expires_in}");
            assert_eq!(token.header, "Bearer t");
            assert!(token.header.is_sensitive());
        }
    }

    #[test]
    fn what_is_no_token_is_an_error_that_repeats_nothing() {
        let long = "t".repeat(limits::TOKEN_BYTES + 1);
        for body in [
            "",
            "hunter2",
            "[]",
            "{}",
            r#"{"access_token":"hunter2"}"#,
            r#"{"access_token":"hunter2","token_type":"mac"}"#,
            r#"{"access_token":"","token_type":"Bearer"}"#,
            r#"{"access_token":"hun ter2","token_type":"Bearer"}"#,
            r#"{"access_token":"hunter2\n","token_type":"Bearer"}"#,
            r#"{"access_token":"hunter2","token_type":"Bearer","expires_in":{}}"#,
            &format!(r#"{{"access_token":"{long}","token_type":"Bearer"}}"#),
        ] {
            let error = granted(body).err().unwrap();
            assert!(matches!(error, TokenError::Malformed(_)), "{body}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let refused = |status, body: &'static str| {
            let status = StatusCode::from_u16(status).unwrap();
            read(status, &Bytes::from_static(body.as_bytes()), at(0)).err().unwrap().to_string()
        };
        let message = "the token endpoint responded with 401, invalid_client";
        assert_eq!(refused(401, r#"{"error":"invalid_client","error_description":"hunter2"}"#), message);
        assert_eq!(refused(400, r#"{"error":"hunter2"}"#), "the token endpoint responded with 400");
        assert_eq!(refused(503, "hunter2"), "the token endpoint responded with 503");
        assert_eq!(
            refused(200, r#"{"error":"invalid_scope"}"#),
            "the token endpoint responded with 200, invalid_scope"
        );
    }

    fn gives(token: AccessToken) -> BoxFuture<'static, TokenResult> {
        std::future::ready(Ok(Arc::new(token))).boxed()
    }

    fn fails() -> BoxFuture<'static, TokenResult> {
        std::future::ready(Err(TokenError::Malformed("is broken"))).boxed()
    }

    #[tokio::test]
    async fn many_who_ask_at_once_fetch_once() {
        let (tokens, fetches) = (Tokens::default(), AtomicUsize::new(0));
        let (answer, answered) = oneshot::channel();
        let answered = Mutex::new(Some(answered));
        let ask = || {
            tokens.get(at(0), || {
                fetches.fetch_add(1, Ordering::SeqCst);
                let answered = answered.lock().take().unwrap();
                async move { Ok(Arc::new(answered.await.unwrap())) }.boxed()
            })
        };
        let requests = futures_util::future::join_all((0..50).map(|_| ask()));
        let answering = async {
            // Polled after all of them have requested a token.
            assert!(answer.send(token("one", 3600, at(0))).is_ok());
        };
        let (answers, ()) = tokio::join!(requests, answering);
        assert!(answers.into_iter().all(|answer| answer.ok().unwrap().header == "Bearer one"));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        // It is cached for later requests.
        assert!(tokens.get(at(3539), || unreachable!()).await.is_ok());
    }

    #[tokio::test]
    async fn a_fetch_that_nobody_waits_for_any_more_is_given_up() {
        let tokens = Tokens::default();
        let never = || std::future::pending().boxed();
        assert!(tokens.get(at(0), never).now_or_never().is_none());
        let answer = tokens.get(at(0), || gives(token("two", 3600, at(0)))).await;
        assert_eq!(answer.ok().unwrap().header, "Bearer two");
    }

    #[tokio::test]
    async fn a_renewal_that_fails_leaves_the_token_that_holds() {
        let tokens = Tokens::default();
        tokens.get(at(0), || gives(token("old", 100, at(0)))).await.ok().unwrap();
        assert_eq!(tokens.get(at(95), fails).await.ok().unwrap().header, "Bearer old");
        assert!(tokens.get(at(100), fails).await.is_err());
        assert_eq!(tokens.get(at(101), || gives(token("new", 100, at(101)))).await.ok().unwrap().header, "Bearer new");
    }

    #[tokio::test]
    async fn a_refused_token_is_dropped_but_not_again_and_again() {
        let tokens = Tokens::default();
        let first = tokens.get(at(0), || gives(token("first", 3600, at(0)))).await.ok().unwrap();
        assert!(tokens.refused(&first, at(1)));
        let second = tokens.get(at(1), || gives(token("second", 3600, at(1)))).await.ok().unwrap();
        assert_eq!(second.header, "Bearer second");
        assert!(tokens.refused(&first, at(1)), "whoever still had the first takes the second");
        assert!(!tokens.refused(&second, at(2)));
        assert_eq!(tokens.get(at(2), fails).await.ok().unwrap().header, "Bearer second");
        assert!(tokens.refused(&second, at(11)));
        assert!(tokens.get(at(11), fails).await.is_err());
    }
}
