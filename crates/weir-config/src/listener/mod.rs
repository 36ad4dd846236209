//! A listener, compiled: which connections it takes ([`filters`] finds out what they are) and what becomes of them
//! ([`chain`]).

pub mod chain;
pub mod connection_limit;
pub mod connection_rate;
pub mod discovered;
pub mod filters;
pub mod rbac;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use weir_routing::filter_chain::Chain as ChainChoice;
use weir_routing::{CompileError, Connection, FilterChains};
use weir_xds::core::{Address, Pipe, TrafficDirection, address};
use weir_xds::listener::{AdditionalAddress, Listener as XdsListener};
use weir_xds::values::to_socket_addr;

use super::access_log::{self, AccessLog};
pub use chain::{Chain, Handler, NetworkFilter};
pub use connection_limit::ConnectionLimit;
pub use connection_rate::ConnectionRate;
pub use filters::{Inspect, ListenerFilter, ListenerFilters};
pub use rbac::ConnectionRbac;

/// A compiled listener.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Where it accepts; nowhere, if that is a Unix socket.
    pub address: SocketAddr,
    /// Where else connections were going to that are its own, if it opens no socket.
    pub further_addresses: Vec<SocketAddr>,
    /// The Unix socket that it accepts at, if it is one.
    pub socket: Option<UnixSocket>,
    /// Whether it opens a socket of its own. One that does not gets connections from another listener.
    pub bind: bool,
    /// What is done about where a connection was going to.
    pub original_destination: OriginalDestination,
    /// What must be known of a connection before its filter chain can be chosen.
    pub filters: ListenerFilters,
    chains: FilterChains,
    filter_chains: Vec<Arc<Chain>>,
    default_chain: Option<Arc<Chain>>,
    /// Whether it takes what comes to the workload, and not what goes out.
    pub inbound: bool,
    /// Whether its connections do not count among those that the process may have.
    pub ignores_global_limit: bool,
    /// What is written of connections that no filter chain takes.
    pub access_logs: Vec<AccessLog>,
    /// How much filters may hold back of a body on a connection.
    pub buffer_limit: usize,
    /// Whether its socket takes connections to any address, as the kernel hands them over (`IP_TRANSPARENT`).
    pub transparent: bool,
}

/// A Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSocket {
    /// Its path; `@` begins a name of the abstract namespace.
    pub path: Box<str>,
    /// The permissions of its file; 0 where nothing is said of them.
    pub mode: u32,
}

impl UnixSocket {
    fn compile(address: &Address) -> Result<Option<Self>, CompileError> {
        let Some(address::Address::Pipe(Pipe { path, mode })) = &address.address else { return Ok(None) };
        if path.is_empty() || *mode > MAX_MODE {
            let wrong = if path.is_empty() { "path" } else { "mode" };
            return Err(CompileError::new(format!("address.pipe.{wrong}"), "is none"));
        }
        Ok(Some(Self { path: path.as_str().into(), mode: *mode }))
    }
}

/// Nobody, in place of an address.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The highest permissions of a file.
const MAX_MODE: u32 = 0o777;

/// Envoy's limit where none is given.
const BUFFER_LIMIT: usize = 1 << 20;

/// What is done about where a connection was going to before the kernel redirected it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginalDestination {
    /// Nothing: it was going here.
    Ignore,
    /// It counts as the connection's local address.
    Restore,
    /// That, and if there is a listener for it, the connection is that one's.
    HandOver,
}

impl Listener {
    /// Compiles an xDS listener, taking over from `previous` the filter chains that did not change.
    ///
    /// # Errors
    /// If it is not valid, or asks for what is not carried out and cannot be passed over.
    #[allow(deprecated)] // Istio still says `deprecated_v1`.
    pub fn compile(listener: &XdsListener, previous: Option<&Listener>) -> Result<Self, CompileError> {
        let XdsListener {
            name,
            address,
            filter_chains,
            default_filter_chain,
            listener_filters,
            listener_filters_timeout,
            continue_on_listener_filters_timeout,
            traffic_direction: _,
            access_log,
            bind_to_port,
            deprecated_v1,
            use_original_dst,
            ignore_global_conn_limit,
            // They would choose other filter chains, or take other traffic than TCP.
            fcds_config,
            filter_chain_matcher,
            udp_listener_config,
            api_listener,
            listener_specifier,
            // Only names, or nothing that a client could see.
            stat_prefix: _,
            metadata: _,
            reuse_port: _,
            enable_reuse_port: _,
            max_connections_to_accept_per_socket_event: _,
            additional_addresses,
            // Reported.
            stats_matcher: _,
            per_connection_buffer_limit_bytes,
            per_connection_buffer_high_watermark_timeout: _,
            drain_type: _,
            transparent,
            freebind: _,
            socket_options: _,
            tcp_fast_open_queue_length: _,
            connection_balance_config: _,
            tcp_backlog_size: _,
            enable_mptcp: _,
            bypass_overload_manager: _,
            tcp_keepalive: _,
        } = listener;
        let refused = [
            ("fcds_config", fcds_config.is_some()),
            ("filter_chain_matcher", filter_chain_matcher.is_some()),
            ("udp_listener_config", udp_listener_config.is_some()),
            ("api_listener", api_listener.is_some()),
            ("internal_listener", listener_specifier.is_some()),
        ];
        if let Some((field, _)) = refused.into_iter().find(|(_, used)| *used) {
            return Err(CompileError::unsupported(field));
        }
        if filter_chains.is_empty() && default_filter_chain.is_none() {
            return Err(CompileError::missing("filter_chains"));
        }
        let socket = address.as_ref().map(UnixSocket::compile).transpose()?.flatten();
        let address = if socket.is_some() { Some(NOWHERE) } else { address.as_ref().and_then(to_socket_addr) };
        let buffer_limit = per_connection_buffer_limit_bytes.map_or(BUFFER_LIMIT, |limit| limit as usize);
        // Connections that go on keep theirs.
        let known = KnownChains::of(previous.filter(|previous| previous.buffer_limit == buffer_limit));
        let compiled = filter_chains.iter().enumerate().map(|(i, chain)| known.compile(chain, &format!("filter_chains[{i}]")));
        let compiled = compiled.collect::<Result<_, _>>()?;
        let default_chain = default_filter_chain.as_ref().map(|chain| known.compile(chain, "default_filter_chain")).transpose()?;
        let filters = ListenerFilters::compile(listener_filters, listener_filters_timeout.as_ref(), *continue_on_listener_filters_timeout)?;
        let unbound = deprecated_v1.as_ref().and_then(|v1| v1.bind_to_port) == Some(false) || *bind_to_port == Some(false);
        let address = address.ok_or_else(|| CompileError::new("address", "is neither an IP address and a port nor a Unix socket"))?;
        let (address, further_addresses) = places(address, additional_addresses, unbound)?;
        Ok(Self {
            name: name.as_str().into(),
            address,
            further_addresses,
            socket,
            bind: !unbound,
            original_destination: match use_original_dst {
                Some(true) => OriginalDestination::HandOver,
                _ if filters.restore_destination() => OriginalDestination::Restore,
                _ => OriginalDestination::Ignore,
            },
            filters,
            chains: FilterChains::compile(listener)?,
            filter_chains: compiled,
            default_chain,
            inbound: listener.traffic_direction() == TrafficDirection::Inbound,
            ignores_global_limit: *ignore_global_conn_limit,
            access_logs: access_log::compile(access_log)?,
            buffer_limit,
            transparent: *transparent == Some(true),
        })
    }

    /// The position of the filter chain that a connection belongs to, among [`Self::all_chains`].
    pub fn find(&self, connection: &Connection<'_>) -> Option<usize> {
        Some(match self.chains.find(connection)? {
            ChainChoice::Numbered(number) => number,
            ChainChoice::Default => self.filter_chains.len(),
        })
    }

    /// All its filter chains; the default one comes last.
    pub fn all_chains(&self) -> impl Iterator<Item = &Arc<Chain>> {
        self.filter_chains.iter().chain(&self.default_chain)
    }
}

/// Where a listener is, with its additional addresses. All addresses of IPv6 beside all of IPv4 are one socket, which takes both.
fn places(mut address: SocketAddr, additional: &[AdditionalAddress], unbound: bool) -> Result<(SocketAddr, Vec<SocketAddr>), CompileError> {
    let mut further = vec![];
    for (i, AdditionalAddress { address: written, socket_options: _, tcp_keepalive: _ }) in additional.iter().enumerate() {
        let place = format!("additional_addresses[{i}].address");
        let Some(other) = written.as_ref().and_then(to_socket_addr) else {
            return Err(CompileError::new(place, "is no IP address and port"));
        };
        let is_for_both = address == SocketAddr::from((Ipv4Addr::UNSPECIFIED, other.port())) && other.ip() == Ipv6Addr::UNSPECIFIED;
        match () {
            () if is_for_both => address = other,
            () if unbound => further.push(other),
            () => return Err(CompileError::new(place, "is not supported: a socket is opened at one address, or at `::` beside `0.0.0.0`")),
        }
    }
    Ok((address, further))
}

/// The filter chains of a listener before a change, by what they were compiled from.
struct KnownChains<'l>(HashMap<&'l [u8], &'l Arc<Chain>>);

impl<'l> KnownChains<'l> {
    fn of(previous: Option<&'l Listener>) -> Self {
        let chains = previous.into_iter().flat_map(Listener::all_chains);
        Self(chains.map(|chain| (chain.source(), chain)).collect())
    }

    fn compile(&self, chain: &weir_xds::listener::FilterChain, place: &str) -> Result<Arc<Chain>, CompileError> {
        let source = weir_xds::Message::encode_to_vec(chain);
        match self.0.get(source.as_slice()) {
            Some(same) => Ok(Arc::clone(same)),
            None => Chain::compile(chain, source).map(Arc::new).map_err(|error| error.within(place)),
        }
    }
}

#[cfg(test)]
mod tests;
