//! Deliberate failures.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::http::StatusCode;
use parking_lot::Mutex;

use crate::cli::limits::SINK_COUNTED_EVENTS;

/// When to fail, and how.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct FailingArgs {
    /// Fail the first N attempts of each event, by event id
    #[arg(long, value_name = "N", conflicts_with = "fail_first")]
    fail: Option<u64>,

    /// Fail the first N requests, of any event
    #[arg(long, value_name = "N")]
    fail_first: Option<u64>,

    /// Status of failures, 503 by default. If set without --fail and --fail-first, every request gets it
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599))]
    status: Option<u16>,

    /// Seconds in the Retry-After header of failures. If set without --fail and --fail-first, every request fails
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u32>,
}

/// Decides which requests fail.
#[derive(Debug)]
pub(super) struct Failing {
    rule: Rule,
    status: StatusCode,
    retry_after: Option<u32>,
}

#[derive(Debug)]
enum Rule {
    Never,
    Always,
    FirstRequests { most: u64, seen: AtomicU64 },
    FirstAttempts { most: u64, seen: Mutex<Attempts> },
}

/// Attempts by event, for the newest events.
#[derive(Debug, Default)]
struct Attempts {
    counts: HashMap<String, u64>,
    order: VecDeque<String>,
}

impl Failing {
    pub(super) fn new(args: &FailingArgs) -> Self {
        let rule = match (args.fail, args.fail_first, args.status, args.retry_after) {
            (Some(most), _, _, _) => Rule::FirstAttempts { most, seen: Mutex::default() },
            (None, Some(most), _, _) => Rule::FirstRequests { most, seen: AtomicU64::new(0) },
            (None, None, None, None) => Rule::Never,
            (None, None, _, _) => Rule::Always,
        };
        let status = args.status.and_then(|status| StatusCode::from_u16(status).ok());
        Self { rule, status: status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), retry_after: args.retry_after }
    }

    /// The status of the response to the next request, or `None` to handle it normally.
    pub(super) fn status(&self, id: &str) -> Option<StatusCode> {
        let fails = match &self.rule {
            Rule::Never => false,
            Rule::Always => true,
            Rule::FirstRequests { most, seen } => seen.fetch_add(1, Relaxed) < *most,
            Rule::FirstAttempts { most, seen } => seen.lock().next(id) <= *most,
        };
        fails.then_some(self.status)
    }

    pub(super) fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }
}

impl Attempts {
    /// The number of this attempt; the first is 1.
    fn next(&mut self, id: &str) -> u64 {
        if let Some(count) = self.counts.get_mut(id) {
            *count += 1;
            return *count;
        }
        if self.order.len() >= SINK_COUNTED_EVENTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        self.order.push_back(id.to_owned());
        self.counts.insert(id.to_owned(), 1);
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> FailingArgs {
        FailingArgs { fail: None, fail_first: None, status: None, retry_after: None }
    }

    fn statuses(args: &FailingArgs, ids: &[&str]) -> Vec<u16> {
        let failing = Failing::new(args);
        ids.iter().map(|id| failing.status(id).map_or(200, |status| status.as_u16())).collect()
    }

    #[test]
    fn first_attempts_are_counted_by_event_and_first_requests_are_not() {
        let ids = ["a", "a", "b", "a", "b", "b"];
        assert_eq!(statuses(&args(), &ids), [200; 6]);
        assert_eq!(statuses(&FailingArgs { fail: Some(2), ..args() }, &ids), [503, 503, 503, 200, 503, 200]);
        assert_eq!(statuses(&FailingArgs { fail_first: Some(2), ..args() }, &ids), [503, 503, 200, 200, 200, 200]);
        assert_eq!(
            statuses(&FailingArgs { fail_first: Some(1), status: Some(410), ..args() }, &["a", "a"]),
            [410, 200]
        );
        assert_eq!(statuses(&FailingArgs { status: Some(429), ..args() }, &["a", "a"]), [429, 429]);
        assert_eq!(statuses(&FailingArgs { retry_after: Some(1), ..args() }, &["a", "a"]), [503, 503]);
    }

    #[test]
    fn counting_is_bounded() {
        let mut attempts = Attempts::default();
        for number in 0..=SINK_COUNTED_EVENTS {
            assert_eq!(attempts.next(&number.to_string()), 1);
        }
        assert_eq!(attempts.counts.len(), SINK_COUNTED_EVENTS);
        assert_eq!(attempts.next("0"), 1, "the oldest was forgotten");
        assert_eq!(attempts.next(&SINK_COUNTED_EVENTS.to_string()), 2);
    }
}
