//! What xDS means to a proxy: clusters, listeners, HTTP connection managers, TLS, health and outlier policies, compiled.
//!
//! Where a connection or a request goes is decided in `weir-routing`; what becomes of it there stands here. It is pure: files
//! are named, not read, and no socket is opened. So `explain` and `validate` can ask the same code as the proxy, and say
//! beforehand what a proxy will refuse ([`CompileError`]) and what it will pass over ([`unsupported`]).

pub mod access_log;
pub mod bootstrap;
pub mod budget;
pub mod check_target;
pub mod circuit_breakers;
pub mod cluster;
pub mod decisions;
pub mod endpoints;
pub mod flags;
pub mod head;
pub mod health_check;
pub mod http;
pub mod listener;
pub mod load_balancing;
pub mod log_filter;
pub mod log_format;
pub mod memory;
pub mod name_table;
pub mod outlier;
mod payload;
pub mod peer_metadata;
pub mod proxy_protocol;
pub mod rules;
pub mod slow_start;
pub mod tcp;
pub mod tls;
pub mod transport;
pub mod unsupported;
pub mod workload;

pub use weir_routing::CompileError;
