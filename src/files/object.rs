//! Documents to objects: what kind they are, what they are called, and whether the API would take them.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::Document;
use crate::{
    api::{self, ObjectKey, Reason, WebhookEndpoint, WebhookSubscription},
    catalog::{Kind, Problem, admission::Admission},
    rules::{limits, secret::Secret},
};

/// An object that a document defines.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Object {
    Endpoint(Box<WebhookEndpoint>),
    Subscription(Box<WebhookSubscription>),
    Secret(BTreeMap<String, Secret>),
    ConfigMap(BTreeMap<String, String>),
    /// An endpoint or subscription that the API would refuse.
    Refused(Kind, Vec<Problem>),
}

impl Object {
    /// The word for its kind.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Endpoint(_) => Kind::Endpoint.as_str(),
            Self::Subscription(_) => Kind::Subscription.as_str(),
            Self::Secret(_) => "Secret",
            Self::ConfigMap(_) => "ConfigMap",
            Self::Refused(kind, _) => kind.as_str(),
        }
    }
}

/// Reads a document.
///
/// # Errors
/// When it defines nothing that can be named, or a Secret or ConfigMap that cannot be read.
pub(super) fn read(document: &Document) -> Result<(ObjectKey, Object), Vec<Problem>> {
    let problem = |pointer: &str, message: String| vec![Problem::new(pointer, Reason::InvalidSpec, message)];
    let mut value = document.value();
    let Some(fields) = value.as_object_mut() else {
        return Err(problem("", "a Kubernetes object is a mapping with apiVersion, kind and metadata".into()));
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, version) = (text("kind"), text("apiVersion"));
    let ours = format!("{}/{}", api::GROUP, api::VERSION);
    let expected = match kind.as_str() {
        "WebhookEndpoint" | "WebhookSubscription" => ours.as_str(),
        "Secret" | "ConfigMap" => "v1",
        "" => return Err(problem("", "the field kind is missing".into())),
        _ => {
            let message = format!(
                "unknown kind `{kind}`; WebhookEndpoint, WebhookSubscription, Secret and ConfigMap are read here"
            );
            return Err(problem("/kind", message));
        }
    };
    if version != expected {
        return Err(problem("/apiVersion", format!("apiVersion of a {kind} is {expected}, not `{version}`")));
    }
    let key = name(fields)?;
    let object = match kind.as_str() {
        "Secret" => Object::Secret(secret(fields)?),
        "ConfigMap" => Object::ConfigMap(config_map(fields)?),
        "WebhookEndpoint" => typed(Admission::endpoint(), &value, Kind::Endpoint, Object::Endpoint),
        _ => typed(Admission::subscription(), &value, Kind::Subscription, Object::Subscription),
    };
    Ok((key, object))
}

fn typed<T: serde::de::DeserializeOwned>(
    admission: &Admission,
    value: &Value,
    kind: Kind,
    object: impl FnOnce(Box<T>) -> Object,
) -> Object {
    let problems = admission.check(value);
    if !problems.is_empty() {
        return Object::Refused(kind, problems);
    }
    match T::deserialize(value) {
        Ok(typed) => object(Box::new(typed)),
        Err(error) => Object::Refused(kind, vec![Problem::new("/spec", Reason::InvalidSpec, error.to_string())]),
    }
}

/// The object's name; the namespace is `default` where none is given, and is written back into the object.
fn name(fields: &mut Map<String, Value>) -> Result<ObjectKey, Vec<Problem>> {
    let problem = |pointer: &str, message: String| vec![Problem::new(pointer, Reason::InvalidSpec, message)];
    let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Err(problem("", "the field metadata is missing".into()));
    };
    let name = match metadata.get("name") {
        Some(Value::String(name)) => name.clone(),
        Some(_) => return Err(problem("/metadata/name", "metadata.name is a string".into())),
        None => return Err(problem("/metadata", "the field metadata.name is missing".into())),
    };
    let namespace = match metadata.get("namespace") {
        Some(Value::String(namespace)) => namespace.clone(),
        Some(_) => return Err(problem("/metadata/namespace", "metadata.namespace is a string".into())),
        None => {
            metadata.insert("namespace".into(), "default".into());
            "default".to_owned()
        }
    };
    if !is_dns_name(&name, limits::NAME_CHARS, true) {
        let message = format!("`{name}` is not a name: small letters, digits, hyphens and dots are (RFC 1123)");
        return Err(problem("/metadata/name", message));
    }
    if !is_dns_name(&namespace, limits::NAMESPACE_CHARS, false) {
        let message = format!("`{namespace}` is not a namespace: small letters, digits and hyphens are (RFC 1123)");
        return Err(problem("/metadata/namespace", message));
    }
    Ok(ObjectKey::new(namespace, name))
}

/// A DNS label, or with `dots` a subdomain, as Kubernetes takes them from RFC 1123.
fn is_dns_name(text: &str, max: usize, dots: bool) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= max && if dots { text.split('.').all(label) } else { label(text) }
}

fn secret(fields: &Map<String, Value>) -> Result<BTreeMap<String, Secret>, Vec<Problem>> {
    let mut data = BTreeMap::new();
    let mut problems = unknown(fields, &["apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"]);
    for (key, value) in entries(fields, "data", &mut problems) {
        match STANDARD.decode(value.trim()) {
            Ok(bytes) => {
                data.insert(key.clone(), Secret::from(bytes));
            }
            Err(_) => problems.push(Problem::new(
                format!("/data/{key}"),
                Reason::InvalidSecret,
                "not base64; write plain text under stringData",
            )),
        }
    }
    for (key, value) in entries(fields, "stringData", &mut problems) {
        data.insert(key.clone(), Secret::from(value));
    }
    if problems.is_empty() { Ok(data) } else { Err(problems) }
}

fn config_map(fields: &Map<String, Value>) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let mut problems = unknown(fields, &["apiVersion", "kind", "metadata", "immutable", "data", "binaryData"]);
    let data = entries(fields, "data", &mut problems).map(|(key, value)| (key.clone(), value.to_owned())).collect();
    if problems.is_empty() { Ok(data) } else { Err(problems) }
}

/// The string entries of a mapping. What is no string is a problem; its value is not shown.
fn entries<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
    problems: &mut Vec<Problem>,
) -> impl Iterator<Item = (&'a String, &'a str)> + use<'a> {
    let map = match fields.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::Object(map)) => Some(map),
        Some(_) => {
            problems.push(Problem::new(format!("/{name}"), Reason::InvalidSpec, "is a mapping of keys to strings"));
            None
        }
    };
    for (key, value) in map.into_iter().flatten() {
        if !value.is_string() {
            let message = "is not a string; put it in quotes";
            problems.push(Problem::new(format!("/{name}/{key}"), Reason::InvalidSpec, message));
        }
    }
    map.into_iter().flatten().filter_map(|(key, value)| value.as_str().map(|value| (key, value)))
}

fn unknown(fields: &Map<String, Value>, known: &[&str]) -> Vec<Problem> {
    fields
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
        .map(|name| {
            let message = format!("unknown field `{name}`; known here: {}", known.join(", "));
            Problem::new(format!("/{name}"), Reason::InvalidSpec, message)
        })
        .collect()
}
