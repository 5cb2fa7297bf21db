//! The URL of an endpoint behind Gateways, from host names and listeners.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use grapnel_api::ParentReference;
use kube::api::DynamicObject;
use serde::Deserialize;

use super::{limits::GATEWAY_FRESH, manifest::GATEWAY_GROUP};

/// Namespace and name of a Gateway.
pub(super) type GatewayName = (String, String);

/// The result of reading a Gateway.
pub(super) enum GatewayRead {
    /// It exists.
    Gateway(Box<DynamicObject>),
    /// It does not exist, or the operator may not read it.
    Unreadable,
    /// The API server did not answer; what was known before still counts.
    Failed,
}

/// A listener of a Gateway.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Listener {
    name: String,
    #[serde(default)]
    hostname: Option<String>,
    port: u16,
    protocol: String,
}

/// Listeners of Gateways, cached for [`GATEWAY_FRESH`]. There is no watch: the operator may `get` Gateways only.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    known: HashMap<GatewayName, Known>,
}

#[derive(Debug)]
struct Known {
    /// `None` if the Gateway could not be read.
    listeners: Option<Vec<Listener>>,
    read: Instant,
}

impl Gateways {
    /// Whether a Gateway has to be read.
    pub(super) fn is_outdated(&self, name: &GatewayName, now: Instant) -> bool {
        self.known.get(name).is_none_or(|known| now.saturating_duration_since(known.read) >= GATEWAY_FRESH)
    }

    /// Whether a Gateway has been read, or the attempt has failed.
    pub(super) fn has(&self, name: &GatewayName) -> bool {
        self.known.contains_key(name)
    }

    /// Records the result of reading a Gateway.
    pub(super) fn set(&mut self, name: GatewayName, read: GatewayRead, now: Instant) {
        let listeners = match read {
            GatewayRead::Gateway(gateway) => listeners(*gateway),
            GatewayRead::Unreadable => None,
            GatewayRead::Failed => self.known.remove(&name).and_then(|known| known.listeners),
        };
        self.known.insert(name, Known { listeners, read: now });
    }

    /// Forgets Gateways that have not been read for a long time, since nothing refers to them.
    pub(super) fn expire(&mut self, now: Instant) {
        let unused: Duration = 2 * GATEWAY_FRESH;
        self.known.retain(|_, known| now.saturating_duration_since(known.read) < unused);
    }

    fn listeners(&self, name: &GatewayName) -> Option<&[Listener]> {
        self.known.get(name)?.listeners.as_deref()
    }

    /// The URL of a path: the first host name without a wildcard that a listener of the accepting parents serves, by
    /// HTTPS if possible. A Gateway that cannot be read is assumed to serve HTTPS on its usual port.
    pub(super) fn url(
        &self,
        namespace: &str,
        accepting: &[&ParentReference],
        hostnames: &[String],
        path: &str,
    ) -> Option<String> {
        let wanted: Vec<Option<&str>> =
            if hostnames.is_empty() { vec![None] } else { hostnames.iter().map(|it| Some(it.as_str())).collect() };
        let mut plain = None;
        for parent in accepting {
            let Some(name) = gateway(namespace, parent) else { continue };
            let Some(listeners) = self.listeners(&name) else {
                if let Some(host) = wanted.iter().flatten().find(|host| !host.starts_with("*.")) {
                    return Some(join("https", host, parent.port.and_then(|port| port.try_into().ok()), path));
                }
                continue;
            };
            for host in &wanted {
                for listener in listeners.iter().filter(|listener| listener.is_of(parent)) {
                    let Some(host) = common(*host, listener.hostname.as_deref()) else { continue };
                    match listener.protocol.as_str() {
                        "HTTPS" => return Some(join("https", host, Some(listener.port), path)),
                        "HTTP" if plain.is_none() => plain = Some(join("http", host, Some(listener.port), path)),
                        _ => {}
                    }
                }
            }
        }
        plain
    }
}

fn listeners(mut gateway: DynamicObject) -> Option<Vec<Listener>> {
    let listeners = gateway.data.get_mut("spec")?.get_mut("listeners")?.take();
    serde_json::from_value(listeners).ok()
}

impl Listener {
    /// Whether the parent reference includes this listener.
    fn is_of(&self, parent: &ParentReference) -> bool {
        parent.section_name.as_ref().is_none_or(|name| *name == self.name)
            && parent.port.is_none_or(|port| port == i32::from(self.port))
    }
}

/// The Gateway that a parent of an HTTPRoute in `namespace` is, if it is one.
pub(super) fn gateway(namespace: &str, parent: &ParentReference) -> Option<GatewayName> {
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    let namespace = parent.namespace.as_deref().unwrap_or(namespace);
    (group == GATEWAY_GROUP && kind == "Gateway").then(|| (namespace.to_owned(), parent.name.clone()))
}

/// A host name without a wildcard that both have. `None` has every name.
fn common<'a>(route: Option<&'a str>, listener: Option<&'a str>) -> Option<&'a str> {
    let covers = |pattern: &str, name: &str| match pattern.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
        None => pattern == name,
    };
    let listener = listener.filter(|name| !name.is_empty());
    match (route, listener) {
        (Some(name), None) | (None, Some(name)) => Some(name),
        (Some(route), Some(listener)) if covers(listener, route) => Some(route),
        (Some(route), Some(listener)) if covers(route, listener) => Some(listener),
        _ => None,
    }
    .filter(|name| !name.starts_with("*."))
}

fn join(scheme: &str, host: &str, port: Option<u16>, path: &str) -> String {
    let usual = if scheme == "https" { 443 } else { 80 };
    match port.filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{host}:{port}{path}"),
        None => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn known(listeners: Value) -> Gateways {
        let gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": { "name": "public" }, "spec": { "listeners": listeners },
        });
        let mut gateways = Gateways::default();
        let name = ("infra".to_owned(), "public".to_owned());
        gateways.set(name, GatewayRead::Gateway(serde_json::from_value(gateway).unwrap()), Instant::now());
        gateways
    }

    fn parent(extra: Value) -> ParentReference {
        let mut parent = json!({ "name": "public", "namespace": "infra" });
        parent.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(parent).unwrap()
    }

    fn url(gateways: &Gateways, parent: &ParentReference, hostnames: &[&str]) -> Option<String> {
        let hostnames: Vec<_> = hostnames.iter().map(|it| (*it).to_owned()).collect();
        gateways.url("shop", &[parent], &hostnames, "/shop/orders")
    }

    #[test]
    fn https_is_preferred_and_unusual_ports_are_written() {
        let gateways = known(json!([
            { "name": "http", "port": 80, "protocol": "HTTP" },
            { "name": "https", "port": 443, "protocol": "HTTPS" },
            { "name": "other", "port": 8443, "protocol": "HTTPS" },
            { "name": "tcp", "port": 9000, "protocol": "TCP" },
        ]));
        let hosts = &["hooks.example.com"];
        let of = |extra| url(&gateways, &parent(extra), hosts);
        assert_eq!(of(json!({})).unwrap(), "https://hooks.example.com/shop/orders");
        assert_eq!(of(json!({ "sectionName": "http" })).unwrap(), "http://hooks.example.com/shop/orders");
        assert_eq!(of(json!({ "port": 8443 })).unwrap(), "https://hooks.example.com:8443/shop/orders");
        assert_eq!(of(json!({ "sectionName": "tcp" })), None);
        assert_eq!(of(json!({ "kind": "Service", "group": "" })), None, "a mesh has no URL");
    }

    #[test]
    fn host_names_are_those_of_route_and_listener() {
        let gateways = known(json!([
            { "name": "a", "port": 443, "protocol": "HTTPS", "hostname": "*.example.com" },
            { "name": "b", "port": 443, "protocol": "HTTPS", "hostname": "in.example.org" },
        ]));
        let of = |hosts: &[&str]| url(&gateways, &parent(json!({})), hosts);
        assert_eq!(of(&["*.example.com", "a.example.com"]).unwrap(), "https://a.example.com/shop/orders");
        assert_eq!(of(&[]).unwrap(), "https://in.example.org/shop/orders");
        assert_eq!(of(&["*.example.org"]).unwrap(), "https://in.example.org/shop/orders");
        assert_eq!(of(&["example.com"]), None, "a wildcard does not cover the bare domain");
        assert_eq!(of(&["*.example.com"]), None);
    }

    #[test]
    fn a_gateway_that_cannot_be_read_is_assumed_to_serve_https() {
        let mut gateways = Gateways::default();
        let name = ("infra".to_owned(), "public".to_owned());
        assert!(!gateways.has(&name) && gateways.is_outdated(&name, Instant::now()));
        let now = Instant::now();
        gateways.set(name.clone(), GatewayRead::Unreadable, now);
        let of = |extra, hosts: &[&str]| url(&gateways, &parent(extra), hosts);
        assert_eq!(of(json!({}), &["*.b.c", "a.b.c"]).unwrap(), "https://a.b.c/shop/orders");
        assert_eq!(of(json!({ "port": 444 }), &["a.b.c"]).unwrap(), "https://a.b.c:444/shop/orders");
        assert_eq!(of(json!({}), &[]), None);
        assert!(!gateways.is_outdated(&name, now) && gateways.is_outdated(&name, now + GATEWAY_FRESH));
        gateways.expire(now + 2 * GATEWAY_FRESH);
        assert!(!gateways.has(&name));
    }

    #[test]
    fn a_failed_read_changes_nothing() {
        let mut gateways = known(json!([{ "name": "http", "port": 80, "protocol": "HTTP" }]));
        gateways.set(("infra".to_owned(), "public".to_owned()), GatewayRead::Failed, Instant::now());
        assert_eq!(url(&gateways, &parent(json!({})), &["a.b.c"]).unwrap(), "http://a.b.c/shop/orders");
    }
}
