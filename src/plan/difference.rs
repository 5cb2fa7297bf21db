//! Which objects differ between two versions, and in which fields.

use std::collections::{BTreeMap, BTreeSet};

use grapnel_api::ObjectKey;
use serde::Serialize;
use serde_json::{Map, Value};

use super::configuration::Configuration;
use crate::catalog::ObjectKind;

/// Fields of an endpoint whose effect a rehearsal shows.
const REHEARSED_OF_ENDPOINT: [&str; 7] =
    ["event", "payload", "schemas", "unmatchedTypes", "suspend", "allowedSources", "limits.bodyBytes"];

/// Fields of a subscription whose effect a rehearsal shows.
const REHEARSED_OF_SUBSCRIPTION: [&str; 5] = ["eventTypes", "filter", "transform", "format", "mode"];

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// Only the new version has it.
    Added,
    /// Both versions have it.
    Changed,
    /// Only the old version has it.
    Deleted,
    /// It is the same, but judges some events differently because its endpoint or a ConfigMap has changed.
    Affected,
}

/// The difference of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What happens to it.
    pub kind: DifferenceKind,
    /// The fields that differ, as paths below `spec`, sorted.
    pub fields: Vec<String>,
    /// Those whose effect a rehearsal does not show.
    pub not_rehearsed: Vec<String>,
}

/// Every object that differs, by kind and name.
pub fn compare(old: &Configuration, new: &Configuration) -> BTreeMap<(ObjectKind, ObjectKey), Difference> {
    let names: BTreeSet<_> = old.specs().keys().chain(new.specs().keys()).collect();
    // The operator shows no ConfigMaps, so that the live version compiles only without them.
    let by_config_map = |(kind, key): &(ObjectKind, ObjectKey)| {
        let may_differ = *kind == ObjectKind::Endpoint && old.endpoint(key).is_none() && new.endpoint(key).is_some();
        let fields = vec!["schemas".to_owned()];
        may_differ.then(|| Difference { kind: DifferenceKind::Affected, fields, not_rehearsed: Vec::new() })
    };
    let difference = |name: &(ObjectKind, ObjectKey)| {
        let whole = |kind| Difference { kind, fields: Vec::new(), not_rehearsed: Vec::new() };
        match (old.specs().get(name), new.specs().get(name)) {
            (Some(old), Some(new)) => changed(name.0, old, new).or_else(|| by_config_map(name)),
            (None, Some(_)) => Some(whole(DifferenceKind::Added)),
            (Some(_), None) => Some(whole(DifferenceKind::Deleted)),
            (None, None) => None,
        }
    };
    names.into_iter().filter_map(|name| Some((name.clone(), difference(name)?))).collect()
}

fn changed(kind: ObjectKind, old: &Value, new: &Value) -> Option<Difference> {
    let fields = differing(old, new);
    if fields.is_empty() {
        return None;
    }
    let rehearsed: &[&str] = match kind {
        ObjectKind::Endpoint => &REHEARSED_OF_ENDPOINT,
        ObjectKind::Subscription => &REHEARSED_OF_SUBSCRIPTION,
        // Its own report says what the change does.
        ObjectKind::Replay => &[],
    };
    let is_rehearsed = |field: &String| {
        rehearsed
            .iter()
            .any(|known| field.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    };
    let not_rehearsed = fields.iter().filter(|field| !is_rehearsed(field)).cloned().collect();
    Some(Difference { kind: DifferenceKind::Changed, fields, not_rehearsed })
}

/// The fields of two levels that differ, as `field` or `field.field`.
fn differing(old: &Value, new: &Value) -> Vec<String> {
    let none = Map::new();
    let members = |value: &'_ Value| value.as_object().cloned();
    let (old, new) = (members(old).unwrap_or_else(|| none.clone()), members(new).unwrap_or_else(|| none.clone()));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut fields = Vec::new();
    for name in names {
        match (old.get(name), new.get(name)) {
            (one, other) if one == other => {}
            (Some(Value::Object(one)), Some(Value::Object(other))) => {
                let inner: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
                let differs = inner.into_iter().filter(|inner| one.get(*inner) != other.get(*inner));
                fields.extend(differs.map(|inner| format!("{name}.{inner}")));
            }
            _ => fields.push(name.clone()),
        }
    }
    fields
}
