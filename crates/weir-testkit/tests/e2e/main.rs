//! Whole meshes, by what their clients see: each test runs over Weir's proxies and over Envoy, except those of what only
//! Weir's process does.
#![allow(clippy::print_stderr, reason = "what a test has measured is told")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod files;
mod filters;
mod instances;
mod load;
mod locality;
mod memory;
mod routing;
mod seeds;
mod shutdown;
mod support;
mod weights;
