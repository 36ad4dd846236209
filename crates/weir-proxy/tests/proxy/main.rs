//! The proxy, in this process, between a client and instances that do word for word what a test says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking")]

mod admission;
mod announced;
mod attacks;
mod blame;
mod bodies;
mod client_certificates;
mod codec;
mod configuration;
mod drain;
mod failures;
mod filters;
mod floods;
mod framing;
mod heads;
mod health_checks;
mod http2;
mod http2_peers;
mod http2_streams;
mod http2_upgrades;
mod interim;
mod labels;
mod limits;
mod local_replies;
mod lua;
mod memory;
mod mirrors;
mod openings;
mod outliers;
mod overloads;
mod own_names;
mod priorities;
mod requests;
mod slow_readers;
mod support;
mod tables;
mod tcp;
mod timeouts;
mod tls_clients;
mod tls_upstreams;
mod trailers;
mod tunnels;
mod upgrade_ends;
mod upgrades;
mod virtual_hosts;
