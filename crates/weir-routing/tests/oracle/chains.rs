//! Filter chains: Envoy's sieve
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch>),
//! stage by stage over the whole list.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use weir_routing::filter_chain::Chain;
use weir_routing::{Connection, FilterChains};
use weir_xds::core::CidrRange;
use weir_xds::listener::{FilterChain, FilterChainMatch, Listener};

const NAMES: [&str; 5] = ["a.test", "*.test", "*.a.test", "b.test", "x.a.test"];
const PROTOCOLS: [&str; 3] = ["http/1.1", "h2", "istio"];

fn criteria() -> impl Strategy<Value = FilterChainMatch> {
    let some = |words: &[&'static str]| {
        let words = words.to_vec();
        prop_oneof![2 => Just(vec![]), 3 => prop::sample::subsequence(words, 1..3)]
    };
    let range = prop_oneof![
        3 => Just(vec![]),
        2 => prop::sample::subsequence(vec![("10.0.0.0", 8), ("10.1.0.0", 16), ("0.0.0.0", 0), ("10.1.1.1", 32)], 1..3),
    ];
    let transport = prop::sample::select(vec!["", "", "tls", "raw_buffer"]);
    (prop::option::of(80_u32..82), range, some(&NAMES), transport, some(&PROTOCOLS)).prop_map(
        |(port, ranges, names, transport, protocols)| {
            let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
            let range = |(address, length): (&str, u32)| CidrRange { address_prefix: address.to_owned(), prefix_len: Some(length) };
            FilterChainMatch {
                destination_port: port,
                prefix_ranges: ranges.into_iter().map(range).collect(),
                server_names: owned(names),
                transport_protocol: transport.to_owned(),
                application_protocols: owned(protocols),
                ..Default::default()
            }
        },
    )
}

/// What a connection is like.
#[derive(Debug, Clone)]
struct Peer {
    destination: SocketAddr,
    server_name: Option<&'static str>,
    tls: bool,
    protocols: Vec<&'static [u8]>,
}

fn peer() -> impl Strategy<Value = Peer> {
    let address = prop::sample::select(vec!["10.1.1.1", "10.1.2.3", "10.9.9.9", "192.168.0.1"]);
    let name = prop::option::of(prop::sample::select(vec!["a.test", "A.test", "b.test", "c.test", "x.a.test", "y.x.a.test", "test"]));
    let protocols = prop::sample::subsequence(vec![b"h2".as_slice(), b"http/1.1", b"istio", b"other"], 0..3);
    (address, 80_u16..83, name, any::<bool>(), protocols).prop_map(|(address, port, server_name, tls, protocols)| Peer {
        destination: SocketAddr::new(address.parse().unwrap(), port),
        // Without TLS nobody names a server.
        server_name: server_name.filter(|_| tls),
        tls,
        protocols,
    })
}

/// The chains left after a stage: those whose criterion fits best, else those that have none.
fn stage(left: Vec<&(usize, FilterChainMatch)>, rank: impl Fn(&FilterChainMatch) -> Option<usize>) -> Vec<&(usize, FilterChainMatch)> {
    let best = left.iter().filter_map(|(_, criteria)| rank(criteria)).max();
    left.into_iter().filter(|(_, criteria)| rank(criteria) == best && best.is_some()).collect()
}

fn walk(chains: &[(usize, FilterChainMatch)], peer: &Peer) -> Option<usize> {
    // What is named ranks above what is not; what is named and does not fit is out.
    let left = stage(chains.iter().collect(), |criteria| match criteria.destination_port {
        None => Some(0),
        Some(port) => (port == u32::from(peer.destination.port())).then_some(1),
    });
    let left = stage(left, |criteria| best(&criteria.prefix_ranges, |range| in_range(range, peer.destination.ip())));
    let left = stage(left, |criteria| best(&criteria.server_names, |name| named(name, peer.server_name?)));
    let left = stage(left, |criteria| match criteria.transport_protocol.as_str() {
        "" => Some(0),
        wanted => ((wanted == "tls") == peer.tls).then_some(1),
    });
    // The first protocol of the client's list that any chain names.
    let left = stage(left, |criteria| {
        best(&criteria.application_protocols, |protocol| {
            let position = peer.protocols.iter().position(|offered| *offered == protocol.as_bytes())?;
            Some(peer.protocols.len() - position)
        })
    });
    left.first().map(|(number, _)| *number)
}

/// The best of a list of criteria; an empty list stands for anything, but below all that are named.
fn best<T>(list: &[T], rank: impl Fn(&T) -> Option<usize>) -> Option<usize> {
    if list.is_empty() { Some(0) } else { list.iter().filter_map(rank).max().map(|rank| rank + 1) }
}

fn in_range(range: &CidrRange, ip: IpAddr) -> Option<usize> {
    let (IpAddr::V4(base), IpAddr::V4(ip)) = (range.address_prefix.parse().unwrap(), ip) else { panic!("not generated") };
    let length = range.prefix_len.unwrap();
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    (base.to_bits() & mask == ip.to_bits() & mask).then_some(length as usize)
}

fn named(name: &str, server_name: &str) -> Option<usize> {
    let server_name = server_name.to_ascii_lowercase();
    match name.strip_prefix('*') {
        None => (name == server_name).then_some(usize::from(u16::MAX)),
        Some(suffix) => (server_name.len() > suffix.len() && server_name.ends_with(suffix)).then_some(suffix.len()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..Default::default() })]

    #[test]
    fn the_sieve_finds_what_a_walk_finds(criteria in prop::collection::vec(criteria(), 0..8), peers in prop::collection::vec(peer(), 50), default: bool) {
        // Envoy refuses chains that cannot be told apart: those are left out one by one.
        let mut kept: Vec<FilterChainMatch> = vec![];
        let listener = |kept: &[FilterChainMatch]| Listener {
            filter_chains: kept.iter().map(|criteria| FilterChain { filter_chain_match: Some(criteria.clone()), ..Default::default() }).collect(),
            default_filter_chain: default.then(FilterChain::default),
            ..Default::default()
        };
        for criteria in criteria {
            kept.push(criteria);
            if FilterChains::compile(&listener(&kept)).is_err() {
                kept.pop();
            }
        }
        let compiled = FilterChains::compile(&listener(&kept)).unwrap();
        let numbered: Vec<(usize, FilterChainMatch)> = kept.into_iter().enumerate().collect();
        for peer in &peers {
            let connection = Connection {
                destination: peer.destination,
                server_name: peer.server_name,
                tls: peer.tls,
                application_protocols: &peer.protocols,
            };
            let walked = walk(&numbered, peer).map(Chain::Numbered).or(default.then_some(Chain::Default));
            prop_assert_eq!(compiled.find(&connection), walked, "{:?}", peer);
        }
    }
}
