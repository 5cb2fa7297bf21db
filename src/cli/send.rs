//! `grapnel send`: sends one event, signed as a provider would sign it.

mod example;
pub(super) mod payload;
mod time;

use std::process::ExitCode;

use anyhow::Context;
use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use self::{example::Example, payload::BodySource};
use super::{
    Usage,
    print::{self, clean},
    remote,
    scheme::{self, Named, ValueTarget},
    secret,
};
use crate::cli::limits::CLI_SEND_ANSWER_BYTES;

/// Default type of an event.
const DEFAULT_TYPE: &str = "grapnel.test";
/// Minimum length of a secret that is searched for in responses.
const SECRET_TO_HIDE_BYTES: usize = 6;

/// What to send, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints one line for each event: the status and the body of the response. Exits with 0 if every response is 2xx.

Examples:
  grapnel send URL --provider github --secret-file secret.txt --type push --data push.json
  grapnel send URL --provider hmac-sha256-hex --hmac-header X-Signature --secret-env KEY
  grapnel send URL --provider stripe --secret-file secret.txt --timestamp -1h
  grapnel send URL --provider discord --secret-file private-key.pem
  grapnel send URL --provider github --secret-file secret.txt --example pull_request

If receivers verify with a public key (discord, sendgrid, google, paypal, amazon-sns, jwt, ed25519), the secret is the private \
key: a PKCS #8 PEM, as `openssl genpkey` writes it. For basic the secret is username:password.")]
pub struct SendArgs {
    /// Where to send it
    #[arg(value_parser = target)]
    url: Url,

    /// Provider to sign as (github, stripe, twilio, …), or a generic scheme: hmac-{sha1,sha256,sha512}-{hex,base64},
    /// token, basic, jwt, ed25519 or none
    #[arg(long, value_name = "NAME", env = "GRAPNEL_SEND_PROVIDER", value_parser = scheme::parse)]
    provider: Named,

    #[command(flatten)]
    secret: secret::SecretArgs,

    /// File with the body, - for standard input. The body is sent unchanged unless --type, --id or --count must be
    /// written into it. Default: a small JSON object
    #[arg(long, value_name = "FILE", value_parser = |text: &str| Ok::<_, std::convert::Infallible>(BodySource::from(text)))]
    data: Option<BodySource>,

    /// Send a small payload as the provider sends it, of the given type or of its most common one
    #[arg(long, value_name = "TYPE", num_args = 0..=1, default_missing_value = "", conflicts_with = "data")]
    example: Option<String>,

    /// Type of the event, in the provider's header or field of the body
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// Id of the event, in the provider's field or header. Default: a new id for each event. Set one to test
    /// deduplication
    #[arg(long)]
    id: Option<String>,

    /// Additional header; replaces a header of the same name that signing sets. May be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE", value_parser = header_pair)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// Content-Type of the body [default: application/json, or that of the example]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<HeaderValue>,

    /// Number of events to send, one after the other. Each has its own id unless --id is set
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,

    /// Time to sign with, instead of the current time: seconds since 1970, 2026-01-31T12:00:00Z, -10m (ago) or +10m
    /// (ahead)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time::parse)]
    timestamp: Option<time::Moment>,

    // Last, because the help heading of these flags applies to all that follow.
    #[command(flatten)]
    options: scheme::SchemeOptions,
}

/// An event ready to be sent.
struct Event {
    url: Url,
    id: Option<String>,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl SendArgs {
    /// Sends the events.
    ///
    /// # Errors
    /// Returns an error if an event cannot be made or the receiver cannot be reached. A response other than 2xx is not
    /// an error, but gives exit code 1.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let secret = self.secret.read()?;
        let signing = self.provider.signing(&self.options, secret.clone())?;
        let data = self.data.as_ref().map(BodySource::read).transpose()?;
        let example = self.example.as_deref().map(|kind| Example::find(self.provider, kind)).transpose()?;
        let client = super::http::client(!is_local(&self.url))?;
        let mut refused = 0_u32;
        for _ in 0..self.count {
            let now = self.timestamp.map_or_else(Timestamp::now, time::Moment::resolve);
            let example = example.map(|example| (example, example.body(now)));
            let mut event = self.event(data.as_deref(), example.as_ref(), now)?;
            signing.sign(&mut event.url, &mut event.headers, &mut event.body, now)?;
            for (name, value) in &self.headers {
                event.headers.insert(name, value.clone());
            }
            if !self.exchange(&client, event, secret.as_ref()).await? {
                refused += 1;
            }
        }
        if self.count > 1 {
            eprintln!("{} sent, {refused} rejected", self.count);
        }
        Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// An event with its id and type in their places, not yet signed.
    fn event(
        &self,
        data: Option<&[u8]>,
        example: Option<&(Example, Vec<u8>)>,
        now: Timestamp,
    ) -> anyhow::Result<Event> {
        let (example, data) = (example.map(|(example, _)| example), data.or(example.map(|(_, body)| &**body)));
        let mut json = match data {
            None => Some(payload::sample()),
            Some(bytes) => serde_json::from_slice(bytes).ok(),
        };
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_static(example.map_or("application/json", Example::content_type));
        headers.insert(header::CONTENT_TYPE, self.content_type.clone().unwrap_or(content_type));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("grapnel/", env!("CARGO_PKG_VERSION"))));
        headers.extend(self.provider.constant_headers());
        let fresh = || Uuid::now_v7().to_string();
        // Each body of an example is unique already.
        let id = self
            .id
            .clone()
            .or_else(|| self.id_in_headers())
            .or_else(|| (self.count > 1 && example.is_none()).then(fresh));
        let (kind_place, id_place) = self.provider.places();
        // In the body, the example has its type already.
        let in_header = matches!(kind_place, ValueTarget::Header { .. });
        let kind = self.kind.clone().or_else(|| example.filter(|_| in_header).map(|example| example.kind.to_owned()));
        let mut changed = data.is_none();
        place("--type", kind_place, kind, || DEFAULT_TYPE.into(), &mut headers, &mut json, &mut changed)?;
        let id = place("--id", id_place, id, fresh, &mut headers, &mut json, &mut changed)?;
        // Some schemes sign a time in the body; it is kept as written unless another one is requested.
        if let (Some(pointer), Some(json)) = (self.provider.time_in_body(), &mut json)
            && (self.timestamp.is_some() || payload::get(json, pointer).is_none())
        {
            changed |= payload::put(json, pointer, now.as_millisecond().into());
        }
        if let (Some(name), Some(id)) = (self.options.id_header(), &id) {
            headers.insert(name, HeaderValue::from_str(id)?);
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        let body = match (json, data) {
            (Some(json), _) if changed => serde_json::to_vec(&json)?,
            (_, data) => data.unwrap_or_default().to_vec(),
        };
        Ok(Event { url: self.url.clone(), id, headers, body })
    }

    /// The id in a given header, for schemes whose events have theirs in such headers (`ce-id` or `webhook-id`).
    fn id_in_headers(&self) -> Option<String> {
        let (_, ValueTarget::Header { name, .. }) = self.provider.places() else { return None };
        let also = (name == "ce-id").then_some(HeaderName::from_static("webhook-id"));
        let given = |wanted: &HeaderName| self.headers.iter().find(|(name, _)| name == wanted);
        let (_, value) = given(&name).or_else(|| given(also.as_ref()?))?;
        value.to_str().ok().map(str::to_owned)
    }

    /// Sends one event and prints the response. Returns whether the event was accepted.
    async fn exchange(&self, client: &reqwest::Client, event: Event, secret: Option<&Secret>) -> anyhow::Result<bool> {
        let response = client
            .post(event.url)
            .headers(event.headers)
            .body(event.body)
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("cannot send to {}", self.url))?;
        let status = response.status();
        let retry =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (bytes, whole) = remote::read(response, CLI_SEND_ANSWER_BYTES).await?;
        let mut answer = String::from_utf8_lossy(&bytes).into_owned();
        // A token that the receiver echoes must not be printed. Shorter texts are not secrets, but occur everywhere.
        let text = secret.and_then(|secret| std::str::from_utf8(secret.expose()).ok()).map(str::trim_end);
        if let Some(text) = text.filter(|text| text.len() >= SECRET_TO_HIDE_BYTES) {
            answer = answer.replace(text, "***");
        }
        if !whole {
            answer.push('…');
        }
        let mut line = status.to_string();
        if let Some(id) = event.id {
            line.push_str(&format!("  id={id}"));
        }
        if let Some(retry) = retry {
            line.push_str(&format!("  Retry-After: {retry}"));
        }
        if !answer.is_empty() {
            line.push_str(&format!("  {}", answer.trim()));
        }
        print::line(&clean(&line))?;
        Ok(status.is_success())
    }
}

/// Writes the id or the type to its place: the requested value, else the one in the payload, else `default`. Returns
/// the final value.
fn place(
    flag: &str,
    place: ValueTarget,
    option: Option<String>,
    default: impl FnOnce() -> String,
    headers: &mut HeaderMap,
    payload: &mut Option<Value>,
    changed: &mut bool,
) -> anyhow::Result<Option<String>> {
    let in_payload = |pointer: &str| payload.as_ref().and_then(|payload| payload::get(payload, pointer));
    match place {
        ValueTarget::Nowhere if option.is_some() => {
            Err(Usage::error(format!("{flag} is not supported for this provider: its events have no field for it")))
        }
        ValueTarget::Nowhere => Ok(None),
        ValueTarget::Header { name, pointer } => {
            let value = option.or_else(|| in_payload(pointer?)).unwrap_or_else(default);
            let header = HeaderValue::from_str(&value)
                .map_err(|_| Usage(format!("{flag} goes into the header {name}, which cannot hold {value:?}")))?;
            headers.insert(name, header);
            Ok(Some(value))
        }
        ValueTarget::Body(pointer) => {
            // A payload given by the user is sent unchanged, even if it has no id.
            let value = match (option, in_payload(pointer)) {
                (Some(option), _) => option,
                (None, in_payload @ Some(_)) => return Ok(in_payload),
                (None, None) if !*changed => return Ok(None),
                (None, None) => default(),
            };
            let put = payload.as_mut().is_some_and(|payload| payload::set(payload, pointer, &value));
            if !put {
                return Err(Usage::error(format!(
                    "{flag} goes into the body at {pointer}, but --data is not a JSON object in which it can be set"
                )));
            }
            *changed = true;
            Ok(Some(value))
        }
    }
}

fn target(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => "it must begin with http:// or https://".to_owned(),
        error => error.to_string(),
    })?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err("it must begin with http:// or https://".into())
    }
}

pub(super) fn header_pair(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME:VALUE")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is not a valid header name"))?;
    let value =
        value.trim().parse().map_err(|_| "the value has characters that are not allowed in a header".to_owned())?;
    Ok((name, value))
}

/// Whether the URL is on this machine, which is never behind a proxy.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
