//! Turns documents into objects: their kind, their name, and whether the API would accept them.

use std::collections::BTreeMap;

use base64::{DecodeError, Engine, engine::general_purpose::STANDARD};
use grapnel_api::{GROUP, ObjectKey, Reason, VERSION, WebhookEndpoint, WebhookReplay, WebhookSubscription};
use grapnel_values::{label, name, pointer::escaped, secret::Secret};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    Document, ObjectName,
    kind::{self, Recognized},
};
use crate::catalog::{ObjectKind, Problem, admission::Admission, advice};

/// An object that a document defines.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Object {
    Endpoint(Box<WebhookEndpoint>),
    Subscription(Box<WebhookSubscription>),
    Replay(Box<WebhookReplay>),
    Secret(BTreeMap<String, Secret>),
    ConfigMap(BTreeMap<String, String>),
    /// Labels of a namespace.
    Namespace(BTreeMap<String, String>),
    /// An object of Grapnel's kinds that the API would reject.
    Refused(Refused),
}

/// An object that the API would reject.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused {
    pub(super) kind: ObjectKind,
    pub(super) problems: Vec<Problem>,
    /// The object nevertheless, if its fields have the right types.
    pub(super) object: Option<Box<Object>>,
}

/// What a document defines.
#[derive(Debug, PartialEq)]
pub(super) enum Definition {
    Object {
        name: ObjectName,
        object: Object,
        /// What its author probably did not mean.
        warnings: Vec<Problem>,
    },
    /// An object of another kind, which is not read.
    Foreign { kind: Box<str> },
}

/// Reads a document. `kustomization` says that the name of the file is that of a kustomization, which may omit its kind.
///
/// # Errors
/// Returns an error if it defines nothing with a kind and a name, or a Secret or ConfigMap that cannot be read.
pub(super) fn read(document: &Document, kustomization: bool) -> Result<Definition, Vec<Problem>> {
    let mut value = document.value();
    let value = &mut value.0;
    let Some(fields) = value.as_object_mut() else {
        return Err(problem("", "a Kubernetes object is a mapping with apiVersion, kind and metadata".into()));
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, version) = (text("kind"), text("apiVersion"));
    let mut warnings = Vec::new();
    let kind = match kind::of(&kind, &version) {
        Ok(Recognized::Ours(kind)) => kind,
        Ok(Recognized::Deprecated(kind)) => {
            let message = format!("{version} is deprecated; write {GROUP}/{VERSION}, which has the same fields");
            warnings.push(Problem::new("/apiVersion", Reason::InvalidSpec, message));
            kind
        }
        Ok(Recognized::Foreign) => return Ok(Definition::Foreign { kind: kind.into() }),
        Err(_) if kind.is_empty() && version.is_empty() && kustomization => {
            return Ok(Definition::Foreign { kind: "Kustomization".into() });
        }
        Err((pointer, message)) => return Err(problem(pointer, message)),
    };
    if kind == "Namespace" {
        let (name, labels) = namespace(fields)?;
        let name = ObjectName { kind, key: ObjectKey::new("", name) };
        return Ok(Definition::Object { name, object: Object::Namespace(labels), warnings: Vec::new() });
    }
    let key = key(fields)?;
    if !matches!(kind, "Secret" | "ConfigMap") {
        warnings.extend(advice::nulls(fields.get("spec").unwrap_or(&Value::Null)));
    }
    let object = match kind {
        "Secret" => Object::Secret(secret(fields)?),
        "ConfigMap" => Object::ConfigMap(config_map(fields)?),
        "WebhookEndpoint" => {
            typed(Admission::endpoint(), value, ObjectKind::Endpoint, |object: Box<WebhookEndpoint>| {
                warnings.extend(advice::endpoint(&object.spec));
                Object::Endpoint(object)
            })
        }
        "WebhookReplay" => typed(Admission::replay(), value, ObjectKind::Replay, |object: Box<WebhookReplay>| {
            warnings.extend(advice::replay(&object.spec));
            Object::Replay(object)
        }),
        _ => typed(Admission::subscription(), value, ObjectKind::Subscription, |object: Box<WebhookSubscription>| {
            warnings.extend(advice::subscription(&object.spec));
            Object::Subscription(object)
        }),
    };
    Ok(Definition::Object { name: ObjectName { kind, key }, object, warnings })
}

fn typed<T: serde::de::DeserializeOwned>(
    admission: &Admission,
    value: &mut Value,
    kind: ObjectKind,
    object: impl FnOnce(Box<T>) -> Object,
) -> Object {
    admission.complete(value);
    let value = &*value;
    let problems = admission.check(value);
    let object = T::deserialize(value).map(|typed| object(Box::new(typed)));
    match object {
        Ok(object) if problems.is_empty() => object,
        Ok(object) => Object::Refused(Refused { kind, problems, object: Some(Box::new(object)) }),
        Err(_) if !problems.is_empty() => Object::Refused(Refused { kind, problems, object: None }),
        Err(error) => {
            let problems = vec![Problem::new("/spec", Reason::InvalidSpec, error.to_string())];
            Object::Refused(Refused { kind, problems, object: None })
        }
    }
}

/// The object's name. The namespace is `default` if none is given, and is written back into the object.
fn key(fields: &mut Map<String, Value>) -> Result<ObjectKey, Vec<Problem>> {
    let metadata = metadata(fields)?;
    let name = text(metadata, "name")?;
    let namespace = match metadata.get("namespace") {
        Some(_) => text(metadata, "namespace")?,
        None => {
            metadata.insert("namespace".into(), "default".into());
            "default".to_owned()
        }
    };
    if !name::is_subdomain(&name) {
        let message =
            format!("`{name}` is not a valid name: use lowercase letters, digits, hyphens and dots (RFC 1123)");
        return Err(problem("/metadata/name", message));
    }
    is_namespace(&namespace, "/metadata/namespace")?;
    Ok(ObjectKey::new(namespace, name))
}

/// A namespace and its labels.
fn namespace(fields: &mut Map<String, Value>) -> Result<(String, BTreeMap<String, String>), Vec<Problem>> {
    let mut problems = unknown(fields, &["apiVersion", "kind", "metadata", "spec", "status"]);
    let metadata = metadata(fields)?;
    let name = text(metadata, "name")?;
    is_namespace(&name, "/metadata/name")?;
    let mut labels = BTreeMap::new();
    for (key, value) in entries(metadata, "labels", "/metadata", &mut problems) {
        match label::check_key(key).and_then(|()| label::check_value(value)) {
            Ok(()) => {
                labels.insert(key.clone(), value.to_owned());
            }
            Err(error) => problems.extend(problem(&format!("/metadata/labels/{}", escaped(key)), error.to_string())),
        }
    }
    if problems.is_empty() { Ok((name, labels)) } else { Err(problems) }
}

fn metadata(fields: &mut Map<String, Value>) -> Result<&mut Map<String, Value>, Vec<Problem>> {
    fields
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| problem("", "the field metadata is missing".into()))
}

/// A required string of the metadata.
fn text(metadata: &Map<String, Value>, field: &str) -> Result<String, Vec<Problem>> {
    match metadata.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(problem(&format!("/metadata/{field}"), format!("metadata.{field} is a string"))),
        None => Err(problem("/metadata", format!("the field metadata.{field} is missing"))),
    }
}

fn is_namespace(namespace: &str, pointer: &str) -> Result<(), Vec<Problem>> {
    if name::is_label(namespace) {
        return Ok(());
    }
    let message =
        format!("`{namespace}` is not a valid namespace: use lowercase letters, digits and hyphens (RFC 1123)");
    Err(problem(pointer, message))
}

fn problem(pointer: &str, message: String) -> Vec<Problem> {
    vec![Problem::new(pointer, Reason::InvalidSpec, message)]
}

fn secret(fields: &Map<String, Value>) -> Result<BTreeMap<String, Secret>, Vec<Problem>> {
    let mut data = BTreeMap::new();
    let mut problems = unknown(fields, &["apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"]);
    for (key, value) in entries(fields, "data", "", &mut problems) {
        match decode(value) {
            Ok(bytes) => {
                data.insert(key.clone(), Secret::from(bytes));
            }
            Err(_) => problems.push(Problem::new(
                format!("/data/{}", escaped(key)),
                Reason::InvalidSecret,
                "not base64; write plain text under stringData",
            )),
        }
    }
    for (key, value) in entries(fields, "stringData", "", &mut problems) {
        data.insert(key.clone(), Secret::from(value));
    }
    if problems.is_empty() { Ok(data) } else { Err(problems) }
}

/// Base64 as the API server takes it: line ends do not count.
fn decode(text: &str) -> Result<Vec<u8>, DecodeError> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    STANDARD.decode(Zeroizing::new(digits).as_slice())
}

fn config_map(fields: &Map<String, Value>) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let mut problems = unknown(fields, &["apiVersion", "kind", "metadata", "immutable", "data", "binaryData"]);
    let data = entries(fields, "data", "", &mut problems).map(|(key, value)| (key.clone(), value.to_owned())).collect();
    if problems.is_empty() { Ok(data) } else { Err(problems) }
}

/// The string entries of the mapping `name` below `parent`. A value that is not a string is a problem and is not shown.
fn entries<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
    parent: &str,
    problems: &mut Vec<Problem>,
) -> impl Iterator<Item = (&'a String, &'a str)> + use<'a> {
    let map = match fields.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::Object(map)) => Some(map),
        Some(_) => {
            let message = "is a mapping of keys to strings";
            problems.push(Problem::new(format!("{parent}/{name}"), Reason::InvalidSpec, message));
            None
        }
    };
    for (key, value) in map.into_iter().flatten() {
        if !value.is_string() {
            let message = "is not a string; put it in quotes";
            let pointer = format!("{parent}/{name}/{}", escaped(key));
            problems.push(Problem::new(pointer, Reason::InvalidSpec, message));
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
