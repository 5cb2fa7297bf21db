//! The proof that the brokers sync what they acknowledge.
//!
//! By default a broker syncs its files every two minutes: what it acknowledges is in the memory of a quorum, and is lost when the
//! power of all fails. A 2xx is a promise that this does not happen, so events are accepted only while every broker of the
//! cluster is known to run with `sync_interval: always`, or somebody vouches for it.
//!
//! Brokers tell it at their monitoring URLs, and in the system account. A broker that was proven and does not answer now still
//! counts, and so does one that the leader of the cluster does not see: a crash of one broker must not stop events. A
//! majority must answer now, so that neither hides a whole cluster.
//!
//! ```text
//!   monitoring URLs ──GET /varz──┐
//!                                ├─▶ facts of each broker ─▶ judge ─▶ Proven, Missing(why)
//!   system account ──PING.VARZ───┘        remembered by name
//! ```

mod facts;
mod judge;
mod monitor;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use self::{facts::BrokerFacts, judge::judge};
use super::broker::Broker;

/// The request that every broker answers in the system account, and in accounts that import it from there.
const SYSTEM_REQUEST: &str = "$SYS.REQ.SERVER.PING.VARZ";

/// How long to wait for the first answer of a broker, and then for each further one.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
const FURTHER_ANSWER: Duration = Duration::from_millis(300);

/// Maximum number of brokers that are asked.
const BROKERS: usize = 64;

/// What is known of how the brokers sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SyncProof {
    /// Every broker syncs before it acknowledges.
    Proven {
        /// The names of those that were asked, now or earlier.
        servers: Vec<String>,
    },
    /// At least one does not, or is not known to.
    Missing {
        /// Which, and what to do.
        reason: String,
    },
    /// Somebody vouches for it; nothing was asked.
    Trusted,
}

/// Asks the brokers again and again, and remembers what they said.
#[derive(Debug, Default)]
pub(crate) struct SyncCheck {
    known: BTreeMap<String, BrokerFacts>,
}

impl SyncProof {
    /// Why there is no proof.
    pub(crate) fn missing(&self) -> Option<&str> {
        match self {
            Self::Missing { reason } => Some(reason),
            Self::Proven { .. } | Self::Trusted => None,
        }
    }
}

impl SyncCheck {
    /// Asks the brokers at their monitoring URLs, or through the connection if there are none.
    pub(crate) async fn check(&mut self, broker: &Broker, monitors: &[String], trusted: bool) -> SyncProof {
        if trusted {
            return SyncProof::Trusted;
        }
        let (answers, failures) = if monitors.is_empty() {
            match broker.request_all(SYSTEM_REQUEST, BROKERS, FIRST_ANSWER, FURTHER_ANSWER).await {
                Ok(answers) => (answers.iter().map(BrokerFacts::from_system).collect(), Vec::new()),
                Err(error) => {
                    let why = format!(
                        "the brokers do not tell through this connection how they sync ({error}); name the monitoring URL of each with --nats-monitor"
                    );
                    (Vec::new(), vec![why])
                }
            }
        } else {
            monitor::ask(monitors).await
        };
        let (facts, failures) = split(answers, failures);
        let proof = judge(&facts, &self.known, broker.server_id().as_deref(), &failures);
        self.remember(facts, &proof);
        proof
    }

    /// Remembers brokers that are proven and forgets those that the cluster no longer has.
    fn remember(&mut self, facts: Vec<BrokerFacts>, proof: &SyncProof) {
        let SyncProof::Proven { servers } = proof else { return };
        self.known.retain(|name, _| servers.contains(name));
        self.known.extend(facts.into_iter().map(|facts| (facts.name.clone(), facts)));
    }
}

/// Separates what was told from why something was not.
fn split(answers: Vec<Result<BrokerFacts, String>>, mut failures: Vec<String>) -> (Vec<BrokerFacts>, Vec<String>) {
    let mut all = Vec::new();
    for answer in answers {
        match answer {
            Ok(facts) => all.push(facts),
            Err(failure) => failures.push(failure),
        }
    }
    (all, failures)
}
