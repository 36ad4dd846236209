//! A cluster, compiled: its instances, how one is chosen, how it is connected to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_http1::HeaderName;
use weir_routing::answer_match::AnswerMatch;
use weir_routing::{CompileError, Metadata};
use weir_xds::Any;
use weir_xds::aggregate_cluster::ClusterConfig as Aggregate;
use weir_xds::cluster::Cluster as XdsCluster;
use weir_xds::cluster::cluster::{ClusterDiscoveryType, ClusterProtocolSelection, CustomClusterType, DiscoveryType, DnsLookupFamily};
use weir_xds::core::socket_address::PortSpecifier;
use weir_xds::core::{HttpProtocolOptions as CommonOptions, SocketAddress, UpstreamHttpProtocolOptions};
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::upstream_http::HttpProtocolOptions;
use weir_xds::upstream_http::http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig};
use weir_xds::values::std_duration;

use crate::http::options::letter_case;
use crate::http::{Http2Keepalive, Http2Windows};
use weir_http1::Case;

use super::circuit_breakers::CircuitBreakers;
use super::health_check::HealthCheckPolicy;
use super::load_balancing::Settings;
use super::outlier::OutlierPolicy;
use super::transport::TransportPolicies;

/// Envoy's connect timeout where none is given.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Envoy's idle timeout of pooled connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Envoy's limits of the heads of answers where none are given.
const MAX_HEADERS: usize = 100;
const MAX_HEADERS_KB: usize = 60;

/// What does not depend on a cluster's instances.
#[derive(Debug)]
pub struct ClusterPolicy {
    /// Its name.
    pub name: Arc<str>,
    /// Where its instances come from.
    pub discovery: Discovery,
    /// How an instance is chosen.
    pub lb: Settings,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// When instances are left out.
    pub outlier: Option<OutlierPolicy>,
    /// How their health is checked.
    pub health_check: Option<Arc<HealthCheckPolicy>>,
    /// Which answers count as errors when instances are left out; where it says nothing, those with 5xx.
    pub outlier_errors: Option<AnswerMatch>,
    /// Whether the health of its instances changes by what is seen of them: by outlier detection or health checks.
    pub watches_health: bool,
    /// What may be used of it at once.
    pub circuit_breakers: CircuitBreakers,
    /// How its instances are spoken to.
    pub transports: TransportPolicies,
    /// What TLS takes of the host that a request names.
    pub host_names: HostNames,
    /// What its instances speak.
    pub protocol: UpstreamProtocol,
    /// How connections are used where they speak HTTP/2.
    pub http2: Http2Options,
    /// How its HTTP/1.1 connections are used.
    pub http1: Http1Options,
    /// How long an unused connection is kept.
    pub idle_timeout: Option<Duration>,
    /// How long a connection is used.
    pub max_connection_duration: Option<Duration>,
    /// After how many requests a connection is closed.
    pub max_requests_per_connection: Option<u32>,
    /// Which of a name's addresses count.
    pub dns_family: DnsFamily,
    /// The addresses that connections come from: the first that is of the family of the instance's.
    pub source_addresses: Box<[IpAddr]>,
    /// TCP keep-alive of connections.
    pub keepalive: Option<Keepalive>,
    /// Texts of its metadata, for access logs.
    pub metadata: Metadata,
    /// Which service it is, as Istio's metrics name it.
    pub service: ServiceIdentity,
    /// Whether it lies outside of the mesh.
    pub is_external: bool,
}

/// The service that a cluster belongs to; all empty where the control plane does not tell.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct ServiceIdentity {
    /// Its host name.
    pub host: String,
    /// Its short name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// Where a cluster's instances come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Discovery {
    /// They stand in the cluster itself.
    Static(ClusterLoadAssignment),
    /// By EDS, under this name.
    Eds(Arc<str>),
    /// All addresses of the names that stand in the cluster.
    StrictDns(ClusterLoadAssignment),
    /// The first address of the name that stands in the cluster.
    LogicalDns(ClusterLoadAssignment),
    /// The address that the client connected to.
    OriginalDestination,
    /// The host that a request names.
    OfRequest,
    /// It has none: it stands for these clusters, in the order of their priority.
    Aggregate(Arc<[Arc<str>]>),
}

/// Which of a name's addresses count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsFamily {
    /// Those of IPv6; if there are none, those of IPv4.
    Auto,
    /// Those of IPv4.
    V4Only,
    /// Those of IPv6.
    V6Only,
    /// Those of IPv4; if there are none, those of IPv6.
    V4Preferred,
    /// All.
    All,
}

impl DnsFamily {
    fn of(family: DnsLookupFamily) -> Self {
        match family {
            DnsLookupFamily::Auto => Self::Auto,
            DnsLookupFamily::V4Only => Self::V4Only,
            DnsLookupFamily::V6Only => Self::V6Only,
            DnsLookupFamily::V4Preferred => Self::V4Preferred,
            DnsLookupFamily::All => Self::All,
        }
    }

    /// The addresses that count, in their order.
    pub fn choose(self, addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> + '_ {
        let (has_v4, has_v6) = (addresses.iter().any(IpAddr::is_ipv4), addresses.iter().any(IpAddr::is_ipv6));
        let (v4, v6) = match self {
            Self::Auto => (!has_v6, true),
            Self::V4Only => (true, false),
            Self::V6Only => (false, true),
            Self::V4Preferred => (true, !has_v4),
            Self::All => (true, true),
        };
        addresses.iter().copied().filter(move |address| if address.is_ipv4() { v4 } else { v6 })
    }
}

/// What the instances speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    Http2,
    /// What the client speaks.
    Same,
    /// What a handshake of TLS agrees on; HTTP/1.1 in plaintext.
    Negotiated,
}

/// What TLS takes of the host that a request names (`UpstreamHttpProtocolOptions`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostNames {
    /// Whether it is the server name that is asked for.
    pub sni: bool,
    /// Whether the instance's certificate must be for it.
    pub verify: bool,
    /// The header that names it, if that is not the host.
    pub header: Option<HeaderName>,
}

/// How a cluster's HTTP/2 connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Options {
    /// Streams of one connection at once; the other side may allow fewer.
    pub max_concurrent_streams: Option<u32>,
    /// Whether the other side is asked for signs of life.
    pub keepalive: Option<Http2Keepalive>,
    /// How much the other side may send ahead.
    pub windows: Http2Windows,
    /// An answer may have so many headers.
    pub max_headers: usize,
    /// The head of an answer may be this many bytes large.
    pub max_header_bytes: usize,
}

/// How a cluster's HTTP/1.1 connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http1Options {
    /// Whether trailers pass.
    pub trailers: bool,
    /// How the names of headers are spelled in requests, and whether those of answers stay as they are.
    pub letter_case: Case,
    /// An answer may have so many headers.
    pub max_headers: usize,
    /// The head of an answer may be this many bytes large.
    pub max_header_bytes: usize,
}

/// TCP keep-alive; what is not given is the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keepalive {
    /// How many probes without an answer.
    pub probes: Option<u32>,
    /// Silence before the first probe.
    pub time: Option<Duration>,
    /// Between probes.
    pub interval: Option<Duration>,
}

impl ClusterPolicy {
    /// Compiles an xDS cluster.
    ///
    /// # Errors
    /// If it is not valid, or asks for what is not carried out and cannot be passed over.
    pub fn compile(cluster: &XdsCluster) -> Result<Self, CompileError> {
        refuse_unsupported(cluster)?;
        let options = http_options(cluster)?;
        let common = match &options {
            Some(options) => options.common_http_protocol_options.as_ref(),
            None => written_without_options(cluster),
        };
        let outlier = cluster.outlier_detection.as_ref().map(OutlierPolicy::compile).transpose();
        let idle = common.and_then(|common| common.idle_timeout.as_ref()).map_or(IDLE_TIMEOUT, std_duration);
        let connect_timeout = cluster.connect_timeout.as_ref().map_or(CONNECT_TIMEOUT, std_duration);
        if connect_timeout.is_zero() {
            return Err(CompileError::new("connect_timeout", "must be more than nothing"));
        }
        let breakers = CircuitBreakers::compile(cluster.circuit_breakers.as_ref());
        let transports = TransportPolicies::compile(cluster)?;
        let protocol = protocol(cluster, options.as_ref())?;
        if protocol == UpstreamProtocol::Negotiated && transports.all().any(|transport| transport.tls.is_none()) {
            return Err(CompileError::new(
                "transport_socket",
                "must be TLS, also for each match: `auto_config` has nothing else to agree by",
            ));
        }
        let discovery = discovery(cluster)?;
        if hashes_by_hostname(cluster) && !matches!(discovery, Discovery::StrictDns(_)) {
            let field = "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing";
            return Err(CompileError::new(field, "needs a cluster of the type STRICT_DNS"));
        }
        Ok(Self {
            name: cluster.name.as_str().into(),
            discovery,
            lb: Settings::compile(cluster)?,
            connect_timeout,
            outlier: outlier.map_err(|error| error.within("outlier_detection"))?,
            health_check: HealthCheckPolicy::of_cluster(cluster)?.map(Arc::new),
            outlier_errors: outlier_errors(options.as_ref())?,
            watches_health: cluster.outlier_detection.is_some() || !cluster.health_checks.is_empty(),
            circuit_breakers: breakers.map_err(|error| error.within("circuit_breakers"))?,
            transports,
            host_names: host_names(options.as_ref())?,
            protocol,
            http2: http2_options(cluster, options.as_ref()),
            http1: http1_options(cluster, options.as_ref())?,
            idle_timeout: (!idle.is_zero()).then_some(idle),
            max_connection_duration: common
                .and_then(|common| common.max_connection_duration.as_ref())
                .map(std_duration)
                .filter(|duration| !duration.is_zero()),
            max_requests_per_connection: max_requests_per_connection(cluster, options.as_ref())?,
            dns_family: DnsFamily::of(cluster.dns_lookup_family()),
            source_addresses: source_addresses(cluster)?,
            keepalive: keepalive(cluster),
            metadata: Metadata::compile(cluster.metadata.as_ref()),
            service: service(cluster),
            is_external: is_external(cluster),
        })
    }
}

/// Here every field of a cluster is decided about. Refused is what would send requests elsewhere, or otherwise than asked for.
#[allow(deprecated)] // Fields that Envoy still reads are decided about, too.
fn refuse_unsupported(cluster: &XdsCluster) -> Result<(), CompileError> {
    let XdsCluster {
        name,
        // Carried out.
        eds_cluster_config: _,
        connect_timeout: _,
        lb_policy: _,
        lb_config: _,
        load_balancing_policy: _,
        load_assignment: _,
        health_checks: _,
        max_requests_per_connection: _,
        circuit_breakers: _,
        common_http_protocol_options: _,
        http2_protocol_options: _,
        typed_extension_protocol_options: _,
        protocol_selection: _,
        dns_lookup_family: _,
        outlier_detection: _,
        upstream_bind_config: _,
        common_lb_config: _,
        transport_socket: _,
        transport_socket_matches: _,
        metadata: _,
        upstream_connection_options: _,
        cluster_discovery_type: _,
        // As it always is here, or only a name.
        alt_stat_name: _,
        ignore_health_on_host_removal: _,
        respect_dns_ttl: _,
        dns_refresh_rate: _,
        dns_jitter: _,
        cleanup_interval: _,
        // Refused.
        lb_subset_config,
        filters,
        upstream_config,
        // Reported.
        transport_socket_matcher: _,
        stats_matcher: _,
        per_connection_buffer_limit_bytes: _,
        per_connection_buffer_high_watermark_timeout: _,
        upstream_http_protocol_options: _,
        http_protocol_options: _,
        dns_failure_refresh_rate: _,
        dns_resolvers: _,
        use_tcp_for_dns_lookups: _,
        dns_resolution_config: _,
        typed_dns_resolver_config: _,
        wait_for_warm_on_init: _,
        close_connections_on_host_health_failure: _,
        lrs_server: _,
        lrs_report_endpoint_metrics: _,
        track_timeout_budgets: _,
        track_cluster_stats: _,
        preconnect_policy: _,
        connection_pool_per_downstream_connection: _,
        queuing_policies: _,
    } = cluster;
    if name.is_empty() {
        return Err(CompileError::missing("name"));
    }
    let refused = [
        // Without selectors there are no subsets, as with Envoy.
        ("lb_subset_config", lb_subset_config.as_ref().is_some_and(|subsets| !subsets.subset_selectors.is_empty())),
        ("filters", !filters.is_empty()),
        ("upstream_config", upstream_config.is_some()),
    ];
    match refused.into_iter().find(|(_, used)| *used) {
        Some((field, _)) => Err(CompileError::unsupported(field)),
        None => Ok(()),
    }
}

/// How connections are used, where it stands in the cluster itself as older control planes write it.
#[allow(deprecated)]
fn written_without_options(cluster: &XdsCluster) -> Option<&CommonOptions> {
    cluster.common_http_protocol_options.as_ref()
}

#[allow(deprecated)] // Older control planes say it in the cluster itself.
fn max_requests_per_connection(cluster: &XdsCluster, options: Option<&HttpProtocolOptions>) -> Result<Option<u32>, CompileError> {
    let common = options.and_then(|options| options.common_http_protocol_options.as_ref());
    let of_options = common.or(cluster.common_http_protocol_options.as_ref().filter(|_| options.is_none()));
    match (cluster.max_requests_per_connection, of_options.and_then(|common| common.max_requests_per_connection)) {
        (Some(_), Some(_)) => Err(CompileError::new("max_requests_per_connection", "stands in the options of the protocol as well")),
        (most, of_options) => Ok(most.or(of_options).filter(|most| *most > 0)),
    }
}

fn outlier_errors(options: Option<&HttpProtocolOptions>) -> Result<Option<AnswerMatch>, CompileError> {
    let matcher = options.and_then(|options| options.outlier_detection.as_ref()?.error_matcher.as_ref());
    let compiled = matcher.map(AnswerMatch::compile).transpose();
    compiled.map_err(|error| error.within("typed_extension_protocol_options.outlier_detection.error_matcher"))
}

/// Whether `common_lb_config` asks for rings and tables of names; a policy of its own may ask for that with clusters of any type.
fn hashes_by_hostname(cluster: &XdsCluster) -> bool {
    let hashing = cluster.common_lb_config.as_ref().and_then(|common| common.consistent_hashing_lb_config.as_ref());
    hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing)
}

/// A cluster of whatever hosts requests name: a dynamic forward proxy.
const OF_REQUEST: &str = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig";

fn discovery(cluster: &XdsCluster) -> Result<Discovery, CompileError> {
    let kind = match &cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(*kind).map_err(|_| CompileError::new("type", "is not known"))?,
        Some(ClusterDiscoveryType::ClusterType(kind))
            if kind.typed_config.as_ref().is_some_and(|config| config.type_name() == OF_REQUEST) =>
        {
            return Ok(Discovery::OfRequest);
        }
        Some(ClusterDiscoveryType::ClusterType(CustomClusterType { name: _, typed_config: Some(config) })) if config.is::<Aggregate>() => {
            return aggregate(config).map_err(|error| error.within("cluster_type.typed_config"));
        }
        Some(ClusterDiscoveryType::ClusterType(_)) => return Err(CompileError::unsupported("cluster_type")),
        None => DiscoveryType::Static,
    };
    let assignment = || cluster.load_assignment.clone().unwrap_or_default();
    Ok(match kind {
        DiscoveryType::Static => Discovery::Static(assignment()),
        DiscoveryType::StrictDns => Discovery::StrictDns(assignment()),
        DiscoveryType::LogicalDns => Discovery::LogicalDns(assignment()),
        DiscoveryType::OriginalDst => Discovery::OriginalDestination,
        DiscoveryType::Eds => {
            let named = cluster.eds_cluster_config.as_ref().map(|eds| eds.service_name.as_str()).filter(|name| !name.is_empty());
            Discovery::Eds(named.unwrap_or(&cluster.name).into())
        }
    })
}

fn aggregate(config: &Any) -> Result<Discovery, CompileError> {
    let Aggregate { clusters } = config.unpack().map_err(|error| CompileError::new("", error.to_string()))?;
    if clusters.is_empty() {
        return Err(CompileError::missing("clusters"));
    }
    Ok(Discovery::Aggregate(clusters.iter().map(|name| name.as_str().into()).collect()))
}

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn http_options(cluster: &XdsCluster) -> Result<Option<HttpProtocolOptions>, CompileError> {
    let Some(packed) = cluster.typed_extension_protocol_options.get(HTTP_OPTIONS) else { return Ok(None) };
    let options: HttpProtocolOptions =
        packed.unpack().map_err(|error| CompileError::new("typed_extension_protocol_options", error.to_string()))?;
    let HttpProtocolOptions {
        common_http_protocol_options: _,
        upstream_protocol_options,
        outlier_detection: _,
        // Requests would pass fewer filters than asked for.
        http_filters,
        // Of TLS.
        upstream_http_protocol_options: _,
        // Reported.
        header_validation_config: _,
        request_mirror_policies: _,
        hash_policy: _,
        retry_policy: _,
    } = &options;
    if http_filters.iter().any(|filter| filter.name != "envoy.filters.http.upstream_codec") {
        return Err(CompileError::unsupported("typed_extension_protocol_options.http_filters"));
    }
    if upstream_protocol_options.is_none() {
        return Err(CompileError::missing("typed_extension_protocol_options.upstream_protocol_options"));
    }
    Ok(Some(options))
}

#[allow(deprecated)] // Older control planes say it in the cluster itself.
fn protocol(cluster: &XdsCluster, options: Option<&HttpProtocolOptions>) -> Result<UpstreamProtocol, CompileError> {
    match options.and_then(|options| options.upstream_protocol_options.as_ref()) {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(_)) => Ok(UpstreamProtocol::Http2),
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => Err(no_http3()),
            _ => Ok(UpstreamProtocol::Http1),
        },
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(same)) if same.http3_protocol_options.is_some() => Err(no_http3()),
        Some(UpstreamProtocolOptions::AutoConfig(auto)) if auto.http3_protocol_options.is_some() => Err(no_http3()),
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => Ok(UpstreamProtocol::Same),
        Some(UpstreamProtocolOptions::AutoConfig(_)) => Ok(UpstreamProtocol::Negotiated),
        None if cluster.protocol_selection() == ClusterProtocolSelection::UseDownstreamProtocol => Ok(UpstreamProtocol::Same),
        None if cluster.http2_protocol_options.is_some() => Ok(UpstreamProtocol::Http2),
        None => Ok(UpstreamProtocol::Http1),
    }
}

/// It needs a transport of its own, without which Envoy refuses it, too.
fn no_http3() -> CompileError {
    CompileError::unsupported("typed_extension_protocol_options.http3_protocol_options")
}

fn host_names(options: Option<&HttpProtocolOptions>) -> Result<HostNames, CompileError> {
    let Some(options) = options.and_then(|options| options.upstream_http_protocol_options.as_ref()) else {
        return Ok(HostNames::default());
    };
    let UpstreamHttpProtocolOptions { auto_sni, auto_san_validation, override_auto_sni_header: header } = options;
    let header = Some(header).filter(|name| !name.is_empty() && *name != ":authority").map(|name| name.parse()).transpose();
    let header = header.map_err(|_| CompileError::new("override_auto_sni_header", "is no name of a header"));
    let within = |error: CompileError| error.within("typed_extension_protocol_options.upstream_http_protocol_options");
    Ok(HostNames { sni: *auto_sni, verify: *auto_san_validation, header: header.map_err(within)? })
}

#[allow(deprecated)] // Older control planes say it in the cluster itself.
fn http1_options(cluster: &XdsCluster, options: Option<&HttpProtocolOptions>) -> Result<Http1Options, CompileError> {
    let written = match options.and_then(|options| options.upstream_protocol_options.as_ref()) {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match &explicit.protocol_config {
            Some(ProtocolConfig::HttpProtocolOptions(http1)) => Some(http1),
            _ => None,
        },
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(as_client)) => as_client.http_protocol_options.as_ref(),
        Some(UpstreamProtocolOptions::AutoConfig(auto)) => auto.http_protocol_options.as_ref(),
        None => cluster.http_protocol_options.as_ref(),
    };
    let (max_headers, max_header_bytes) = head_limits(options);
    Ok(Http1Options {
        trailers: written.is_some_and(|written| written.enable_trailers),
        letter_case: letter_case(written)?,
        max_headers,
        max_header_bytes,
    })
}

#[allow(deprecated)] // Older control planes say it in the cluster itself.
fn http2_options(cluster: &XdsCluster, options: Option<&HttpProtocolOptions>) -> Http2Options {
    let written = match options.and_then(|options| options.upstream_protocol_options.as_ref()) {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match &explicit.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(http2)) => Some(http2),
            _ => None,
        },
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(as_client)) => as_client.http2_protocol_options.as_ref(),
        Some(UpstreamProtocolOptions::AutoConfig(auto)) => auto.http2_protocol_options.as_ref(),
        None => cluster.http2_protocol_options.as_ref(),
    };
    let (max_headers, max_header_bytes) = head_limits(options);
    Http2Options {
        max_concurrent_streams: written.and_then(|written| written.max_concurrent_streams).filter(|most| *most > 0),
        keepalive: written.and_then(Http2Keepalive::compile),
        windows: written.map_or_else(Http2Windows::default, Http2Windows::compile),
        max_headers,
        max_header_bytes,
    }
}

/// How many headers an answer may have, and how large its head may be.
fn head_limits(options: Option<&HttpProtocolOptions>) -> (usize, usize) {
    let common = options.and_then(|options| options.common_http_protocol_options.as_ref());
    let headers = common.and_then(|common| common.max_headers_count).map_or(MAX_HEADERS, |most| most as usize);
    (headers, 1024 * common.and_then(|common| common.max_response_headers_kb).map_or(MAX_HEADERS_KB, |most| most as usize))
}

fn source_addresses(cluster: &XdsCluster) -> Result<Box<[IpAddr]>, CompileError> {
    let Some(bind) = &cluster.upstream_bind_config else { return Ok(Box::default()) };
    let first = bind.source_address.iter().map(|address| ("source_address".to_owned(), Some(address)));
    let extra = bind.extra_source_addresses.iter().enumerate();
    let extra = extra.map(|(i, extra)| (format!("extra_source_addresses[{i}].address"), extra.address.as_ref()));
    let read = |(place, address): (String, Option<&SocketAddress>)| {
        let place = format!("upstream_bind_config.{place}");
        let Some(address) = address else { return Err(CompileError::missing(&place)) };
        if !matches!(address.port_specifier, None | Some(PortSpecifier::PortValue(0))) {
            return Err(CompileError::unsupported(&place));
        }
        address.address.parse().map_err(|_| CompileError::new(place, "is no IP address"))
    };
    first.chain(extra).map(read).collect()
}

fn keepalive(cluster: &XdsCluster) -> Option<Keepalive> {
    let keepalive = cluster.upstream_connection_options.as_ref()?.tcp_keepalive.as_ref()?;
    let seconds = |seconds: Option<u32>| seconds.map(|seconds| Duration::from_secs(seconds.into()));
    Some(Keepalive {
        probes: keepalive.keepalive_probes,
        time: seconds(keepalive.keepalive_time),
        interval: seconds(keepalive.keepalive_interval),
    })
}

/// The cluster of what no service is known for.
const PASSTHROUGH: &str = "PassthroughCluster";

/// Istio tells of a cluster that lies outside of the mesh, in its metadata (`istio: {external: true}`) or by its name.
fn is_external(cluster: &XdsCluster) -> bool {
    use weir_xds::prost_types::value::Kind;
    let istio = cluster.metadata.as_ref().and_then(|metadata| metadata.filter_metadata.get("istio"));
    let external = istio.and_then(|istio| istio.fields.get("external")?.kind.as_ref());
    cluster.name == PASSTHROUGH || matches!(external, Some(Kind::BoolValue(true)))
}

/// Istio tells a cluster's service in its metadata: `istio: {services: [{host, name, namespace}]}`.
fn service(cluster: &XdsCluster) -> ServiceIdentity {
    use weir_xds::prost_types::value::Kind;
    let find = || {
        let istio = cluster.metadata.as_ref()?.filter_metadata.get("istio")?;
        let Some(Kind::ListValue(list)) = &istio.fields.get("services")?.kind else { return None };
        let Some(Kind::StructValue(service)) = &list.values.first()?.kind else { return None };
        let text = |key: &str| match service.fields.get(key).and_then(|value| value.kind.as_ref()) {
            Some(Kind::StringValue(text)) => text.clone(),
            _ => String::new(),
        };
        Some(ServiceIdentity { host: text("host"), name: text("name"), namespace: text("namespace") })
    };
    find().unwrap_or_default()
}

#[cfg(test)]
mod tests;
