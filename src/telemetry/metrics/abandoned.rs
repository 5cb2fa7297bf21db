//! Unsettled events of deleted subscriptions.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::telemetry::limits::ABANDONED_SERIES;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    namespace: Arc<str>,
    subscription: Arc<str>,
}

/// A counter for each subscription that was deleted with unsettled events. The series outlives the object: the oldest
/// one is removed when there are more than [`ABANDONED_SERIES`].
#[derive(Clone)]
pub(super) struct Abandoned {
    family: Family<Labels, Counter>,
    /// Series by age.
    series: Arc<Mutex<VecDeque<Labels>>>,
}

impl Abandoned {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family = Family::default();
        registry.register(
            "webhook_deliveries_abandoned",
            "Events that a subscription had not settled when it was deleted",
            family.clone(),
        );
        Self { family, series: Arc::default() }
    }

    pub(super) fn add(&self, namespace: &Arc<str>, subscription: &Arc<str>, events: u64) {
        let labels = Labels { namespace: Arc::clone(namespace), subscription: Arc::clone(subscription) };
        let mut series = self.series.lock();
        if !series.contains(&labels) {
            series.push_back(labels.clone());
        }
        if series.len() > ABANDONED_SERIES
            && let Some(oldest) = series.pop_front()
        {
            self.family.remove(&oldest);
        }
        self.family.get_or_create(&labels).inc_by(events);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    #[test]
    fn series_are_bounded_and_the_oldest_goes() {
        let mut registry = Registry::default();
        let abandoned = Abandoned::register(&mut registry);
        let shop = Arc::from("shop");
        for number in 0..=ABANDONED_SERIES {
            abandoned.add(&shop, &format!("s{number}").into(), 1);
        }
        abandoned.add(&shop, &"s1".into(), 2);
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        let series = text.lines().filter(|line| line.starts_with("webhook_deliveries_abandoned_total{")).count();
        assert_eq!(series, ABANDONED_SERIES);
        assert!(!text.contains(r#"subscription="s0""#) && text.contains(r#"subscription="s1"} 3"#), "{text}");
    }
}
