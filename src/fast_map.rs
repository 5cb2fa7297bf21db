//! Maps of names.

use std::collections::HashMap;

/// A map that is rebuilt or searched for every object when the configuration changes. Its hash function is faster than
/// that of the standard library, and also has a random key, so that names that collide cannot be chosen.
pub(crate) type FastMap<K, V> = HashMap<K, V, ahash::RandomState>;
