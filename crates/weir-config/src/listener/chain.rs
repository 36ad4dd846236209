//! A filter chain: how TLS is terminated, the network filters in their order, and the last of them, which takes the
//! connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weir_routing::CompileError;
use weir_routing::filters::ext_authz::connections::ConnectionAuthz;
use weir_xds::connection_limit::ConnectionLimit as XdsConnectionLimit;
use weir_xds::core::data_source::Specifier;
use weir_xds::core::transport_socket::ConfigType as SocketConfig;
use weir_xds::core::{DataSource, TransportSocket};
use weir_xds::direct_response::Config as DirectResponse;
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::listener::filter::ConfigType;
use weir_xds::listener::{Filter, FilterChain};
use weir_xds::network_ext_authz::ExtAuthz;
use weir_xds::network_ratelimit::LocalRateLimit;
use weir_xds::network_rbac::Rbac;
use weir_xds::tcp_proxy::TcpProxy;
use weir_xds::tls::DownstreamTlsContext;
use weir_xds::values::std_duration;

use super::connection_limit::ConnectionLimit;
use super::connection_rate::ConnectionRate;
use super::rbac::ConnectionRbac;
use crate::http::HttpConfig;
use crate::tcp::TcpConfig;
use crate::tls::ServerTls;

/// How long a handshake may take where nobody says: Envoy would wait for ever, and who never finishes would cost it memory.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// A filter chain. Where a change of its listener leaves it as it is, it is the same object before and after, and
/// its connections are not disturbed.
#[derive(Debug)]
pub struct Chain {
    /// What it was compiled from, as it was packed.
    source: Vec<u8>,
    /// Its name; may be empty.
    pub name: Arc<str>,
    /// How TLS is terminated; `None` for plain text, and for TLS that passes through.
    pub tls: Option<ServerTls>,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// The network filters that a connection passes first, in the order of the configuration.
    pub filters: Vec<NetworkFilter>,
    /// What becomes of its connections: the last filter.
    pub handler: Handler,
}

/// A network filter that a connection passes.
#[derive(Debug, Clone)]
pub enum NetworkFilter {
    /// One that only counts what it sees. Without it the bytes are the same.
    Watch,
    /// One that lets in so many connections at once.
    ConnectionLimit(Arc<ConnectionLimit>),
    /// One that lets in so many connections in some time.
    ConnectionRate(Arc<ConnectionRate>),
    /// One that says who may connect.
    Rbac(Arc<ConnectionRbac>),
    /// One that asks a service who may.
    ExtAuthz(Arc<ConnectionAuthz>),
}

/// What becomes of a connection.
#[derive(Debug, Clone)]
pub enum Handler {
    /// It carries HTTP requests.
    Http(Arc<HttpConfig>),
    /// Its bytes are passed on.
    Tcp(Arc<TcpConfig>),
    /// It is answered with this, and closed.
    Respond(Bytes),
}

/// A network filter, compiled.
enum Compiled {
    Passing(NetworkFilter),
    /// It takes the connection, and nothing comes after it.
    Terminal(Handler),
}

impl Chain {
    /// Compiles a chain; `source` is the same, packed.
    ///
    /// # Errors
    /// If it is not valid, or has a filter that is not carried out.
    pub(super) fn compile(chain: &FilterChain, source: Vec<u8>) -> Result<Self, CompileError> {
        #[allow(deprecated)] // Who says `use_proxy_proto` still means it.
        let FilterChain {
            // Compiled with those of the other chains.
            filter_chain_match: _,
            filters,
            use_proxy_proto,
            metadata: _,
            transport_socket,
            transport_socket_connect_timeout,
            name,
        } = chain;
        if *use_proxy_proto == Some(true) {
            return Err(CompileError::unsupported("use_proxy_proto"));
        }
        let tls = match transport_socket {
            Some(socket) => server_tls(socket).map_err(|error| error.within("transport_socket"))?,
            None => None,
        };
        let (filters, handler) = network_filters(filters)?;
        let handshake_timeout = transport_socket_connect_timeout.as_ref().map(std_duration).filter(|timeout| !timeout.is_zero());
        let handshake_timeout = handshake_timeout.unwrap_or(HANDSHAKE_TIMEOUT);
        Ok(Self { source, name: name.as_str().into(), tls, handshake_timeout, filters, handler })
    }

    /// What it was compiled from, packed.
    pub(super) fn source(&self) -> &[u8] {
        &self.source
    }
}

/// Filters in their order. As with Envoy just the last one takes the connection.
fn network_filters(filters: &[Filter]) -> Result<(Vec<NetworkFilter>, Handler), CompileError> {
    let (mut passing, mut terminal) = (vec![], None);
    for (i, filter) in filters.iter().enumerate() {
        let place = format!("filters[{i}]");
        match network_filter(filter).map_err(|error| error.within(&place))? {
            _ if terminal.is_some() => return Err(CompileError::new(place, "comes after a filter that takes the connection")),
            Compiled::Passing(filter) => passing.push(filter),
            Compiled::Terminal(handler) => terminal = Some(handler),
        }
    }
    match terminal {
        Some(handler) => Ok((passing, handler)),
        None => Err(CompileError::new("filters", "have none at their end that takes the connection")),
    }
}

/// Types of filters that only watch.
const WATCHING: &[&str] =
    &["envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy", "envoy.extensions.filters.network.mysql_proxy.v3.MySQLProxy"];

fn network_filter(filter: &Filter) -> Result<Compiled, CompileError> {
    // A filter is what its configuration says: any name may stand there.
    let Filter { name: _, config_type } = filter;
    let config = match config_type {
        Some(ConfigType::TypedConfig(config)) => config,
        Some(ConfigType::ConfigDiscovery(_)) => return Err(CompileError::unsupported("config_discovery")),
        None => return Err(CompileError::missing("typed_config")),
    };
    let wrong = |error: weir_xds::AnyError| CompileError::new("typed_config", error.to_string());
    if config.is::<HttpConnectionManager>() {
        let manager = config.unpack::<HttpConnectionManager>().map_err(wrong)?;
        return Ok(Compiled::Terminal(Handler::Http(Arc::new(HttpConfig::compile(&manager)?))));
    }
    if config.is::<TcpProxy>() {
        let proxy = config.unpack::<TcpProxy>().map_err(wrong)?;
        return Ok(Compiled::Terminal(Handler::Tcp(Arc::new(TcpConfig::compile(&proxy)?))));
    }
    if config.is::<XdsConnectionLimit>() {
        let limit = ConnectionLimit::compile(&config.unpack::<XdsConnectionLimit>().map_err(wrong)?)?;
        // One that is switched off sees connections pass.
        return Ok(Compiled::Passing(limit.map_or(NetworkFilter::Watch, |limit| NetworkFilter::ConnectionLimit(Arc::new(limit)))));
    }
    if config.is::<LocalRateLimit>() {
        let rate = ConnectionRate::compile(&config.unpack::<LocalRateLimit>().map_err(wrong)?)?;
        return Ok(Compiled::Passing(rate.map_or(NetworkFilter::Watch, |rate| NetworkFilter::ConnectionRate(Arc::new(rate)))));
    }
    if config.is::<Rbac>() {
        let rbac = ConnectionRbac::compile(&config.unpack::<Rbac>().map_err(wrong)?)?;
        return Ok(Compiled::Passing(NetworkFilter::Rbac(Arc::new(rbac))));
    }
    if config.is::<ExtAuthz>() {
        let authz = ConnectionAuthz::compile(&config.unpack::<ExtAuthz>().map_err(wrong)?)?;
        return Ok(Compiled::Passing(NetworkFilter::ExtAuthz(Arc::new(authz))));
    }
    if config.is::<DirectResponse>() {
        let DirectResponse { response } = config.unpack::<DirectResponse>().map_err(wrong)?;
        let answer = response.as_ref().map(inline_data).transpose().map_err(|error| error.within("response"))?;
        return Ok(Compiled::Terminal(Handler::Respond(answer.unwrap_or_default())));
    }
    if WATCHING.contains(&config.type_name()) {
        return Ok(Compiled::Passing(NetworkFilter::Watch));
    }
    Err(CompileError::new("", format!("the network filter `{}` is not supported", config.type_name())))
}

/// What stands in the configuration itself.
fn inline_data(source: &DataSource) -> Result<Bytes, CompileError> {
    let DataSource { watched_directory: _, specifier } = source;
    match specifier {
        Some(Specifier::InlineString(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes.clone()),
        Some(Specifier::Filename(_)) => Err(CompileError::unsupported("filename")),
        Some(Specifier::EnvironmentVariable(_)) => Err(CompileError::unsupported("environment_variable")),
        None => Err(CompileError::missing("specifier")),
    }
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
