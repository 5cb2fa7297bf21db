//! Send errors: why there was no response. A small, fixed set of kinds, identified by type, never by text.

use std::{error::Error, io, time::Duration};

use rustls::CertificateError;

use super::{resolver::LookupError, token::TokenError};

/// Why an exchange failed. The messages contain neither the URL nor anything that was sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The whole exchange did not end in time.
    #[error("no complete response within {0:?}")]
    Timeout(Duration),
    /// The name does not resolve.
    #[error("the target's name does not resolve: {0}")]
    Dns(String),
    /// No connection could be made.
    #[error("cannot connect to the target: {0}")]
    Connect(String),
    /// TLS failed.
    #[error("TLS with the target failed: {0}")]
    Tls(String),
    /// The egress rules forbid the target's address.
    #[error("{0}")]
    Forbidden(String),
    /// The connection broke, or the response is not HTTP.
    #[error("the exchange with the target failed: {0}")]
    Io(String),
    /// No token is available for authorization.
    #[error("{0}")]
    Auth(#[source] TokenError),
}

impl SendError {
    /// The reason in one word: the label of metrics and the field of logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Dns(_) => "dns",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Forbidden(_) => "forbidden",
            Self::Io(_) => "io",
            Self::Auth(_) => "auth_failed",
        }
    }

    /// A target with a secret URL may not be called.
    pub(super) fn forbidden_secret() -> Self {
        Self::Forbidden("the target's URL points to an address that the egress rules forbid".into())
    }

    /// Classifies an error of the HTTP client by its cause; `connecting` means that there was no connection yet. If the
    /// URL is secret, so is its host.
    pub(super) fn of(error: &(dyn Error + 'static), connecting: bool, secret_url: bool) -> Self {
        let mut tls = None;
        let mut timed_out = false;
        let mut innermost = String::new();
        for cause in Causes::of(error) {
            match cause.downcast_ref::<LookupError>() {
                Some(LookupError::Forbidden(_)) if secret_url => return Self::forbidden_secret(),
                Some(LookupError::Forbidden(refusal)) => return Self::Forbidden(refusal.to_string()),
                Some(LookupError::Failed(error)) => return Self::Dns(error.to_string()),
                None => {}
            }
            tls = tls.or(cause.downcast_ref::<rustls::Error>());
            timed_out |= cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
            innermost = cause.to_string();
        }
        if let Some(error) = tls {
            Self::Tls(describe(error, secret_url))
        } else if connecting {
            // Includes timeouts of the system itself, which mean an unreachable host, not a slow receiver.
            Self::Connect(innermost)
        } else if timed_out {
            Self::Io(format!("the connection timed out: {innermost}"))
        } else {
            Self::Io(innermost)
        }
    }
}

fn describe(error: &rustls::Error, secret_url: bool) -> String {
    use CertificateError::{NotValidForName, NotValidForNameContext, UnknownIssuer};
    match error {
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) if secret_url => {
            "invalid certificate: it is for another name".into()
        }
        rustls::Error::InvalidCertificate(UnknownIssuer) => {
            format!("{error}; set its issuer in tls.caRef")
        }
        error => error.to_string(),
    }
}

/// Iterates over an error and its causes, outermost first. An [`io::Error`] that wraps another error does not return it
/// as its source but replaces it, so the wrapped error is taken instead.
pub(super) struct Causes<'a>(Option<&'a (dyn Error + 'static)>);

impl<'a> Causes<'a> {
    pub(super) fn of(error: &'a (dyn Error + 'static)) -> Self {
        Self(Some(error))
    }
}

impl<'a> Iterator for Causes<'a> {
    type Item = &'a (dyn Error + 'static);

    fn next(&mut self) -> Option<Self::Item> {
        let current = self.0?;
        let wrapped = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        self.0 = match wrapped {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => current.source(),
        };
        Some(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_found_inside_io_errors() {
        let inner = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        let outer = io::Error::other(inner);
        assert_eq!(Causes::of(&outer).count(), 3);
        assert!(Causes::of(&outer).any(|cause| cause.is::<rustls::Error>()));
    }
}
