//! Requests that are held back until all of their body is there: Envoy's buffer filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/buffer_filter>).
//!
//! A request that is larger than allowed is answered with 413, as soon as that is seen. One that was sent without a length
//! gets one; trailers pass.

use weir_xds::buffer::buffer_per_route::Override;
use weir_xds::buffer::{Buffer, BufferPerRoute};

use super::Policy;
use crate::error::CompileError;

/// How requests are buffered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferPolicy {
    /// So many bytes may be buffered, and no more.
    pub max_request_bytes: u32,
}

/// What a route says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferOverride {
    /// Requests are not buffered.
    Disabled,
    /// They are, so far.
    Limit(BufferPolicy),
}

impl Policy for BufferPolicy {
    type Message = Buffer;

    fn compile(message: &Buffer) -> Result<Self, CompileError> {
        let Buffer { max_request_bytes } = message;
        let max_request_bytes = max_request_bytes.ok_or_else(|| CompileError::missing("max_request_bytes"))?;
        if max_request_bytes == 0 {
            return Err(CompileError::new("max_request_bytes", "must not be zero"));
        }
        Ok(Self { max_request_bytes })
    }
}

impl Policy for BufferOverride {
    type Message = BufferPerRoute;

    fn compile(message: &BufferPerRoute) -> Result<Self, CompileError> {
        let BufferPerRoute { r#override } = message;
        match r#override {
            Some(Override::Disabled(true)) => Ok(Self::Disabled),
            Some(Override::Disabled(false)) => Err(CompileError::new("disabled", "must be true")),
            Some(Override::Buffer(buffer)) => BufferPolicy::compile(buffer).map(Self::Limit).map_err(|error| error.within("buffer")),
            None => Err(CompileError::missing("override")),
        }
    }
}

impl BufferPolicy {
    /// The policy for a request, with what its route says; `None` if it is not buffered.
    pub fn with(self, route: Option<&BufferOverride>) -> Option<Self> {
        match route {
            None => Some(self),
            Some(BufferOverride::Limit(policy)) => Some(*policy),
            Some(BufferOverride::Disabled) => None,
        }
    }

    /// Whether a body of which so many bytes are there is too large.
    pub fn is_exceeded_by(self, bytes: usize) -> bool {
        bytes as u64 > u64::from(self.max_request_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_changes_the_limit_or_has_none() {
        let buffer = |max_request_bytes| Buffer { max_request_bytes };
        let own = BufferPolicy::compile(&buffer(Some(5))).expect("valid");
        let cases = [
            (Some(Override::Disabled(true)), Some(None)),
            (Some(Override::Buffer(buffer(Some(7)))), Some(Some(7))),
            (Some(Override::Disabled(false)), None),
            (Some(Override::Buffer(buffer(Some(0)))), None),
            (Some(Override::Buffer(buffer(None))), None),
            (None, None),
        ];
        for (r#override, expected) in cases {
            let route = BufferOverride::compile(&BufferPerRoute { r#override });
            let limit = route.ok().map(|route| own.with(Some(&route)).map(|policy| policy.max_request_bytes));
            assert_eq!(limit, expected, "{override:?}");
        }
        assert_eq!(own.with(None), Some(own));
        assert!(BufferPolicy::compile(&buffer(None)).is_err() && BufferPolicy::compile(&buffer(Some(0))).is_err());
    }

    #[test]
    fn the_limit_itself_is_not_too_large() {
        let policy = BufferPolicy { max_request_bytes: 5 };
        assert!(!policy.is_exceeded_by(5) && policy.is_exceeded_by(6));
    }
}
