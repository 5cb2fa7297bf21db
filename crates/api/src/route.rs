//! `spec.route`: the Gateway API's HTTPRoute of an endpoint.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// An HTTPRoute of the Gateway API for the endpoint. The operator creates it with the endpoint's name in its namespace,
/// keeps it up to date, and deletes it when spec.route is removed.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRoute {
    /// The Gateways that the HTTPRoute attaches to.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub parent_refs: Vec<ParentReference>,

    /// Host names of the HTTPRoute, such as `hooks.example.com`. The first one without a wildcard is in status.url.
    /// Empty means the host names of the Gateways' listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend(
            "x-kubernetes-list-type" = "set",
            "items" = { "type": "string", "maxLength": 253, "x-kubernetes-validations": rules::hostname() }
        )
    )]
    pub hostnames: Vec<String>,
}

/// A parent of an HTTPRoute, as in the Gateway API: usually a Gateway, or one of its listeners.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// API group of the parent. Defaults to gateway.networking.k8s.io.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 253),
        extend("default" = "gateway.networking.k8s.io", "x-kubernetes-validations" = rules::api_group())
    )]
    pub group: Option<String>,
    /// Kind of the parent. Defaults to Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("default" = "Gateway", "x-kubernetes-validations" = rules::kind()))]
    pub kind: Option<String>,
    /// Namespace of the parent. Defaults to that of the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = rules::dns_label()))]
    pub namespace: Option<String>,
    /// Name of the parent.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = rules::dns_subdomain()))]
    pub name: String,
    /// Name of a listener of the Gateway. By default, every listener that allows the HTTPRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = rules::dns_subdomain()))]
    pub section_name: Option<String>,
    /// Port of the Gateway's listeners. By default, every port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}
