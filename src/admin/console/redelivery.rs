//! Redelivery in two steps, what would be sent again and the confirmation; and the probe of a receiver.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::{Extension, Path, State},
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use grapnel_api::ObjectKey;
use jiff::Timestamp;
use maud::{Markup, html};
use url::form_urlencoded;

use super::{Shown, csrf, layout::Page, links, text};
use crate::{
    admin::{
        Shared,
        authn::Caller,
        contract::{RedeliveryOrder, RedeliveryResult},
        limits::{ADMIN_REDELIVERY_BODY_BYTES, CONSOLE_NOTICE_TIME},
        query::Query,
        response::Problem,
    },
    catalog::ObjectKind,
};

const FORM: &str = "application/x-www-form-urlencoded";

/// What a form asks for.
#[derive(Debug, Default)]
struct Form {
    csrf: String,
    select: String,
    ids: Vec<Box<str>>,
    confirmed: bool,
    from: Option<String>,
}

impl Form {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            match &*name {
                "csrf" => form.csrf = value.into_owned(),
                "select" => form.select = value.into_owned(),
                "id" => form.ids.push(value.into()),
                "confirmed" => form.confirmed = &*value == "yes",
                "continue" => form.from = Some(value.into_owned()),
                other => return Err(Problem::parameter(format!("unknown field {other:?}"))),
            }
        }
        Ok(form)
    }

    fn order(&self) -> Result<RedeliveryOrder, Problem> {
        let order = RedeliveryOrder { dry_run: !self.confirmed, from: self.from.clone(), ..RedeliveryOrder::default() };
        match &*self.select {
            "deadLettered" => Ok(RedeliveryOrder { dead_lettered: Some(true), ..order }),
            "retrying" => Ok(RedeliveryOrder { retrying: Some(true), ..order }),
            "events" if self.ids.is_empty() => Err(Problem::parameter("no event is selected; go back and select some")),
            "events" => Ok(RedeliveryOrder { event_ids: Some(self.ids.clone()), ..order }),
            other => Err(Problem::parameter(format!("select must be deadLettered, retrying or events, not {other:?}"))),
        }
    }
}

/// `POST /console/subscriptions/{namespace}/{name}/redeliver`
pub(super) async fn order(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Shown {
    let key = ObjectKey::new(namespace, name);
    let result = redeliver(&shared, &caller, &key, &uri, &headers, body).await;
    Shown::of(ObjectKind::Subscription, key, result)
}

/// `POST /console/subscriptions/{namespace}/{name}/resume`
pub(super) async fn resume(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Shown {
    let key = ObjectKey::new(namespace, name);
    let result = probe(&shared, &caller, &key, &uri, &headers, body).await;
    Shown::of(ObjectKind::Subscription, key, result)
}

/// The same address without a form, as after a click into the address bar: leads back.
pub(super) async fn back(Path((namespace, name)): Path<(String, String)>) -> Redirect {
    Redirect::to(&links::subscription(&ObjectKey::new(namespace, name)))
}

/// Reads a form of this console.
async fn read(shared: &Shared, caller: &Caller, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Form, Problem> {
    csrf::same_origin(headers, uri)?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM) {
        return Err(Problem::unsupported_media_type(format!(
            "the body must be a form, with the header Content-Type: {FORM}"
        )));
    }
    let body = to_bytes(body, ADMIN_REDELIVERY_BODY_BYTES).await.map_err(|_| {
        Problem::too_large(format!("the form is larger than {ADMIN_REDELIVERY_BODY_BYTES} bytes, or ended early"))
    })?;
    let form = Form::parse(&body)?;
    csrf::check(shared.form_key.as_ref(), caller, &form.csrf)?;
    Ok(form)
}

/// Resumes as `grapnel resume` does: events that wait for a retry are due now, and one of them is the probe.
async fn probe(
    shared: &Shared,
    caller: &Caller,
    key: &ObjectKey,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let form = read(shared, caller, uri, headers, body).await?;
    let result = shared.resume(key, form.from.as_deref(), caller).await?;
    let done = Done::of_result("retrying", &result.done, true);
    Ok(Redirect::to(&done.link(&links::subscription(key), shared, caller)).into_response())
}

async fn redeliver(
    shared: &Shared,
    caller: &Caller,
    key: &ObjectKey,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let form = read(shared, caller, uri, headers, body).await?;
    let result = shared.redeliver(key, &form.order()?, caller).await?;
    let here = links::subscription(key);
    if form.confirmed {
        // A reload of the next page sends nothing.
        let done = Done::of_result(&form.select, &result, false);
        return Ok(Redirect::to(&done.link(&here, shared, caller)).into_response());
    }
    let home = shared.home(caller, &key.namespace).await;
    let above = links::above(key, [(key.to_string(), here.clone())]);
    let content = preview(&here, &form, &result);
    Ok(Page { title: "Redeliver?".into(), home, above, caller: Some(caller), content }.respond())
}

/// What would be done.
fn preview(here: &str, form: &Form, result: &RedeliveryResult) -> Markup {
    let least = if result.next.is_some() { "at least " } else { "" };
    html! {
        p { "Nothing has been sent yet." }
        dl.facts {
            dt { "Would be sent again" } dd { (least) (text::count(result.queued, "event")) ", with attempts that start again at 1" }
            @if result.hastened > 0 { dt { "Would be retried now" } dd { (least) (text::count(result.hastened, "event")) } }
            @if result.skipped > 0 {
                dt { "Left as they are" }
                dd { (text::count(result.skipped, "event")) ": pending, in flight, due already, or from before the subscription began" }
            }
            @if result.gone > 0 { dt { "Gone" } dd { (text::count(result.gone, "event")) " removed after retention" } }
        }
        @if result.sending.suspended == Some(true) {
            p.remark { "The subscription is suspended: events are sent once it is resumed." }
        }
        @if result.sending.mode.is_some() {
            p.remark { "The mode of the subscription is Shadow: nothing is sent, and the events are settled as skipped." }
        }
        form method="post" action={ (here) "/redeliver" } {
            input type="hidden" name="csrf" value=(form.csrf);
            input type="hidden" name="select" value=(form.select);
            input type="hidden" name="confirmed" value="yes";
            @if let Some(from) = &form.from { input type="hidden" name="continue" value=(from); }
            @for id in &form.ids { input type="hidden" name="id" value=(id); }
            p.actions {
                @if result.moved() > 0 || result.next.is_some() { button.primary { "Redeliver" } " " }
                a href=(here) { "Cancel" }
            }
        }
    }
}

/// What was done, in the parameters of the page that follows. A seal proves that this console has written them for the
/// caller: the link of a stranger shows nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done {
    queued: u64,
    hastened: u64,
    skipped: u64,
    gone: u64,
    /// Whether a probe of the receiver was requested.
    probed: bool,
    /// What was selected, and where to continue.
    rest: Option<(String, String)>,
}

impl Done {
    /// The parameters.
    pub(super) const PARAMETERS: [&'static str; 9] =
        ["queued", "hastened", "skipped", "gone", "probed", "select", "continue", "at", "seal"];

    fn of_result(select: &str, result: &RedeliveryResult, probed: bool) -> Self {
        let RedeliveryResult { queued, hastened, skipped, gone, .. } = *result;
        let rest = result.next.as_ref().map(|from| (select.to_owned(), from.clone()));
        Self { queued, hastened, skipped, gone, probed, rest }
    }

    /// The page of the subscription, with the message.
    fn link(&self, here: &str, shared: &Shared, caller: &Caller) -> String {
        let at = shared.admin.clock.now();
        sealed(self.address(here, at), |text| csrf::seal(shared.form_key.as_ref(), caller, text))
    }

    /// The address without the seal.
    fn address(&self, here: &str, at: Timestamp) -> String {
        let [queued, hastened, skipped, gone, probed] =
            [self.queued, self.hastened, self.skipped, self.gone, self.probed.into()].map(|number| number.to_string());
        let (select, from) = self.rest.as_ref().map_or(("", ""), |(select, from)| (select, from));
        let at = at.as_millisecond().to_string();
        let values = [&*queued, &*hastened, &*skipped, &*gone, &*probed, select, from, &*at];
        links::with(here, Self::PARAMETERS.into_iter().zip(values).collect::<Vec<_>>())
    }

    /// What the parameters of a page tell; `None` if this console did not write them for the caller, or a while ago.
    pub(super) fn of(query: &Query, here: &str, shared: &Shared, caller: &Caller) -> Option<Self> {
        Self::read(query, here, shared.admin.clock.now(), |text, seal| {
            csrf::is_sealed(shared.form_key.as_ref(), caller, text, seal)
        })
    }

    fn read(query: &Query, here: &str, now: Timestamp, is_sealed: impl FnOnce(&str, &str) -> bool) -> Option<Self> {
        let number = |name: &str| query.get(name)?.parse::<u64>().ok();
        let at = Timestamp::from_millisecond(query.get("at")?.parse().ok()?).ok()?;
        let rest = query.get("select").zip(query.get("continue"));
        let done = Self {
            queued: number("queued")?,
            hastened: number("hastened")?,
            skipped: number("skipped")?,
            gone: number("gone")?,
            probed: number("probed")? == 1,
            rest: rest.map(|(select, from)| (select.to_owned(), from.to_owned())),
        };
        let is_recent = now.duration_since(at).unsigned_abs() <= CONSOLE_NOTICE_TIME;
        (is_recent && is_sealed(&done.address(here, at), query.get("seal")?)).then_some(done)
    }

    /// The message, with a form that continues with the rest. The form leads to the preview: nothing is redelivered that
    /// was not shown before.
    pub(super) fn show(&self, here: &str, token: &str, circuit_is_open: bool) -> Markup {
        html! {
            div.done role="status" {
                @if self.probed { p { "The receiver is probed with the next event that is due." } }
                p {
                    (text::count(self.queued, "event")) " queued for redelivery"
                    @if self.hastened > 0 { ", " (self.hastened) " due now" }
                    @if self.skipped > 0 { ", " (self.skipped) " left as they are" }
                    @if self.gone > 0 { ", " (self.gone) " gone" }
                    "."
                    @if circuit_is_open && !self.probed { " The circuit is open: they are sent once a probe succeeds." }
                }
                @if let Some((select, from)) = &self.rest {
                    form method="post" action={ (here) "/redeliver" } {
                        input type="hidden" name="csrf" value=(token);
                        input type="hidden" name="select" value=(select);
                        input type="hidden" name="continue" value=(from);
                        p.actions { "There are more. " button { "Continue" } }
                    }
                }
            }
        }
    }
}

/// An address with its seal.
fn sealed(address: String, seal: impl FnOnce(&str) -> String) -> String {
    let seal = seal(&address);
    format!("{address}&seal={seal}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-31T12:00:00Z";

    fn read(link: &str, now: &str) -> Option<Done> {
        let query = Query::of_page(&link.parse().unwrap(), &Done::PARAMETERS).unwrap();
        Done::read(&query, "/s", now.parse().unwrap(), |text, seal| seal == seal_of(text))
    }

    fn seal_of(text: &str) -> String {
        format!("s{}", text.len())
    }

    fn link(done: &Done) -> String {
        sealed(done.address("/s", NOW.parse().unwrap()), seal_of)
    }

    #[test]
    fn what_was_done_is_told_by_the_next_page() {
        let result = RedeliveryResult { queued: 3, gone: 1, next: Some("5-9".into()), ..RedeliveryResult::default() };
        let done = Done::of_result("deadLettered", &result, false);
        let told = link(&done);
        assert_eq!(read(&told, NOW), Some(done));
        let probed = Done::of_result("retrying", &RedeliveryResult::default(), true);
        assert_eq!(read(&link(&probed), NOW), Some(probed));
        assert_eq!(read(&told, "2026-01-31T13:00:00Z"), None, "an old link tells nothing");
        assert_eq!(read("/s?select=x", NOW), None);
    }

    #[test]
    fn a_message_that_this_console_has_not_written_is_not_shown() {
        let done = Done::of_result("deadLettered", &RedeliveryResult::default(), false);
        let told = link(&done);
        for forged in [
            told.replace("queued=0", "queued=777"),
            told.split_once("&seal=").unwrap().0.to_owned(),
            "/s?queued=777".into(),
            "/s?queued=%3Cscript%3E&seal=s".into(),
        ] {
            assert_eq!(read(&forged, NOW), None, "{forged}");
        }
    }

    #[test]
    fn the_rest_is_shown_before_it_is_redelivered() {
        let result = RedeliveryResult { queued: 3, next: Some("5-9".into()), ..RedeliveryResult::default() };
        let done = Done::of_result("deadLettered", &result, false);
        let continues = r#"name="continue" value="5-9""#;
        let message = done.show("/s", "token", false).into_string();
        assert!(message.contains(continues) && !message.contains("confirmed"), "{message}");
        let form = Form::parse(b"select=deadLettered&continue=5-9").unwrap();
        assert!(form.order().unwrap().dry_run);
        let preview = preview("/s", &form, &RedeliveryResult::default()).into_string();
        assert!(preview.contains(continues) && preview.contains("confirmed"), "{preview}");
    }

    #[test]
    fn a_form_selects_in_one_way() {
        let order = |body: &str| Form::parse(body.as_bytes()).and_then(|form| form.order());
        let selected = order("select=events&id=a%2Fb&id=c").unwrap();
        assert_eq!(selected.event_ids.unwrap(), ["a/b".into(), "c".into()]);
        assert!(selected.dry_run, "nothing is sent unless it is confirmed");
        assert!(!order("select=deadLettered&confirmed=yes").unwrap().dry_run);
        assert!(order("select=deadLettered&confirmed=1").unwrap().dry_run);
        // The checkboxes of the page are sent with every button.
        assert_eq!(order("select=deadLettered&id=a").unwrap().event_ids, None);
        for wrong in ["", "select=events", "select=all", "select=events&id=a&x=y"] {
            assert!(order(wrong).is_err(), "{wrong}");
        }
    }
}
