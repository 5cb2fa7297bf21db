//! Manages an HTTPRoute of the Gateway API for each endpoint with `spec.route`, and reports its state.
//!
//! The route has the endpoint's name and namespace, is owned by it, and sends the endpoint's path to the operator's
//! Service. `plan` decides the next step, `manifest` says what is written, `schedule` when, `verdict` what `Routed` says,
//! and `gateway` what the URL is; here are the requests. Every replica watches the operator's routes and reports their
//! state, only the leader writes. A route that does not belong to the endpoint is never written.
//!
//! The Gateway API may be installed later than the operator: the watch of a missing resource is repeated with a backoff.

mod failure;
mod gateway;
pub mod limits;
mod manifest;
mod plan;
mod schedule;
mod store;
mod verdict;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt,
    stream::{BoxStream, SelectAll},
};
use grapnel_api::{ConditionStatus, GatewayRoute, ObjectKey};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
};
use kube_runtime::{
    WatchStreamExt,
    watcher::{self, Event},
};
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

pub use self::manifest::RouteService;
use self::{
    failure::{Failure, conflict, disabled, failure, forbidden, unavailable},
    gateway::{GatewayName, GatewayRead, Gateways},
    manifest::{LABEL, ObservedRoute, RouteFields},
    plan::{Presence, Step, Wish},
    schedule::Schedule,
    store::{Availability, Store},
};
use super::{
    api_access::{ApiAccess, Cause, Need},
    lease::Leadership,
    write::random,
    write_budget::WriteBudget,
};
use crate::{
    catalog::{Facts, Namespaces, ObjectKind, ObjectView, ObjectViews, RouteSpec, RouteState},
    telemetry::metrics::Metrics,
};

/// The field manager of HTTPRoutes.
const FIELD_MANAGER: &str = "grapnel";

/// Maximum steps for one endpoint in one pass: delete, read, create, done.
const STEPS: usize = 4;

/// How HTTPRoutes are managed.
pub struct RouteOptions {
    /// For the watch; may retry by itself.
    pub patient: Client,
    /// For reads and writes; must not retry by itself.
    pub prompt: Client,
    /// The namespaces whose endpoints are served.
    pub namespaces: Namespaces,
    /// Every object as programmed.
    pub objects: watch::Receiver<ObjectViews>,
    /// Whether this replica may write.
    pub leadership: Leadership,
    /// Reports refused requests.
    pub access: ApiAccess,
    /// Where HTTPRoutes send requests; `None` manages none.
    pub service: Option<RouteService>,
    /// The budget of requests.
    pub budget: WriteBudget,
    /// Counts requests.
    pub metrics: Metrics,
}

/// Manages HTTPRoutes until `shutdown`.
pub async fn run(options: RouteOptions, shutdown: CancellationToken) {
    match options.service.clone() {
        Some(service) => Routes::new(options, service).run(shutdown).await,
        None => report_disabled(options.objects, shutdown).await,
    }
}

/// Reports to endpoints that want a route that there will be none.
async fn report_disabled(mut objects: watch::Receiver<ObjectViews>, shutdown: CancellationToken) {
    loop {
        for view in objects.borrow_and_update().iter() {
            if let (RouteSpec::Wanted(_), Facts::Endpoint(facts)) = (&view.route, &view.facts) {
                facts.routed(Some(disabled()));
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = objects.changed() => if changed.is_err() { return shutdown.cancelled().await },
        }
    }
}

type RouteEvent = (usize, watcher::Result<Event<DynamicObject>>);

struct Routes {
    options: RouteOptions,
    service: RouteService,
    store: Store,
    schedule: Schedule,
    gateways: Gateways,
}

impl Routes {
    fn new(options: RouteOptions, service: RouteService) -> Self {
        let (store, schedule) = (Store::new(&options.namespaces), Schedule::new(options.budget.clone()));
        Self { options, service, store, schedule, gateways: Gateways::default() }
    }

    async fn run(mut self, shutdown: CancellationToken) {
        let mut events = self.watch();
        let mut ticks = time::interval(limits::ROUTE_PASS);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some((stream, event)) = events.next() => self.take(stream, event),
                _ = ticks.tick() => tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.pass() => {}
                },
            }
        }
    }

    fn watch(&self) -> SelectAll<BoxStream<'static, RouteEvent>> {
        let config = watcher::Config::default().labels(&format!("{}={}", LABEL.0, LABEL.1));
        let scopes = self.store.scopes().iter().enumerate();
        let streams = scopes.map(|(number, scope)| {
            let api = routes(&self.options.patient, scope.as_deref());
            watcher::watcher(api, config.clone()).default_backoff().map(move |event| (number, event)).boxed()
        });
        streams.collect()
    }

    fn take(&mut self, stream: usize, event: watcher::Result<Event<DynamicObject>>) {
        match &event {
            Err(error) => self.refused(stream, error),
            Ok(Event::InitDone) => self.options.access.recovered(&self.need("list", stream)),
            Ok(_) => {}
        }
        match self.store.take(stream, event) {
            Some(Availability::Listed) => tracing::info!("HTTPRoutes are available"),
            Some(Availability::Missing) => tracing::warn!("there are no HTTPRoutes: the Gateway API is not installed"),
            Some(Availability::Forbidden | Availability::Unknown) | None => {}
        }
    }

    fn refused(&self, stream: usize, error: &watcher::Error) {
        self.options.metrics.cluster().watch_failed("httproutes");
        match error {
            watcher::Error::InitialListFailed(error) if error.is_missing_right() => {
                self.options.access.failed(self.need("list", stream), error);
            }
            watcher::Error::WatchStartFailed(error) if error.is_missing_right() => {
                self.options.access.failed(self.need("watch", stream), error);
            }
            _ => {}
        }
    }

    /// The right that a stream takes.
    fn need(&self, verb: &'static str, stream: usize) -> Need {
        let scope = self.store.scopes().get(stream).cloned().flatten();
        Need::new(verb, "httproutes")
            .within(scope)
            .without_it("HTTPRoutes of endpoints with spec.route are not managed")
    }

    /// Handles every endpoint that has a route or wants one.
    async fn pass(&mut self) {
        let views = Arc::clone(&self.options.objects.borrow_and_update());
        for view in views.iter().filter(|view| view.kind == ObjectKind::Endpoint) {
            let (Facts::Endpoint(facts), Some(uid)) = (&view.facts, view.uid.as_deref()) else { continue };
            match &view.route {
                RouteSpec::Undecided => {}
                RouteSpec::Absent => {
                    facts.routed(None);
                    if self.store.get(&view.key).is_some() {
                        drop(self.approach(view, uid, Wish::Nothing).await);
                    }
                }
                RouteSpec::Wanted(route) => {
                    if let Some(state) = self.state(view, uid, route).await {
                        facts.routed(Some(state));
                    }
                }
            }
        }
        if self.schedule.remembers() {
            let endpoints: HashSet<_> =
                views.iter().filter(|view| view.kind == ObjectKind::Endpoint).map(|view| &view.key).collect();
            let namespaces: HashSet<_> = endpoints.iter().map(|key| &key.namespace).collect();
            self.schedule.retain(|key| endpoints.contains(key), |namespace| namespaces.contains(namespace));
        }
        self.gateways.expire(Instant::now());
    }

    /// Approaches the route that the endpoint wants. Returns the state to report; `None` leaves it as it is.
    async fn state(&mut self, view: &ObjectView, uid: &str, route: &GatewayRoute) -> Option<RouteState> {
        match self.store.availability(&view.key.namespace) {
            Availability::Unknown => return None,
            Availability::Missing => return Some(unavailable()),
            Availability::Forbidden => return Some(forbidden("the operator may not list HTTPRoutes")),
            Availability::Listed => {}
        }
        let path = view.path.as_deref()?;
        let fields = RouteFields::of(&view.key, route, path, &self.service);
        match self.approach(view, uid, Wish::Route(&fields)).await {
            Ok(true) => self.verdict(&view.key, path).await,
            Ok(false) => None,
            Err(state) => state,
        }
    }

    /// Takes the steps that are possible now. Returns whether none is left, or the state to report instead.
    async fn approach(&mut self, view: &ObjectView, uid: &str, wish: Wish<'_>) -> Result<bool, Option<RouteState>> {
        let mut read: Option<Option<ObservedRoute>> = None;
        for _ in 0..STEPS {
            let presence = match (self.store.get(&view.key), &read) {
                (Some(route), _) | (None, Some(Some(route))) => Presence::Exists(route),
                (None, Some(None)) => Presence::Absent,
                (None, None) => Presence::NotWatched,
            };
            let step = plan::step(uid, wish, presence);
            match step {
                Step::Done => return Ok(true),
                Step::Conflict => {
                    if read.is_some() {
                        self.schedule.failed(&view.key, view.generation, Instant::now(), random());
                    }
                    return Err(Some(conflict()));
                }
                Step::Read => {}
                Step::Create | Step::Update(_) | Step::Delete(_) if !self.options.leadership.held() => {
                    return Ok(false);
                }
                Step::Create | Step::Update(_) | Step::Delete(_) => {}
            }
            if !self.schedule.admit(&view.key, view.generation, Instant::now()) {
                return Ok(false);
            }
            match self.request(&view.key, uid, wish, &step).await {
                Ok(route) => {
                    self.note_success(view, &step);
                    let own = route.clone().filter(|route| route.owner.is_some());
                    self.store.set(&view.key, own);
                    read = (!matches!(step, Step::Delete(_))).then_some(route);
                }
                Err(failure) => return Err(self.failed(view, failure)),
            }
        }
        Ok(false)
    }

    fn note_success(&mut self, view: &ObjectView, step: &Step) {
        match step {
            Step::Create | Step::Delete(_) => self.schedule.succeeded(&view.key),
            Step::Update(_) => {
                let updates = self.schedule.updated(&view.key, view.generation, Instant::now(), random());
                if updates == limits::ROUTE_UPDATES_CONTESTED {
                    tracing::warn!(
                        endpoint = %view.key,
                        "another writer undoes the updates of this endpoint's HTTPRoute, which is updated less often. Two \
                         operators must not serve the same objects: give each its own --class or --watch-namespaces"
                    );
                }
            }
            Step::Read | Step::Done | Step::Conflict => {}
        }
    }

    /// Sends the request of a step. Returns the route as it is then.
    async fn request(
        &self,
        key: &ObjectKey,
        uid: &str,
        wish: Wish<'_>,
        step: &Step,
    ) -> Result<Option<ObservedRoute>, Failure> {
        let api = routes(&self.options.prompt, Some(&key.namespace));
        let deadline = limits::ROUTE_TIMEOUT.min(self.options.leadership.write_timeout());
        let answer = match (step, wish) {
            (Step::Delete(uid), _) => {
                let preconditions = Preconditions { uid: Some(uid.clone()), ..Preconditions::default() };
                let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                let deleted = time::timeout(deadline, api.delete(&key.name, &params)).await;
                match deleted {
                    Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => Ok(Ok(None)),
                    deleted => deleted.map(|deleted| deleted.map(|_| None)),
                }
            }
            (Step::Create, Wish::Route(fields)) => {
                // Without force: a route of somebody else, created at this moment, is a conflict.
                let (params, patch) = (PatchParams::apply(FIELD_MANAGER), Patch::Apply(fields.patch(key, uid, None)));
                time::timeout(deadline, api.patch(&key.name, &params, &patch)).await.map(|created| created.map(Some))
            }
            (Step::Update(route), Wish::Route(fields)) => {
                let params = PatchParams::apply(FIELD_MANAGER).force();
                let patch = Patch::Apply(fields.patch(key, uid, Some(route)));
                time::timeout(deadline, api.patch(&key.name, &params, &patch)).await.map(|updated| updated.map(Some))
            }
            _ => time::timeout(deadline, api.get_opt(&key.name)).await,
        };
        let written = !matches!(step, Step::Read);
        match answer {
            Ok(Ok(route)) => {
                if written {
                    self.options.metrics.cluster().route_written("ok");
                    tracing::info!(namespace = %key.namespace, endpoint = %key.name, ?step, "HTTPRoute written");
                }
                Ok(route.map(ObservedRoute::read))
            }
            Ok(Err(error)) => {
                self.options.metrics.cluster().route_written("failed");
                tracing::debug!(namespace = %key.namespace, endpoint = %key.name, ?step, %error, "HTTPRoute not written");
                Err(failure(error, step))
            }
            Err(_) => {
                self.options.metrics.cluster().route_written("timeout");
                Err(Failure::Common(Duration::ZERO))
            }
        }
    }

    /// Postpones what has failed. Returns the state to report.
    fn failed(&mut self, view: &ObjectView, failure: Failure) -> Option<RouteState> {
        let now = Instant::now();
        match failure {
            Failure::Own(state) => {
                // It may have been replaced: the next attempt reads it first.
                self.store.set(&view.key, None);
                if self.schedule.failed(&view.key, view.generation, now, random()) == 1 {
                    let message = &*state.condition.message;
                    tracing::warn!(endpoint = %view.key, message, "the HTTPRoute was not written; retrying");
                }
                Some(state)
            }
            Failure::Namespace(state) => {
                let namespace = &view.key.namespace;
                if self.schedule.refused(Some(namespace), Duration::ZERO, now, random()) == 1 {
                    let message = &*state.condition.message;
                    tracing::warn!(%namespace, message, "HTTPRoutes of a namespace cannot be managed; retrying");
                }
                Some(state)
            }
            Failure::Common(at_least) => {
                if self.schedule.refused(None, at_least, now, random()) == 1 {
                    tracing::warn!("HTTPRoutes cannot be managed at the moment; retrying");
                }
                None
            }
        }
    }

    /// The state of an up-to-date route; `None` while the requests that it needs have to wait.
    async fn verdict(&mut self, key: &ObjectKey, path: &str) -> Option<RouteState> {
        let route = self.store.get(key)?.clone();
        let mut state = verdict::state(&key.namespace, &route);
        if state.condition.status != ConditionStatus::True {
            return Some(state);
        }
        let accepting = verdict::accepting(&key.namespace, &route);
        for name in accepting.iter().filter_map(|parent| gateway::gateway(&key.namespace, parent)) {
            self.refresh(&name).await;
            if !self.gateways.has(&name) {
                return None;
            }
        }
        state.url = self.gateways.url(&key.namespace, &accepting, &route.fields.hostnames, path);
        Some(state)
    }

    /// Reads the listeners of a Gateway if that is due and allowed.
    async fn refresh(&mut self, name: &GatewayName) {
        let now = Instant::now();
        if !self.gateways.is_outdated(name, now) || !self.schedule.admit_any(now) {
            return;
        }
        let api: Api<DynamicObject> = Api::namespaced_with(self.options.prompt.clone(), &name.0, &manifest::gateways());
        let read = match time::timeout(limits::ROUTE_TIMEOUT, api.get_opt(&name.1)).await {
            Ok(Ok(Some(gateway))) => GatewayRead::Gateway(Box::new(gateway)),
            Ok(Ok(None)) => GatewayRead::Unreadable,
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => GatewayRead::Unreadable,
            Ok(Err(_)) | Err(_) => GatewayRead::Failed,
        };
        self.gateways.set(name.clone(), read, now);
    }
}

fn routes(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &manifest::routes()),
        None => Api::all_with(client.clone(), &manifest::routes()),
    }
}
