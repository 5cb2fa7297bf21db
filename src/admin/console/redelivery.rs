//! Redelivery in two steps: what would be sent again, and the confirmation.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::{Extension, Path, State},
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use grapnel_api::ObjectKey;
use maud::{Markup, html};
use url::form_urlencoded;

use super::{Shown, csrf, layout::Page, links, text};
use crate::admin::{
    Shared,
    authn::Caller,
    contract::{RedeliveryOrder, RedeliveryResult},
    limits::ADMIN_REDELIVERY_BODY_BYTES,
    query::Query,
    response::Problem,
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
    Shown(redeliver(&shared, &caller, ObjectKey::new(namespace, name), &uri, &headers, body).await)
}

/// The same address without a form, as after a click into the address bar: leads back.
pub(super) async fn back(Path((namespace, name)): Path<(String, String)>) -> Redirect {
    Redirect::to(&links::subscription(&ObjectKey::new(namespace, name)))
}

async fn redeliver(
    shared: &Shared,
    caller: &Caller,
    key: ObjectKey,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
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
    let result = shared.redeliver(&key, &form.order()?, caller).await?;
    let here = links::subscription(&key);
    if form.confirmed {
        // A reload of the next page sends nothing.
        return Ok(Redirect::to(&Done::link(&here, &form.select, &result)).into_response());
    }
    let above = vec![(key.to_string(), here.clone())];
    let content = preview(&here, &form, &result);
    Ok(Page { title: "Redeliver?".into(), above, caller: Some(caller), content }.respond())
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

/// What was done, in the parameters of the page that follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done {
    queued: u64,
    hastened: u64,
    skipped: u64,
    gone: u64,
    /// What was selected, and where to continue.
    rest: Option<(String, String)>,
}

impl Done {
    /// The parameters.
    pub(super) const PARAMETERS: [&'static str; 6] = ["queued", "hastened", "skipped", "gone", "select", "continue"];

    fn link(here: &str, select: &str, result: &RedeliveryResult) -> String {
        let numbers = [result.queued, result.hastened, result.skipped, result.gone].map(|number| number.to_string());
        let values = numbers.iter().map(String::as_str).chain([select, result.next.as_deref().unwrap_or_default()]);
        links::with(here, Self::PARAMETERS.into_iter().zip(values).collect::<Vec<_>>())
    }

    /// What the parameters tell; `None` if they tell of no redelivery.
    pub(super) fn of(query: &Query) -> Result<Option<Self>, Problem> {
        if query.get("queued").is_none() {
            return Ok(None);
        }
        let number = |name: &str| match query.get(name) {
            None => Ok(0),
            Some(text) => text.parse().map_err(|_| Problem::parameter(format!("{name} must be a number"))),
        };
        let rest = query.get("select").zip(query.get("continue"));
        Ok(Some(Self {
            queued: number("queued")?,
            hastened: number("hastened")?,
            skipped: number("skipped")?,
            gone: number("gone")?,
            rest: rest.map(|(select, from)| (select.to_owned(), from.to_owned())),
        }))
    }

    /// The message, with a form that continues with the rest. The parameters may be those of another site's link, so the
    /// form leads to the preview: nothing is redelivered that was not shown before.
    pub(super) fn show(&self, here: &str, token: &str, circuit_is_open: bool) -> Markup {
        html! {
            div.done role="status" {
                p {
                    (text::count(self.queued, "event")) " queued for redelivery"
                    @if self.hastened > 0 { ", " (self.hastened) " due now" }
                    @if self.skipped > 0 { ", " (self.skipped) " left as they are" }
                    @if self.gone > 0 { ", " (self.gone) " gone" }
                    "."
                    @if circuit_is_open { " The circuit is open: they are sent once a probe succeeds." }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_told_by_the_next_page() {
        let result = RedeliveryResult { queued: 3, gone: 1, next: Some("5-9".into()), ..RedeliveryResult::default() };
        let link = Done::link("/s", "deadLettered", &result);
        let known = Done::PARAMETERS;
        let query = Query::of_page(&link.parse().unwrap(), &known).unwrap();
        let rest = Some(("deadLettered".into(), "5-9".into()));
        assert_eq!(Done::of(&query).unwrap(), Some(Done { queued: 3, hastened: 0, skipped: 0, gone: 1, rest }));
        let none = Query::of_page(&"/s?select=x".parse().unwrap(), &known).unwrap();
        assert_eq!(Done::of(&none).unwrap(), None);
        let forged = Query::of_page(&"/s?queued=%3Cscript%3E".parse().unwrap(), &known).unwrap();
        assert!(Done::of(&forged).is_err());
    }

    #[test]
    fn the_rest_is_shown_before_it_is_redelivered() {
        let rest = Some(("deadLettered".into(), "5-9".into()));
        let done = Done { queued: 3, hastened: 0, skipped: 0, gone: 0, rest };
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
