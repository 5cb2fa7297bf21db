//! Maps of names.

use std::collections::HashMap;

/// A map that is built anew or searched for every object when the configuration changes. Its hash function is several
/// times as fast as that of the standard library, and keyed at random too, so that nobody can choose names that collide.
pub(crate) type FastMap<K, V> = HashMap<K, V, ahash::RandomState>;
