//! Virtual hosts and routes.

use std::sync::Arc;

use proptest::prelude::*;
use weir_routing::RouteTable;
use weir_xds::route::route::Action;
use weir_xds::route::route_match::PathSpecifier;
use weir_xds::route::{DirectResponseAction, Route, RouteConfiguration, RouteMatch, VirtualHost};

use crate::generate::{configuration, request};
use crate::naive;

/// So many tables, each asked so often: 100,000 pairs.
const TABLES: u32 = 1_000;
const REQUESTS: usize = 100;

proptest! {
    #![proptest_config(ProptestConfig { cases: TABLES, ..Default::default() })]

    #[test]
    fn the_index_finds_what_a_walk_finds(config in configuration(), requests in prop::collection::vec(request(), REQUESTS)) {
        let table = RouteTable::compile(&config, None).unwrap();
        for request in &requests {
            prop_assert_eq!(table.decide(&request.head()), naive::decide(&config, &request.head()), "{:?}", request);
        }
    }
}

#[test]
fn a_change_compiles_the_virtual_host_that_it_is_in_and_no_other() {
    let route = Route {
        r#match: Some(RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..Default::default() }),
        action: Some(Action::DirectResponse(DirectResponseAction { status: 200, ..Default::default() })),
        ..Default::default()
    };
    let host = |number: usize| VirtualHost {
        name: format!("host-{number}"),
        domains: vec![format!("host-{number}.test")],
        routes: vec![route.clone()],
        ..Default::default()
    };
    let mut config = RouteConfiguration { virtual_hosts: (0..10_000).map(host).collect(), ..Default::default() };
    let table = RouteTable::compile(&config, None).unwrap();
    config.virtual_hosts[7_000].routes[0].name = "changed".to_owned();
    let next = RouteTable::compile(&config, Some(&table)).unwrap();
    let is_kept = |number: &usize| Arc::ptr_eq(&table.virtual_hosts[*number], &next.virtual_hosts[*number]);
    assert_eq!((0..10_000).filter(|number| !is_kept(number)).collect::<Vec<_>>(), [7_000]);
    assert_eq!(&*next.virtual_hosts[7_000].routes[0].name, "changed");
}
