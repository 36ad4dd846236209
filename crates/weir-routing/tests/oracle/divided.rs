//! Route configurations whose virtual hosts come one by one.

use std::sync::Arc;

use proptest::prelude::*;
use weir_routing::divided::{LooseHost, TableRest};
use weir_routing::{Decision, RouteTable};
use weir_xds::core::config_source::ConfigSourceSpecifier;
use weir_xds::core::{AggregatedConfigSource, ConfigSource, Metadata, PathConfigSource};
use weir_xds::route::route::Action;
use weir_xds::route::route_action::ClusterSpecifier;
use weir_xds::route::route_match::PathSpecifier;
use weir_xds::route::{Route, RouteAction, RouteConfiguration, RouteMatch, Vhds, VirtualHost};
use weir_xds::values::{set_metadata, text};

use crate::generate::{configuration, request};

const TABLES: u32 = 200;
const REQUESTS: usize = 50;

fn vhds(source: ConfigSourceSpecifier) -> Option<Vhds> {
    Some(Vhds { config_source: Some(ConfigSource { config_source_specifier: Some(source), ..Default::default() }) })
}

/// The same with these virtual hosts, of which others come by themselves.
fn divide(config: &RouteConfiguration, stays: Vec<VirtualHost>) -> RouteConfiguration {
    let mut metadata = Metadata::default();
    set_metadata(&mut metadata, "weir", "virtual_hosts", text("all"));
    let vhds = vhds(ConfigSourceSpecifier::Ads(AggregatedConfigSource {}));
    RouteConfiguration { virtual_hosts: stays, vhds, metadata: Some(metadata), ..config.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: TABLES, ..Default::default() })]

    #[test]
    fn a_table_decides_alike_whether_it_comes_whole_or_in_parts(
        config in configuration(),
        come_alone in prop::collection::vec(any::<bool>(), 16),
        requests in prop::collection::vec(request(), REQUESTS),
    ) {
        let numbered = config.virtual_hosts.iter().cloned().enumerate();
        let (alone, stay): (Vec<_>, Vec<_>) = numbered.partition(|(number, _)| come_alone[number % come_alone.len()]);
        // Where each of the parts stands in the whole.
        let places: Vec<usize> = stay.iter().chain(&alone).map(|(number, _)| *number).collect();
        let rest = TableRest::compile(&divide(&config, stay.into_iter().map(|(_, host)| host).collect())).unwrap();
        let hosts: Vec<LooseHost> = alone.iter().map(|(_, host)| rest.compile_host(host, None).unwrap()).collect();
        let parts = rest.with(hosts.iter(), None).unwrap().table;
        let whole = RouteTable::compile(&config, None).unwrap();
        for request in &requests {
            let expected = whole.decide(&request.head());
            let decided = match parts.decide(&request.head()) {
                Decision::Route { host, route } => Decision::Route { host: places[host], route },
                Decision::TlsRequired(host) => Decision::TlsRequired(places[host]),
                Decision::NoRoute(host) => Decision::NoRoute(places[host]),
                Decision::NoVirtualHost => Decision::NoVirtualHost,
            };
            prop_assert_eq!(decided, expected, "{:?}", request);
        }
    }
}

fn host(name: &str, domain: &str, cluster: &str) -> VirtualHost {
    let action = RouteAction { cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())), ..Default::default() };
    let route = Route {
        r#match: Some(RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..Default::default() }),
        action: Some(Action::Route(action)),
        ..Default::default()
    };
    VirtualHost { name: name.to_owned(), domains: vec![domain.to_owned()], routes: vec![route], ..Default::default() }
}

#[test]
fn what_did_not_change_is_shared() {
    let rest = TableRest::compile(&divide(&RouteConfiguration::default(), vec![host("any", "*", "x")])).unwrap();
    let first = [("a", "1"), ("b", "1")].map(|(name, cluster)| rest.compile_host(&host(name, name, cluster), None).unwrap());
    let before = rest.with(first.iter(), None).unwrap();
    let second = [rest.compile_host(&host("a", "a", "1"), Some(&first[0])), rest.compile_host(&host("b", "b", "2"), Some(&first[1]))];
    let second = second.map(Result::unwrap);
    let after = rest.with(second.iter(), Some(&before)).unwrap();
    let kept = before.table.virtual_hosts.iter().zip(&after.table.virtual_hosts).map(|(old, new)| Arc::ptr_eq(old, new));
    assert_eq!(kept.collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(&*after.table.virtual_hosts[2].clusters[0], "2");
}

#[test]
fn no_two_virtual_hosts_have_a_domain() {
    let rest = TableRest::compile(&divide(&RouteConfiguration::default(), vec![host("a", "a.test", "x")])).unwrap();
    let loose = |name: &str, domain: &str| rest.compile_host(&host(name, domain, "x"), None).unwrap();
    for hosts in [vec![loose("b", "A.test")], vec![loose("b", "b.test"), loose("c", "b.test")]] {
        let error = rest.with(hosts.iter(), None).unwrap_err().to_string();
        assert!(error.ends_with("is listed twice"), "{error}");
    }
    assert!(rest.with([loose("b", "b.test")].iter(), None).is_ok());
}

#[test]
fn only_a_server_that_sends_all_of_them_by_the_same_stream_is_believed() {
    let good = divide(&RouteConfiguration::default(), vec![]);
    assert!(TableRest::compile(&good).is_ok());
    let refused = |other: RouteConfiguration| TableRest::compile(&other).unwrap_err().to_string();
    let by_file = vhds(ConfigSourceSpecifier::PathConfigSource(PathConfigSource::default()));
    assert!(refused(RouteConfiguration { vhds: by_file, ..good.clone() }).starts_with("vhds.config_source: "));
    assert!(refused(RouteConfiguration { vhds: None, ..good.clone() }).starts_with("vhds.config_source: "));
    assert!(refused(RouteConfiguration { metadata: None, ..good.clone() }).starts_with("vhds: only of a server"));
    assert!(RouteTable::compile(&good, None).unwrap_err().to_string().starts_with("vhds: "));
}
