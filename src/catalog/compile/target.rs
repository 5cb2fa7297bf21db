//! `spec.target` to a [`Target`].

use http::{HeaderMap, HeaderValue, header};
use url::Url;
use zeroize::Zeroizing;

use super::{
    Options, Problems, References,
    endpoint::{bounded, header_name, time},
};
use crate::{
    api::{self, ObjectKey, Reason},
    catalog::snapshot::Target,
    rules::{egress::Reach, headers::is_framing, limits, name::is_label, secret::header_value},
};

/// Compiles `spec.target`.
pub(super) fn target(
    key: &ObjectKey,
    target: &api::Target,
    references: &References<'_>,
    options: &Options,
    problems: &mut Problems,
) -> Option<Target> {
    let place = match (&target.url, &target.service) {
        (Some(url), None) => by_url(url, options, problems),
        (None, Some(service)) => by_service(key, service, options, problems),
        _ => {
            problems.add("/spec/target", Reason::InvalidSpec, "exactly one of url and service must be set");
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
        // A Secret made from a file often ends with a newline that nobody meant.
        match (name, header_value(Zeroizing::new(secret.expose().trim_ascii_end().to_vec()))) {
            (Some(name), Ok(value)) => {
                headers.append(name, value);
            }
            (_, Err(_)) => {
                complete = false;
                let api::KeyReference { name, key } = &entry.secret_key_ref;
                problems.add(
                    pointer,
                    Reason::InvalidSecret,
                    format_args!("key {key} of Secret {name} is not a header value: it holds control characters"),
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
    let (url, reach) = place?;
    complete.then_some(Target { url, reach, headers, timeout: timeout? })
}

fn by_url(text: &str, options: &Options, problems: &mut Problems) -> Option<(Url, Reach)> {
    const PLACE: &str = "/spec/target/url";
    let url = problems.check(PLACE, Url::parse(text))?;
    if let Err(forbidden) = options.egress.check_url(&url) {
        problems.add(PLACE, Reason::TargetForbidden, forbidden);
        return None;
    }
    Some((url, Reach::Url))
}

/// The URL of a Service by its name in the cluster's DNS
/// (<https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>). It is one of the subscription's own
/// namespace by construction: neither the name nor the path can lead out of their part of the URL.
fn by_service(
    key: &ObjectKey,
    service: &api::ServiceTarget,
    options: &Options,
    problems: &mut Problems,
) -> Option<(Url, Reach)> {
    const PLACE: &str = "/spec/target/service";
    let api::ServiceTarget { name, port, .. } = service;
    let path = service.path.as_deref().unwrap_or("/");
    if !is_label(name) {
        let message =
            format!("`{name}` is not the name of a Service: small letters, digits and hyphens are (RFC 1123)");
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
        Some(api::ServiceScheme::Https) => "https",
        Some(api::ServiceScheme::Http) | None => "http",
    };
    let host = format!("{name}.{}.svc.{}", key.namespace, options.cluster_domain);
    let url = problems.check(PLACE, Url::parse(&format!("{scheme}://{host}:{port}{path}")))?;
    if let Err(forbidden) = options.egress.for_services().check_url(&url) {
        problems.add(PLACE, Reason::TargetForbidden, forbidden);
        return None;
    }
    Some((url, Reach::Service))
}

/// A header name that a target may set: not one of those that frame the request or that Grapnel itself sets.
fn own_header(name: &str, pointer: &str, present: &HeaderMap, problems: &mut Problems) -> Option<header::HeaderName> {
    let name = header_name(name, pointer, problems)?;
    let own = name.as_str().starts_with("webhook-") || name == "grapnel-attempt" || name == "traceparent";
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
