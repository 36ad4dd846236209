//! Maps that are filled from configuration and only read by requests.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// A map with a fast hash. What a client sends is only looked up, never filed, so nobody can fill it with collisions.
pub(crate) type Map<K, V> = HashMap<K, V, FixedState>;
