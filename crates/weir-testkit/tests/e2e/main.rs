//! Whole meshes, by what their clients see: each test runs over Weir's proxies and over Envoy, except those of what only
//! Weir's process does.
#![allow(clippy::print_stderr, reason = "what a test has measured is told")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod access_log;
mod actions;
mod authorization;
mod bad_peers;
#[cfg(target_os = "linux")]
mod captured;
mod changes;
mod connections;
mod edges;
mod fields;
mod files;
mod filters;
mod http_filters;
mod instances;
mod joined;
mod load;
mod locality;
mod memory;
mod mutual_tls;
mod outbound;
mod patches;
mod peer_metadata;
mod probes;
mod proxy_headers;
mod random_policies;
mod routing;
mod secure;
mod seeds;
mod seeds_on_bad_days;
mod shutdown;
mod storm;
mod support;
mod tls_upstreams;
mod tokens;
mod tools;
mod weights;
