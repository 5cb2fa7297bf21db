//! Compiles an object and its references into the form that the data plane uses, or into problems.
//!
//! A run walks the spec with a cursor, `Field`, which knows the value and the path of a field. Problems are reported at
//! the cursor, and Secrets and ConfigMaps are looked up through it, so the run itself records where a problem is and which
//! references the object has. A survey is the same walk without values: it finds the references before their values are
//! fetched. If a run comes to a reference whose value is unknown, [`Compiled::awaits`] names it.

mod auth;
mod endpoint;
mod field;
mod lookup;
mod pacing;
mod problem;
mod reference;
mod replay;
mod run;
mod scalar;
mod schemas;
mod sender;
mod subscribers;
mod subscription;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod verification;

pub use endpoint::{EndpointOutline, Served, endpoint, max_bytes, outline_endpoint, path, reading};
use grapnel_delivery::egress::EgressPolicy;
pub use problem::Problem;
pub use reference::{Lookup, Reference, ReferencedValues};
pub use replay::{ReplayInputs, SubscriptionStanding, replay, replay_digest, subscription_of};
pub use run::Compiled;
pub use subscribers::Subscribers;
pub use subscription::{
    Standing, SubscriptionInputs, dead_letter_endpoint_of, endpoint_of, outline_subscription, subscription,
};
use url::Url;

use crate::catalog::Class;

/// Operator options that affect compilation.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--path-prefix`, with a leading and without a trailing slash; empty for `/`.
    pub path_prefix: String,
    /// `--public-url`.
    pub public_url: Option<Url>,
    /// Which addresses may be called.
    pub egress: EgressPolicy,
    /// `--cluster-domain`: the suffix after `svc.` in the DNS names of Services.
    pub cluster_domain: String,
    /// Whether there is a cluster that reviews ServiceAccount tokens.
    pub service_accounts: bool,
    /// `--class`: the objects that are served; all others are ignored.
    pub class: Class,
    /// Whether endpoints verify requests. Not in a rehearsal, which has no Secrets and is given verified events.
    pub verifies: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path_prefix: String::new(),
            public_url: None,
            egress: EgressPolicy::default(),
            cluster_domain: "cluster.local".into(),
            service_accounts: false,
            class: Class::Any,
            verifies: true,
        }
    }
}

impl Options {
    /// The path of an endpoint.
    pub fn path(&self, namespace: &str, path: &str) -> String {
        format!("{}/{namespace}/{path}", self.path_prefix)
    }

    /// The URL for the sender, if the public URL is known.
    pub fn url(&self, namespace: &str, path: &str) -> Option<String> {
        let base = self.public_url.as_ref()?.as_str().trim_end_matches('/');
        Some(format!("{base}{}", self.path(namespace, path)))
    }
}
