//! What a proxy goes on holding once it has checked its resources, and said what of them it does not carry out.
//!
//! A binary of its own, because its allocator counts for the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
use weir_config::{rules, unsupported};
use weir_xds::Any;
use weir_xds::cluster::Cluster;
use weir_xds::json::{from_value, give_back_memory};
use weir_xds::listener::Listener;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// The table of what is decided takes a quarter of it; decoded descriptors would take ten times as much.
const LIMIT: usize = 512 * 1024;

#[test]
fn neither_checks_nor_reports_leave_descriptors_behind() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "statPrefix": "x",
        "routeConfig": {"virtualHosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "a"}}]}]},
    });
    let listener: Listener =
        from_value(json!({"name": "l", "filterChains": [{"filters": [{"name": "http", "typedConfig": manager}]}]})).unwrap();
    let cluster: Cluster = from_value(json!({"name": "a", "perConnectionBufferLimitBytes": 1, "altStatName": "b"})).unwrap();
    give_back_memory();

    let before = dhat::HeapStats::get().curr_bytes;
    for resource in [Any::pack(&listener), Any::pack(&cluster)] {
        assert_eq!(rules::check(&resource), Ok(()));
        unsupported::report(&resource);
    }
    let left = dhat::HeapStats::get().curr_bytes.saturating_sub(before);
    assert!(left < LIMIT, "{left} bytes are left");
}
