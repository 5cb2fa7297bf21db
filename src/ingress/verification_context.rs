//! What a verifier needs to know about a request besides its headers and its body.

use std::{net::IpAddr, sync::Arc};

use futures_util::future::BoxFuture;
use grapnel_signature::{CalledUrl, KeySet, KeysWanted, RequiredContext, VerificationContext};
use http::{HeaderMap, HeaderName, Uri, header::HOST};
use tokio::time::timeout_at;
use url::Url;

use super::{accept::Shared, address, inbound::Inbound, reject::Rejected};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Provides public keys of senders that are not in a Secret.
pub trait RemoteKeys: Send + Sync + 'static {
    /// The keys that a request to an endpoint in `namespace` asks for. The request is not verified by then, so the rate
    /// of fetches is bounded; fetched keys are cached.
    ///
    /// # Errors
    /// Returns [`KeysUnavailable`] if the keys are not known and cannot be fetched now.
    fn keys<'a>(
        &'a self,
        wanted: &'a KeysWanted,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Arc<KeySet>, KeysUnavailable>>;
}

/// The keys cannot be obtained now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the keys cannot be fetched now")]
pub struct KeysUnavailable;

impl Shared {
    /// Collects what the endpoint's scheme requires, and nothing more.
    pub(super) async fn evidence(&self, inbound: &Inbound, body: &[u8]) -> Result<VerificationContext, Rejected> {
        match inbound.endpoint.verifier.needs() {
            RequiredContext::Nothing => Ok(VerificationContext::Nothing),
            RequiredContext::Url => {
                Ok(VerificationContext::Url(self.called(inbound.peer, &inbound.headers, &inbound.uri)))
            }
            RequiredContext::Keys => {
                let wanted = inbound.endpoint.verifier.keys_for(&inbound.headers, body)?;
                let Some(keys) = &self.ingress.keys else { return Err(Rejected::Keyless) };
                match timeout_at(inbound.deadline, keys.keys(&wanted, &inbound.endpoint.key.namespace)).await {
                    Ok(Ok(keys)) => Ok(VerificationContext::Keys(keys)),
                    // The fetch logs the cause, which does not concern the caller.
                    Ok(Err(KeysUnavailable)) | Err(_) => Err(Rejected::Keyless),
                }
            }
            RequiredContext::Review(scheme) => {
                let token = scheme.token(&inbound.headers)?;
                let Some(callers) = &self.ingress.callers else { return Err(Rejected::Unreviewed) };
                match timeout_at(inbound.deadline, callers.review(token, &scheme.audiences)).await {
                    Ok(review) => Ok(VerificationContext::Review(review?)),
                    Err(_) => Err(Rejected::Unreviewed),
                }
            }
        }
    }

    fn called(&self, peer: IpAddr, headers: &HeaderMap, uri: &Uri) -> CalledUrl {
        let options = &self.ingress.options;
        let from_proxy = address::is_in(peer.to_canonical(), &options.trusted_proxies);
        called(options.public_url.as_ref(), options.tls, from_proxy, headers, uri)
    }
}

/// The URL that the sender called: below the public URL, if configured; otherwise as a trusted proxy reports it;
/// otherwise as this server received it.
fn called(public: Option<&Url>, tls: bool, from_proxy: bool, headers: &HeaderMap, uri: &Uri) -> CalledUrl {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if let Some(base) = public.and_then(CalledUrl::of) {
        return CalledUrl { target: format!("{}{target}", base.target.trim_end_matches('/')), ..base };
    }
    // Each proxy appends its entry: the last one is that of the trusted proxy.
    let forwarded = |name: &HeaderName| {
        let line = headers.get_all(name).iter().next_back().filter(|_| from_proxy)?.to_str().ok()?;
        line.rsplit(',').map(str::trim).find(|entry| !entry.is_empty()).map(str::to_owned)
    };
    let host = || headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let from_uri = || uri.authority().map(|authority| authority.as_str().to_owned());
    CalledUrl {
        secure: forwarded(&X_FORWARDED_PROTO).map_or(tls, |scheme| scheme.eq_ignore_ascii_case("https")),
        authority: forwarded(&X_FORWARDED_HOST).or_else(from_uri).or_else(host).unwrap_or_default(),
        target: target.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(public: Option<&str>, tls: bool, from_proxy: bool, lines: &[(&str, &str)], uri: &str) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let public = public.map(|url| url.parse().unwrap());
        let CalledUrl { secure, authority, target } =
            called(public.as_ref(), tls, from_proxy, &headers, &uri.parse().unwrap());
        format!("{}://{authority}{target}", if secure { "https" } else { "http" })
    }

    const FORWARDED: &[(&str, &str)] =
        &[("host", "inside:8080"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "hooks.example.com")];

    #[test]
    fn the_public_url_comes_first() {
        let of = |public| of(Some(public), false, true, FORWARDED, "/shop/sms?a=%27b'");
        assert_eq!(of("https://public.example.com"), "https://public.example.com/shop/sms?a=%27b'");
        assert_eq!(of("https://public.example.com:8443/"), "https://public.example.com:8443/shop/sms?a=%27b'");
        assert_eq!(of("http://a.example.com/hooks/"), "http://a.example.com/hooks/shop/sms?a=%27b'");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(of(None, false, true, FORWARDED, "/a"), "https://hooks.example.com/a");
        assert_eq!(of(None, false, false, FORWARDED, "/a"), "http://inside:8080/a");
        assert_eq!(of(None, true, false, FORWARDED, "/a"), "https://inside:8080/a");
        let appended =
            [("x-forwarded-host", "evil.example.com, hooks.example.com"), ("x-forwarded-proto", "http,https")];
        assert_eq!(of(None, false, true, &appended, "/a"), "https://hooks.example.com/a");
        let lines = [("x-forwarded-host", "evil.example.com"), ("x-forwarded-host", "hooks.example.com")];
        assert_eq!(of(None, false, true, &lines, "/a"), "http://hooks.example.com/a");
    }

    #[test]
    fn without_either_it_is_the_url_of_the_request() {
        assert_eq!(of(None, false, true, &[("host", "a:80")], "/a?"), "http://a:80/a?");
        assert_eq!(of(None, true, false, &[], "https://b.example.com/a"), "https://b.example.com/a");
        assert_eq!(of(None, false, false, &[], "/a"), "http:///a", "nobody signs that");
    }
}
