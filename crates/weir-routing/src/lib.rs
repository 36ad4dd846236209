//! Where a connection or a request goes: xDS listeners and routes compiled for matching.
//!
//! Everything that decides does so here, and only here: the proxy on its hot path, `explain`, `test` and
//! `diff` ask the same functions. The order of decisions is Envoy's; the way to them is by index, so that the
//! cost of a request does not grow with the number of routes.
//!
//! A [`RouteTable`] decides requests: authority → virtual host → route → action. [`FilterChains`] decide
//! connections. What is compiled is immutable and shared by all workers.

pub mod action;
pub mod answer_match;
pub mod clusters;
pub mod condition;
pub mod divided;
pub mod dynamic_metadata;
mod error;
pub mod filter_chain;
mod filter_metadata;
pub mod filters;
pub mod grpc;
pub mod hash_policy;
pub mod header_changes;
mod host_index;
pub mod inline_headers;
mod map;
pub mod matcher;
mod metadata;
pub mod metadata_match;
pub mod mirror;
pub mod normalize;
pub mod path;
mod prefix_index;
mod query;
pub mod rate_limits;
pub mod rbac;
mod request;
pub mod retry;
pub mod rewrite;
mod route_index;
mod shared;
mod source;
pub mod substitution;
mod table;
pub mod template;
pub mod text_match;
pub mod timeouts;

pub use error::CompileError;
pub use filter_chain::{Connection, FilterChains};
pub use filter_metadata::FilterMetadata;
pub use host_index::without_port;
pub use metadata::Metadata;
pub use request::{RequestHead, known_scheme, told_scheme};
pub use shared::ClusterIndex;
pub use table::{Decision, RequireTls, Route, RouteTable, VirtualHost};
