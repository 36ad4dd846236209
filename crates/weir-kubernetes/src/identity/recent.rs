//! What was found out a moment ago: no more of it than fits, and none for longer than it may hold.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// What was found out, each until its time.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    most: usize,
    found: Mutex<HashMap<K, (V, Instant)>>,
}

impl<K: Eq + Hash + Clone, V: Clone> Recent<K, V> {
    /// One that holds so many.
    pub fn of(most: usize) -> Self {
        Self { most, found: Mutex::default() }
    }

    /// What holds of this now, and until when.
    pub fn get(&self, key: &K) -> Option<(V, Instant)> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(key).filter(|(_, until)| *until > Instant::now()).cloned()
    }

    /// Takes what was found out. Where there is no room, what would be forgotten first goes.
    pub fn put(&self, key: K, value: V, until: Instant) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= self.most && !found.contains_key(&key) {
            let now = Instant::now();
            found.retain(|_, (_, until)| *until > now);
            let first = found.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| key.clone());
            if let Some(first) = first.filter(|_| found.len() >= self.most) {
                found.remove(&first);
            }
        }
        found.insert(key, (value, until));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_holds_until_its_time_and_no_more_than_fits() {
        let (recent, begin) = (Recent::of(2), Instant::now());
        let of = |key: &str| recent.get(&key.to_owned()).map(|(value, _)| value);
        for (key, seconds) in [("a", 3), ("b", 1), ("c", 2)] {
            recent.put(key.to_owned(), seconds, begin + Duration::from_secs(seconds));
        }
        assert_eq!([of("a"), of("b"), of("c")], [Some(3), None, Some(2)], "b would have gone first");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!([of("a"), of("c")], [Some(3), None]);
        recent.put("d".to_owned(), 9, begin + Duration::from_secs(9));
        assert_eq!([of("a"), of("d")], [Some(3), Some(9)], "what no longer holds makes room");
    }
}
