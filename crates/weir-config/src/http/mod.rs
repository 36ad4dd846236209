//! An HTTP connection manager, compiled.

pub mod client_address;
pub mod client_certificate;
mod keepalive;
pub mod local_replies;
pub mod options;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use weir_http1::Case;
use weir_http1::HeaderValue;
use weir_routing::filters::router::RouterPolicy;
use weir_routing::filters::{self, Filter, FilterPolicy};
use weir_routing::normalize::PathRules;
use weir_routing::{CompileError, RouteTable};
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::{CodecType, RouteSpecifier, ServerHeaderTransformation};
use weir_xds::values::std_duration;

use crate::access_log::{self, AccessLog};
use client_address::Detection;
use client_certificate::ForwardedClientCert;
pub use keepalive::Http2Keepalive;
use local_replies::LocalReplies;
pub use windows::Http2Windows;

/// Envoy's limit where none is given.
const MAX_HEADERS_KB: usize = 60;
/// Envoy waits so long for a client to close.
const DELAYED_CLOSE: Duration = Duration::from_secs(1);
/// Envoy lets a client send requests for so long on a connection that is to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Envoy breaks off a stream on which nothing happens for so long; Istio turns this off.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// What a client has for a head, where nothing is said: Envoy waits for ever.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

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
    /// How the client's address is found, where that is said otherwise; the first way by which it is found counts.
    pub detections: Box<[Detection]>,
    /// What is done to paths before anything looks at them.
    pub paths: PathRules,
    /// Whether `x-request-id` is made where it is missing.
    pub generate_request_id: bool,
    /// Whether the client's `x-request-id` is kept at the edge.
    pub keep_request_id: bool,
    /// The protocols that a client may change to, in lower case.
    pub upgrades: Vec<String>,
    /// What the scheme of every request is, if that is said.
    pub scheme: Option<&'static str>,
    /// Whether the client's address is added to `x-forwarded-for` at the edge.
    pub append_forwarded_for: bool,
    /// Whether the port that the client connected to is told in `x-forwarded-port` at the edge.
    pub append_forwarded_port: bool,
    /// What instances are told of clients' certificates.
    pub client_cert: ForwardedClientCert,
    /// Whether instances are told which proxy asks them, where the client does not say what it is.
    pub adds_user_agent: bool,
    /// What is added to `via`, of requests and of answers.
    pub via: Option<HeaderValue>,
    /// Whether answers tell the id of their request.
    pub answers_tell_request_id: bool,
    /// What becomes of the port of hosts.
    pub strip_host_port: HostPort,
    /// Whether the dot at the end of hosts is taken off.
    pub strip_host_dot: bool,
    /// What becomes of headers whose names have underscores.
    pub underscores: Underscores,
    /// Whether interim answers are passed on, and whether the instance decides about `expect: 100-continue`.
    pub passes_interim: bool,
    /// How the proxy's own answers look, where they look otherwise than usual.
    pub local_replies: Option<LocalReplies>,
    /// Whether methods that nobody knows pass.
    pub custom_methods: bool,
    /// Whether targets may be whole URLs.
    pub absolute_targets: bool,
    /// Whether trailers pass on HTTP/1.1.
    pub trailers: bool,
    /// How the names of headers are spelled.
    pub letter_case: Case,
    /// The host of requests of HTTP/1.0 that name none.
    pub default_host: Option<HeaderValue>,
    /// So many requests may come by one connection.
    pub max_requests_per_connection: Option<u32>,
    /// A client may take so long to close a connection whose request was not read to its end.
    pub delayed_close: Option<Duration>,
    /// Whether HTTP/1.0 is understood.
    pub http10: bool,
    /// A connection may be silent for so long.
    pub idle_timeout: Option<Duration>,
    /// So long a connection that is too old, or was silent for too long, takes requests.
    pub drain_timeout: Duration,
    /// A connection may last so long.
    pub max_connection_duration: Option<Duration>,
    /// A stream may be silent for so long, where its route does not say.
    pub stream_idle_timeout: Option<Duration>,
    /// How long the head of a request may take from its first byte on.
    pub head_timeout: Option<Duration>,
    /// A stream may last so long, where its route does not say.
    pub max_stream_duration: Option<Duration>,
    /// A request may take so long to arrive.
    pub request_timeout: Option<Duration>,
    /// A head may have so many headers.
    pub max_headers: usize,
    /// A head may be this many bytes large.
    pub max_header_bytes: usize,
    /// HTTP/2 streams of one connection.
    pub max_concurrent_streams: Option<u32>,
    /// Whether a client of HTTP/2 may ask for another protocol on a stream (RFC 8441).
    pub extended_connect: bool,
    /// Whether clients of HTTP/2 are asked for signs of life.
    pub http2_keepalive: Option<Http2Keepalive>,
    /// How much clients of HTTP/2 may send ahead.
    pub http2_windows: Http2Windows,
    /// What requests and answers pass, the router last.
    pub filters: Box<[Filter]>,
    /// How requests are sent on: what the last filter says.
    pub router: RouterPolicy,
    /// What is written of each request.
    pub access_logs: Vec<AccessLog>,
}

/// What becomes of the port of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPort {
    /// It stays.
    Keep,
    /// It is taken off if it is the one that the client connected to.
    StripOwn,
    /// It is taken off.
    StripAny,
}

/// Where a connection manager's routes come from.
#[derive(Debug, Clone)]
pub enum RouteSource {
    /// By RDS, under this name.
    Named(Arc<str>),
    /// They stand in the listener.
    Inline(Arc<RouteTable>),
}

/// What becomes of headers whose names have underscores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Underscores {
    /// They pass.
    #[default]
    Allow,
    /// A request that has one is refused.
    Reject,
    /// They are taken out.
    Drop,
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
        let filters = filters::compile_chain(&manager.http_filters)?;
        options::check(manager)?;
        let common = options::common(manager.common_http_protocol_options.as_ref())?;
        let http1 = options::Http1::compile(manager.http_protocol_options.as_ref())?;
        let kilobytes = manager.max_request_headers_kb.map_or(MAX_HEADERS_KB, |kb| kb as usize);
        let local_replies = manager.local_reply_config.as_ref().map(LocalReplies::compile).transpose();
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
            detections: Detection::compile_all(manager)?,
            paths: PathRules::compile(manager),
            generate_request_id: manager.generate_request_id.unwrap_or(true),
            keep_request_id: manager.preserve_external_request_id,
            upgrades: options::upgrades(manager)?,
            scheme: options::scheme(manager)?,
            append_forwarded_for: !manager.skip_xff_append,
            append_forwarded_port: manager.append_x_forwarded_port,
            client_cert: ForwardedClientCert::compile(manager),
            adds_user_agent: manager.add_user_agent.unwrap_or(false),
            via: options::header_value("via", &manager.via)?,
            answers_tell_request_id: manager.always_set_request_id_in_response,
            strip_host_port: options::host_port(manager)?,
            strip_host_dot: manager.strip_trailing_host_dot,
            underscores: common.underscores,
            passes_interim: manager.proxy_100_continue,
            local_replies: local_replies.map_err(|error| error.within("local_reply_config"))?,
            custom_methods: http1.custom_methods,
            absolute_targets: http1.absolute_targets,
            trailers: http1.trailers,
            letter_case: http1.letter_case,
            default_host: http1.default_host,
            http10: http1.http10,
            max_requests_per_connection: common.max_requests,
            delayed_close: match &manager.delayed_close_timeout {
                Some(timeout) => positive(Some(timeout)),
                None => Some(DELAYED_CLOSE),
            },
            idle_timeout: common.idle_timeout,
            drain_timeout: manager.drain_timeout.as_ref().map_or(DRAIN_TIMEOUT, std_duration),
            max_connection_duration: common.max_connection_duration,
            head_timeout: match &manager.request_headers_timeout {
                None => Some(HEAD_TIMEOUT),
                Some(timeout) => positive(Some(timeout)),
            },
            stream_idle_timeout: match &manager.stream_idle_timeout {
                Some(timeout) => positive(Some(timeout)),
                None => Some(STREAM_IDLE_TIMEOUT),
            },
            max_stream_duration: common.max_stream_duration,
            request_timeout: positive(manager.request_timeout.as_ref()),
            max_headers: common.max_headers,
            max_header_bytes: kilobytes * 1024,
            max_concurrent_streams: manager.http2_protocol_options.as_ref().and_then(|options| options.max_concurrent_streams),
            extended_connect: manager.http2_protocol_options.as_ref().is_some_and(|options| options.allow_connect),
            http2_keepalive: manager.http2_protocol_options.as_ref().and_then(Http2Keepalive::compile),
            http2_windows: manager.http2_protocol_options.as_ref().map_or_else(Http2Windows::default, Http2Windows::compile),
            router: router(&filters),
            filters,
            access_logs: access_log::compile(&manager.access_log)?,
        })
    }

    /// Whether a client may change to this protocol.
    pub fn allows_upgrade(&self, protocol: &HeaderValue) -> bool {
        self.upgrades.iter().any(|known| protocol.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
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
