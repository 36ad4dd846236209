//! An HTTP connection manager, compiled.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use weir_routing::filters::router::RouterPolicy;
use weir_routing::filters::{self, Filter, FilterPolicy};
use weir_routing::normalize::PathRules;
use weir_routing::{CompileError, RouteTable};
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::{CodecType, RouteSpecifier, ServerHeaderTransformation};
use weir_xds::values::std_duration;

use super::access_log::{self, AccessLog};

/// Envoy's limit where none is given.
const MAX_HEADERS: usize = 100;
/// Envoy's limit where none is given.
const MAX_HEADERS_KB: usize = 60;
/// Envoy closes a connection on which nothing happens for so long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// And it breaks off a stream on which nothing happens for so long; Istio turns this off.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// How the requests of a filter chain's connections are handled.
#[derive(Debug)]
pub struct HttpConfig {
    /// Names it in statistics.
    pub stat_prefix: Arc<str>,
    /// Where requests go.
    pub routes: RouteSource,
    /// What clients may speak.
    pub codec: Codec,
    /// The `server` header of responses.
    pub server: ServerHeader,
    /// Whether this is the edge of the mesh: what clients say of earlier proxies is not believed.
    pub edge: bool,
    /// How many addresses at the end of `x-forwarded-for` were written by proxies that are trusted.
    pub trusted_hops: u32,
    /// What is done to paths before anything looks at them.
    pub paths: PathRules,
    /// Whether `x-request-id` is made where it is missing.
    pub generate_request_id: bool,
    /// Whether the client's `x-request-id` is kept at the edge.
    pub keep_request_id: bool,
    /// Whether WebSocket upgrades pass.
    pub websocket: bool,
    /// Whether HTTP/1.0 is understood.
    pub http10: bool,
    /// A connection may be silent for so long.
    pub idle_timeout: Option<Duration>,
    /// A connection may last so long.
    pub max_connection_duration: Option<Duration>,
    /// A stream may be silent for so long, where its route does not say.
    pub stream_idle_timeout: Option<Duration>,
    /// A stream may last so long, where its route does not say.
    pub max_stream_duration: Option<Duration>,
    /// A request may take so long to arrive.
    pub request_timeout: Option<Duration>,
    /// The head of a request may take so long to arrive.
    pub header_timeout: Option<Duration>,
    /// A head may have so many headers.
    pub max_headers: usize,
    /// A head may be this many bytes large.
    pub max_header_bytes: usize,
    /// HTTP/2 streams of one connection.
    pub max_concurrent_streams: Option<u32>,
    /// What requests and answers pass, the router last.
    pub filters: Box<[Filter]>,
    /// How requests are sent on: what the last filter says.
    pub router: RouterPolicy,
    /// What is written of each request.
    pub access_logs: Vec<AccessLog>,
}

/// Where a connection manager's routes come from.
#[derive(Debug, Clone)]
pub enum RouteSource {
    /// By RDS, under this name.
    Named(Arc<str>),
    /// They stand in the listener.
    Inline(Arc<RouteTable>),
}

/// What clients may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// HTTP/1.1 or HTTP/2, as the connection begins.
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// What becomes of the `server` header of responses.
#[derive(Debug, Clone)]
pub enum ServerHeader {
    /// Always this.
    Overwrite(HeaderValue),
    /// This, where the instance sent none.
    AppendIfAbsent(HeaderValue),
    /// As the instance sent it.
    PassThrough,
}

impl HttpConfig {
    /// Compiles an xDS connection manager. Inline routes are compiled with it.
    ///
    /// # Errors
    /// If it is not valid, or has a filter that is not carried out: a filter may be there for safety, so a
    /// listener without it must not open.
    pub fn compile(manager: &HttpConnectionManager) -> Result<Self, CompileError> {
        let http1 = manager.http_protocol_options.as_ref();
        let common = manager.common_http_protocol_options.as_ref();
        let idle = common.and_then(|common| common.idle_timeout.as_ref()).map_or(IDLE_TIMEOUT, std_duration);
        let kilobytes = manager.max_request_headers_kb.map_or(MAX_HEADERS_KB, |kb| kb as usize);
        let filters = filters::compile_chain(&manager.http_filters)?;
        Ok(Self {
            stat_prefix: manager.stat_prefix.as_str().into(),
            routes: routes(manager)?,
            codec: match manager.codec_type() {
                CodecType::Auto => Codec::Auto,
                CodecType::Http1 => Codec::Http1,
                CodecType::Http2 => Codec::Http2,
                CodecType::Http3 => return Err(CompileError::unsupported("codec_type")),
            },
            server: server_header(manager)?,
            edge: manager.use_remote_address.unwrap_or(false),
            trusted_hops: manager.xff_num_trusted_hops,
            paths: PathRules::compile(manager)?,
            generate_request_id: manager.generate_request_id.unwrap_or(true),
            keep_request_id: manager.preserve_external_request_id,
            websocket: manager.upgrade_configs.iter().any(|upgrade| upgrade.upgrade_type.eq_ignore_ascii_case("websocket")),
            http10: http1.is_some_and(|options| options.accept_http_10),
            idle_timeout: (!idle.is_zero()).then_some(idle),
            max_connection_duration: positive(common.and_then(|common| common.max_connection_duration.as_ref())),
            stream_idle_timeout: match &manager.stream_idle_timeout {
                Some(timeout) => positive(Some(timeout)),
                None => Some(STREAM_IDLE_TIMEOUT),
            },
            max_stream_duration: positive(common.and_then(|common| common.max_stream_duration.as_ref())),
            request_timeout: positive(manager.request_timeout.as_ref()),
            header_timeout: manager.request_headers_timeout.as_ref().map(std_duration).filter(|timeout| !timeout.is_zero()),
            max_headers: common.and_then(|common| common.max_headers_count).map_or(MAX_HEADERS, |max| max as usize),
            max_header_bytes: kilobytes * 1024,
            max_concurrent_streams: manager.http2_protocol_options.as_ref().and_then(|options| options.max_concurrent_streams),
            router: router(&filters),
            filters,
            access_logs: access_log::compile(&manager.access_log)?,
        })
    }
}

/// Zero means that there is no limit.
fn positive(limit: Option<&weir_xds::prost_types::Duration>) -> Option<Duration> {
    limit.map(std_duration).filter(|limit| !limit.is_zero())
}

fn router(filters: &[Filter]) -> RouterPolicy {
    match filters.last().map(|filter| &filter.policy) {
        Some(FilterPolicy::Router(policy)) => *policy,
        _ => RouterPolicy::default(),
    }
}

fn routes(manager: &HttpConnectionManager) -> Result<RouteSource, CompileError> {
    match &manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => Ok(RouteSource::Named(rds.route_config_name.as_str().into())),
        Some(RouteSpecifier::RouteConfig(config)) => {
            let table = RouteTable::compile(config, None).map_err(|error| error.within("route_config"))?;
            Ok(RouteSource::Inline(Arc::new(table)))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => Err(CompileError::unsupported("scoped_routes")),
        None => Err(CompileError::missing("route_specifier")),
    }
}

fn server_header(manager: &HttpConnectionManager) -> Result<ServerHeader, CompileError> {
    let name = if manager.server_name.is_empty() { "envoy" } else { &manager.server_name };
    let value = HeaderValue::from_str(name).map_err(|_| CompileError::new("server_name", "is no valid value of a header"))?;
    Ok(match manager.server_header_transformation() {
        ServerHeaderTransformation::Overwrite => ServerHeader::Overwrite(value),
        ServerHeaderTransformation::AppendIfAbsent => ServerHeader::AppendIfAbsent(value),
        ServerHeaderTransformation::PassThrough => ServerHeader::PassThrough,
    })
}
