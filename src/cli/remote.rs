//! Asking a running operator.

use std::path::PathBuf;

use anyhow::{Context, bail};
use reqwest::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;
use zeroize::Zeroizing;

use super::Usage;
use crate::{
    api::ObjectKey,
    rules::limits::{CLI_ADMIN_ANSWER_BYTES, CLI_TIMEOUT},
};

/// Where the operator is and how to be let in.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// The operator's admin server
    #[arg(long, value_name = "URL", env = "GRAPNEL_ADMIN_URL", default_value = "http://127.0.0.1:9090")]
    admin_url: Url,

    /// File with the bearer token that the admin server asks for
    #[arg(long, value_name = "FILE", env = "GRAPNEL_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// Output for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

/// An object, in the namespace of `--namespace` unless written `namespace/name`.
pub(super) fn object(namespace: &str, name: &str) -> ObjectKey {
    match name.split_once('/') {
        Some((namespace, name)) => ObjectKey::new(namespace, name),
        None => ObjectKey::new(namespace, name),
    }
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) r#continue: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    code: String,
}

/// An answer of 200.
pub(super) struct Answer {
    /// JSON.
    pub(super) body: String,
}

impl Answer {
    pub(super) fn read<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_str(&self.body).context("the operator's answer is not what this version of grapnel expects")
    }
}

/// A connection to the operator.
pub(super) struct Remote {
    client: reqwest::Client,
    url: Url,
    token: Option<Zeroizing<String>>,
}

impl Remote {
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        if !matches!(args.admin_url.scheme(), "http" | "https") {
            return Err(Usage::error(format!(
                "--admin-url must begin with http:// or https://, not {}",
                args.admin_url
            )));
        }
        let token = args.token_file.as_ref().map(|path| {
            std::fs::read_to_string(path)
                .map(|token| Zeroizing::new(token.trim().to_owned()))
                .with_context(|| format!("cannot read the token file {}", path.display()))
        });
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(CLI_TIMEOUT)
            .build()
            .context("cannot start an HTTP client")?;
        Ok(Self { client, url: args.admin_url.clone(), token: token.transpose()? })
    }

    /// Gets `/api/v1/{segments}?{query}`; empty values are left out.
    pub(super) async fn get(&self, segments: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let mut request = self.client.get(self.address(segments, query)?);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.as_str());
        }
        let response = request.send().await.map_err(reqwest::Error::without_url).with_context(|| {
            format!("cannot reach the operator at {}; is it running, and is --admin-url right?", self.url)
        })?;
        let status = response.status();
        let (bytes, whole) = read(response, CLI_ADMIN_ANSWER_BYTES).await?;
        if !whole {
            bail!("the operator's answer is larger than {CLI_ADMIN_ANSWER_BYTES} bytes; ask for less with --limit");
        }
        let body = String::from_utf8(bytes).context("the operator's answer is not text")?;
        if status == StatusCode::OK { Ok(Answer { body }) } else { Err(refused(status, &body)) }
    }

    fn address(&self, segments: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Url> {
        let mut url = self.url.clone();
        let Ok(mut path) = url.path_segments_mut() else {
            return Err(Usage::error(format!("--admin-url cannot be {}", self.url)));
        };
        path.pop_if_empty().extend(["api", "v1"]);
        for segment in segments {
            if matches!(*segment, "" | "." | "..") {
                return Err(Usage::error(format!("{segment:?} is no name that the admin API can be asked for")));
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

fn refused(status: StatusCode, body: &str) -> anyhow::Error {
    match serde_json::from_str::<Refusal>(body) {
        Ok(refusal) if refusal.code == "invalid_parameter" => Usage::error(refusal.error),
        Ok(refusal) if status == StatusCode::UNAUTHORIZED => {
            anyhow::anyhow!("{} (--token-file names the file that holds it)", refusal.error)
        }
        Ok(refusal) => anyhow::anyhow!("{}", refusal.error),
        Err(_) => {
            anyhow::anyhow!("the answer is {status}, and not from an operator's admin server; is --admin-url right?")
        }
    }
}

/// At most `most` bytes of a body, and whether that was all.
pub(super) async fn read(mut response: reqwest::Response, most: usize) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(reqwest::Error::without_url).context("the answer broke off")?
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
        let remote = |url: &str| Remote { client: reqwest::Client::new(), url: url.parse().unwrap(), token: None };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = remote("http://h:1").address(&["a", "b/c?d"], &[("type", "x&y"), ("after", "")]).unwrap();
        assert_eq!(url.as_str(), "http://h:1/api/v1/a/b%2Fc%3Fd?type=x%26y");
        let url = remote("http://h/behind/").address(&["objects"], &[("after", "")]).unwrap();
        assert_eq!(url.as_str(), "http://h/behind/api/v1/objects");
        assert!(remote("http://h").address(&[".."], &[]).unwrap_err().is::<Usage>());
    }

    #[test]
    fn a_name_may_carry_its_namespace() {
        assert_eq!(object("default", "github"), ObjectKey::new("default", "github"));
        assert_eq!(object("default", "shop/github"), ObjectKey::new("shop", "github"));
    }
}
