//! One object and what it refers to, compiled into what the data plane runs on, or into problems.

mod endpoint;
mod problem;
mod reference;
mod subscription;

use url::Url;

pub use endpoint::{Served, endpoint, path};
pub use problem::{Problem, Problems};
pub use reference::{References, Sources};
pub use subscription::{Delivered, subscription};

use crate::rules::egress::EgressPolicy;

/// What the operator says and objects are compiled with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--path-prefix`, with a slash at the front and none at the end; empty for `/`.
    pub path_prefix: String,
    /// `--public-url`.
    pub public_url: Option<Url>,
    /// Which addresses may be called.
    pub egress: EgressPolicy,
    /// `--cluster-domain`.
    pub cluster_domain: String,
    /// Whether a cluster answers TokenReviews.
    pub service_accounts: bool,
}

impl Options {
    /// The path at which an endpoint is served.
    pub fn path(&self, namespace: &str, path: &str) -> String {
        format!("{}/{namespace}/{path}", self.path_prefix)
    }

    /// The URL to give to a sender, if the public URL is known.
    pub fn url(&self, namespace: &str, path: &str) -> Option<String> {
        let base = self.public_url.as_ref()?.as_str().trim_end_matches('/');
        Some(format!("{base}{}", self.path(namespace, path)))
    }
}
