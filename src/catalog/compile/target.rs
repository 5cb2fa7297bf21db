//! Compiles `spec.target` to [`DeliveryTarget`].

use std::sync::Arc;

use grapnel_api::{self, HeaderFromSecret, KeyReference, Reason};
use grapnel_delivery::egress::{ForbiddenUrl, Reach};
use grapnel_payload::headers::is_framing;
use grapnel_values::{name::is_label, secret::header_value};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use url::Url;
use zeroize::Zeroizing;

use super::{
    auth::{self, Credentials},
    field::Field,
    tls,
};
use crate::catalog::{
    limits,
    target::{DeliveryTarget, OAuthClient},
};

/// The location of a receiver.
struct ReceiverLocation {
    url: Url,
    secret: bool,
    reach: Reach,
}

/// Compiles `spec.target`.
pub(super) fn target(target: &Field<'_, grapnel_api::Target>) -> Option<DeliveryTarget> {
    // Every part is compiled, so that all problems are reported together.
    let place = place(target);
    let mut headers = fixed_headers(target);
    let secret_headers = secret_headers(target, &mut headers);
    let timeout = target
        .at("timeout", &target.timeout)
        .duration_at_most(limits::MAX_DELIVERY_TIMEOUT, limits::DEFAULT_DELIVERY_TIMEOUT);
    let oauth = authorization(target, &mut headers);
    let tls = target.at("tls", &target.tls).given().map(Field::unboxed);
    let identity = tls.as_ref().map(tls::identity);
    let ReceiverLocation { url, secret: secret_url, reach } = place?;
    if let Some(tls) = tls.filter(|_| url.scheme() != "https") {
        tls.problem(Reason::InvalidSpec, "tls requires an https target");
    }
    let tls = match identity {
        Some(identity) => Some(identity?),
        None => None,
    };
    secret_headers?;
    Some(DeliveryTarget { url, secret_url, reach, headers, oauth: oauth?, tls, timeout: timeout? })
}

fn place(target: &Field<'_, grapnel_api::Target>) -> Option<ReceiverLocation> {
    match (&target.url, &target.url_from, &target.service) {
        (Some(url), None, None) => {
            let url = target.at("url", url).callable_url()?;
            Some(ReceiverLocation { url, secret: false, reach: Reach::Url })
        }
        (None, Some(source), None) => {
            let source = target.at("urlFrom", source);
            by_secret(&source.at("secretKeyRef", &source.secret_key_ref))
        }
        (None, None, Some(service)) => by_service(&target.at("service", service)),
        _ => target.fail(Reason::InvalidSpec, "exactly one of url, urlFrom and service must be set"),
    }
}

/// The URL in a Secret; messages quote nothing of it.
fn by_secret(reference: &Field<'_, KeyReference>) -> Option<ReceiverLocation> {
    let KeyReference { name, key } = reference.value();
    let secret = reference.secret()?;
    let text = std::str::from_utf8(secret.expose().trim_ascii()).ok();
    let parsed = text.filter(|text| text.len() <= limits::TARGET_URL_BYTES).and_then(|text| Url::parse(text).ok());
    let Some(url) = parsed else {
        let most = limits::TARGET_URL_BYTES;
        let message = format!("key {key} of Secret {name} is not a URL of at most {most} bytes; correct the Secret");
        return reference.fail(Reason::InvalidSecret, message);
    };
    let Err(forbidden) = reference.options().egress.check_url(&url) else {
        return Some(ReceiverLocation { url, secret: true, reach: Reach::Url });
    };
    let (reason, wrong) = match forbidden {
        ForbiddenUrl::Scheme(_) => (Reason::InvalidSecret, "is neither http nor https"),
        ForbiddenUrl::Credentials => {
            (Reason::InvalidSecret, "contains a user name or password; set them in target.auth")
        }
        ForbiddenUrl::NoHost => (Reason::InvalidSecret, "has no host"),
        _ => (Reason::TargetForbidden, "points to an address that the egress rules forbid (--egress-allow)"),
    };
    reference.fail(reason, format_args!("the URL in key {key} of Secret {name} {wrong}"))
}

/// The URL of a Service by its name in the cluster's DNS
/// (<https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>). It is in the subscription's own
/// namespace by construction: neither the name nor the path can change another part of the URL.
fn by_service(service: &Field<'_, grapnel_api::ServiceTarget>) -> Option<ReceiverLocation> {
    let grapnel_api::ServiceTarget { name, port, .. } = service.value();
    if !is_label(name) {
        let message =
            format!("`{name}` is not the name of a Service: use lowercase letters, digits and hyphens (RFC 1123)");
        return service.at("name", name).fail(Reason::InvalidSpec, message);
    }
    service.at("port", port).within(1..=u16::MAX)?;
    let path = service.at("path", service.path.as_deref().unwrap_or("/"));
    if !path.starts_with('/') {
        return path.fail(Reason::InvalidSpec, "must begin with a slash");
    }
    let scheme = match service.scheme {
        Some(grapnel_api::ServiceScheme::Https) => "https",
        Some(grapnel_api::ServiceScheme::Http) | None => "http",
    };
    let options = service.options();
    let host = format!("{name}.{}.svc.{}", service.namespace(), options.cluster_domain);
    let url = service.check(Url::parse(&format!("{scheme}://{host}:{port}{}", path.value())))?;
    match options.egress.for_services().check_url(&url) {
        Ok(()) => Some(ReceiverLocation { url, secret: false, reach: Reach::Service }),
        Err(forbidden) => service.fail(Reason::TargetForbidden, forbidden),
    }
}

fn fixed_headers(target: &Field<'_, grapnel_api::Target>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for entry in target.at("headers", &target.headers).items() {
        if let Some(name) = own_header(&entry.at("name", &entry.name), &headers)
            && let Some(value) = entry.at("value", &entry.value).check(HeaderValue::from_str(&entry.value))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// Adds the headers from Secrets. `None` if the value of one is missing or invalid.
fn secret_headers(target: &Field<'_, grapnel_api::Target>, headers: &mut HeaderMap) -> Option<()> {
    let mut complete = Some(());
    for entry in target.at("headersFrom", &target.headers_from).items() {
        let name = own_header(&entry.at("name", &entry.name), headers);
        match (name, secret_header(&entry)) {
            (Some(name), Some(value)) => drop(headers.append(name, value)),
            (None, Some(_)) => {}
            (_, None) => complete = None,
        }
    }
    complete
}

/// A Secret made from a file often ends with an unintended newline, which is removed.
fn secret_header(entry: &Field<'_, HeaderFromSecret>) -> Option<HeaderValue> {
    let reference = entry.at("secretKeyRef", &entry.secret_key_ref);
    let secret = reference.secret()?;
    header_value(Zeroizing::new(secret.expose().trim_ascii_end().to_vec())).ok().or_else(|| {
        let KeyReference { name, key } = reference.value();
        let message = format!("key {key} of Secret {name} is not a header value: it has control characters");
        reference.fail(Reason::InvalidSecret, message)
    })
}

/// Adds `Authorization`, or returns the OAuth client that provides it. `None` if something is missing or invalid.
fn authorization(target: &Field<'_, grapnel_api::Target>, headers: &mut HeaderMap) -> Option<Option<Arc<OAuthClient>>> {
    let Some(auth) = target.at("auth", &target.auth).given().map(Field::unboxed) else { return Some(None) };
    if headers.contains_key(header::AUTHORIZATION) {
        let message = "auth sets the header Authorization; remove it from headers and headersFrom, or remove auth";
        auth.problem(Reason::InvalidSpec, message);
    }
    match auth::credentials(&auth)? {
        Credentials::Fixed(value) => {
            headers.insert(header::AUTHORIZATION, value);
            Some(None)
        }
        Credentials::OAuth(client) => Some(Some(client)),
    }
}

/// A header name that a target may set: not one that frames the request or that Grapnel sets itself.
fn own_header(name: &Field<'_, String>, present: &HeaderMap) -> Option<HeaderName> {
    let header = name.header_name()?;
    const OWN: [&str; 3] = ["grapnel-attempt", "grapnel-event-type", "traceparent"];
    let own = header.as_str().starts_with("webhook-") || OWN.contains(&header.as_str());
    if own || is_framing(&header) {
        let message = format_args!("header {header} is set by Grapnel itself; remove it");
        return name.fail(Reason::InvalidSpec, message);
    }
    if present.contains_key(&header) {
        return name.fail(Reason::InvalidSpec, format_args!("header {header} is set twice"));
    }
    Some(header)
}
