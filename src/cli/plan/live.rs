//! The live configuration and the history, from the admin API, page by page.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use grapnel_api::{
    ObjectKey, WebhookEndpoint, WebhookEndpointSpec, WebhookReplay, WebhookReplaySpec, WebhookSubscription,
    WebhookSubscriptionSpec,
};
use grapnel_journal::{DeliveryState, StoredEvent};
use tokio::time::timeout;

use crate::{
    admin::{
        contract::{ConfiguredObject, DeliveryItem, EventDetail, EventHeader, Operation},
        limits::ADMIN_LIST_MAX,
    },
    catalog::{Age, Applied, Change, Class, ObjectKind},
    cli::{
        limits::{CLI_FIRST_ANSWER, CLI_PLAN_EVENTS},
        remote::{NotFound, OkResponse, RawPage, Remote},
    },
    plan::{ReplayCandidate, ReplayCount, Undelivered},
};

/// The version of this program, which the operator has to have.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Which events to try.
#[derive(Debug, Clone, Copy)]
pub(super) enum Span<'a> {
    /// So many of each endpoint, the newest.
    Last(u64),
    /// Those received since a time, at most [`CLI_PLAN_EVENTS`] of each endpoint.
    Since(&'a str),
}

/// The objects of the operator.
pub(super) struct Live {
    objects: Vec<LiveObject>,
    /// Objects without a spec that can be parsed, or whose last version is not in use.
    doubtful: Vec<String>,
    /// Whether the operator does not show replays.
    without_replays: bool,
}

struct LiveObject {
    key: ObjectKey,
    spec: LiveSpec,
    backlog: Undelivered,
    /// Whether a replay has ended.
    ended: bool,
}

enum LiveSpec {
    Endpoint(WebhookEndpointSpec),
    Subscription(WebhookSubscriptionSpec),
    Replay(WebhookReplaySpec),
}

impl Live {
    /// Reads all objects, or those of one namespace.
    ///
    /// # Errors
    /// Returns an error if the operator cannot be reached, has another version, or does not allow it.
    pub(super) async fn read(remote: &Remote, namespace: Option<&str>) -> anyhow::Result<Self> {
        let mut live = Self { objects: Vec::new(), doubtful: Vec::new(), without_replays: false };
        let mut after = String::new();
        loop {
            let query = [("namespace", namespace.unwrap_or_default()), ("after", &after)];
            let request = remote.get(Operation::ShowConfiguration, &[], &query);
            let answer = match after.is_empty() {
                true => timeout(CLI_FIRST_ANSWER, request).await.map_err(|_| silent(remote))?,
                false => request.await,
            };
            let page = match answer {
                Err(error) if error.is::<NotFound>() => bail!(no_such_path(remote, &error)),
                answer => configuration(remote, &answer?)?,
            };
            let version = page.rest.get("version").and_then(|version| version.as_str()).unwrap_or("an unknown one");
            if version != VERSION {
                bail!(different_version(version));
            }
            live.without_replays |= page.rest.get("withoutReplays").is_some_and(|left_out| *left_out == true);
            for object in page.rows::<ConfiguredObject>()? {
                live.add(object)?;
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(live),
            }
        }
    }

    fn add(&mut self, object: ConfiguredObject) -> anyhow::Result<()> {
        let ConfiguredObject { kind, namespace, name, spec, in_use, unsettled, dead_lettered, ended } = object;
        let name_of = format!("{kind} {namespace}/{name}");
        let kind = ObjectKind::named(&kind);
        // A replay that does not run changes no event.
        if !in_use && kind != Some(ObjectKind::Replay) {
            self.doubtful.push(name_of.clone());
        }
        let Some(spec) = spec else { return Ok(()) };
        let unreadable = || format!("the live {name_of} has a spec that this version of grapnel cannot read");
        let spec = match kind {
            Some(ObjectKind::Endpoint) => LiveSpec::Endpoint(serde_json::from_value(spec).with_context(unreadable)?),
            Some(ObjectKind::Subscription) => {
                LiveSpec::Subscription(serde_json::from_value(spec).with_context(unreadable)?)
            }
            Some(ObjectKind::Replay) => LiveSpec::Replay(serde_json::from_value(spec).with_context(unreadable)?),
            None => bail!(unreadable()),
        };
        let backlog =
            Undelivered { unsettled: unsettled.unwrap_or_default(), dead_lettered: dead_lettered.unwrap_or_default() };
        let key = ObjectKey::new(namespace, name);
        self.objects.push(LiveObject { key, spec, backlog, ended: ended.unwrap_or_default() });
        Ok(())
    }

    /// The changes that define those objects whose name is wanted.
    pub(super) fn changes(&self, wanted: impl Fn(&ObjectKey) -> bool) -> impl Iterator<Item = Change> {
        let wanted = self.objects.iter().filter(move |object| wanted(&object.key));
        wanted.map(|LiveObject { key, spec, .. }| match spec {
            LiveSpec::Endpoint(spec) => {
                let object = WebhookEndpoint::new(&key.name, spec.clone());
                Change::Endpoint(Box::new(applied(key, object)))
            }
            LiveSpec::Subscription(spec) => {
                let object = WebhookSubscription::new(&key.name, spec.clone());
                Change::Subscription(Box::new(applied(key, object)))
            }
            LiveSpec::Replay(spec) => {
                let object = WebhookReplay::new(&key.name, spec.clone());
                Change::Replay(Box::new(applied(key, object)))
            }
        })
    }

    /// How many objects another class has.
    pub(super) fn of_other_classes(&self, class: &Class) -> usize {
        let class_of = |object: &LiveObject| match &object.spec {
            LiveSpec::Endpoint(spec) => spec.class_name.clone(),
            LiveSpec::Subscription(spec) => spec.class_name.clone(),
            LiveSpec::Replay(spec) => spec.class_name.clone(),
        };
        self.objects.iter().filter(|object| !class.serves(class_of(object).as_deref())).count()
    }

    /// Whether a live replay has ended.
    pub(super) fn has_ended(&self, replay: &ObjectKey) -> bool {
        let mut replays = self.objects.iter().filter(|object| matches!(object.spec, LiveSpec::Replay(_)));
        replays.any(|object| object.key == *replay && object.ended)
    }

    /// What each subscription has not delivered.
    pub(super) fn backlog(&self) -> BTreeMap<ObjectKey, Undelivered> {
        let subscriptions = self.objects.iter().filter(|object| matches!(object.spec, LiveSpec::Subscription(_)));
        subscriptions.map(|object| (object.key.clone(), object.backlog)).collect()
    }

    /// What limits a comparison with these objects.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let doubtful = (!self.doubtful.is_empty()).then(|| {
            format!(
                "the newest version is not in use, but is what the files are compared with: {}",
                self.doubtful.join(", ")
            )
        });
        let replays = self.without_replays.then(|| {
            "every WebhookReplay of the files counts as added: you may not list webhookreplays, so those that exist are \
             not known"
                .to_owned()
        });
        doubtful.into_iter().chain(replays)
    }
}

/// The page that an admin server shows. Another server, at a wrong port, answers with something else.
fn configuration(remote: &Remote, answer: &OkResponse) -> anyhow::Result<RawPage> {
    let page = serde_json::from_str::<RawPage>(&answer.body).ok();
    page.with_context(|| {
        format!(
            "{remote} has answered, but not as an admin server of Grapnel does, which shows its configuration as JSON; {}",
            remote.correction()
        )
    })
}

/// The message for a server that has no path for the configuration: an admin server says which paths it has.
fn no_such_path(remote: &Remote, error: &anyhow::Error) -> String {
    if error.to_string().contains("/api/v1") {
        return different_version("an earlier one");
    }
    format!(
        "{remote} is not an admin server of Grapnel: it answers 404, as the server for webhooks does; {}",
        remote.correction()
    )
}

/// The error of a server that accepts a connection and does not answer.
fn silent(remote: &Remote) -> anyhow::Error {
    anyhow::anyhow!(
        "{remote} has not answered within {} seconds: it accepts connections, but may be another server, or be overloaded; \
         {}, or retry",
        CLI_FIRST_ANSWER.as_secs(),
        remote.correction()
    )
}

fn different_version(theirs: &str) -> String {
    format!(
        "grapnel plan has to have the version of the operator, so that both judge events alike: this is {VERSION}, and the \
         operator has {theirs}; use its version"
    )
}

/// An object that is older than those of files.
fn applied<T>(key: &ObjectKey, object: T) -> Applied<T> {
    Applied { key: key.clone(), object, source: None, age: Age::default(), uid: None }
}

/// Reads the events of an endpoint, the newest first, and shows each to `observe`. Returns how many are left out.
///
/// # Errors
/// Returns an error if the operator cannot be reached or does not allow it.
pub(super) async fn history(
    remote: &Remote,
    endpoint: &ObjectKey,
    span: Span<'_>,
    mut observe: impl FnMut(&StoredEvent),
) -> anyhow::Result<u64> {
    let (since, mut left) = match span {
        Span::Last(count) => ("", count),
        Span::Since(since) => (since, CLI_PLAN_EVENTS),
    };
    let (mut after, mut omitted) = (String::new(), 0);
    loop {
        let limit = left.min(ADMIN_LIST_MAX as u64).to_string();
        let query = [("since", since), ("order", "desc"), ("after", &*after), ("limit", &*limit)];
        let names = [&*endpoint.namespace, &*endpoint.name];
        let page: RawPage = remote.get(Operation::ListHistory, &names, &query).await?.read()?;
        let skipped = page.rest.get("omitted").and_then(|omitted| omitted.as_u64()).unwrap_or_default();
        omitted += skipped;
        for detail in page.rows::<EventDetail>()? {
            observe(&stored(detail)?);
            left = left.saturating_sub(1);
        }
        match page.next {
            Some(next) if left > 0 => after = next,
            _ => return Ok(omitted),
        }
    }
}

/// Shows a replay the deliveries of its subscription, and the events that its filter needs.
///
/// # Errors
/// Returns an error if the operator cannot be reached or does not allow it.
pub(super) async fn count(remote: &Remote, replay: &mut ReplayCount) -> anyhow::Result<()> {
    let subscription = replay.subscription().clone();
    let names = [&*subscription.namespace, &*subscription.name];
    let state = if replay.state() == Some(DeliveryState::DeadLettered) { "deadLettered" } else { "" };
    let (mut after, mut left) = (String::new(), CLI_PLAN_EVENTS);
    let limit = ADMIN_LIST_MAX.to_string();
    'pages: loop {
        let query = [("state", state), ("order", "desc"), ("after", &*after), ("limit", &*limit)];
        let page: RawPage = remote.get(Operation::ListDeliveries, &names, &query).await?.read()?;
        for item in page.rows::<DeliveryItem>()? {
            left = left.saturating_sub(1);
            if !replay.look(candidate(&item)) {
                break 'pages;
            }
        }
        match page.next {
            Some(_) if left == 0 => {
                replay.cut();
                break;
            }
            Some(next) => after = next,
            None => break,
        }
    }
    judge(remote, replay).await
}

/// Shows a replay the events that its filter needs.
async fn judge(remote: &Remote, replay: &mut ReplayCount) -> anyhow::Result<()> {
    let Some((_, last)) = replay.needs() else { return Ok(()) };
    let endpoint = replay.endpoint().clone();
    let names = [&*endpoint.namespace, &*endpoint.name];
    let (mut after, mut left) = (last.saturating_add(1).to_string(), CLI_PLAN_EVENTS);
    let limit = ADMIN_LIST_MAX.to_string();
    while let Some((first, _)) = replay.needs() {
        let query = [("order", "desc"), ("after", &*after), ("limit", &*limit)];
        let page: RawPage = remote.get(Operation::ListHistory, &names, &query).await?.read()?;
        for detail in page.rows::<EventDetail>()? {
            left = left.saturating_sub(1);
            replay.judge(&stored(detail)?);
        }
        // In descending order the position falls.
        match page.next {
            Some(next) if left > 0 && next.parse::<u64>().is_ok_and(|next| next > first) => after = next,
            _ => break,
        }
    }
    Ok(())
}

fn candidate(item: &DeliveryItem) -> ReplayCandidate<'_> {
    let (id, received) = (item.event_id.as_deref(), item.received_time);
    ReplayCandidate { sequence: item.sequence, id, received, state: item.state.into() }
}

/// The stored event that the operator has shown.
fn stored(detail: EventDetail) -> anyhow::Result<StoredEvent> {
    const INVALID: &str = "the operator's response has invalid base64";
    let EventDetail { event, headers, payload, payload_text, payload_base64 } = detail;
    let body = match (payload, payload_text, payload_base64) {
        (Some(json), ..) => Bytes::from(json.get().to_owned()),
        (None, Some(text), _) => Bytes::from(text),
        (None, None, Some(base64)) => Bytes::from(STANDARD.decode(base64).context(INVALID)?),
        // A payload of `null` is deserialized as `None`.
        (None, None, None) => Bytes::from_static(b"null"),
    };
    let header = |EventHeader { name, value, value_base64 }: EventHeader| -> anyhow::Result<(Box<str>, Bytes)> {
        let value = match value_base64 {
            Some(base64) => Bytes::from(STANDARD.decode(base64).context(INVALID)?),
            None => Bytes::from(value.unwrap_or_default()),
        };
        Ok((name.into_boxed_str(), value))
    };
    Ok(StoredEvent {
        sequence: event.sequence,
        id: event.id.unwrap_or_default(),
        kind: event.r#type.unwrap_or_default(),
        received: event.received_time.unwrap_or_default(),
        content_type: event.content_type,
        remote: event.remote,
        headers: headers.into_iter().map(header).collect::<anyhow::Result<_>>()?,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_they_were_stored() {
        let of = |payload: &str| {
            let text = format!(
                r#"{{"id":"a","type":"t","sequence":3,"receivedTime":"2026-01-31T12:00:00Z","remote":"192.0.2.1",
                "contentType":"text/plain","headers":[{{"name":"x-a","value":"1"}},{{"name":"x-b","valueBase64":"/w=="}}]{payload}}}"#
            );
            stored(serde_json::from_str(&text).unwrap()).unwrap()
        };
        let event = of(r#","payload":{"n":1.10, "b":2}"#);
        assert_eq!((&*event.id, &*event.kind, event.sequence), ("a", "t", 3));
        assert_eq!(&event.body[..], br#"{"n":1.10, "b":2}"#, "numbers keep their digits");
        assert_eq!(event.headers[1].1[..], [0xff]);
        assert_eq!(&of(r#","payloadText":"a=b""#).body[..], b"a=b");
        assert_eq!(&of(r#","payloadBase64":"aGk=""#).body[..], b"hi");
        assert_eq!(&of("").body[..], b"null");
    }

    #[test]
    fn another_version_is_named() {
        let sentence = different_version("9.9.9");
        assert!(sentence.contains("9.9.9") && sentence.contains(VERSION), "{sentence}");
    }
}
