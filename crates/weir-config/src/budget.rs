//! How many connections there may be at once: of a process, of a listener, of a filter chain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many connections, and how many there are. All workers take from the same one.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    open: AtomicU64,
}

/// A connection that counts, until it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<Budget>);

impl Budget {
    /// For so many connections.
    pub fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most, open: AtomicU64::new(0) })
    }

    /// Counts one more connection; none if there are enough.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        // Dropped where it is one too many, it is counted no longer.
        let permit = Permit(Arc::clone(self));
        (before < self.most).then_some(permit)
    }

    /// How many there may be.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// How many there are.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_there_may_be() {
        let budget = Budget::new(2);
        let (first, second) = (budget.take(), budget.take());
        assert!(first.is_some() && second.is_some() && budget.take().is_none());
        assert_eq!(budget.open(), 2);
        drop(first);
        assert!(budget.take().is_some() && Budget::new(0).take().is_none());
    }
}
