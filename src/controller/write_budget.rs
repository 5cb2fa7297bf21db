//! One budget of requests to the API server for everything that is not urgent: counters in statuses, and HTTPRoutes.
//!
//! A user of the budget that is alone may use all of it. While several need it, each gets an equal part, so that ten
//! thousand HTTPRoutes at a start do not delay every counter, nor the reverse.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::controller::limits;

/// A user's part of the budget. Knows no clock: the caller passes the time.
#[derive(Debug, Clone)]
pub struct WriteBudget {
    shared: Arc<Mutex<Shared>>,
    user: User,
}

/// Who shares the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Counters,
    Routes,
}

#[derive(Debug)]
struct Shared {
    /// Time between two requests of all users together.
    spacing: Duration,
    counters: Part,
    routes: Part,
}

/// The requests of one user (generic cell rate algorithm).
#[derive(Debug, Default)]
struct Part {
    /// The time by which the requests so far are used up.
    paid: Option<Instant>,
    /// The last request.
    last: Option<Instant>,
}

/// The parts of one budget.
#[derive(Debug, Clone)]
pub struct WriteBudgets {
    /// For counters in statuses.
    pub counters: WriteBudget,
    /// For HTTPRoutes and Gateways.
    pub routes: WriteBudget,
}

impl WriteBudgets {
    /// A budget of so many requests a second.
    pub fn new(per_second: u32) -> Self {
        let spacing = Duration::from_secs(1) / per_second.max(1);
        let shared = Shared { spacing, counters: Part::default(), routes: Part::default() };
        let shared = Arc::new(Mutex::new(shared));
        let of = |user| WriteBudget { shared: Arc::clone(&shared), user };
        Self { counters: of(User::Counters), routes: of(User::Routes) }
    }
}

impl WriteBudget {
    /// When the next request may be sent; `None` means at any time.
    pub(super) fn opens(&self) -> Option<Instant> {
        let mut shared = self.shared.lock();
        let slack = shared.spacing * (self.user.burst() - 1);
        let (part, _) = shared.parts(self.user);
        part.paid?.checked_sub(slack)
    }

    /// Whether a request may be sent now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.opens().is_none_or(|opens| opens <= now)
    }

    /// Records a request.
    pub(super) fn take(&self, now: Instant) {
        let mut shared = self.shared.lock();
        let spacing = shared.spacing;
        let (part, other) = shared.parts(self.user);
        let is_recent = |last: Instant| now.saturating_duration_since(last) < limits::BUDGET_SHARED_FOR;
        let users = if other.last.is_some_and(is_recent) { 2 } else { 1 };
        part.paid = Some(part.paid.unwrap_or(now).max(now) + spacing * users);
        part.last = Some(now);
    }
}

impl User {
    /// Requests at once after a quiet time.
    fn burst(self) -> u32 {
        match self {
            Self::Counters => 1,
            Self::Routes => limits::ROUTE_BURST,
        }
    }
}

impl Shared {
    /// The part of a user, and that of the other one.
    fn parts(&mut self, user: User) -> (&mut Part, &Part) {
        match user {
            User::Counters => (&mut self.counters, &self.routes),
            User::Routes => (&mut self.routes, &self.counters),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER_SECOND: u32 = 10;

    /// Requests of counters and of HTTPRoutes within these seconds, in steps of 10 ms.
    fn run(budgets: &WriteBudgets, start: Instant, seconds: (u64, u64), wants: (bool, bool)) -> (u32, u32) {
        let mut sent = (0, 0);
        for step in seconds.0 * 100..seconds.1 * 100 {
            let now = start + Duration::from_millis(step * 10);
            if wants.0 && budgets.counters.is_open(now) {
                budgets.counters.take(now);
                sent.0 += 1;
            }
            // HTTPRoutes are looked at once a second.
            while wants.1 && step % 100 == 0 && budgets.routes.is_open(now) {
                budgets.routes.take(now);
                sent.1 += 1;
            }
        }
        sent
    }

    #[test]
    fn each_may_use_the_whole_budget_alone_and_half_of_it_together() {
        let (budgets, start) = (WriteBudgets::new(PER_SECOND), Instant::now());
        assert_eq!(run(&budgets, start, (0, 10), (true, false)), (100, 0));
        let (counters, routes) = run(&budgets, start, (10, 70), (true, true));
        assert!((290..=310).contains(&counters), "{counters} in a minute");
        assert!((290..=320).contains(&routes), "{routes} in a minute");
        let (_, routes) = run(&budgets, start, (80, 140), (false, true));
        assert!((600..=620).contains(&routes), "{routes} in a minute");
    }

    #[test]
    fn a_quiet_time_earns_a_burst_of_routes_and_none_of_counters() {
        let (budgets, now) = (WriteBudgets::new(PER_SECOND), Instant::now());
        let (counters, routes) = run(&budgets, now, (0, 1), (true, true));
        assert!(counters <= PER_SECOND && routes <= limits::ROUTE_BURST, "{counters} and {routes}");
        let later = now + Duration::from_secs(3600);
        budgets.counters.take(later);
        assert!(!budgets.counters.is_open(later + Duration::from_millis(99)));
        assert!(budgets.counters.is_open(later + Duration::from_millis(200)));
    }
}
