//! Requests to the admin API of a running operator.

mod forward;
mod page;
mod pass;

use std::{fmt, path::PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{ArgMatches, FromArgMatches, error::ErrorKind, parser::ValueSource};
use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use url::Url;
use zeroize::Zeroizing;

use self::forward::{Forward, OperatorLocation, RenewedToken};
pub(super) use self::page::{RawPage, position, row};
use super::{Usage, http};
use crate::{
    admin::contract::{ErrorBody, ErrorCode, Operation},
    cli::limits::CLI_ADMIN_ANSWER_BYTES,
    controller::connect::Connection,
};

const UNEXPECTED: &str = "the operator's response does not match this version of grapnel; use the operator's version";

/// Where the operator is unless a flag says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:9090";
const DEFAULT_NAMESPACE: &str = "grapnel-system";
const DEFAULT_SELECTOR: &str = "app.kubernetes.io/name=grapnel";

/// The content type of request bodies.
const JSON: &str = "application/json";

/// Where the operator is and how to be let in.
#[derive(Debug, Clone)]
pub(super) struct RemoteArgs {
    operator: Operator,
    token_file: Option<PathBuf>,
}

/// The location of the operator.
#[derive(Debug, Clone)]
enum Operator {
    /// At a URL, as given.
    Url(String),
    /// In a cluster.
    Cluster(OperatorLocation),
}

#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
struct Flags {
    /// URL of the operator's admin server
    #[arg(long, value_name = "URL", env = "GRAPNEL_ADMIN_URL", default_value = DEFAULT_URL)]
    admin_url: String,

    /// File with the bearer token for the admin server
    #[arg(long, value_name = "FILE", env = "GRAPNEL_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// Reach the operator in a cluster through the API server, with this kubeconfig. Without FILE, uses KUBECONFIG or
    /// ~/.kube/config. Sends the kubeconfig's token unless --token-file is set
    #[arg(long, value_name = "FILE", num_args = 0..=1, env = "GRAPNEL_KUBECONFIG")]
    kubeconfig: Option<Option<PathBuf>>,

    /// Context of the kubeconfig; implies --kubeconfig
    #[arg(long, value_name = "NAME", env = "GRAPNEL_CONTEXT")]
    context: Option<String>,

    /// Namespace in which the operator runs [default: grapnel-system]
    #[arg(long, value_name = "NAMESPACE", env = "GRAPNEL_OPERATOR_NAMESPACE")]
    operator_namespace: Option<String>,

    /// Labels of the operator's pods [default: app.kubernetes.io/name=grapnel]
    #[arg(long, value_name = "SELECTOR", env = "GRAPNEL_OPERATOR_SELECTOR")]
    operator_selector: Option<String>,
}

/// The flags that locate the operator in a cluster; each also has an environment variable `GRAPNEL_…`.
const IN_CLUSTER: [&str; 4] = ["kubeconfig", "context", "operator_namespace", "operator_selector"];

impl clap::Args for RemoteArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Flags::augment_args_for_update(command)
    }
}

impl FromArgMatches for RemoteArgs {
    /// Flags take precedence over the environment. A URL and a cluster from the same source are a conflict.
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = Flags::from_arg_matches(matches)?;
        let is_from = |id: &str, source| matches.value_source(id) == Some(source);
        let cluster_from = |source| IN_CLUSTER.into_iter().find(|id| is_from(id, source));
        let mut in_cluster = false;
        for (source, is_typed) in [(ValueSource::CommandLine, true), (ValueSource::EnvVariable, false)] {
            match (is_from("admin_url", source), cluster_from(source)) {
                (false, None) => continue,
                (true, Some(flag)) => return Err(conflict(flag, is_typed)),
                (_, flag) => in_cluster = flag.is_some(),
            }
            break;
        }
        let token_file = flags.token_file.clone();
        let operator = if in_cluster { Operator::Cluster(flags.place()) } else { Operator::Url(flags.admin_url) };
        Ok(Self { operator, token_file })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The error of a URL together with a flag that locates the operator in a cluster.
fn conflict(flag: &str, is_typed: bool) -> clap::Error {
    let message = if is_typed {
        format!("the argument '--admin-url' cannot be used with '--{}'", flag.replace('_', "-"))
    } else {
        let variable = flag.to_ascii_uppercase();
        format!("GRAPNEL_ADMIN_URL and GRAPNEL_{variable} are both set; unset one of them")
    };
    clap::Error::raw(ErrorKind::ArgumentConflict, message)
}

impl Flags {
    fn place(self) -> OperatorLocation {
        OperatorLocation {
            cluster: Connection { kubeconfig: self.kubeconfig.flatten(), context: self.context },
            namespace: self.operator_namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            selector: self.operator_selector.unwrap_or_else(|| DEFAULT_SELECTOR.to_owned()),
        }
    }
}

fn admin_url(text: &str) -> anyhow::Result<Url> {
    match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Err(error) if text.starts_with("http://") || text.starts_with("https://") => {
            Err(Usage::error(format!("--admin-url cannot be {text}: {error}")))
        }
        _ => Err(Usage::error(format!(
            "--admin-url must begin with http:// or https://, as in http://127.0.0.1:9090; it is {text}"
        ))),
    }
}

/// There is no such path, object or event.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotFound(String);

impl RemoteArgs {
    /// Whether the operator is located in a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.operator, Operator::Cluster(_))
    }

    /// The same, but in the cluster of the kubeconfig unless a flag locates the operator.
    pub(super) fn or_cluster(self) -> Self {
        match self.operator {
            Operator::Url(url) if url == DEFAULT_URL => {
                let place = OperatorLocation {
                    cluster: Connection { kubeconfig: None, context: None },
                    namespace: DEFAULT_NAMESPACE.to_owned(),
                    selector: DEFAULT_SELECTOR.to_owned(),
                };
                Self { operator: Operator::Cluster(place), ..self }
            }
            operator => Self { operator, ..self },
        }
    }
}

/// A response with status 200.
pub(super) struct OkResponse {
    /// JSON.
    pub(super) body: String,
}

impl OkResponse {
    pub(super) fn read<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        if serde_json::from_str::<IgnoredAny>(&self.body).is_err() {
            bail!("the response is not JSON, so it is not from an admin server of Grapnel; check --admin-url");
        }
        serde_json::from_str(&self.body).context(UNEXPECTED)
    }
}

/// A connection to the operator.
pub(super) struct Remote {
    way: Way,
    url: Url,
    credential: Credential,
}

/// How the admin server is reached.
enum Way {
    Direct(reqwest::Client),
    Forward(Box<Forward>),
}

/// The credential sent to it.
enum Credential {
    None,
    Token(Zeroizing<String>),
    Kubeconfig(RenewedToken),
}

impl fmt::Display for Remote {
    /// Writes the server as the subject of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Direct(_) => write!(f, "the server at {}", self.url),
            Way::Forward(_) => f.write_str("the operator in the cluster"),
        }
    }
}

impl Remote {
    /// What to correct if the server is not an admin server.
    pub(super) fn correction(&self) -> &'static str {
        match self.way {
            Way::Direct(_) => "correct --admin-url (the port of the admin server is 9090 by default)",
            Way::Forward(_) => "correct --operator-namespace or --operator-selector",
        }
    }

    pub(super) async fn new(args: &RemoteArgs) -> anyhow::Result<Self> {
        let token = args.token_file.as_ref().map(|path| {
            std::fs::read_to_string(path)
                .map(|token| Zeroizing::new(token.trim().to_owned()))
                .with_context(|| format!("cannot read the token file {}", path.display()))
        });
        let token = token.transpose()?;
        match &args.operator {
            Operator::Cluster(place) => {
                let config = place.cluster.config().await?;
                let credential = match token {
                    Some(token) => Credential::Token(token),
                    None => Credential::Kubeconfig(RenewedToken::of(&config)?),
                };
                let url = Url::parse("http://localhost")?;
                let forward = Forward::new(place.clone(), config)?;
                Ok(Self { way: Way::Forward(Box::new(forward)), url, credential })
            }
            Operator::Url(url) => {
                let url = admin_url(url)?;
                let credential = token.map_or(Credential::None, Credential::Token);
                Ok(Self { way: Way::Direct(http::client(false)?), url, credential })
            }
        }
    }

    /// Performs an operation that reads. `names` are the parameters of its path, in order; empty values of the query are
    /// left out.
    pub(super) async fn get(
        &self,
        operation: Operation,
        names: &[&str],
        query: &[(&str, &str)],
    ) -> anyhow::Result<OkResponse> {
        self.ask(operation, self.address(operation, names, query)?, None).await
    }

    /// Performs an operation with a JSON body. Never retried: after an error it is not known whether the request took
    /// effect.
    pub(super) async fn post(
        &self,
        operation: Operation,
        names: &[&str],
        body: &impl Serialize,
    ) -> anyhow::Result<OkResponse> {
        self.ask(operation, self.address(operation, names, &[])?, Some(serde_json::to_vec(body)?.into())).await
    }

    /// Sends a GET request, or a POST request if there is a body.
    async fn ask(&self, operation: Operation, address: Url, body: Option<Bytes>) -> anyhow::Result<OkResponse> {
        let shown = self.token().await?;
        let token = shown.as_ref().map(|token| token.as_str());
        let (status, bytes) = match &self.way {
            Way::Direct(client) => self.ask_directly(client, address, token, body).await?,
            Way::Forward(forward) => {
                let path = address.query().map_or(String::new(), |query| format!("?{query}"));
                forward.ask(&format!("{}{path}", address.path()), token, body).await?
            }
        };
        let body = String::from_utf8(bytes).context("the operator's answer is not text")?;
        if status == StatusCode::OK { Ok(OkResponse { body }) } else { Err(refused(operation, status, &body)) }
    }

    /// The bearer token to send, if any.
    async fn token(&self) -> anyhow::Result<Option<Zeroizing<String>>> {
        match &self.credential {
            Credential::None => Ok(None),
            Credential::Token(token) => Ok(Some(token.clone())),
            Credential::Kubeconfig(token) => token.show().await.map(Some),
        }
    }

    /// The context of an error of a connection to `--admin-url`.
    fn unreachable(&self) -> String {
        format!(
            "cannot reach the operator at {}; start it, correct --admin-url, or add --kubeconfig for an operator in a \
             cluster",
            self.url
        )
    }

    async fn ask_directly(
        &self,
        client: &reqwest::Client,
        address: Url,
        token: Option<&str>,
        body: Option<Bytes>,
    ) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let mut request = match body {
            None => client.get(address),
            Some(body) => client.post(address).header(CONTENT_TYPE, JSON).body(body),
        };
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(reqwest::Error::without_url).with_context(|| self.unreachable())?;
        let status = response.status();
        let (bytes, whole) = read(response, CLI_ADMIN_ANSWER_BYTES).await?;
        if !whole {
            bail!("the operator's response is larger than {CLI_ADMIN_ANSWER_BYTES} bytes; lower --limit");
        }
        Ok((status, bytes))
    }

    /// The URL of an operation below `--admin-url`.
    fn address(&self, operation: Operation, names: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Url> {
        let mut url = self.url.clone();
        let Ok(mut path) = url.path_segments_mut() else {
            return Err(Usage::error(format!("--admin-url is not valid: {}", self.url)));
        };
        path.pop_if_empty();
        let mut names = names.iter().copied();
        for part in operation.path().split('/').skip(1) {
            let segment = if part.starts_with('{') { names.next().unwrap_or_default() } else { part };
            if matches!(segment, "" | "." | "..") {
                return Err(Usage::error(format!("{segment:?} is not a valid name; write the name of an object")));
            }
            path.push(segment);
        }
        drop(path);
        if query.iter().any(|(_, value)| !value.is_empty()) {
            url.query_pairs_mut().extend_pairs(query.iter().filter(|(_, value)| !value.is_empty()));
        }
        Ok(url)
    }
}

fn refused(operation: Operation, status: StatusCode, body: &str) -> anyhow::Error {
    // Another server may answer with an error of the same form, such as the one that receives webhooks.
    let is_expected = |error: &ErrorBody| error.code == ErrorCode::Timeout || operation.errors().contains(&error.code);
    match serde_json::from_str::<ErrorBody>(body).ok().filter(is_expected) {
        Some(error) if error.code == ErrorCode::InvalidParameter => Usage::error(error.error),
        Some(error) if error.code == ErrorCode::Unauthorized => {
            anyhow::anyhow!("{} (set the token with --token-file)", error.error)
        }
        Some(error) if error.code == ErrorCode::NotFound => NotFound(error.error).into(),
        Some(error) => anyhow::anyhow!("{}", error.error),
        None => anyhow::anyhow!(
            "the response has status {status} and is not from an admin server of Grapnel; check --admin-url"
        ),
    }
}

/// Reads at most `most` bytes of a body. Also returns whether it is complete.
pub(super) async fn read(mut response: reqwest::Response, most: usize) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(reqwest::Error::without_url).context("the response ended early")?
    {
        let room = most.saturating_sub(bytes.len());
        if chunk.len() > room {
            bytes.extend(chunk.into_iter().take(room));
            return Ok((bytes, false));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_into_the_path() {
        let remote = |url: &str| Remote {
            way: Way::Direct(http::client(false).unwrap()),
            url: url.parse().unwrap(),
            credential: Credential::None,
        };
        let event = Operation::ShowEvent;
        let url = remote("http://h:1").address(event, &["a", "b", "c/d?e"], &[("type", "x&y"), ("after", "")]).unwrap();
        assert_eq!(url.as_str(), "http://h:1/api/v1/namespaces/a/endpoints/b/events/c%2Fd%3Fe?type=x%26y");
        let url = remote("http://h/behind/").address(Operation::ListObjects, &[], &[("namespace", "")]).unwrap();
        assert_eq!(url.as_str(), "http://h/behind/api/v1/objects");
        for name in ["", ".", ".."] {
            assert!(remote("http://h").address(event, &["a", "b", name], &[]).unwrap_err().is::<Usage>(), "{name:?}");
        }
    }

    #[test]
    fn a_response_that_is_not_json_is_not_of_an_admin_server() {
        let read =
            |body: &str| OkResponse { body: body.to_owned() }.read::<Vec<u8>>().map_err(|error| error.to_string());
        assert_eq!(read("[1]"), Ok(vec![1]));
        assert!(read("<html>").unwrap_err().contains("not from an admin server"));
        assert!(read("{}").unwrap_err().contains("does not match this version"));
    }

    #[test]
    fn a_url_has_a_scheme() {
        for url in ["http://127.0.0.1:9191", "https://operator.example/behind/"] {
            assert!(admin_url(url).is_ok(), "{url}");
        }
        for url in ["127.0.0.1:9191", "localhost:9191", "operator", "ftp://operator", ""] {
            let error = admin_url(url).unwrap_err();
            assert!(
                error.is::<Usage>() && error.to_string().contains("must begin with http:// or https://"),
                "{error}"
            );
        }
        let error = admin_url("http://host:port").unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("invalid port"), "{error}");
    }
}
