//! From what brokers say to a proof, or to what is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    SyncProof,
    facts::{BrokerFacts, Storage},
};

/// The first version in which every replica of a stream syncs before a message is acknowledged.
const VERSION: (u64, u64) = (2, 15);

/// Judges what brokers say now, and said earlier by name, with the id of the connected one and with why others said nothing.
pub(super) fn judge(
    facts: &[BrokerFacts],
    known: &BTreeMap<String, BrokerFacts>,
    connected: Option<&str>,
    failures: &[String],
) -> SyncProof {
    match prove(facts, known, connected, failures) {
        Ok(servers) => SyncProof::Proven { servers: servers.into_iter().map(str::to_owned).collect() },
        Err(reason) => SyncProof::Missing { reason },
    }
}

fn prove<'a>(
    facts: &'a [BrokerFacts],
    known: &'a BTreeMap<String, BrokerFacts>,
    connected: Option<&str>,
    failures: &[String],
) -> Result<BTreeSet<&'a str>, String> {
    let storing: Vec<(&BrokerFacts, &Storage)> =
        facts.iter().filter_map(|facts| Some((facts, facts.storage.as_ref()?))).collect();
    for (facts, storage) in &storing {
        check_one(facts, storage)?;
    }
    let why = |what: String| match failures.first() {
        Some(failure) => format!("{what}: {failure}"),
        None => what,
    };
    let size = storing.iter().map(|(_, storage)| storage.cluster_size).max();
    let Some(size) = size else {
        return Err(why("no NATS server with JetStream says whether it syncs".to_owned()));
    };
    let answered: BTreeSet<&str> = storing.iter().map(|(facts, _)| facts.name.as_str()).collect();
    if answered.len() * 2 <= size {
        let what = format!("only {} of {size} NATS servers say whether they sync", answered.len());
        return Err(why(format!("{what}; name the monitoring URL of each with --nats-monitor")));
    }
    // Those that were asked may be brokers of another cluster.
    if let Some(connected) = connected
        && !facts.iter().chain(known.values()).any(|facts| facts.id == connected)
    {
        return Err(why(
            "the connected NATS server is not among those that say whether they sync; name the monitoring URL of each with --nats-monitor".to_owned(),
        ));
    }
    let silent = storing.iter().flat_map(|(_, storage)| storage.silent.iter().map(String::as_str));
    let silent: BTreeSet<&str> = silent.filter(|name| !answered.contains(name)).collect();
    let earlier: BTreeSet<&str> =
        known.keys().map(String::as_str).filter(|name| !answered.contains(name) && !silent.contains(name)).collect();
    let counted = answered.len() + silent.len() + earlier.len();
    if counted < size {
        let what = format!("{} of {size} NATS servers do not say whether they sync", size - counted);
        return Err(why(format!("{what}; name the monitoring URL of each with --nats-monitor")));
    }
    Ok(answered.into_iter().chain(earlier).collect())
}

/// Checks what one broker says.
fn check_one(facts: &BrokerFacts, storage: &Storage) -> Result<(), String> {
    let BrokerFacts { name, version, .. } = facts;
    let (major, minor) = VERSION;
    if parsed(version).is_none_or(|version| version < VERSION) {
        return Err(format!(
            "NATS server {name} runs version {version}; replicas of a stream sync before they acknowledge from {major}.{minor} on"
        ));
    }
    if !storage.syncs_always {
        return Err(format!(
            "NATS server {name} does not sync before it acknowledges; set sync_interval: always in the jetstream block of its configuration"
        ));
    }
    Ok(())
}

/// The major and minor version.
fn parsed(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split(['.', '-']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}
