//! The one session of `grapnel console`: a token in a URL, exchanged once for a cookie.

use std::time::Instant;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::cli::limits::{CONSOLE_LOGIN_TIME, CONSOLE_SESSION_TIME};

type Hash = [u8; 32];

/// A session that waits for its browser, or has one.
pub(super) struct Session {
    /// Cookies are shared by all ports of a host, so that the port is in the name.
    cookie: String,
    state: Mutex<State>,
}

struct State {
    login: Hash,
    since: Instant,
    /// The value of the cookie, and since when it is valid.
    browser: Option<(Hash, Instant)>,
}

/// Why a token is not exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LoginError {
    #[error("this token is not the one that grapnel console has printed")]
    Wrong,
    #[error("this token has signed in a browser already; if that was not you, stop grapnel console")]
    Used,
    #[error("this token has expired")]
    Expired,
    #[error("there is no randomness")]
    Entropy,
}

impl Session {
    /// A session for the server at a port, and the token that opens it.
    pub(super) fn begin(port: u16, now: Instant) -> Result<(Self, Zeroizing<String>), LoginError> {
        let token = secret()?;
        let state = State { login: hash(&token), since: now, browser: None };
        Ok((Self { cookie: format!("grapnel-console-{port}"), state: Mutex::new(state) }, token))
    }

    /// Exchanges the token for the header that sets the cookie.
    pub(super) fn exchange(&self, token: &str, now: Instant) -> Result<String, LoginError> {
        let mut state = self.state.lock();
        if !bool::from(hash(token).ct_eq(&state.login)) {
            return Err(LoginError::Wrong);
        }
        if state.browser.is_some() {
            return Err(LoginError::Used);
        }
        if now.duration_since(state.since) >= CONSOLE_LOGIN_TIME {
            return Err(LoginError::Expired);
        }
        let value = secret()?;
        state.browser = Some((hash(&value), now));
        let age = CONSOLE_SESSION_TIME.as_secs();
        Ok(format!("{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}", self.cookie, value.as_str()))
    }

    /// Whether one of the cookies of a request (RFC 6265, section 4.2) is that of the session.
    pub(super) fn admits<'a>(&self, cookies: impl IntoIterator<Item = &'a str>, now: Instant) -> bool {
        let state = self.state.lock();
        let Some((expected, since)) = &state.browser else { return false };
        if now.duration_since(*since) >= CONSOLE_SESSION_TIME {
            return false;
        }
        let shown =
            cookies.into_iter().flat_map(|cookies| cookies.split(';')).filter_map(|it| it.trim().split_once('='));
        shown.filter(|(name, _)| *name == self.cookie).any(|(_, value)| hash(value).ct_eq(expected).into())
    }
}

fn secret() -> Result<Zeroizing<String>, LoginError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|_| LoginError::Entropy)?;
    Ok(Zeroizing::new(hex::encode(*bytes)))
}

/// Hashes have one length, so that a comparison tells nothing.
fn hash(text: &str) -> Hash {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn value(header: &str) -> &str {
        header.split_once(';').unwrap().0
    }

    #[test]
    fn a_token_opens_one_session_once() {
        let now = Instant::now();
        let (session, token) = Session::begin(8181, now).unwrap();
        assert!(!session.admits(["grapnel-console-8181="], now));
        assert_eq!(session.exchange("wrong", now), Err(LoginError::Wrong));
        let header = session.exchange(&token, now + Duration::from_secs(1)).unwrap();
        assert!(header.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"), "{header}");
        let cookie = value(&header);
        assert!(cookie.starts_with("grapnel-console-8181=") && !cookie.contains(token.as_str()));
        assert!(session.admits([cookie], now));
        assert!(session.admits(["other=1", &format!("a=b; {cookie}")], now));
        assert!(!session.admits([&cookie[..cookie.len() - 1], "x"], now));
        assert!(!session.admits([&*cookie.replace("8181", "8182")], now));
        assert_eq!(session.exchange(&token, now), Err(LoginError::Used));
        assert!(session.admits([cookie], now), "a second try ends nothing");
    }

    #[test]
    fn tokens_and_sessions_expire() {
        let now = Instant::now();
        let (session, token) = Session::begin(8181, now).unwrap();
        assert_eq!(session.exchange(&token, now + CONSOLE_LOGIN_TIME), Err(LoginError::Expired));
        let header = session.exchange(&token, now + CONSOLE_LOGIN_TIME - Duration::from_secs(1)).unwrap();
        let begun = now + CONSOLE_LOGIN_TIME - Duration::from_secs(1);
        assert!(session.admits([value(&header)], begun + CONSOLE_SESSION_TIME - Duration::from_secs(1)));
        assert!(!session.admits([value(&header)], begun + CONSOLE_SESSION_TIME));
    }
}
