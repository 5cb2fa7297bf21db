//! The log lines that tell, at the start, what is served and where it goes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{
    catalog::{DeliveryTarget, Endpoint, Options, Snapshot, Subscription},
    runtime::limits::ENDPOINTS_LOGGED,
};

/// Logs the endpoints of a snapshot with their URLs and targets.
#[derive(Debug, Clone)]
pub(super) struct Overview {
    options: Options,
    /// The URL of this process, without a path.
    base: String,
    /// Whether to suggest commands to try; in a cluster the log is not read on a terminal.
    suggest: bool,
}

impl Overview {
    /// An overview for a server at this address.
    pub(super) fn new(options: Options, scheme: &str, address: SocketAddr, suggest: bool) -> Self {
        let mut address = address;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        Self { options, base: format!("{scheme}://{address}"), suggest }
    }

    /// Logs one line for each endpoint, for at most [`ENDPOINTS_LOGGED`].
    pub(super) fn log(&self, snapshot: &Snapshot) {
        let mut endpoints: Vec<_> = snapshot.endpoints().collect();
        endpoints.sort_by(|one, other| one.key.cmp(&other.key));
        for endpoint in endpoints.iter().take(ENDPOINTS_LOGGED) {
            let delivers = targets(endpoint, snapshot);
            tracing::info!(url = self.url(endpoint), preset = endpoint.provider, delivers, "endpoint {}", endpoint.key);
        }
        // Only without a cluster are there suggestions, and there are no Gateways.
        for endpoint in
            endpoints.iter().filter(|endpoint| self.suggest && endpoint.route.is_some()).take(ENDPOINTS_LOGGED)
        {
            tracing::warn!(endpoint = %endpoint.key, "spec.route has no effect without a cluster");
        }
        if let Some(more) = endpoints.len().checked_sub(ENDPOINTS_LOGGED).filter(|more| *more > 0) {
            tracing::info!(more, "more endpoints are served");
        }
        let mut commands = endpoints.iter().filter_map(|endpoint| self.command(endpoint));
        if let Some(command) = commands.next().filter(|_| self.suggest) {
            tracing::info!("to try it: {command}");
        }
    }

    /// The URL for senders.
    fn url(&self, endpoint: &Endpoint) -> String {
        let (namespace, path) = (&endpoint.key.namespace, endpoint.path());
        self.options.url(namespace, path).unwrap_or_else(|| self.local_url(endpoint))
    }

    fn local_url(&self, endpoint: &Endpoint) -> String {
        format!("{}{}", self.base, self.options.path(&endpoint.key.namespace, endpoint.path()))
    }

    /// A command that sends an example to an endpoint of this process, if one can be signed.
    fn command(&self, endpoint: &Endpoint) -> Option<String> {
        let sender = endpoint.sender.as_ref()?;
        Some(format!("grapnel send {} {sender} --example", self.local_url(endpoint)))
    }
}

/// `billing -> billing.example.com, chat -> a URL from a Secret`.
fn targets(endpoint: &Endpoint, snapshot: &Snapshot) -> String {
    let mut subscriptions: Vec<_> = snapshot.subscriptions().filter(|it| it.endpoint.key == endpoint.key).collect();
    subscriptions.sort_by(|one, other| one.key.cmp(&other.key));
    let line = |it: &&std::sync::Arc<Subscription>| format!("{} -> {}", it.key, place(&it.target));
    match subscriptions.is_empty() {
        true => "nowhere: it has no subscription".into(),
        false => subscriptions.iter().take(ENDPOINTS_LOGGED).map(line).collect::<Vec<_>>().join(", "),
    }
}

/// Where a target is: its host, because paths often contain a token.
fn place(target: &DeliveryTarget) -> String {
    match (target.secret_url, target.url.host_str(), target.url.port()) {
        (true, ..) | (false, None, _) => "a URL from a Secret".into(),
        (false, Some(host), Some(port)) => format!("{host}:{port}"),
        (false, Some(host), None) => host.to_owned(),
    }
}
