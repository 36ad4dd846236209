//! Whole meshes, by what their clients see: each test runs over Weir's proxies and over Envoy, except those of what only
//! Weir's process does.

mod files;
mod instances;
mod routing;
mod shutdown;
mod support;
mod weights;
