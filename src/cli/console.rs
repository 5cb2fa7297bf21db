//! `grapnel console`: the operator's console in a browser on this machine, with the credentials of the user who starts it.

mod browser;
mod proxy;
mod session;

use std::{net::SocketAddr, process::ExitCode, time::Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use url::form_urlencoded;

use self::{proxy::Proxy, session::Session};
use super::{
    Usage, print,
    remote::{self, Remote},
};

const AFTER_HELP: &str = "\
Serves the operator's console on a port of this machine, and opens it in a browser. What it shows and does there is what \
the credentials allow: those of the kubeconfig (--kubeconfig), or of --token-file. The URL has a token that signs in one \
browser, once, within five minutes. Runs until Ctrl-C.

Without --kubeconfig the operator is the one at --admin-url, such as grapnel standalone on this machine.

Examples:
  grapnel console --kubeconfig
  grapnel console --context production --namespace shop
  grapnel console --no-open --listen 127.0.0.1:8181";

/// How to show the console.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[group(skip)]
pub struct ConsoleArgs {
    /// Show the objects of this namespace; needed if your roles are for some namespaces only
    #[arg(short, long, value_name = "NAMESPACE", env = "GRAPNEL_NAMESPACE")]
    namespace: Option<String>,

    /// Listen address on this machine; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS", env = "GRAPNEL_CONSOLE_LISTEN", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Print the URL only
    #[arg(long)]
    no_open: bool,

    #[command(flatten)]
    remote: remote::RemoteArgs,
}

impl ConsoleArgs {
    /// Serves until SIGINT or SIGTERM.
    ///
    /// # Errors
    /// Returns an error if the operator cannot be reached or has no console, or the address is in use.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        if !self.listen.ip().is_loopback() {
            return Err(Usage::error(format!(
                "--listen must be an address of this machine only, such as 127.0.0.1:0, not {}: the session in the \
                 browser has your rights",
                self.listen
            )));
        }
        let remote = Remote::new(&self.remote).await?;
        let start = self.start_page();
        check(&remote, &start).await?;
        let mut interrupted = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut terminated = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let listener =
            TcpListener::bind(self.listen).await.with_context(|| format!("cannot listen on {}", self.listen))?;
        let address = listener.local_addr().context("cannot determine the listen address")?;
        let (session, token) = Session::begin(address.port(), Instant::now()).context("there is no randomness")?;
        let url = format!("http://{address}/login?token={}", token.as_str());
        print::line(&format!("the console is at {url}"))?;
        if !self.no_open && !browser::open(&url) {
            print::line("no browser can be opened here; open the URL yourself")?;
        }
        let router = Proxy::new(remote, session, address, start).router();
        tokio::select! {
            served = std::future::IntoFuture::into_future(axum::serve(listener, router)) => served.context("cannot serve")?,
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The page to begin with.
    fn start_page(&self) -> String {
        match &self.namespace {
            None => "/".to_owned(),
            Some(namespace) => {
                let namespace: String = form_urlencoded::byte_serialize(namespace.as_bytes()).collect();
                format!("/?namespace={namespace}")
            }
        }
    }
}

/// Whether there is an operator with a console that accepts the credentials. What they allow is shown in the browser.
async fn check(remote: &Remote, page: &str) -> anyhow::Result<()> {
    let response = remote.pass(Request::get(page).body(Bytes::new())?).await?;
    let is_page = |headers: &HeaderMap| {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        content_type.is_some_and(|content_type| content_type.starts_with("text/html"))
            && headers.contains_key(header::CONTENT_SECURITY_POLICY)
    };
    match response.status() {
        _ if !is_page(response.headers()) => bail!(
            "the server there has no console; it may be an operator of an earlier version, or not an admin server of \
             Grapnel: check --admin-url"
        ),
        StatusCode::UNAUTHORIZED => bail!(
            "the operator does not accept these credentials; set a token with --token-file, or use --kubeconfig with a \
             user that has an unexpired token"
        ),
        StatusCode::BAD_REQUEST => Err(Usage::error("--namespace is not valid")),
        _ => Ok(()),
    }
}
