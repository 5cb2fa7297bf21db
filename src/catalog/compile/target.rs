//! Compiles `spec.target` to [`Target`].

use grapnel_api::{self, KeyReference, ObjectKey, Reason};
use grapnel_delivery::egress::{ForbiddenUrl, Reach};
use grapnel_payload::headers::is_framing;
use grapnel_values::{name::is_label, secret::header_value};
use http::{HeaderMap, HeaderValue, header};
use url::Url;
use zeroize::Zeroizing;

use super::{
    Options, Problems, References,
    auth::{self, Credentials},
    endpoint::{bounded, header_name, time},
    tls,
};
use crate::catalog::{limits, target::Target};

/// The location of a receiver.
struct Place {
    url: Url,
    secret: bool,
    reach: Reach,
}

/// Compiles `spec.target`.
pub(super) fn target(
    key: &ObjectKey,
    target: &grapnel_api::Target,
    references: &References<'_>,
    options: &Options,
    problems: &mut Problems,
) -> Option<Target> {
    let place = match (&target.url, &target.url_from, &target.service) {
        (Some(url), None, None) => checked_url(url, "/spec/target/url", options, problems).map(|url| Place {
            url,
            secret: false,
            reach: Reach::Url,
        }),
        (None, Some(source), None) => by_secret(&source.secret_key_ref, references, options, problems),
        (None, None, Some(service)) => by_service(key, service, options, problems),
        _ => {
            problems.add("/spec/target", Reason::InvalidSpec, "exactly one of url, urlFrom and service must be set");
            None
        }
    };
    let mut headers = HeaderMap::new();
    let mut complete = true;
    for (number, entry) in target.headers.iter().enumerate() {
        let pointer = format!("/spec/target/headers/{number}");
        if let Some(name) = own_header(&entry.name, &format!("{pointer}/name"), &headers, problems)
            && let Some(value) = problems.check(format!("{pointer}/value"), HeaderValue::from_str(&entry.value))
        {
            headers.append(name, value);
        }
    }
    for (number, entry) in target.headers_from.iter().enumerate() {
        let pointer = format!("/spec/target/headersFrom/{number}");
        let name = own_header(&entry.name, &format!("{pointer}/name"), &headers, problems);
        let pointer = format!("{pointer}/secretKeyRef");
        let Some(secret) = references.secret(&entry.secret_key_ref, &pointer, problems) else {
            complete = false;
            continue;
        };
        // A Secret made from a file often ends with an unintended newline.
        match (name, header_value(Zeroizing::new(secret.expose().trim_ascii_end().to_vec()))) {
            (Some(name), Ok(value)) => {
                headers.append(name, value);
            }
            (_, Err(_)) => {
                complete = false;
                let grapnel_api::KeyReference { name, key } = &entry.secret_key_ref;
                problems.add(
                    pointer,
                    Reason::InvalidSecret,
                    format_args!("key {key} of Secret {name} is not a header value: it has control characters"),
                );
            }
            (None, Ok(_)) => {}
        }
    }
    let timeout = bounded(
        time(target.timeout.as_ref(), "/spec/target/timeout", limits::DEFAULT_DELIVERY_TIMEOUT, problems),
        "/spec/target/timeout",
        limits::MAX_DELIVERY_TIMEOUT,
        problems,
    );
    let mut oauth = None;
    if let Some(auth) = &target.auth {
        if headers.contains_key(header::AUTHORIZATION) {
            let message = "auth sets the header Authorization; remove it from headers and headersFrom, or remove auth";
            problems.add("/spec/target/auth", Reason::InvalidSpec, message);
        }
        match auth::credentials(auth, references, options, problems) {
            Some(Credentials::Fixed(value)) => drop(headers.insert(header::AUTHORIZATION, value)),
            Some(Credentials::OAuth(client)) => oauth = Some(client),
            None => complete = false,
        }
    }
    let tls = target.tls.as_ref().map(|tls| tls::identity(tls, "/spec/target/tls", references, problems));
    let Place { url, secret: secret_url, reach } = place?;
    if tls.is_some() && url.scheme() != "https" {
        let message = "tls requires an https target";
        problems.add("/spec/target/tls", Reason::InvalidSpec, message);
    }
    let tls = match tls {
        Some(identity) => Some(identity?),
        None => None,
    };
    complete.then_some(Target { url, secret_url, reach, headers, oauth, tls, timeout: timeout? })
}

/// A URL that may be called, as far as this can be checked now.
pub(super) fn checked_url(text: &str, pointer: &str, options: &Options, problems: &mut Problems) -> Option<Url> {
    let url = problems.check(pointer, Url::parse(text))?;
    match options.egress.check_url(&url) {
        Ok(()) => return Some(url),
        // Without slashes, `user:password@host` has the user as its scheme.
        Err(ForbiddenUrl::Scheme(_)) if text.contains('@') => {
            problems.add(pointer, Reason::TargetForbidden, "the scheme is not http or https");
        }
        Err(forbidden) => problems.add(pointer, Reason::TargetForbidden, forbidden),
    }
    None
}

/// The URL in a Secret; messages quote nothing of it.
fn by_secret(
    reference: &KeyReference,
    references: &References<'_>,
    options: &Options,
    problems: &mut Problems,
) -> Option<Place> {
    const PLACE: &str = "/spec/target/urlFrom/secretKeyRef";
    let KeyReference { name, key } = reference;
    let secret = references.secret(reference, PLACE, problems)?;
    let text = std::str::from_utf8(secret.expose().trim_ascii()).ok();
    let parsed = text.filter(|text| text.len() <= limits::TARGET_URL_BYTES).and_then(|text| Url::parse(text).ok());
    let Some(url) = parsed else {
        let message = format!(
            "key {key} of Secret {name} is not a URL of at most {} bytes; correct the Secret",
            limits::TARGET_URL_BYTES
        );
        problems.add(PLACE, Reason::InvalidSecret, message);
        return None;
    };
    let Err(forbidden) = options.egress.check_url(&url) else {
        return Some(Place { url, secret: true, reach: Reach::Url });
    };
    let (reason, wrong) = match forbidden {
        ForbiddenUrl::Scheme(_) => (Reason::InvalidSecret, "is neither http nor https"),
        ForbiddenUrl::Credentials => {
            (Reason::InvalidSecret, "contains a user name or password; set them in target.auth")
        }
        ForbiddenUrl::NoHost => (Reason::InvalidSecret, "has no host"),
        _ => (Reason::TargetForbidden, "points to an address that the egress rules forbid (--egress-allow)"),
    };
    problems.add(PLACE, reason, format_args!("the URL in key {key} of Secret {name} {wrong}"));
    None
}

/// The URL of a Service by its name in the cluster's DNS
/// (<https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>). It is in the subscription's own
/// namespace by construction: neither the name nor the path can change another part of the URL.
fn by_service(
    key: &ObjectKey,
    service: &grapnel_api::ServiceTarget,
    options: &Options,
    problems: &mut Problems,
) -> Option<Place> {
    const PLACE: &str = "/spec/target/service";
    let grapnel_api::ServiceTarget { name, port, .. } = service;
    let path = service.path.as_deref().unwrap_or("/");
    if !is_label(name) {
        let message =
            format!("`{name}` is not the name of a Service: use lowercase letters, digits and hyphens (RFC 1123)");
        problems.add(format!("{PLACE}/name"), Reason::InvalidSpec, message);
        return None;
    }
    if *port == 0 {
        problems.add(format!("{PLACE}/port"), Reason::InvalidSpec, "must be between 1 and 65535");
        return None;
    }
    if !path.starts_with('/') {
        problems.add(format!("{PLACE}/path"), Reason::InvalidSpec, "must begin with a slash");
        return None;
    }
    let scheme = match service.scheme {
        Some(grapnel_api::ServiceScheme::Https) => "https",
        Some(grapnel_api::ServiceScheme::Http) | None => "http",
    };
    let host = format!("{name}.{}.svc.{}", key.namespace, options.cluster_domain);
    let url = problems.check(PLACE, Url::parse(&format!("{scheme}://{host}:{port}{path}")))?;
    if let Err(forbidden) = options.egress.for_services().check_url(&url) {
        problems.add(PLACE, Reason::TargetForbidden, forbidden);
        return None;
    }
    Some(Place { url, secret: false, reach: Reach::Service })
}

/// A header name that a target may set: not one that frames the request or that Grapnel sets itself.
fn own_header(name: &str, pointer: &str, present: &HeaderMap, problems: &mut Problems) -> Option<header::HeaderName> {
    let name = header_name(name, pointer, problems)?;
    const OWN: [&str; 3] = ["grapnel-attempt", "grapnel-event-type", "traceparent"];
    let own = name.as_str().starts_with("webhook-") || OWN.contains(&name.as_str());
    if own || is_framing(&name) {
        let message = format!("header {name} is set by Grapnel itself; remove it");
        problems.add(pointer, Reason::InvalidSpec, message);
        return None;
    }
    if present.contains_key(&name) {
        problems.add(pointer, Reason::InvalidSpec, format_args!("header {name} is set twice"));
        return None;
    }
    Some(name)
}
