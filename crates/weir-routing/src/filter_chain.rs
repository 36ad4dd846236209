//! Which filter chain of a listener a connection belongs to.
//!
//! Envoy sieves: by destination port, then address, server name, transport protocol and application
//! protocol. At each stage the most specific criterion that any chain names and the connection satisfies is
//! kept, and there is no way back to a less specific one
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#envoy-v3-api-msg-config-listener-v3-filterchainmatch>).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use weir_xds::core::CidrRange;
use weir_xds::listener::{FilterChain, FilterChainMatch, Listener};

use crate::error::CompileError;

/// What is known of a connection before its first request.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'c> {
    /// The address that the client connected to; with interception, the one that it meant to.
    pub destination: SocketAddr,
    /// The server name of its TLS handshake.
    pub server_name: Option<&'c str>,
    /// Whether it begins with a TLS handshake.
    pub tls: bool,
    /// What it offers by ALPN, or, for plain text, what it turned out to speak.
    pub application_protocols: &'c [&'c [u8]],
}

/// The chain that a connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// One of the listener's chains, by its position.
    Numbered(usize),
    /// The chain for all that belong to no other.
    Default,
}

/// The conditions of a listener's filter chains, compiled.
#[derive(Debug, Default)]
pub struct FilterChains {
    ports: Choice<u16, ByAddress>,
    has_default: bool,
}

type ByAddress = Choice<IpNet, ByServerName>;
type ByServerName = Choice<Box<str>, ByTransport>;
type ByTransport = Choice<Transport, ByProtocol>;
type ByProtocol = Choice<Box<[u8]>, usize>;

/// A transport protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Transport {
    Tls,
    Plain,
    /// One that no connection here has.
    Other(Box<str>),
}

impl Transport {
    fn compile(name: &str) -> Option<Self> {
        match name {
            "" => None,
            "tls" => Some(Self::Tls),
            "raw_buffer" => Some(Self::Plain),
            other => Some(Self::Other(other.into())),
        }
    }
}

/// One stage of the sieve: what follows for each criterion, and for chains that name none.
#[derive(Debug)]
struct Choice<K, T> {
    named: HashMap<K, T>,
    any: Option<Box<T>>,
}

impl<K, T> Default for Choice<K, T> {
    fn default() -> Self {
        Self { named: HashMap::new(), any: None }
    }
}

impl<K: std::hash::Hash + Eq, T> Choice<K, T> {
    /// What follows for a criterion.
    fn entry(&mut self, key: Option<K>) -> &mut T
    where
        T: Default,
    {
        match key {
            Some(key) => self.named.entry(key).or_default(),
            None => self.any.get_or_insert_default(),
        }
    }

    fn or_any<'t>(&'t self, found: Option<&'t T>) -> Option<&'t T> {
        found.or(self.any.as_deref())
    }
}

impl FilterChains {
    /// Compiles the conditions of a listener's chains.
    ///
    /// # Errors
    /// If two chains have the same conditions, or one has a condition that is not carried out.
    pub fn compile(listener: &Listener) -> Result<Self, CompileError> {
        let mut chains = Self { has_default: listener.default_filter_chain.is_some(), ..Self::default() };
        for (number, chain) in listener.filter_chains.iter().enumerate() {
            chains.add(number, chain).map_err(|error| error.within(&format!("filter_chains[{number}].filter_chain_match")))?;
        }
        Ok(chains)
    }

    fn add(&mut self, number: usize, chain: &FilterChain) -> Result<(), CompileError> {
        let none = FilterChainMatch::default();
        let FilterChainMatch {
            destination_port,
            prefix_ranges,
            server_names,
            transport_protocol,
            application_protocols,
            // Refused: who is to be kept apart would be let in.
            direct_source_prefix_ranges,
            source_type,
            source_prefix_ranges,
            source_ports,
            // Envoy does not carry them out either, and refuses them.
            address_suffix,
            suffix_len,
        } = chain.filter_chain_match.as_ref().unwrap_or(&none);
        let unsupported = [
            ("source_prefix_ranges", !source_prefix_ranges.is_empty()),
            ("direct_source_prefix_ranges", !direct_source_prefix_ranges.is_empty()),
            ("source_ports", !source_ports.is_empty()),
            ("source_type", *source_type != 0),
            ("address_suffix", !address_suffix.is_empty()),
            ("suffix_len", suffix_len.is_some()),
        ];
        if let Some((field, _)) = unsupported.into_iter().find(|(_, used)| *used) {
            return Err(CompileError::unsupported(field));
        }
        let port = destination_port.map(to_port).transpose()?;
        let transport = Transport::compile(transport_protocol);
        for range in or_any(prefix_ranges.iter().map(to_net).collect::<Result<_, _>>()?) {
            for name in or_any(server_names.iter().map(|name| server_name_key(name)).collect::<Result<_, _>>()?) {
                for protocol in or_any(application_protocols.iter().map(|p| p.as_bytes().into()).collect()) {
                    let protocols = self.ports.entry(port).entry(range).entry(name.clone()).entry(transport.clone());
                    let free = match protocol {
                        Some(protocol) => protocols.named.insert(protocol, number).is_none(),
                        None => protocols.any.replace(Box::new(number)).is_none(),
                    };
                    if !free {
                        return Err(CompileError::new("", "another filter chain has the same conditions"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The chain that a connection belongs to.
    pub fn find(&self, connection: &Connection<'_>) -> Option<Chain> {
        let found = self.sieve(connection).map(Chain::Numbered);
        found.or(self.has_default.then_some(Chain::Default))
    }

    fn sieve(&self, connection: &Connection<'_>) -> Option<usize> {
        let addresses = self.ports.or_any(self.ports.named.get(&connection.destination.port()))?;
        let ip = connection.destination.ip().to_canonical();
        let narrowest = addresses.named.iter().filter(|(net, _)| net.contains(&ip)).max_by_key(|(net, _)| net.prefix_len());
        let names = addresses.or_any(narrowest.map(|(_, names)| names))?;
        let transports = names.or_any(connection.server_name.and_then(|name| by_server_name(&names.named, name)))?;
        let protocols = transports.or_any(transports.named.get(if connection.tls { &Transport::Tls } else { &Transport::Plain }))?;
        let protocol = connection.application_protocols.iter().find_map(|protocol| protocols.named.get(*protocol));
        protocols.or_any(protocol).copied()
    }
}

/// The criteria that a chain names; one that stands for any if it names none.
fn or_any<K>(named: Vec<K>) -> Vec<Option<K>> {
    if named.is_empty() { vec![None] } else { named.into_iter().map(Some).collect() }
}

/// The key of a server name: a wildcard is filed by its suffix with the dot.
fn server_name_key(name: &str) -> Result<Box<str>, CompileError> {
    let name = name.to_ascii_lowercase();
    let key = name.strip_prefix('*').filter(|suffix| suffix.starts_with('.')).unwrap_or(&name);
    if key.contains('*') {
        return Err(CompileError::new("server_names", format!("`{name}` has a wildcard that does not stand for whole labels")));
    }
    Ok(key.into())
}

fn to_port(port: u32) -> Result<u16, CompileError> {
    u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(|| CompileError::new("destination_port", format!("{port} is no port")))
}

fn by_server_name<'t, T>(names: &'t HashMap<Box<str>, T>, name: &str) -> Option<&'t T> {
    keys(&name.to_ascii_lowercase()).find_map(|key| names.get(key))
}

/// What a name is looked up by: first as a whole, then by the wildcards that it is within, the longest first.
fn keys(name: &str) -> impl Iterator<Item = &str> {
    let suffixes = name.match_indices('.').filter(|(dot, _)| *dot > 0).filter_map(|(dot, _)| name.get(dot..));
    std::iter::once(name).chain(suffixes)
}

fn to_net(range: &CidrRange) -> Result<IpNet, CompileError> {
    let wrong = || CompileError::new("prefix_ranges", format!("`{}` is no range of addresses", range.address_prefix));
    let ip: IpAddr = range.address_prefix.parse().map_err(|_| wrong())?;
    let length = u8::try_from(range.prefix_len.unwrap_or(0)).map_err(|_| wrong())?;
    IpNet::new(ip, length).map(|net| net.trunc()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(criteria: FilterChainMatch) -> FilterChain {
        FilterChain { filter_chain_match: Some(criteria), ..Default::default() }
    }

    fn names(names: &[&str]) -> FilterChainMatch {
        FilterChainMatch { server_names: names.iter().map(ToString::to_string).collect(), ..Default::default() }
    }

    fn compile(chains: Vec<FilterChainMatch>, default: bool) -> FilterChains {
        let filter_chains = chains.into_iter().map(chain).collect();
        let default_filter_chain = default.then(FilterChain::default);
        FilterChains::compile(&Listener { filter_chains, default_filter_chain, ..Default::default() }).expect("valid")
    }

    fn connection<'c>(destination: &str, server_name: Option<&'c str>, application_protocols: &'c [&'c [u8]]) -> Connection<'c> {
        let destination = destination.parse().expect("an address");
        Connection { destination, server_name, tls: server_name.is_some(), application_protocols }
    }

    #[test]
    fn the_most_specific_server_name_wins() {
        let chains = compile(vec![names(&["*.test"]), names(&["a.test"]), names(&["*.b.test"]), names(&[])], false);
        let find = |name| chains.find(&connection("10.0.0.1:443", name, &[]));
        assert_eq!(find(Some("A.test")), Some(Chain::Numbered(1)));
        assert_eq!(find(Some("x.a.test")), Some(Chain::Numbered(0)));
        assert_eq!(find(Some("x.b.test")), Some(Chain::Numbered(2)));
        assert_eq!(find(Some("test")), Some(Chain::Numbered(3)));
        assert_eq!(find(None), Some(Chain::Numbered(3)));
    }

    #[test]
    fn a_name_of_ten_thousand_is_looked_up_by_as_many_keys_as_it_has_labels() {
        const NAMES: usize = 10_000;
        let of_name = |number: usize| names(&[&format!("s{number}.w.test"), &format!("*.s{number}.test")]);
        let chains = compile((0..NAMES).map(of_name).collect(), false);
        let connection = |name| chains.find(&connection("10.0.0.1:443", Some(name), &[]));
        assert_eq!(connection("s9999.w.test"), Some(Chain::Numbered(9999)));
        assert_eq!(connection("a.b.s7.test"), Some(Chain::Numbered(7)));
        assert_eq!(connection("s10000.w.test"), None);
        assert_eq!(keys("a.b.s7.test").collect::<Vec<_>>(), ["a.b.s7.test", ".b.s7.test", ".s7.test", ".test"]);
    }

    #[test]
    fn there_is_no_way_back_but_the_default() {
        let range = |address: &str, length| CidrRange { address_prefix: address.into(), prefix_len: Some(length) };
        let narrow = FilterChainMatch { prefix_ranges: vec![range("10.0.0.0", 8)], ..names(&["a.test"]) };
        let wide = FilterChainMatch { prefix_ranges: vec![range("0.0.0.0", 0)], ..Default::default() };
        for default in [false, true] {
            let chains = compile(vec![narrow.clone(), wide.clone()], default);
            assert_eq!(chains.find(&connection("10.1.1.1:1", Some("a.test"), &[])), Some(Chain::Numbered(0)));
            assert_eq!(chains.find(&connection("11.1.1.1:1", Some("b.test"), &[])), Some(Chain::Numbered(1)));
            assert_eq!(chains.find(&connection("10.1.1.1:1", Some("b.test"), &[])), default.then_some(Chain::Default));
        }
    }

    #[test]
    fn protocols_decide_last() {
        let http = FilterChainMatch {
            transport_protocol: "raw_buffer".into(),
            application_protocols: vec!["http/1.1".into(), "h2c".into()],
            ..Default::default()
        };
        let chains = compile(vec![http, FilterChainMatch::default()], false);
        assert_eq!(chains.find(&connection("10.0.0.1:80", None, &[b"h2c"])), Some(Chain::Numbered(0)));
        // A raw connection that is no HTTP: the stage before has chosen the first chain's branch already.
        assert_eq!(chains.find(&connection("10.0.0.1:80", None, &[])), None);
        assert_eq!(chains.find(&connection("10.0.0.1:80", Some("a"), &[])), Some(Chain::Numbered(1)));
    }

    #[test]
    fn two_chains_with_the_same_conditions_are_refused() {
        let filter_chains = vec![chain(names(&["a.test"])), chain(names(&["b.test", "a.test"]))];
        let error = FilterChains::compile(&Listener { filter_chains, ..Default::default() }).expect_err("twice");
        assert!(error.to_string().starts_with("filter_chains[1]"), "{error}");
    }

    #[test]
    fn a_chain_for_another_transport_takes_no_connection() {
        let quic = FilterChainMatch { transport_protocol: "quic".into(), ..Default::default() };
        let chains = compile(vec![quic, names(&["a.test"])], false);
        assert_eq!(chains.find(&connection("10.0.0.1:80", None, &[])), None);
        assert_eq!(chains.find(&connection("10.0.0.1:80", Some("a.test"), &[])), Some(Chain::Numbered(1)));
    }

    #[test]
    fn conditions_that_are_not_understood_let_nobody_in() {
        let port = |port| FilterChainMatch { destination_port: Some(port), ..Default::default() };
        let range = CidrRange { address_prefix: "10.0.0.0".into(), prefix_len: Some(8) };
        let cases = [
            // A port that is none must not stand for all ports.
            (port(0), "destination_port"),
            (port(65_536), "destination_port"),
            (names(&["*a.test"]), "server_names"),
            (names(&["a.*"]), "server_names"),
            (names(&["*"]), "server_names"),
            (FilterChainMatch { source_type: 1, ..Default::default() }, "source_type"),
            (FilterChainMatch { source_ports: vec![1], ..Default::default() }, "source_ports"),
            (FilterChainMatch { source_prefix_ranges: vec![range.clone()], ..Default::default() }, "source_prefix_ranges"),
            (FilterChainMatch { direct_source_prefix_ranges: vec![range], ..Default::default() }, "direct_source_prefix_ranges"),
            (FilterChainMatch { address_suffix: "1".into(), ..Default::default() }, "address_suffix"),
            (FilterChainMatch { suffix_len: Some(8), ..Default::default() }, "suffix_len"),
        ];
        for (criteria, field) in cases {
            let error = FilterChains::compile(&Listener { filter_chains: vec![chain(criteria)], ..Default::default() }).expect_err(field);
            assert_eq!(error.path, format!("filter_chains[0].filter_chain_match.{field}"));
        }
    }
}
