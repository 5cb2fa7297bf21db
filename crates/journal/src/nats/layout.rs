//! Names on the brokers: streams, subjects, and the shard of an endpoint.
//!
//! ```text
//! {NAME}_META     {name}.m.>       rows: configuration, members, leases, incarnations of endpoints, reports
//! {NAME}_EV_<s>   {name}.e.<s>.>   the events of shard s, one subject for each endpoint and id
//! {NAME}_ST_<s>   {name}.s.<s>     the state log of shard s, written by its owner alone
//! core NATS       {name}.w.<s>     wakes the owner of shard s; {name}.r.<s>: requests to it
//! ```

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use grapnel_api::{Incarnation, ObjectKey};
use sha2::{Digest, Sha256};

/// The number of a shard, from 0.
pub(crate) type Shard = u16;

/// Bytes of the hash of an id: no two ids of an endpoint meet by chance.
const ID_HASH_BYTES: usize = 16;

/// The names of one installation.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The installation's name, in lower case.
    name: String,
    /// The beginning of its streams' names.
    prefix: String,
    shards: Shard,
}

impl Layout {
    /// Creates the names of the installation `name` (letters, digits and `-`), which has `shards` shards.
    pub(crate) fn new(name: &str, shards: Shard) -> Self {
        Self { name: name.to_lowercase(), prefix: name.to_uppercase(), shards: shards.max(1) }
    }

    /// Returns all shards.
    pub(crate) fn shards(&self) -> std::ops::Range<Shard> {
        0..self.shards
    }

    /// Returns the shard of an endpoint's events and consumers: of every object of the name.
    pub(crate) fn shard_of(&self, endpoint: &ObjectKey) -> Shard {
        let mut hash = Sha256::new();
        hash.update(endpoint.namespace.as_bytes());
        hash.update(b"/");
        hash.update(endpoint.name.as_bytes());
        let number = hash.finalize().iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        Shard::try_from(number % u64::from(self.shards)).unwrap_or_default()
    }

    pub(crate) fn meta_stream(&self) -> String {
        format!("{}_META", self.prefix)
    }

    pub(crate) fn events_stream(&self, shard: Shard) -> String {
        format!("{}_EV_{shard}", self.prefix)
    }

    pub(crate) fn state_stream(&self, shard: Shard) -> String {
        format!("{}_ST_{shard}", self.prefix)
    }

    /// Returns the subject of a row of the META stream.
    pub(crate) fn row(&self, key: &str) -> String {
        format!("{}.m.{key}", self.name)
    }

    /// Returns the key of a row from its subject.
    pub(crate) fn key_of_row<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&*self.name)?.strip_prefix(".m.")
    }

    /// Returns the key of the row of an endpoint's incarnations.
    pub(crate) fn endpoint_row(&self, endpoint: &ObjectKey) -> String {
        format!("endpoint.{}.{}", token(&endpoint.namespace), token(&endpoint.name))
    }

    /// Returns the endpoint of the key of such a row.
    pub(crate) fn endpoint_of_row(&self, key: &str) -> Option<ObjectKey> {
        let (namespace, name) = key.strip_prefix("endpoint.")?.split_once('.')?;
        Some(named(namespace, name))
    }

    /// Returns the subject of the state log of a shard.
    pub(crate) fn state(&self, shard: Shard) -> String {
        format!("{}.s.{shard}", self.name)
    }

    /// Returns the subjects of all events of a shard.
    pub(crate) fn events(&self, shard: Shard) -> String {
        format!("{}.e.{shard}.>", self.name)
    }

    /// Returns the subject of the events with one id. The ids of different objects of one name are different ids.
    pub(crate) fn event(&self, shard: Shard, endpoint: &Incarnation, id: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(endpoint.uid.as_bytes());
        hash.update([0]);
        hash.update(id.as_bytes());
        let hash = hash.finalize();
        let mut subject = String::with_capacity(96);
        let (namespace, name) = (token(&endpoint.key.namespace), token(&endpoint.key.name));
        // Writing to a string does not fail.
        let _ = write!(subject, "{}.e.{shard}.{namespace}.{name}.", self.name);
        URL_SAFE_NO_PAD.encode_string(hash.get(..ID_HASH_BYTES).unwrap_or_default(), &mut subject);
        subject
    }

    /// Returns the endpoint of an event's subject.
    pub(crate) fn endpoint_of(&self, subject: &str) -> Option<ObjectKey> {
        let mut tokens = subject.strip_prefix(&*self.name)?.strip_prefix(".e.")?.split('.');
        let (_, namespace, name) = (tokens.next()?, tokens.next()?, tokens.next()?);
        Some(named(namespace, name))
    }

    /// Returns the subject that wakes the owner of a shard.
    pub(crate) fn wake(&self, shard: Shard) -> String {
        format!("{}.w.{shard}", self.name)
    }

    /// Returns the subject of requests to the owner of a shard.
    pub(crate) fn requests(&self, shard: Shard) -> String {
        format!("{}.r.{shard}", self.name)
    }
}

/// Returns a name of an object as one token of a subject: dots separate tokens, and underscores do not occur in such
/// names.
fn token(name: &str) -> String {
    name.replace('.', "_")
}

/// Returns the object of two tokens.
fn named(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(namespace.replace('_', "."), name.replace('_', "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_found_again_in_the_subject_of_its_events() {
        let layout = Layout::new("hooks-2", 16);
        for (namespace, name) in [("shop", "orders"), ("shop", "orders.v1.eu"), ("a", "b")] {
            let endpoint = Incarnation::new(ObjectKey::new(namespace, name), "uid");
            let shard = layout.shard_of(&endpoint.key);
            let subject = layout.event(shard, &endpoint, "id.with * and > and ü");
            assert_eq!(layout.endpoint_of(&subject), Some(endpoint.key.clone()), "{subject}");
            assert_eq!(subject.split('.').count(), 6);
            assert_eq!(layout.endpoint_of_row(&layout.endpoint_row(&endpoint.key)), Some(endpoint.key.clone()));
            assert!(subject.starts_with(layout.events(shard).trim_end_matches('>')));
            let other = Incarnation::new(endpoint.key.clone(), "other");
            assert_ne!(layout.event(shard, &other, "id.with * and > and ü"), subject);
        }
        assert_eq!(layout.endpoint_of("other.e.0.a.b.c"), None);
        assert_eq!(layout.endpoint_of("hooks-2.e.0"), None);
    }

    #[test]
    fn endpoints_are_spread_over_the_shards() {
        let layout = Layout::new("grapnel", 16);
        let mut counts = [0u32; 16];
        for n in 0..1600 {
            counts[usize::from(layout.shard_of(&ObjectKey::new("shop", &*format!("endpoint-{n}"))))] += 1;
        }
        assert!(counts.iter().all(|count| (50..=160).contains(count)), "{counts:?}");
    }

    #[test]
    fn rows_have_keys() {
        let layout = Layout::new("Grapnel", 1);
        let subject = layout.row("lease.3");
        assert_eq!((&*subject, layout.key_of_row(&subject)), ("grapnel.m.lease.3", Some("lease.3")));
        assert_eq!(layout.meta_stream(), "GRAPNEL_META");
        assert_eq!(layout.endpoint_row(&ObjectKey::new("shop", "a.b")), "endpoint.shop.a_b");
    }
}
