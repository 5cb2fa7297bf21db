//! The HTTPRoute of an endpoint: what the operator writes, and what it reads of it.

use std::{fmt, str::FromStr};

use grapnel_api::{GROUP, GatewayRoute, ObjectKey, ParentReference, WebhookEndpoint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference};
use kube::{
    Resource,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The API group of HTTPRoutes and Gateways.
pub(super) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// The label that selects the operator's HTTPRoutes.
pub(super) const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "grapnel");

/// The Service that HTTPRoutes send requests to: `NAMESPACE/NAME:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The port of its data plane.
    pub port: u16,
}

impl FromStr for RouteService {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "must be NAMESPACE/NAME:PORT, such as grapnel-system/grapnel:80";
        let (namespace, rest) = text.split_once('/').ok_or(EXPECTED)?;
        let (name, port) = rest.split_once(':').ok_or(EXPECTED)?;
        let is_label = |text: &str| {
            let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
        };
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(EXPECTED)?;
        if !is_label(namespace) || !is_label(name) {
            return Err(EXPECTED);
        }
        Ok(Self { namespace: namespace.into(), name: name.into(), port })
    }
}

impl fmt::Display for RouteService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

/// `httproutes`.
pub(super) fn routes() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GATEWAY_GROUP, "v1", "HTTPRoute"))
}

/// `gateways`.
pub(super) fn gateways() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GATEWAY_GROUP, "v1", "Gateway"))
}

/// The fields of an HTTPRoute's spec that the operator writes. Others, such as filters that somebody has added, are
/// neither read nor changed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RouteFields {
    #[serde(default)]
    pub(super) parent_refs: Vec<ParentReference>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) hostnames: Vec<String>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    matches: Vec<RuleMatch>,
    #[serde(default)]
    backend_refs: Vec<BackendReference>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RuleMatch {
    #[serde(default)]
    path: Option<PathMatch>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PathMatch {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct BackendReference {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(default)]
    port: Option<u16>,
}

impl RouteFields {
    /// What an endpoint that is served at `path` wants.
    pub(super) fn of(key: &ObjectKey, route: &GatewayRoute, path: &str, service: &RouteService) -> Self {
        let elsewhere = *service.namespace != *key.namespace;
        let backend = BackendReference {
            name: service.name.clone(),
            namespace: elsewhere.then(|| service.namespace.clone()),
            port: Some(service.port),
        };
        let path = PathMatch { kind: "Exact".into(), value: path.into() };
        Self {
            parent_refs: route.parent_refs.iter().map(with_defaults).collect(),
            hostnames: route.hostnames.clone(),
            rules: vec![Rule { matches: vec![RuleMatch { path: Some(path) }], backend_refs: vec![backend] }],
        }
    }

    /// The patch for server-side apply; `uid` is the endpoint's.
    pub(super) fn patch(&self, key: &ObjectKey, uid: &str, route_uid: Option<&str>) -> Value {
        let resource = routes();
        let mut patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": key.name,
                "labels": { LABEL.0: LABEL.1 },
                // Without blockOwnerDeletion, which would need a right on the endpoint's finalizers.
                "ownerReferences": [{
                    "apiVersion": WebhookEndpoint::api_version(&()),
                    "kind": WebhookEndpoint::kind(&()),
                    "name": key.name,
                    "uid": uid,
                    "controller": true,
                }],
            },
            "spec": self,
        });
        // Prevents writing to a later object of the same name.
        if let (Some(uid), Some(metadata)) = (route_uid, patch.get_mut("metadata").and_then(Value::as_object_mut)) {
            metadata.insert("uid".into(), uid.into());
        }
        patch
    }
}

/// A parent with the defaults that the API server writes.
fn with_defaults(parent: &ParentReference) -> ParentReference {
    ParentReference {
        group: parent.group.clone().or_else(|| Some(GATEWAY_GROUP.into())),
        kind: parent.kind.clone().or_else(|| Some("Gateway".into())),
        ..parent.clone()
    }
}

/// The report of one controller about one parent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ParentReport {
    pub(super) parent_ref: ParentReference,
    #[serde(default)]
    pub(super) conditions: Vec<Condition>,
}

/// An HTTPRoute as the API server shows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ObservedRoute {
    pub(super) uid: String,
    pub(super) generation: i64,
    /// The uid of the endpoint that owns it; `None` if it belongs to somebody else.
    pub(super) owner: Option<String>,
    /// Whether the metadata is as the operator writes it.
    labelled: bool,
    pub(super) fields: RouteFields,
    pub(super) reports: Vec<ParentReport>,
}

impl ObservedRoute {
    /// Reads an HTTPRoute. Fields that cannot be read count as absent.
    pub(super) fn read(object: DynamicObject) -> Self {
        let DynamicObject { metadata, mut data, .. } = object;
        let name = metadata.name.as_deref().unwrap_or_default();
        let owner = metadata.owner_references.iter().flatten().find(|it| is_endpoint(it, name));
        let label = metadata.labels.as_ref().and_then(|labels| labels.get(LABEL.0));
        let current = owner.is_some_and(|it| it.api_version == WebhookEndpoint::api_version(&()));
        let mut fields: RouteFields = read(data.get_mut("spec"));
        fields.parent_refs = fields.parent_refs.iter().map(with_defaults).collect();
        let reports = read(data.get_mut("status").and_then(|status| status.get_mut("parents")));
        Self {
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            owner: owner.map(|owner| owner.uid.clone()),
            labelled: current && label.is_some_and(|value| value == LABEL.1),
            fields,
            reports,
        }
    }

    /// Whether nothing has to be written.
    pub(super) fn is(&self, fields: &RouteFields) -> bool {
        self.labelled && self.fields == *fields
    }
}

/// Whether a reference names the endpoint of that name as the controller, in any version of the API.
fn is_endpoint(owner: &OwnerReference, name: &str) -> bool {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    owner.controller == Some(true) && group == GROUP && owner.kind == WebhookEndpoint::kind(&()) && owner.name == name
}

fn read<T: Default + serde::de::DeserializeOwned>(value: Option<&mut Value>) -> T {
    value.map(Value::take).and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> (ObjectKey, GatewayRoute, RouteService) {
        let route = json!({ "parentRefs": [{ "name": "public" }], "hostnames": ["hooks.example.com"] });
        let service = "grapnel-system/grapnel:80".parse().unwrap();
        (ObjectKey::new("shop", "orders"), serde_json::from_value(route).unwrap(), service)
    }

    fn observed(value: Value) -> ObservedRoute {
        ObservedRoute::read(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_service_is_namespace_name_and_port() {
        let service: RouteService = "hooks/grapnel:8080".parse().unwrap();
        assert_eq!((&*service.namespace, &*service.name, service.port), ("hooks", "grapnel", 8080));
        assert_eq!(service.to_string(), "hooks/grapnel:8080");
        for wrong in
            ["", "grapnel", "hooks/grapnel", "hooks/:80", "/grapnel:80", "a/b:0", "a/b:65536", "A/b:1", "a/b/c:1"]
        {
            assert!(wrong.parse::<RouteService>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_recognised_with_the_api_servers_defaults() {
        let (key, route, service) = endpoint();
        let fields = RouteFields::of(&key, &route, "/shop/orders", &service);
        let mut stored = fields.patch(&key, "uid-1", None);
        stored["metadata"]["uid"] = "route-1".into();
        stored["spec"]["rules"][0]["backendRefs"][0]["weight"] = 1.into();
        stored["spec"]["rules"][0]["backendRefs"][0]["kind"] = "Service".into();
        stored["spec"]["rules"][0]["filters"] = json!([{ "type": "RequestHeaderModifier" }]);
        let route = observed(stored.clone());
        assert_eq!(route.owner.as_deref(), Some("uid-1"));
        assert!(route.is(&fields), "{route:?}");
        assert_eq!(stored["spec"]["rules"][0]["backendRefs"][0]["namespace"], "grapnel-system");

        let changes: [(&str, Value); 5] = [
            ("/spec/hostnames/0", "other.example.com".into()),
            ("/spec/parentRefs/0/name", "private".into()),
            ("/spec/rules/0/matches/0/path/value", "/".into()),
            ("/spec/rules/0/backendRefs/0/port", 81.into()),
            ("/metadata/labels", json!({})),
        ];
        for (pointer, value) in changes {
            let mut changed = stored.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert!(!observed(changed).is(&fields), "{pointer}");
        }
    }

    #[test]
    fn only_a_controlling_endpoint_of_the_name_owns_a_route() {
        let (key, route, service) = endpoint();
        let patch = RouteFields::of(&key, &route, "/shop/orders", &service).patch(&key, "uid-1", None);
        let changes: [(&str, Value); 4] = [
            ("kind", "WebhookSubscription".into()),
            ("apiVersion", "example.org/v1".into()),
            ("controller", false.into()),
            ("name", "other".into()),
        ];
        for (field, value) in changes {
            let mut changed = patch.clone();
            changed["metadata"]["ownerReferences"][0][field] = value;
            assert_eq!(observed(changed).owner, None, "{field}");
        }
        let mut older = patch;
        older["metadata"]["ownerReferences"][0]["apiVersion"] = "grapnel.dev/v0".into();
        assert_eq!(observed(older).owner.as_deref(), Some("uid-1"), "a version that is served no longer");
    }

    #[test]
    fn the_service_of_the_same_namespace_needs_no_namespace() {
        let (key, route, _) = endpoint();
        let service = "shop/grapnel:80".parse().unwrap();
        let patch = RouteFields::of(&key, &route, "/shop/orders", &service).patch(&key, "uid-1", Some("route-1"));
        assert_eq!(patch["spec"]["rules"][0]["backendRefs"][0], json!({ "name": "grapnel", "port": 80 }));
        assert_eq!(patch["metadata"]["uid"], "route-1");
    }

    #[test]
    fn what_cannot_be_read_is_not_up_to_date() {
        let (key, route, service) = endpoint();
        let fields = RouteFields::of(&key, &route, "/shop/orders", &service);
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "orders" },
            "spec": { "parentRefs": 7 }, "status": { "parents": {} },
        });
        let route = observed(object);
        assert!(!route.is(&fields) && route.owner.is_none() && route.reports.is_empty());
    }
}
