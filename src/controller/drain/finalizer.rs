//! The finalizer of an operator.
//!
//! Its name contains the operator's class: only the operator whose journal has the events knows when they are settled, and
//! the class of an object can change.
//!
//! It is written by a merge patch with the version of the object that had the list of finalizers. Server-side apply is not
//! used: API servers that do not know the list as a set would remove the finalizers of all others.

use grapnel_api::{Incarnation, WebhookSubscription};
use kube::{
    Resource,
    api::{Patch, PatchParams, Request},
    core::ObjectMeta,
};
use serde_json::json;

use crate::{catalog::Class, controller::observed_state::FinalizerList};

/// The finalizer of an operator without a class; with the class `web` it is `web.grapnel.dev/drain`.
const FINALIZER: &str = "grapnel.dev/drain";

/// The field manager of finalizers.
const FIELD_MANAGER: &str = "grapnel-drain";

/// The name of the finalizer of an operator with this class.
pub fn finalizer_of(class: Option<&str>) -> String {
    class.map_or_else(|| FINALIZER.into(), |class| format!("{class}.{FINALIZER}"))
}

/// Whether the object has the finalizer of an operator with this class.
pub fn is_held_by(metadata: &ObjectMeta, class: Option<&str>) -> bool {
    classes(metadata).any(|holder| holder == class)
}

/// The class of the operator that delivers the events of an object, whose spec names `class`.
///
/// An object that is being deleted stays with an operator that holds it: that of its class, or else one of a former
/// class, whose journal still has events. So several operators release it one after the other.
pub fn serving_class<'a>(metadata: &'a ObjectMeta, class: Option<&'a str>) -> Option<&'a str> {
    if metadata.deletion_timestamp.is_none() || is_held_by(metadata, class) {
        return class;
    }
    classes(metadata).next().unwrap_or(class)
}

/// The classes of the operators that hold an object.
fn classes(metadata: &ObjectMeta) -> impl Iterator<Item = Option<&str>> {
    let finalizers = metadata.finalizers.iter().flatten();
    finalizers.filter_map(|name| match name.strip_suffix(FINALIZER)? {
        "" => Some(None),
        class => class.strip_suffix('.').map(Some),
    })
}

/// The request that adds the finalizer of an operator to an object with these finalizers, or removes it.
///
/// # Errors
/// Returns an error if the name of the object is not valid.
pub(super) fn request(
    class: &Class,
    subscription: &Incarnation,
    finalizers: &FinalizerList,
    hold: bool,
) -> Result<http::Request<Vec<u8>>, kube::core::request::Error> {
    let Incarnation { key, uid } = subscription;
    let own = finalizer_of(class.name());
    let others = finalizers.names.iter().filter(|name| **name != own);
    let names: Vec<&String> = others.chain(hold.then_some(&own)).collect();
    // The version prevents overwriting a finalizer that was added meanwhile, and the uid prevents writing to a later object
    // of the same name.
    let patch = json!({ "metadata": { "uid": uid, "resourceVersion": finalizers.version, "finalizers": names } });
    let path = WebhookSubscription::url_path(&(), Some(&key.namespace));
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    Request::new(path).patch_metadata(&key.name, &params, &Patch::Merge(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(finalizers: &[&str], is_deleted: bool) -> ObjectMeta {
        let deleted = is_deleted.then_some("2026-01-02T03:04:05Z");
        serde_json::from_value(json!({ "finalizers": finalizers, "deletionTimestamp": deleted })).unwrap()
    }

    #[test]
    fn each_class_has_its_own_finalizer() {
        let held = metadata(&["other.example/x", "grapnel.dev/drain", "web.grapnel.dev/drain"], false);
        assert!(is_held_by(&held, None) && is_held_by(&held, Some("web")));
        assert!(!is_held_by(&held, Some("other")) && !is_held_by(&metadata(&["notgrapnel.dev/drain"], false), None));
        for class in [None, Some("web")] {
            assert!(is_held_by(&metadata(&[&finalizer_of(class)], false), class));
        }
    }

    #[test]
    fn the_finalizers_of_others_stay() {
        let subscription = Incarnation::new(grapnel_api::ObjectKey::new("shop", "billing"), "u");
        let list = |names: &[&str]| FinalizerList {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            version: Some("7".into()),
        };
        let written = |names: &[&str], hold| {
            let request = request(&Class::Only(Some("web".into())), &subscription, &list(names), hold).unwrap();
            serde_json::from_slice::<serde_json::Value>(request.body()).unwrap()["metadata"].clone()
        };
        let (other, own) = ("grapnel.dev/drain", "web.grapnel.dev/drain");
        let metadata = |names: &[&str]| json!({ "uid": "u", "resourceVersion": "7", "finalizers": names });
        assert_eq!(written(&[other], true), metadata(&[other, own]));
        assert_eq!(written(&[own, other], false), metadata(&[other]));
        assert_eq!(written(&[], true), metadata(&[own]));
        assert_eq!(written(&[own], false), metadata(&[]));
    }

    #[test]
    fn what_is_being_deleted_stays_with_an_operator_that_holds_it() {
        for (finalizers, is_deleted, class, serving) in [
            (&["grapnel.dev/drain"][..], false, Some("web"), Some("web")),
            (&["grapnel.dev/drain"], true, Some("web"), None),
            (&["grapnel.dev/drain", "web.grapnel.dev/drain"], true, Some("web"), Some("web")),
            (&["old.grapnel.dev/drain"], true, None, Some("old")),
            (&["other.example/x"], true, Some("web"), Some("web")),
        ] {
            let metadata = metadata(finalizers, is_deleted);
            assert_eq!(serving_class(&metadata, class), serving, "{finalizers:?} {class:?}");
        }
    }
}
