//! The HTTP client of commands.

use anyhow::Context;
use reqwest::redirect::Policy;

use crate::{
    cli::limits::CLI_TIMEOUT,
    dispatch::client::{platform_roots, tls},
};

/// A client that trusts the same certificates as deliveries, and neither follows redirects nor retries. It uses a proxy
/// only if `proxy` allows it and the environment names one.
pub(super) fn client(proxy: bool) -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(platform_roots()).context("cannot set up TLS")?)
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .timeout(CLI_TIMEOUT);
    let builder = if proxy { builder } else { builder.no_proxy() };
    builder.build().context("cannot start an HTTP client")
}
