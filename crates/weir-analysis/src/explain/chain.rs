//! The filter chain that handles a connection, and whether what the client speaks can be understood there.

use weir_config::http::HttpConfig;
use weir_config::listener::ConnectionRbac;
use weir_config::tcp::TcpConfig;
use weir_routing::filter_chain::Chain;
use weir_routing::{CompileError, Connection, FilterChains};
use weir_xds::direct_response::Config as DirectResponse;
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::listener::filter::ConfigType;
use weir_xds::listener::{FilterChain, Listener};
use weir_xds::network_rbac::Rbac;
use weir_xds::tcp_proxy::TcpProxy;
use weir_xds::tls::DownstreamTlsContext;

use super::answer::{Answer, Error};
use super::call::{Call, Protocol, Tls};

/// What becomes of the bytes of a connection.
pub(super) enum Handler {
    /// They are requests.
    Http(Box<HttpConfig>),
    /// They are passed on.
    Tcp(Box<TcpConfig>),
    /// They are answered, and the connection is closed.
    Respond,
}

/// What becomes of a connection that a chain takes.
pub(super) struct Found {
    /// Who may connect.
    pub rules: Vec<ConnectionRbac>,
    /// What becomes of the bytes of those who may.
    pub handler: Handler,
}

/// The name of the certificate by which the workloads of a mesh know each other.
const MESH_CERTIFICATE: &str = "default";

/// Finds the chain, and checks that the client speaks what it expects.
pub(super) fn find(listener: &Listener, call: &Call, answer: &mut Answer) -> Result<Found, Error> {
    let chain = choose(listener, call, answer)?;
    answer.filter_chain = Some(chain.name.clone());
    check_tls(chain, call, answer)?;
    let handler = match handler(chain) {
        Some(Ok(handler)) => handler,
        Some(Err(error)) => {
            answer.step("the listener is refused", error.to_string());
            return Err(Error::NoRoute);
        }
        None => {
            answer.step("no route", "the filter chain has no filter that is known");
            return Err(Error::NoRoute);
        }
    };
    if matches!(handler, Handler::Http(_)) {
        if call.tls != Tls::Plaintext && chain.transport_socket.is_none() {
            answer.step("a protocol error", "HTTP in plain text is expected, and the client speaks TLS");
            return Err(Error::ProtocolError);
        }
        if call.protocol == Protocol::Tcp {
            answer.step("a protocol error", "HTTP is expected, and the client speaks something else");
            return Err(Error::ProtocolError);
        }
    }
    match rules(chain) {
        Ok(rules) => Ok(Found { rules, handler }),
        Err(error) => {
            answer.step("the listener is refused", error.to_string());
            Err(Error::NoRoute)
        }
    }
}

/// The access rules of a chain, as a proxy would compile them.
fn rules(chain: &FilterChain) -> Result<Vec<ConnectionRbac>, CompileError> {
    let configs = chain.filters.iter().filter_map(|filter| match &filter.config_type {
        Some(ConfigType::TypedConfig(config)) if config.is::<Rbac>() => Some(config),
        _ => None,
    });
    configs
        .map(|config| {
            let rbac = config.unpack::<Rbac>().map_err(|error| CompileError::new("typed_config", error.to_string()))?;
            ConnectionRbac::compile(&rbac)
        })
        .collect()
}

fn choose<'l>(listener: &'l Listener, call: &Call, answer: &mut Answer) -> Result<&'l FilterChain, Error> {
    let has = |name: &str| listener.listener_filters.iter().any(|filter| filter.name == name);
    // What is not looked for is not known: without an inspector all connections are alike.
    let (sees_tls, sees_http) = (has("envoy.filters.listener.tls_inspector"), has("envoy.filters.listener.http_inspector"));
    let tls = sees_tls && call.tls != Tls::Plaintext;
    let known = if tls || (sees_http && call.tls == Tls::Plaintext) { call.application_protocol() } else { None };
    let protocols: Vec<&[u8]> = known.map(str::as_bytes).into_iter().collect();
    let server_name = call.sni.as_deref().filter(|_| tls);
    let connection = Connection { destination: call.destination(), server_name, tls, application_protocols: &protocols };
    let chains = FilterChains::compile(listener).map_err(|error| {
        answer.step("the listener is refused", error.to_string());
        Error::MultipleFilterChain
    })?;
    match chains.find(&connection) {
        Some(Chain::Numbered(number)) => {
            let chain = &listener.filter_chains[number];
            if listener.filter_chains.len() > 1 {
                answer.step(format!("filter chain {}", name(chain, number)), criteria(chain));
            }
            Ok(chain)
        }
        Some(Chain::Default) => {
            answer.step("the default filter chain", "no other is for such a connection");
            // `find` says so only if there is one.
            listener.default_filter_chain.as_ref().ok_or(Error::NoFilterChain)
        }
        None => {
            answer.step("no filter chain", "none is for such a connection: it is closed");
            Err(Error::NoFilterChain)
        }
    }
}

fn name(chain: &FilterChain, number: usize) -> String {
    if chain.name.is_empty() { format!("number {number}") } else { chain.name.clone() }
}

/// What a chain asks of its connections.
fn criteria(chain: &FilterChain) -> String {
    let Some(criteria) = &chain.filter_chain_match else { return "takes every connection".to_owned() };
    let mut words = vec![];
    if let Some(port) = criteria.destination_port {
        words.push(format!("port {port}"));
    }
    if !criteria.prefix_ranges.is_empty() {
        let ranges = criteria.prefix_ranges.iter().map(|range| format!("{}/{}", range.address_prefix, range.prefix_len.unwrap_or(0)));
        words.push(format!("addresses {}", ranges.collect::<Vec<_>>().join(", ")));
    }
    if !criteria.server_names.is_empty() {
        words.push(format!("server names {}", criteria.server_names.join(", ")));
    }
    match criteria.transport_protocol.as_str() {
        "tls" => words.push("TLS".to_owned()),
        "raw_buffer" => words.push("plain text".to_owned()),
        _ => {}
    }
    if !criteria.application_protocols.is_empty() {
        words.push(format!("protocols {}", criteria.application_protocols.join(", ")));
    }
    if words.is_empty() { "takes every connection".to_owned() } else { format!("takes connections with {}", words.join("; ")) }
}

fn check_tls(chain: &FilterChain, call: &Call, answer: &mut Answer) -> Result<(), Error> {
    let Some(socket) = &chain.transport_socket else { return Ok(()) };
    if call.tls == Tls::Plaintext {
        answer.step("a TLS error", "TLS is expected, and the client speaks plain text");
        return Err(Error::TlsError);
    }
    let context = match &socket.config_type {
        Some(weir_xds::core::transport_socket::ConfigType::TypedConfig(config)) => config.unpack::<DownstreamTlsContext>().ok(),
        None => None,
    };
    let asks_for_mesh_certificate = context.is_some_and(|context| {
        let certificates = context.common_tls_context.as_ref().map(|common| &common.tls_certificate_sds_secret_configs);
        let own = certificates.and_then(|certificates| certificates.first());
        own.is_some_and(|own| own.name == MESH_CERTIFICATE) && context.require_client_certificate.unwrap_or(false)
    });
    match (asks_for_mesh_certificate, call.tls == Tls::Mtls) {
        (true, false) => answer.step("an mTLS error", "a certificate of the mesh is expected, and the client has none"),
        (false, true) => answer.step("an mTLS error", "the client expects a workload of the mesh, and is shown another certificate"),
        _ => return Ok(()),
    }
    Err(Error::MtlsError)
}

/// The filter that takes the connection, as a proxy would compile it.
fn handler(chain: &FilterChain) -> Option<Result<Handler, CompileError>> {
    chain.filters.iter().find_map(|filter| {
        let ConfigType::TypedConfig(config) = filter.config_type.as_ref()? else { return None };
        if config.is::<HttpConnectionManager>() {
            let manager = config.unpack::<HttpConnectionManager>().ok()?;
            Some(HttpConfig::compile(&manager).map(|config| Handler::Http(Box::new(config))))
        } else if config.is::<TcpProxy>() {
            let proxy = config.unpack::<TcpProxy>().ok()?;
            Some(TcpConfig::compile(&proxy).map(|config| Handler::Tcp(Box::new(config))))
        } else if config.is::<DirectResponse>() {
            Some(Ok(Handler::Respond))
        } else {
            None
        }
    })
}
