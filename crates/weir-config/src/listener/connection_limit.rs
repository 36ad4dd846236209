//! The network filter that limits how many connections a filter chain has at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_routing::CompileError;
use weir_xds::connection_limit::ConnectionLimit as XdsLimit;
use weir_xds::core::RuntimeFeatureFlag;
use weir_xds::values::std_duration;

use crate::budget::{Budget, Permit};

/// So many connections at once, and how many there are. It counts for all workers, as long as its filter chain stays as it is.
#[derive(Debug)]
pub struct ConnectionLimit {
    /// Names it in statistics.
    pub stat_prefix: Arc<str>,
    /// How long a connection that is one too many stays open, so that its client does not come again at once.
    pub delay: Option<Duration>,
    connections: Arc<Budget>,
    limited: AtomicU64,
}

impl ConnectionLimit {
    /// Compiles the filter; none where it is switched off.
    ///
    /// # Errors
    /// If it is not valid.
    pub(super) fn compile(limit: &XdsLimit) -> Result<Option<Self>, CompileError> {
        let XdsLimit { stat_prefix, max_connections, delay, runtime_enabled } = limit;
        if stat_prefix.is_empty() {
            return Err(CompileError::missing("stat_prefix"));
        }
        let most = match max_connections {
            None => return Err(CompileError::missing("max_connections")),
            Some(0) => return Err(CompileError::new("max_connections", "must be 1 or more")),
            Some(most) => *most,
        };
        if let Some(RuntimeFeatureFlag { default_value: Some(false), runtime_key: _ }) = runtime_enabled {
            return Ok(None);
        }
        let delay = delay.as_ref().map(std_duration).filter(|delay| !delay.is_zero());
        Ok(Some(Self { stat_prefix: stat_prefix.as_str().into(), delay, connections: Budget::new(most), limited: AtomicU64::new(0) }))
    }

    /// Lets a connection in, as long as the permit lives; none if it is one too many.
    pub fn admit(&self) -> Option<Permit> {
        let permit = self.connections.take();
        if permit.is_none() {
            self.limited.fetch_add(1, Ordering::Relaxed);
        }
        permit
    }

    /// How many connections there are.
    pub fn active(&self) -> u64 {
        self.connections.open()
    }

    /// How many connections were one too many.
    pub fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }
}
