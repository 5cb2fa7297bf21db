//! Which broker to connect to next.
//!
//! The client's own choice prefers a broker with few failed attempts. A broker that a partition separates from the others
//! has none: it accepts every connection and answers nothing, and the others have failed at least once if they were
//! restarted since. A client that looks for a better broker would meet the same one each time.

use async_nats::{ReconnectToServer, Server, ServerAddr};
use parking_lot::Mutex;

/// Takes the brokers in turn, so that one is met again only after each of the others has been tried. The first is
/// random: the replicas spread over the brokers.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    /// Those that were tried, the last one at the end.
    tried: Mutex<Vec<ServerAddr>>,
}

impl Rotation {
    /// The broker of `pool` to try now; none if it is empty. `random` decides among those that were never tried.
    pub(super) fn next(&self, pool: &[Server], random: usize) -> Option<ReconnectToServer> {
        let mut tried = self.tried.lock();
        tried.retain(|addr| pool.iter().any(|server| server.addr == *addr));
        let untried: Vec<_> = pool.iter().map(|server| &server.addr).filter(|addr| !tried.contains(addr)).collect();
        let chosen = random.checked_rem(untried.len()).and_then(|index| untried.get(index));
        let addr = match chosen {
            Some(addr) => (*addr).clone(),
            None if tried.is_empty() => return None,
            None => tried.remove(0),
        };
        tried.push(addr.clone());
        // No delay of its own: the one that grows with the attempts.
        Some(ReconnectToServer { addr, delay: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(names: &[&str]) -> Vec<Server> {
        let server = |name: &&str| Server {
            addr: name.parse().unwrap(),
            failed_attempts: 0,
            did_connect: false,
            is_discovered: false,
            last_error: None,
        };
        names.iter().map(server).collect()
    }

    fn tried(rotation: &Rotation, pool: &[Server], times: usize) -> Vec<String> {
        let next = |random| rotation.next(pool, random).unwrap().addr.host().to_owned();
        (1..=times).map(next).collect()
    }

    #[test]
    fn a_broker_is_met_again_after_all_others() {
        let rotation = Rotation::default();
        let mut brokers = pool(&["a", "b", "c"]);
        assert_eq!(tried(&rotation, &brokers, 7), ["b", "a", "c", "b", "a", "c", "b"]);
        // However often the others have failed.
        brokers[0].failed_attempts = 7;
        brokers[2].failed_attempts = 9;
        assert_eq!(tried(&rotation, &brokers, 3), ["a", "c", "b"]);
    }

    #[test]
    fn brokers_come_and_go() {
        let rotation = Rotation::default();
        assert_eq!(tried(&rotation, &pool(&["a"]), 2), ["a", "a"]);
        assert_eq!(tried(&rotation, &pool(&["a", "b"]), 3), ["b", "a", "b"]);
        assert_eq!(tried(&rotation, &pool(&["b", "c"]), 3), ["c", "b", "c"]);
        assert!(rotation.next(&[], 0).is_none());
    }
}
