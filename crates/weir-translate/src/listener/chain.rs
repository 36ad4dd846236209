//! Filter chains: what a connection must be like, and what is done with it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use weir_xds::core::{CidrRange, Metadata, TransportSocket, transport_socket::ConfigType};
use weir_xds::listener::{Filter, FilterChain, FilterChainMatch, filter};
use weir_xds::tls::DownstreamTlsContext;
use weir_xds::{Any, Message, Name};

/// How the HTTP inspector names what begins as plaintext HTTP. HTTP/1.0 is left out: Envoy would refuse it, and as
/// mere bytes it may pass.
pub(crate) const PLAINTEXT_HTTP: [&str; 2] = ["http/1.1", "h2c"];
/// How a connection without TLS is named in a condition.
pub(crate) const RAW_BUFFER: &str = "raw_buffer";

/// A filter chain on its way.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// The server names of its TLS handshakes.
    pub sni: Vec<String>,
    /// The addresses that it is for, single ones or ranges.
    pub subnets: Vec<String>,
    /// What an inspector must have found.
    pub application_protocols: Vec<String>,
    /// How its connections begin.
    pub transport_protocol: &'static str,
    pub metadata: Option<Metadata>,
    pub tls: Option<DownstreamTlsContext>,
    pub filters: Vec<Filter>,
}

/// A filter with its configuration.
pub(crate) fn filter<M: Message + Name>(name: &str, config: &M) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(filter::ConfigType::TypedConfig(Any::pack(config))) }
}

impl Chain {
    /// Restricts it to plaintext HTTP.
    pub fn only_plaintext_http(mut self) -> Self {
        self.application_protocols = PLAINTEXT_HTTP.map(str::to_owned).to_vec();
        self.transport_protocol = RAW_BUFFER;
        self
    }

    /// Whether every connection matches.
    pub fn matches_all(&self) -> bool {
        (self.sni.is_empty() || self.sni.iter().any(|host| host == "*"))
            && self.application_protocols.is_empty()
            && self.transport_protocol.is_empty()
            && self.subnets.is_empty()
    }

    /// Whether it has the same condition as another: Envoy would refuse both together.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.transport_protocol == other.transport_protocol
            && self.application_protocols == other.application_protocols
            && self.server_names() == other.server_names()
            && self.networks() == other.networks()
    }

    /// Whether TLS must be looked into to match.
    pub fn needs_tls_inspector(&self) -> bool {
        !self.sni.is_empty() || self.tls.is_some()
    }

    fn server_names(&self) -> BTreeSet<&str> {
        self.sni.iter().map(String::as_str).filter(|host| *host != "*").collect()
    }

    fn networks(&self) -> BTreeSet<IpNet> {
        let named = self.subnets.iter().filter_map(|written| network(written));
        named.filter(|network| !network.addr().is_unspecified()).map(|network| network.trunc()).collect()
    }

    fn condition(&self) -> Option<FilterChainMatch> {
        if self.matches_all() {
            return None;
        }
        let any_name = self.sni.iter().any(|host| host == "*");
        let range =
            |network: IpNet| CidrRange { address_prefix: network.addr().to_string(), prefix_len: Some(network.prefix_len().into()) };
        Some(FilterChainMatch {
            application_protocols: self.application_protocols.clone(),
            transport_protocol: self.transport_protocol.to_owned(),
            server_names: if any_name { vec![] } else { self.server_names().into_iter().map(str::to_owned).collect() },
            prefix_ranges: self.networks().into_iter().map(range).collect(),
            ..Default::default()
        })
    }

    /// The chain as Envoy gets it.
    pub fn build(self) -> FilterChain {
        let socket = self.tls.as_ref().map(|context| TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(ConfigType::TypedConfig(Any::pack(context))),
        });
        FilterChain {
            filter_chain_match: self.condition(),
            transport_socket: socket,
            filters: self.filters,
            metadata: self.metadata,
            ..Default::default()
        }
    }
}

fn network(written: &str) -> Option<IpNet> {
    let single = || written.parse::<IpAddr>().ok().map(IpNet::from);
    written.parse::<IpNet>().ok().or_else(single)
}
