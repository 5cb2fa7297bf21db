//! What the API server does not let the operator do: the log and the readiness say so, each once.
//!
//! Every kind of request has a [`Need`]: a verb and a resource, as in a Role. A failing need is logged when it begins to
//! fail and when the cause changes, not at every repetition, and is a line of `/readyz`. It keeps the process from
//! becoming ready only if nothing works without it, and never takes a process out of service that was ready.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Instant};

use parking_lot::Mutex;

use crate::{admin::HealthReporter, controller::limits};

/// What a request takes: the right to a verb on a resource, in a namespace or everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    verb: &'static str,
    resource: &'static str,
    namespace: Option<Arc<str>>,
    /// The process does not become ready without it.
    is_vital: bool,
    /// What does not work without it.
    effect: &'static str,
}

/// Why a request failed.
pub trait Cause: fmt::Display {
    /// The HTTP status of the response, if there was one.
    fn code(&self) -> Option<u16>;

    /// Whether a Role lacks the right. Nothing can be created in a namespace that is being deleted, whatever the Role.
    fn is_missing_right(&self) -> bool {
        self.code() == Some(403) && !self.to_string().contains("it is being terminated")
    }
}

/// Whether the message of a 403 is about the operator's rights, and so about all objects of a namespace, rather than about
/// this object: admission and quotas respond with 403 too.
pub fn is_about_rights(message: &str) -> bool {
    message.contains("cannot ") && message.contains(" resource ")
}

impl Cause for kube::Error {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Api(status) => Some(status.code),
            _ => None,
        }
    }
}

/// The API server did not answer in time.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the API server did not answer in time")]
pub struct Timeout;

impl Cause for Timeout {
    fn code(&self) -> Option<u16> {
        None
    }
}

/// The needs that fail. Cheap to clone; clones share the state.
#[derive(Clone)]
pub struct ApiAccess {
    state: Arc<Mutex<State>>,
}

struct State {
    failing: Failing,
    part: HealthReporter,
}

/// The last failure of a need.
#[derive(Debug)]
struct Failure {
    code: Option<u16>,
    text: String,
    time: Instant,
}

/// What the readiness shows, which anyone may read who reaches the port: not the API server's message, which names objects.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "status {code}"),
            None => f.write_str(&self.text),
        }
    }
}

/// The needs that fail now.
#[derive(Debug, Default)]
struct Failing {
    needs: BTreeMap<Need, Failure>,
    /// Everything has been listed.
    is_synced: bool,
    /// The process was ready: it stays so.
    was_ready: bool,
}

/// What the readiness says.
#[derive(Debug, PartialEq, Eq)]
enum Readiness {
    Fine,
    /// Some of it does not work.
    Degraded(String),
    NotReady(String),
}

/// Maximum needs that the readiness lists.
const LISTED: usize = 8;

impl Need {
    /// The right to `verb` on `resource`.
    pub fn new(verb: &'static str, resource: &'static str) -> Self {
        Self { verb, resource, namespace: None, is_vital: false, effect: "" }
    }

    /// In this namespace; `None` means everywhere.
    #[must_use]
    pub fn within(self, namespace: Option<Arc<str>>) -> Self {
        Self { namespace, ..self }
    }

    /// The process does not become ready without it.
    #[must_use]
    pub fn vital(self) -> Self {
        Self { is_vital: true, ..self }
    }

    /// What does not work without it.
    #[must_use]
    pub fn without_it(self, effect: &'static str) -> Self {
        Self { effect, ..self }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

impl ApiAccess {
    /// Nothing has failed yet. `part` is the part of the readiness.
    pub fn new(part: HealthReporter) -> Self {
        let access = Self { state: Arc::new(Mutex::new(State { failing: Failing::default(), part })) };
        access.state.lock().report();
        access
    }

    /// Records a failure, and logs it unless it only repeats the last one.
    pub fn failed(&self, need: Need, cause: &impl Cause) {
        let (code, text) = (cause.code(), cause.to_string());
        let mut state = self.state.lock();
        let is_news = state.failing.failed(need.clone(), Failure { code, text: text.clone(), time: Instant::now() });
        state.report();
        drop(state);
        if !is_news {
            tracing::debug!(%need, code, error = text, "the API server still refuses");
            return;
        }
        let hint = need.hint(code);
        tracing::warn!(
            verb = need.verb,
            resource = need.resource,
            code,
            error = text,
            hint,
            "cannot {need}{}",
            need.consequence()
        );
    }

    /// Records that it works.
    pub fn recovered(&self, need: &Need) {
        let mut state = self.state.lock();
        if state.failing.needs.remove(need).is_some() {
            state.report();
            drop(state);
            tracing::info!(verb = need.verb, resource = need.resource, "can {need} again");
        }
    }

    /// Removes a need that is not tried any more. Whether it would still fail is not known.
    pub fn forget(&self, need: &Need) {
        let mut state = self.state.lock();
        if state.failing.needs.remove(need).is_some() {
            state.report();
        }
    }

    /// Removes watches that have not failed again: a watch that begins says nothing until something changes.
    pub fn expire(&self) {
        let mut state = self.state.lock();
        let recovered = state.failing.expire(Instant::now());
        if !recovered.is_empty() {
            state.report();
        }
        drop(state);
        for need in recovered {
            tracing::info!(verb = need.verb, resource = need.resource, "can {need} again");
        }
    }

    /// Records that everything has been listed.
    pub fn synced(&self) {
        let mut state = self.state.lock();
        state.failing.is_synced = true;
        state.report();
    }
}

impl Need {
    /// What to do about a response with this status. By its code: the API server's 404 for a resource that it does not have
    /// is plain text without a reason.
    fn hint(&self, code: Option<u16>) -> &'static str {
        match code {
            Some(403) => "the operator's ServiceAccount lacks this right: see the roles of the chart or of manifests/",
            Some(404) if self.resource.starts_with("webhook") => {
                "the CustomResourceDefinition is not installed: grapnel crd | kubectl apply -f -"
            }
            _ => "retrying",
        }
    }

    fn consequence(&self) -> String {
        if self.effect.is_empty() { String::new() } else { format!("; {}", self.effect) }
    }
}

impl State {
    fn report(&mut self) {
        match self.failing.readiness() {
            Readiness::Fine => self.part.ready(),
            Readiness::Degraded(reason) => self.part.degraded(reason),
            Readiness::NotReady(reason) => self.part.not_ready(reason),
        }
    }
}

impl Failing {
    /// Records a failure. Returns whether it is another one than the last.
    fn failed(&mut self, need: Need, failure: Failure) -> bool {
        let code = failure.code;
        let before = self.needs.insert(need, failure);
        before.is_none_or(|before| before.code != code)
    }

    /// Removes watches that have not failed again, and returns them.
    fn expire(&mut self, now: Instant) -> Vec<Need> {
        let is_over = |(need, failure): &(&Need, &Failure)| {
            need.verb == "watch" && now.saturating_duration_since(failure.time) >= limits::WATCH_FAILURE_FOR
        };
        let over: Vec<Need> = self.needs.iter().filter(is_over).map(|(need, _)| need.clone()).collect();
        self.needs.retain(|need, _| !over.contains(need));
        over
    }

    fn readiness(&mut self) -> Readiness {
        let is_blocked = self.needs.keys().any(|need| need.is_vital);
        self.was_ready |= self.is_synced && !is_blocked;
        if self.needs.is_empty() {
            return Readiness::Fine;
        }
        let line = |(need, failure): (&Need, &Failure)| format!("cannot {need}{}: {failure}", need.consequence());
        let mut lines: Vec<String> = self.needs.iter().take(LISTED).map(line).collect();
        if self.needs.len() > LISTED {
            lines.push(format!("and {} more", self.needs.len() - LISTED));
        }
        let lines = lines.join("; ");
        if is_blocked && !self.was_ready { Readiness::NotReady(lines) } else { Readiness::Degraded(lines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Option<u16>, text: &str) -> Failure {
        Failure { code, text: text.into(), time: Instant::now() }
    }

    #[test]
    fn a_watch_that_does_not_fail_again_works() {
        let mut failing = Failing::default();
        failing.failed(Need::new("watch", "secrets"), failure(Some(403), "403"));
        failing.failed(Need::new("get", "secrets"), failure(Some(403), "403"));
        let now = Instant::now();
        assert!(failing.expire(now).is_empty());
        assert_eq!(failing.expire(now + limits::WATCH_FAILURE_FOR), [Need::new("watch", "secrets")]);
        assert_eq!(failing.needs.len(), 1);
    }

    #[test]
    fn a_failure_is_news_once_and_when_its_code_changes() {
        let mut failing = Failing::default();
        let need = || Need::new("get", "secrets").within(Some(Arc::from("shop")));
        assert!(failing.failed(need(), failure(Some(403), "secrets \"a\" is forbidden")));
        assert!(
            !failing.failed(need(), failure(Some(403), "secrets \"b\" is forbidden")),
            "another object, same right"
        );
        assert!(failing.failed(need(), failure(Some(503), "overloaded")));
        assert!(failing.failed(need(), failure(None, "no route")));
        assert!(failing.failed(Need::new("get", "secrets"), failure(Some(403), "everywhere")));
    }

    #[test]
    fn a_missing_resource_and_a_missing_right_say_what_to_do() {
        let text = "404 page not found";
        let status = kube::core::Status::failure(text, "Failed to parse error data").with_code(404);
        let missing = kube::Error::Api(status.boxed());
        let hint = |need: Need, code| need.hint(code);
        assert!(hint(Need::new("list", "webhookendpoints"), missing.code()).contains("grapnel crd | kubectl apply"));
        assert!(hint(Need::new("list", "webhookendpoints"), Some(403)).contains("ServiceAccount"));
        assert_eq!(hint(Need::new("get", "secrets"), Some(404)), "retrying", "it has no CustomResourceDefinition");
        assert_eq!(hint(Need::new("list", "webhookendpoints"), None), "retrying");
    }

    #[test]
    fn a_need_that_is_not_tried_any_more_is_forgotten() {
        let health = crate::admin::Health::new();
        let access = ApiAccess::new(health.part("cluster"));
        let need = || Need::new("get", "secrets").vital();
        access.failed(need(), &Timeout);
        assert!(health.readiness().is_err());
        access.forget(&need());
        assert_eq!(health.readiness(), Ok(()));
    }

    #[test]
    fn only_a_vital_need_keeps_it_from_becoming_ready_and_none_ends_readiness() {
        let mut failing = Failing::default();
        assert_eq!(failing.readiness(), Readiness::Fine);
        let namespaces = Need::new("list", "namespaces").without_it("selectors match nothing");
        failing.failed(namespaces.clone(), failure(Some(403), "403"));
        let line = "cannot list namespaces; selectors match nothing: status 403";
        assert_eq!(failing.readiness(), Readiness::Degraded(line.into()));
        let secrets = Need::new("get", "secrets").vital();
        failing.failed(secrets.clone(), failure(Some(403), "403"));
        failing.is_synced = true;
        assert!(matches!(failing.readiness(), Readiness::NotReady(_)));
        failing.needs.remove(&secrets);
        assert!(matches!(failing.readiness(), Readiness::Degraded(_)));
        failing.failed(secrets, failure(Some(403), "403"));
        assert!(
            matches!(failing.readiness(), Readiness::Degraded(_)),
            "it was ready, and what it has read stays in use"
        );
        failing.needs.clear();
        assert_eq!(failing.readiness(), Readiness::Fine);
    }
}
