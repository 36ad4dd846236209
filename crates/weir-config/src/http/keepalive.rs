//! Signs of life over HTTP/2, of clients and of instances.

use std::time::Duration;

use weir_xds::core::Http2ProtocolOptions;
use weir_xds::values::std_duration;

/// Envoy waits so long for the answer to a PING where nothing is said of it; it is a required field.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// PING frames: how often, and how long their answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Keepalive {
    /// Between two of them.
    pub interval: Duration,
    /// After this time without an answer the connection is closed.
    pub timeout: Duration,
}

impl Http2Keepalive {
    /// Compiles what the options of HTTP/2 say; none where nothing is asked for.
    pub fn compile(options: &Http2ProtocolOptions) -> Option<Self> {
        let positive = |written: &Option<_>| written.as_ref().map(std_duration).filter(|duration| !duration.is_zero());
        let keepalive = options.connection_keepalive.as_ref()?;
        let timeout = positive(&keepalive.timeout).unwrap_or(KEEPALIVE_TIMEOUT);
        Some(Self { interval: positive(&keepalive.interval)?, timeout })
    }
}
