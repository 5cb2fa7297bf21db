//! A journal in front of another one, for tests that change one of its answers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use grapnel_api::Incarnation;
use grapnel_journal::{
    Appended, Arrival, Attached, AttachedConsumer, Claim, Claimed, DeliveryPage, DeliveryQuery, Detached,
    EndpointUsage, EventPage, EventQuery, Journal, JournalError, JournalUsage, NamespaceUsage, Progress, Redelivered,
    RedeliveryStep, Replication, Result, Retention, Selection, Sequence, Settlement, Start, StoredEvent, Swept, Tenure,
    Vitals,
};
use jiff::Timestamp;
use tokio::sync::watch;

/// What a test answers itself; the rest is the journal's.
#[async_trait]
pub trait Front: Send + Sync + 'static {
    /// The journal behind.
    fn journal(&self) -> &dyn Journal;

    /// As [`Journal::append`].
    async fn append(&self, events: Vec<Arrival>) -> Result<Vec<Appended>> {
        self.journal().append(events).await
    }
    /// As [`Journal::attach`].
    async fn attach(&self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached> {
        self.journal().attach(consumer, endpoint, start).await
    }
    /// As [`Journal::detach`].
    async fn detach(&self, consumer: &Incarnation) -> Result<Option<Detached>> {
        self.journal().detach(consumer).await
    }
    /// As [`Journal::consumers`].
    async fn consumers(&self) -> Result<Vec<AttachedConsumer>> {
        self.journal().consumers().await
    }
    /// As [`Journal::claim`].
    async fn claim(&self, consumer: &Incarnation, claim: Claim) -> Result<Claimed> {
        self.journal().claim(consumer, claim).await
    }
    /// As [`Journal::ready`].
    async fn ready(&self, consumer: &Incarnation) {
        self.journal().ready(consumer).await;
    }
    /// As [`Journal::settle`].
    async fn settle(&self, consumer: &Incarnation, ends: Vec<(Sequence, Settlement)>) -> Result<()> {
        self.journal().settle(consumer, ends).await
    }
    /// As [`Journal::progress`].
    fn progress(&self, consumer: &Incarnation) -> Option<Progress> {
        self.journal().progress(consumer)
    }
    /// As [`Journal::deliveries`].
    async fn deliveries(&self, consumer: &Incarnation, query: DeliveryQuery) -> Result<DeliveryPage> {
        self.journal().deliveries(consumer, query).await
    }
    /// As [`Journal::tenure`].
    fn tenure(&self) -> watch::Receiver<Tenure> {
        self.journal().tenure()
    }
    /// As [`Journal::replicas`].
    fn replicas(&self) -> usize {
        self.journal().replicas()
    }
    /// As [`Journal::is_shared`].
    fn is_shared(&self) -> bool {
        self.journal().is_shared()
    }
    /// As [`Journal::trouble`].
    fn trouble(&self) -> Option<JournalError> {
        self.journal().trouble()
    }
    /// As [`Journal::replication`].
    fn replication(&self) -> Option<Replication> {
        self.journal().replication()
    }
}

/// The journal that a front makes of the one behind it.
pub struct Fronted<F>(pub Arc<F>);

#[async_trait]
impl<F: Front> Journal for Fronted<F> {
    async fn append(&self, events: Vec<Arrival>) -> Result<Vec<Appended>> {
        self.0.append(events).await
    }
    async fn attach(&self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached> {
        self.0.attach(consumer, endpoint, start).await
    }
    async fn detach(&self, consumer: &Incarnation) -> Result<Option<Detached>> {
        self.0.detach(consumer).await
    }
    async fn consumers(&self) -> Result<Vec<AttachedConsumer>> {
        self.0.consumers().await
    }
    async fn claim(&self, consumer: &Incarnation, claim: Claim) -> Result<Claimed> {
        self.0.claim(consumer, claim).await
    }
    async fn ready(&self, consumer: &Incarnation) {
        self.0.ready(consumer).await;
    }
    async fn settle(&self, consumer: &Incarnation, ends: Vec<(Sequence, Settlement)>) -> Result<()> {
        self.0.settle(consumer, ends).await
    }
    async fn redeliver(
        &self,
        consumer: &Incarnation,
        selection: &Selection,
        step: RedeliveryStep,
    ) -> Result<Redelivered> {
        self.0.journal().redeliver(consumer, selection, step).await
    }
    fn progress(&self, consumer: &Incarnation) -> Option<Progress> {
        self.0.progress(consumer)
    }
    async fn events(&self, endpoint: &Incarnation, query: EventQuery) -> Result<EventPage> {
        self.0.journal().events(endpoint, query).await
    }
    async fn event(&self, endpoint: &Incarnation, id: &str) -> Result<Option<StoredEvent>> {
        self.0.journal().event(endpoint, id).await
    }
    async fn peek(&self, consumer: &Incarnation, sequences: &[Sequence]) -> Result<Vec<Option<StoredEvent>>> {
        self.0.journal().peek(consumer, sequences).await
    }
    async fn deliveries(&self, consumer: &Incarnation, query: DeliveryQuery) -> Result<DeliveryPage> {
        self.0.deliveries(consumer, query).await
    }
    async fn sweep(&self, retention: Retention, now: Timestamp) -> Result<Swept> {
        self.0.journal().sweep(retention, now).await
    }
    fn tenure(&self) -> watch::Receiver<Tenure> {
        self.0.tenure()
    }
    fn replicas(&self) -> usize {
        self.0.replicas()
    }
    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }
    fn usage(&self) -> JournalUsage {
        self.0.journal().usage()
    }
    fn storage(&self, endpoint: &Incarnation) -> EndpointUsage {
        self.0.journal().storage(endpoint)
    }
    fn namespaces(&self) -> Vec<NamespaceUsage> {
        self.0.journal().namespaces()
    }
    fn vitals(&self) -> Vitals {
        self.0.journal().vitals()
    }
    fn trouble(&self) -> Option<JournalError> {
        self.0.trouble()
    }
    fn replication(&self) -> Option<Replication> {
        self.0.replication()
    }
    fn stalled(&self) -> Option<Duration> {
        self.0.journal().stalled()
    }
    async fn close(&self) -> Result<()> {
        self.0.journal().close().await
    }
}
