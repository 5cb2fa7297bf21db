//! Compiles an object and its references into the form that the data plane uses, or into problems.

mod auth;
mod delivery;
mod endpoint;
mod problem;
mod reference;
mod subscribers;
mod subscription;
mod target;
mod tls;
mod verification;

pub use endpoint::{Served, endpoint, max_bytes, path, reading};
use grapnel_delivery::egress::EgressPolicy;
pub use problem::{Problem, Problems};
pub use reference::{References, Sources};
pub use subscribers::Subscribers;
pub use subscription::{Delivered, Standing, dead_letter_endpoint_of, dead_letter_problem, endpoint_of, subscription};
use url::Url;

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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path_prefix: String::new(),
            public_url: None,
            egress: EgressPolicy::default(),
            cluster_domain: "cluster.local".into(),
            service_accounts: false,
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
