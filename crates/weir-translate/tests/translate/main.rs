//! Translations of small meshes, whole, as goldens: what changes here changes what every proxy gets.
//!
//! `INSTA_UPDATE=always cargo test -p weir-translate` writes them anew; read the difference before it is committed.

#![allow(clippy::panic, clippy::print_stderr, clippy::unwrap_used, reason = "a test ends where it is wrong")]

mod authz_goldens;
mod automatic;
mod captured;
mod classes;
mod connections;
mod destinations;
mod edges;
mod gateways;
mod health;
mod ingresses;
mod locality;
mod misdirected;
mod mutual_tls;
mod name_table;
mod patch_findings;
mod patch_matches;
mod patch_operations;
mod patches;
mod peer_metadata;
mod policies;
mod probes;
mod proxy_headers;
mod rules;
mod samples;
mod scale;
mod support;
mod tokens;
mod unix_sockets;
