//! The proxy for outgoing deliveries.
//!
//! ```
//! use grapnel_delivery::egress_proxy::EgressProxy;
//!
//! let proxy = EgressProxy::parse("http://me:hush@proxy.example")?;
//! assert_eq!((proxy.host().to_string(), proxy.port()), ("proxy.example".into(), 3128));
//! assert!(proxy.authorization().is_some_and(|header| header.is_sensitive()));
//! # Ok::<(), grapnel_delivery::egress_proxy::NoProxy>(())
//! ```

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use grapnel_values::secret::header_value;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use url::{Host, Url};
use zeroize::Zeroizing;

/// An HTTP proxy that opens tunnels (`CONNECT`, RFC 9110, 9.3.6).
#[derive(Clone, PartialEq, Eq)]
pub struct EgressProxy {
    host: Host<String>,
    port: u16,
    authorization: Option<HeaderValue>,
}

/// Why a text is not the URL of a proxy. Holds no part of the text, which may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an egress proxy must have the form http://[USER:PASSWORD@]HOST[:PORT], without a path: {0}")]
pub struct NoProxy(&'static str);

impl EgressProxy {
    /// Parses `http://[user:password@]host[:port]`. The default port is 3128, as for most such proxies.
    ///
    /// # Errors
    /// When the text is not such a URL, with the reason.
    pub fn parse(text: &str) -> Result<Self, NoProxy> {
        // A parsed URL omits port 80, which matters here.
        let authority =
            text.get(7..).filter(|_| text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")));
        let url = Url::parse(text).map_err(|_| NoProxy("not a URL"))?;
        let Some(authority) = authority else {
            return Err(NoProxy("only the scheme http is supported"));
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(NoProxy("unexpected text after the host and port"));
        }
        let host = url.host().ok_or(NoProxy("the host is missing"))?.to_owned();
        let port = match url.port() {
            Some(0) => return Err(NoProxy("port 0 is not valid")),
            Some(port) => port,
            None if authority.trim_end_matches('/').ends_with(":80") => 80,
            None => 3128,
        };
        let authorization = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some(basic(user, password.unwrap_or_default())?),
        };
        Ok(Self { host, port, authorization })
    }

    /// Returns the host.
    pub fn host(&self) -> Host<&str> {
        match &self.host {
            Host::Domain(name) => Host::Domain(name),
            Host::Ipv4(address) => Host::Ipv4(*address),
            Host::Ipv6(address) => Host::Ipv6(*address),
        }
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the `Proxy-Authorization` header, if the URL has credentials; marked sensitive.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

/// Encodes percent-encoded URL credentials as `Basic` credentials (RFC 7617).
fn basic(user: &str, password: &str) -> Result<HeaderValue, NoProxy> {
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len().saturating_add(password.len()).saturating_add(1)));
    pair.extend(percent_decode_str(user));
    if pair.contains(&b':') {
        return Err(NoProxy("the user name contains a colon"));
    }
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    let encoded = Zeroizing::new(STANDARD.encode(&*pair));
    let header = Zeroizing::new([b"Basic ", encoded.as_bytes()].concat());
    header_value(header).map_err(|_| NoProxy("the credentials have characters that are not allowed in a header"))
}

impl fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressProxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("authorization", &self.authorization.as_ref().map(|_| "***"))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_named_by_host_and_port() {
        for (text, host, port) in [
            ("http://proxy.example", "proxy.example", 3128),
            ("http://proxy.example/", "proxy.example", 3128),
            ("http://proxy.example:80", "proxy.example", 80),
            ("HTTP://proxy.example:80/", "proxy.example", 80),
            ("http://10.0.0.1:8080", "10.0.0.1", 8080),
            ("http://[fd00::80]", "[fd00::80]", 3128),
            ("http://[fd00::1]:8080/", "[fd00::1]", 8080),
        ] {
            let proxy = EgressProxy::parse(text).unwrap();
            assert_eq!((proxy.host().to_string().as_str(), proxy.port()), (host, port), "{text}");
            assert_eq!(proxy.authorization(), None);
        }
        for (text, why) in [
            ("proxy.example:3128", "only the scheme http"),
            ("https://proxy.example", "only the scheme http"),
            ("socks5://proxy.example", "only the scheme http"),
            ("http://", "not a URL"),
            ("proxy", "not a URL"),
            ("http://proxy.example/path", "after the host"),
            ("http://proxy.example?x", "after the host"),
            ("http://proxy.example:0", "port 0"),
            ("http://a%3ab:c@proxy.example", "colon"),
        ] {
            let refused = EgressProxy::parse(text).unwrap_err().to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn credentials_are_sent_and_not_shown() {
        // RFC 7617, 2: the first example, percent-encoded.
        let proxy = EgressProxy::parse("http://Aladdin:open%20sesame@proxy.example").unwrap();
        assert_eq!(proxy.authorization().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let shown = format!("{proxy:?}");
        assert!(!shown.contains("QWxh") && !shown.contains("sesame") && !shown.contains("Aladdin"), "{shown}");
        let refused = EgressProxy::parse("http://user:open-sesame@proxy.example/x").unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("sesame"));
    }
}
