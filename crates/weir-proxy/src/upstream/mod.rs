//! Connections to instances: made ([`connect`]), kept and shared ([`http1`], [`http2`]).

pub mod connect;
pub mod http1;
pub mod http2;
