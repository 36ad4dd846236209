//! What a table of 10,000 routes costs: to be made and to be held.
//!
//! The times and sizes are those of issue and README; the limits here are wide, because machines differ. `cargo run --release
//! -p weir-bench --bin lookup` measures.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and tells what it measured")]

use std::time::{Duration, Instant};

use weir_http1::Headers;
use weir_routing::{Decision, RequestHead, RouteTable};
use weir_xds::route::route::Action;
use weir_xds::route::route_action::ClusterSpecifier;
use weir_xds::route::route_match::PathSpecifier;
use weir_xds::route::{Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const ROUTES: usize = 10_000;
/// A table of so many routes may hold so many bytes.
const MAX_BYTES: usize = 10 << 20;
/// It is made in under 50 ms by a release build; this one is none.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many virtual hosts with so many routes each.
fn configuration(hosts: usize, routes: usize) -> RouteConfiguration {
    let route = |number: usize| Route {
        name: format!("r{number:05}"),
        r#match: Some(RouteMatch { path_specifier: Some(PathSpecifier::Prefix(format!("/r{number:05}/"))), ..Default::default() }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(format!("outbound|80||r{number:05}.test"))),
            ..Default::default()
        })),
        ..Default::default()
    };
    let host = |number: usize| VirtualHost {
        name: format!("host-{number:05}"),
        domains: vec![format!("host-{number:05}.test")],
        routes: (0..routes).map(route).collect(),
        ..Default::default()
    };
    RouteConfiguration { name: "many".to_owned(), virtual_hosts: (0..hosts).map(host).collect(), ..Default::default() }
}

fn decide(table: &RouteTable, authority: &str, path: &str) -> Decision {
    table.decide(&RequestHead { method: "GET", scheme: "http", authority, path, headers: &Headers::new(), random: 0 })
}

// One test: the allocator counts for the whole process.
#[test]
fn ten_thousand_routes_are_made_at_once_and_hold_little() {
    let profiler = dhat::Profiler::builder().testing().build();
    for (hosts, routes) in [(1, ROUTES), (ROUTES, 1)] {
        let config = configuration(hosts, routes);
        let before = dhat::HeapStats::get().curr_bytes;
        let start = Instant::now();
        let table = RouteTable::compile(&config, None).unwrap();
        let (took, held) = (start.elapsed(), dhat::HeapStats::get().curr_bytes - before);
        eprintln!("{hosts} virtual hosts with {routes} routes each: {took:?}, {:.1} MiB", held as f64 / f64::from(1 << 20));
        assert!(held <= MAX_BYTES, "{held} bytes");
        assert!(took <= PATIENCE, "{took:?}");
        let (host, route) = (hosts - 1, routes - 1);
        assert_eq!(decide(&table, &format!("host-{host:05}.test"), &format!("/r{route:05}/x")), Decision::Route { host, route });
        // What is looked up allocates nothing.
        let before = dhat::HeapStats::get().total_blocks;
        decide(&table, "host-00000.test", "/r00000/x");
        assert_eq!(dhat::HeapStats::get().total_blocks, before);
    }
    drop(profiler);
}
