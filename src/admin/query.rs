//! Query parameters: only known ones, once each, with valid values.

use axum::http::Uri;
use grapnel_journal::Sequence;
use grapnel_values::{duration, glob::Glob, name};
use jiff::Timestamp;
use serde::{
    Deserialize,
    de::{IntoDeserializer, value},
};

use super::{
    contract::{ItemState, ListOrder, Operation},
    response::Problem,
};
use crate::admin::limits::{ADMIN_LIST_DEFAULT, ADMIN_LIST_MAX};

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Parses the parameters of a URI, all of which must be those of the operation.
    pub(super) fn parse(uri: &Uri, operation: Operation) -> Result<Self, Problem> {
        let known: Vec<&str> = operation.query().iter().map(|parameter| parameter.name).collect();
        Self::read(uri, &known, false)
    }

    /// Parses the parameters of a page, which a form also sends when they are empty.
    pub(super) fn of_page(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        Self::read(uri, known, true)
    }

    fn read(uri: &Uri, known: &[&str], may_be_empty: bool) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                let takes = match known {
                    [] => "this path has no parameters".to_owned(),
                    known => format!("the parameters are {}", known.join(", ")),
                };
                return Err(Problem::parameter(format!("unknown query parameter {name:?}; {takes}")));
            }
            if value.is_empty() && may_be_empty {
                continue;
            }
            if value.is_empty() {
                return Err(Problem::parameter(format!("{name} is empty; set a value or remove it")));
            }
            if pairs.iter().any(|(other, _)| **other == *name) {
                return Err(Problem::parameter(format!("{name} occurs more than once")));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self { pairs })
    }

    /// The value of one parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    /// The namespace, if any.
    pub(super) fn namespace(&self) -> Result<Option<&str>, Problem> {
        let namespace = self.get("namespace");
        match namespace.filter(|namespace| !name::is_label(namespace)) {
            None => Ok(namespace),
            Some(text) => Err(Problem::parameter(format!(
                "{text:?} is not a valid name of a namespace, which has at most 63 lower-case letters, digits and hyphens, \
                 and begins and ends with a letter or a digit"
            ))),
        }
    }

    /// The maximum number of items.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else { return Ok(ADMIN_LIST_DEFAULT) };
        text.parse().ok().filter(|limit| (1..=ADMIN_LIST_MAX).contains(limit)).ok_or_else(|| {
            Problem::parameter(format!("limit must be a number from 1 to {ADMIN_LIST_MAX}, not {text:?}"))
        })
    }

    /// The sequence after which to continue, if any.
    pub(super) fn after(&self) -> Result<Option<Sequence>, Problem> {
        let after = self.get("after").map(|text| {
            text.parse().map_err(|_| {
                Problem::parameter(format!(
                    "after must be a sequence, such as `continue` of the previous page, not {text:?}"
                ))
            })
        });
        after.transpose()
    }

    /// The order of a list.
    pub(super) fn order(&self) -> Result<ListOrder, Problem> {
        let order = self.get("order").map(|text| {
            word(text).ok_or_else(|| Problem::parameter(format!("order must be asc or desc, not {text:?}")))
        });
        Ok(order.transpose()?.unwrap_or_default())
    }

    /// The state of deliveries, if any.
    pub(super) fn state(&self) -> Result<Option<ItemState>, Problem> {
        let state = self.get("state").map(|text| {
            word(text).ok_or_else(|| {
                Problem::parameter(format!(
                    "state must be pending, inFlight, retrying, deadLettered or settled, not {text:?}"
                ))
            })
        });
        state.transpose()
    }

    /// The glob for event types, if any.
    pub(super) fn kind(&self) -> Result<Option<Glob>, Problem> {
        let glob = self
            .get("type")
            .map(|text| Glob::parse(text).map_err(|error| Problem::parameter(format!("type is not valid: {error}"))));
        glob.transpose()
    }

    /// Whether the parameters that all lists have are valid.
    fn is_list(&self) -> bool {
        self.limit().is_ok() && self.after().is_ok() && self.order().is_ok()
    }

    /// The time from which to start: a timestamp, or a duration before `now`.
    pub(super) fn since(&self, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        self.get("since").map(|text| time("since", text, now)).transpose()
    }
}

/// A value of the contract that is a single word.
fn word<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let text: value::StrDeserializer<'a, value::Error> = text.into_deserializer();
    T::deserialize(text).ok()
}

/// Parses a time: a timestamp, or a duration before `now`.
pub(super) fn time(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(ago) = duration::parse(text) {
        // A duration that exceeds the range of timestamps means everything.
        return Ok(now.checked_sub(ago).unwrap_or(Timestamp::MIN));
    }
    Err(Problem::parameter(format!(
        "{name} must be a time such as 2026-01-31T12:00:00Z (in a query a + in it is written %2B) or a duration ago, \
         such as 90m, not {text:?}"
    )))
}

/// Whether the query of a list is valid at `now`. For checking queries without a server.
#[doc(hidden)]
pub fn understands_query(uri: &Uri, now: Timestamp) -> bool {
    let events = Query::parse(uri, Operation::ListEvents)
        .is_ok_and(|query| query.is_list() && query.since(now).is_ok() && query.kind().is_ok());
    events || Query::parse(uri, Operation::ListDeliveries).is_ok_and(|query| query.is_list() && query.state().is_ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn with<T>(query: &str, read: impl FnOnce(&Query) -> Result<T, Problem>) -> Result<T, String> {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        let query = Query::parse(&uri, Operation::ListEvents).map_err(|problem| format!("{problem:?}"))?;
        read(&query).map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn values_are_read() {
        assert_eq!(with("type=a%2Fb+c", |query| Ok(query.get("type").map(str::to_owned))), Ok(Some("a/b c".into())));
        assert_eq!(with("", Query::limit), Ok(ADMIN_LIST_DEFAULT));
        assert_eq!(with("limit=1000", Query::limit), Ok(1000));
        assert_eq!(with("after=7", Query::after), Ok(Some(7)));
        assert_eq!(with("order=desc", Query::order), Ok(ListOrder::Desc));
        assert_eq!(with("", Query::order), Ok(ListOrder::Asc));
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(with("since=90m", |query| query.since(now)), Ok(Some(now - Duration::from_secs(5400))));
        assert_eq!(with("since=2026-01-31T12:00:00Z", |query| query.since(now)), Ok(Some(now)));
        assert_eq!(with("since=2026-01-31T14:00:00%2B02:00", |query| query.since(now)), Ok(Some(now)));
        assert_eq!(with("", |query| query.since(now)), Ok(None));
    }

    #[test]
    fn states_are_named_as_they_are_shown() {
        for state in ["pending", "inFlight", "retrying", "deadLettered", "settled"] {
            let query: Uri = format!("/x?state={state}").parse().unwrap();
            let found = Query::parse(&query, Operation::ListDeliveries).unwrap().state().unwrap();
            assert_eq!(serde_json::to_value(found).unwrap(), state);
        }
        let state = |text: &str| {
            let query: Uri = format!("/x?state={text}").parse().unwrap();
            Query::parse(&query, Operation::ListDeliveries).unwrap().state()
        };
        assert_eq!(state("dead").unwrap(), Some(ItemState::DeadLettered), "the short word is accepted");
        assert!(format!("{:?}", state("gone").unwrap_err()).contains("deadLettered"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (query, word) in [("colour=red", "colour"), ("limit=1&limit=2", "more than once"), ("type=", "empty")] {
            let error = with(query, |_| Ok(())).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        for limit in ["0", "1001", "-1", "ten", "99999999999999999999"] {
            assert!(with(&format!("limit={limit}"), Query::limit).is_err(), "{limit}");
        }
        assert!(with("after=x", Query::after).is_err());
        assert!(with("order=newest", Query::order).is_err());
        assert!(with(&format!("type={}", "x".repeat(10_000)), Query::kind).is_err());
        for since in ["yesterday", "-5m", "2026-13-01T00:00:00Z"] {
            assert!(with(&format!("since={since}"), |query| query.since(Timestamp::UNIX_EPOCH)).is_err(), "{since}");
        }
    }
}
