//! A listener, compiled: which connections it takes and what becomes of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_routing::filter_chain::Chain as ChainChoice;
use weir_routing::{CompileError, Connection, FilterChains};
use weir_xds::core::transport_socket::ConfigType as SocketConfig;
use weir_xds::core::{TrafficDirection, TransportSocket};
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::listener::filter::ConfigType;
use weir_xds::listener::{Filter, FilterChain, Listener as XdsListener};
use weir_xds::tcp_proxy::TcpProxy;
use weir_xds::tls::DownstreamTlsContext;
use weir_xds::values::{std_duration, to_socket_addr};

use super::access_log::{self, AccessLog};
use super::http::HttpConfig;
use super::tcp::TcpConfig;
use super::tls::ServerTls;

/// Envoy's limit for the first bytes of a connection, where none is given.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A compiled listener.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Where it accepts.
    pub address: SocketAddr,
    /// Whether it opens a socket of its own. One that does not gets connections from another listener.
    pub bind: bool,
    /// What is done about where a connection was going to.
    pub original_destination: OriginalDestination,
    /// What must be known of a connection before its filter chain can be chosen.
    pub inspect: Inspect,
    chains: FilterChains,
    filter_chains: Vec<Arc<Chain>>,
    default_chain: Option<Arc<Chain>>,
    /// Whether it takes what comes to the workload, and not what goes out.
    pub inbound: bool,
    /// What is written of connections that no filter chain takes.
    pub access_logs: Vec<AccessLog>,
}

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

/// What is found out of a connection's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspect {
    /// Whether it is TLS, and for which server.
    pub tls: bool,
    /// Whether it is HTTP.
    pub http: bool,
    /// How long that may take; `None` for ever.
    pub timeout: Option<Duration>,
    /// Whether a connection that says nothing in time goes on as one that is neither, or is closed.
    pub go_on: bool,
}

/// A filter chain. Where a change of its listener leaves it as it is, it is the same object before and after, and
/// its connections are not disturbed.
#[derive(Debug)]
pub struct Chain {
    /// What it was compiled from.
    source: FilterChain,
    /// Its name; may be empty.
    pub name: Arc<str>,
    /// How TLS is terminated; `None` for plain text, and for TLS that passes through.
    pub tls: Option<ServerTls>,
    /// How long a handshake may take; `None` for ever.
    pub handshake_timeout: Option<Duration>,
    /// What becomes of its connections.
    pub handler: Handler,
}

/// What becomes of a connection.
#[derive(Debug, Clone)]
pub enum Handler {
    /// It carries HTTP requests.
    Http(Arc<HttpConfig>),
    /// Its bytes are passed on.
    Tcp(Arc<TcpConfig>),
}

impl Listener {
    /// Compiles an xDS listener, taking over from `previous` the filter chains that did not change.
    ///
    /// # Errors
    /// If it is not valid, or has a filter that is not carried out.
    pub fn compile(listener: &XdsListener, previous: Option<&Listener>) -> Result<Self, CompileError> {
        let address = listener.address.as_ref().and_then(to_socket_addr);
        let address = address.ok_or_else(|| CompileError::new("address", "is not an IP address and a port"))?;
        let mut filter_chains = vec![];
        for (i, chain) in listener.filter_chains.iter().enumerate() {
            let within = |error: CompileError| error.within(&format!("filter_chains[{i}]"));
            filter_chains.push(Chain::compile_or_keep(chain, previous).map_err(within)?);
        }
        let default_chain = listener.default_filter_chain.as_ref().map(|chain| Chain::compile_or_keep(chain, previous)).transpose();
        #[allow(deprecated)] // Istio still says it so.
        let unbound = listener.deprecated_v1.as_ref().and_then(|v1| v1.bind_to_port) == Some(false) || listener.bind_to_port == Some(false);
        Ok(Self {
            name: listener.name.as_str().into(),
            address,
            bind: !unbound,
            original_destination: original_destination(listener),
            inspect: inspect(listener)?,
            chains: FilterChains::compile(listener)?,
            filter_chains,
            default_chain: default_chain.map_err(|error| error.within("default_filter_chain"))?,
            inbound: listener.traffic_direction() == TrafficDirection::Inbound,
            access_logs: access_log::compile(&listener.access_log)?,
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

const ORIGINAL_DST: &str = "envoy.filters.listener.original_dst";

fn original_destination(listener: &XdsListener) -> OriginalDestination {
    if listener.use_original_dst.unwrap_or(false) {
        OriginalDestination::HandOver
    } else if listener.listener_filters.iter().any(|filter| filter.name == ORIGINAL_DST) {
        OriginalDestination::Restore
    } else {
        OriginalDestination::Ignore
    }
}

fn inspect(listener: &XdsListener) -> Result<Inspect, CompileError> {
    let mut inspect =
        Inspect { tls: false, http: false, timeout: Some(INSPECT_TIMEOUT), go_on: listener.continue_on_listener_filters_timeout };
    for (i, filter) in listener.listener_filters.iter().enumerate() {
        match filter.name.as_str() {
            "envoy.filters.listener.tls_inspector" => inspect.tls = true,
            "envoy.filters.listener.http_inspector" => inspect.http = true,
            ORIGINAL_DST => {}
            name => {
                return Err(CompileError::new(format!("listener_filters[{i}]"), format!("the listener filter `{name}` is not supported")));
            }
        }
    }
    if let Some(timeout) = &listener.listener_filters_timeout {
        inspect.timeout = Some(std_duration(timeout)).filter(|timeout| !timeout.is_zero());
    }
    Ok(inspect)
}

impl Chain {
    fn compile_or_keep(chain: &FilterChain, previous: Option<&Listener>) -> Result<Arc<Self>, CompileError> {
        let same = previous.and_then(|previous| previous.all_chains().find(|known| known.source == *chain));
        match same {
            Some(same) => Ok(same.clone()),
            None => Self::compile(chain).map(Arc::new),
        }
    }

    fn compile(chain: &FilterChain) -> Result<Self, CompileError> {
        let mut handler = None;
        for (i, filter) in chain.filters.iter().enumerate() {
            let within = |error: CompileError| error.within(&format!("filters[{i}]"));
            if let Some(found) = network_filter(filter).map_err(within)? {
                handler = Some(found);
            }
        }
        let tls = match &chain.transport_socket {
            Some(socket) => server_tls(socket).map_err(|error| error.within("transport_socket"))?,
            None => None,
        };
        Ok(Self {
            source: chain.clone(),
            name: chain.name.as_str().into(),
            tls,
            handshake_timeout: chain.transport_socket_connect_timeout.as_ref().map(std_duration).filter(|timeout| !timeout.is_zero()),
            handler: handler.ok_or_else(|| CompileError::missing("filters"))?,
        })
    }
}

/// Filters that only watch; without them the bytes are the same.
const WATCHING_FILTERS: &[&str] =
    &["envoy.filters.network.mongo_proxy", "envoy.filters.network.mysql_proxy", "envoy.filters.network.redis_proxy"];

fn network_filter(filter: &Filter) -> Result<Option<Handler>, CompileError> {
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else { return Err(CompileError::missing("typed_config")) };
    let wrong = |error: weir_xds::AnyError| CompileError::new("typed_config", error.to_string());
    if config.is::<HttpConnectionManager>() {
        let manager = config.unpack::<HttpConnectionManager>().map_err(wrong)?;
        return Ok(Some(Handler::Http(Arc::new(HttpConfig::compile(&manager)?))));
    }
    if config.is::<TcpProxy>() {
        let proxy = config.unpack::<TcpProxy>().map_err(wrong)?;
        return Ok(Some(Handler::Tcp(Arc::new(TcpConfig::compile(&proxy)?))));
    }
    if WATCHING_FILTERS.contains(&filter.name.as_str()) {
        return Ok(None);
    }
    Err(CompileError::new("", format!("the network filter `{}` is not supported", config.type_name())))
}

fn server_tls(socket: &TransportSocket) -> Result<Option<ServerTls>, CompileError> {
    let Some(SocketConfig::TypedConfig(config)) = &socket.config_type else { return Err(CompileError::missing("typed_config")) };
    if socket.name == "envoy.transport_sockets.raw_buffer" {
        return Ok(None);
    }
    if !config.is::<DownstreamTlsContext>() {
        return Err(CompileError::new("typed_config", format!("`{}` is not supported", config.type_name())));
    }
    let context = config.unpack::<DownstreamTlsContext>().map_err(|error| CompileError::new("typed_config", error.to_string()))?;
    ServerTls::compile(&context).map(Some)
}
