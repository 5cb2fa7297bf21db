//! Which documents are ours: by `kind` and `apiVersion`.
//!
//! Directories of manifests usually contain objects of other kinds too. These are skipped, but a misspelt kind or version
//! of ours is an error: it would be skipped as silently as what was meant would be missing.

use grapnel_api::{DEPRECATED_VERSION, GROUP, VERSION};
use grapnel_values::suggest::suggest;

const OWN_KINDS: [&str; 3] = ["WebhookEndpoint", "WebhookSubscription", "WebhookReplay"];
const CORE_KINDS: [&str; 3] = ["Secret", "ConfigMap", "Namespace"];

/// A kind with its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recognized {
    /// A kind that is read.
    Ours(&'static str),
    /// A kind that is read, in a version that is deprecated.
    Deprecated(&'static str),
    /// Another kind.
    Foreign,
}

/// Recognizes the kind of an object.
///
/// # Errors
/// Returns the pointer and the message for one that looks like ours and is not.
pub(super) fn of(kind: &str, version: &str) -> Result<Recognized, (&'static str, String)> {
    if kind.is_empty() {
        return Err(("", "the field kind is missing".into()));
    }
    let [own, deprecated] = [VERSION, DEPRECATED_VERSION].map(|version| format!("{GROUP}/{version}"));
    let wrong = |expected: &str| Err(("/apiVersion", format!("apiVersion of a {kind} is {expected}, not `{version}`")));
    // The core group has no name.
    let group = version.split_once('/').map_or("", |(group, _)| group);
    if let Some(known) = OWN_KINDS.into_iter().find(|known| *known == kind) {
        return match version {
            version if version == own => Ok(Recognized::Ours(known)),
            version if version == deprecated => Ok(Recognized::Deprecated(known)),
            _ => wrong(&own),
        };
    }
    if let Some(known) = CORE_KINDS.into_iter().find(|known| *known == kind) {
        return match version {
            "v1" => Ok(Recognized::Ours(known)),
            // Other operators have Secrets of their own.
            _ if group.contains('.') && group != GROUP => Ok(Recognized::Foreign),
            _ => wrong("v1"),
        };
    }
    if version.is_empty() {
        return Err(("", "the field apiVersion is missing".into()));
    }
    let is_own_group = group == GROUP || suggest(group, [GROUP].into_iter()).is_some();
    let misspelt = match group {
        _ if is_own_group => suggest(kind, OWN_KINDS.into_iter()),
        "" => suggest(kind, OWN_KINDS.into_iter().chain(CORE_KINDS)).filter(|near| is_near(kind, near)),
        _ => None,
    };
    match misspelt {
        Some(near) => Err(("/kind", format!("unknown kind `{kind}`; did you mean {near}?"))),
        None if group == GROUP => {
            Err(("/kind", format!("unknown kind `{kind}`; {GROUP} has {}", OWN_KINDS.join(", "))))
        }
        None => Ok(Recognized::Foreign),
    }
}

/// Whether a kind of the core group is a misspelling rather than a kind of its own: `Secrets`, but not `SecretList`.
fn is_near(kind: &str, known: &str) -> bool {
    kind.len().abs_diff(known.len()) <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_kinds_are_read_and_others_are_skipped() {
        assert_eq!(of("WebhookEndpoint", "grapnel.dev/v1beta1"), Ok(Recognized::Ours("WebhookEndpoint")));
        assert_eq!(of("WebhookEndpoint", "grapnel.dev/v1alpha1"), Ok(Recognized::Deprecated("WebhookEndpoint")));
        assert_eq!(of("Secret", "v1"), Ok(Recognized::Ours("Secret")));
        for (kind, version) in [
            ("Kustomization", "kustomize.config.k8s.io/v1beta1"),
            ("Deployment", "apps/v1"),
            ("ExternalSecret", "external-secrets.io/v1"),
            ("Service", "v1"),
            ("ServiceAccount", "v1"),
            ("Pod", "v1"),
            ("Node", "v1"),
            ("Event", "v1"),
            ("Endpoints", "v1"),
            ("Secret", "secretsmanager.services.k8s.aws/v1alpha1"),
            ("Webhook", "other.example/v1"),
        ] {
            assert_eq!(of(kind, version), Ok(Recognized::Foreign), "{version} {kind}");
        }
    }

    #[test]
    fn misspelt_kinds_and_versions_of_ours_are_errors() {
        for (kind, version, expected) in [
            ("", "v1", "the field kind is missing"),
            ("Deployment", "", "the field apiVersion is missing"),
            ("WebhookEndpont", "grapnel.dev/v1beta1", "did you mean WebhookEndpoint?"),
            ("WebhookSubscriptions", "grapnel.dev/v1", "did you mean WebhookSubscription?"),
            ("WebhookEndpont", "grapnell.dev/v1beta1", "did you mean WebhookEndpoint?"),
            ("Receiver", "grapnel.dev/v1beta1", "grapnel.dev has WebhookEndpoint, WebhookSubscription, WebhookReplay"),
            ("WebhookEndpoint", "v1", "apiVersion of a WebhookEndpoint is grapnel.dev/v1beta1, not `v1`"),
            ("WebhookEndpoint", "", "apiVersion of a WebhookEndpoint is grapnel.dev/v1beta1"),
            ("Secrets", "v1", "did you mean Secret?"),
            ("Configmap", "v1", "did you mean ConfigMap?"),
            ("secret", "v1", "did you mean Secret?"),
            ("Secret", "v2", "apiVersion of a Secret is v1"),
            ("Secret", "", "apiVersion of a Secret is v1"),
        ] {
            let (_, message) = of(kind, version).unwrap_err();
            assert!(message.contains(expected), "{version} {kind}: {message}");
        }
    }
}
