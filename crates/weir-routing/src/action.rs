//! What becomes of a request that a route matched.

use std::sync::Arc;
use std::time::Duration;

use bytes_of::data_source;
use http::HeaderName;
use weir_xds::route::route::Action as XdsAction;
use weir_xds::route::route_action::{ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier};
use weir_xds::route::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral;
use weir_xds::route::{DirectResponseAction, RetryPolicy as XdsRetryPolicy, RouteAction, WeightedCluster as XdsWeighted};
use weir_xds::values::{millionths, std_duration};

use crate::error::CompileError;
use crate::filters::Overrides;
use crate::hash_policy::HashPolicy;
use crate::header_changes::HeaderChanges;
use crate::rate_limits::{self, Owner, RateLimit};
use crate::retry::RetryPolicy;
use crate::rewrite::{PathRewrite, Redirect};

/// A cluster, by its position among the names of its virtual host.
pub type ClusterIndex = u32;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// It is sent on to a cluster.
    Forward(Box<Forward>),
    /// The client is sent elsewhere.
    Redirect(Box<Redirect>),
    /// It is answered at once.
    Respond(DirectResponse),
}

/// An answer that the proxy gives itself.
#[derive(Debug, Clone)]
pub struct DirectResponse {
    /// The status code.
    pub status: u16,
    /// The body; empty for none.
    pub body: Box<[u8]>,
}

/// How a request is sent on.
#[derive(Debug, Clone)]
pub struct Forward {
    /// To which cluster.
    pub clusters: Clusters,
    /// The status code where the cluster does not exist.
    pub not_found_status: u16,
    /// How long the answer may take in all, retries included.
    pub timeout: Option<Duration>,
    /// What the client's `grpc-timeout` may set.
    pub grpc_timeout: GrpcTimeout,
    /// How long the stream may last in all; nothing where the listener decides.
    pub max_duration: Option<Duration>,
    /// How long nothing may be sent either way; nothing where the listener decides, zero for ever.
    pub idle_timeout: Option<Duration>,
    /// When and how often it is tried again.
    pub retry: Option<Arc<RetryPolicy>>,
    /// What becomes of the path.
    pub path: Option<PathRewrite>,
    /// What becomes of the authority.
    pub host: HostRewrite,
    /// Copies that are sent elsewhere.
    pub mirrors: Box<[Mirror]>,
    /// What decides which instance gets it, where its like go to the same.
    pub hash: Box<[HashPolicy]>,
    /// What it counts towards, where filters do not say.
    pub rate_limits: Box<[RateLimit]>,
    /// Whether it counts towards those of the virtual host, too.
    pub include_host_rate_limits: bool,
}

/// Whether and how far a client's `grpc-timeout` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcTimeout {
    /// It does not.
    Ignored,
    /// It does; with a limit, no more than that.
    Honoured(Option<Duration>),
}

/// What becomes of the authority.
#[derive(Debug, Clone, Default)]
pub enum HostRewrite {
    /// It stays.
    #[default]
    Keep,
    /// It becomes this.
    To(Box<str>),
    /// It becomes the host name of the instance that was chosen.
    OfInstance,
    /// It becomes what a header says.
    OfHeader(HeaderName),
}

/// A copy of a request that is sent on without waiting for an answer.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Where to.
    pub cluster: ClusterIndex,
    /// How many of a million requests.
    pub millionths: u32,
    /// Whether `-shadow` is added to the authority.
    pub shadow_suffix: bool,
}

/// The cluster of a route, or several with weights.
#[derive(Debug, Clone)]
pub enum Clusters {
    /// Always the same.
    One(ClusterIndex),
    /// One of several, by chance.
    Weighted(Weighted),
    /// The one that a header of the request names; nothing of ours asks for it, other control planes may.
    Header(HeaderName),
}

/// Clusters with weights.
#[derive(Debug, Clone)]
pub struct Weighted {
    /// In the order of the configuration.
    pub choices: Vec<WeightedCluster>,
    total: u64,
}

/// One of several clusters of a route.
#[derive(Debug, Clone)]
pub struct WeightedCluster {
    /// Which.
    pub cluster: ClusterIndex,
    /// Its share, relative to the others'.
    pub weight: u32,
    /// Changes to the request if it is chosen, before the route's.
    pub request_headers: HeaderChanges,
    /// Changes to the response if it is chosen, before the route's.
    pub response_headers: HeaderChanges,
    /// What becomes of the authority if it is chosen.
    pub host: Option<Box<str>>,
    /// What it says of filters if it is chosen.
    pub filters: Overrides,
}

impl Weighted {
    /// The choice that a random number stands for.
    pub fn choose(&self, random: u64) -> Option<&WeightedCluster> {
        let mut left = random.checked_rem(self.total)?;
        self.choices.iter().find(|choice| match left.checked_sub(u64::from(choice.weight)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
    }
}

/// What the routes of one virtual host have in common, while they are compiled.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The names of the clusters that they lead to, each once.
    pub(crate) clusters: Vec<Arc<str>>,
    known: std::collections::HashMap<Arc<str>, ClusterIndex>,
    /// The policy of routes that have none of their own.
    default_retry: Option<Arc<RetryPolicy>>,
    /// The last one, and what it was compiled from: most routes have the same.
    retry: Option<(XdsRetryPolicy, Arc<RetryPolicy>)>,
}

impl Shared {
    pub(crate) fn new(default_retry: Option<Arc<RetryPolicy>>) -> Self {
        Self { default_retry, ..Default::default() }
    }

    fn retry(&mut self, policy: Option<&XdsRetryPolicy>) -> Result<Option<Arc<RetryPolicy>>, CompileError> {
        let Some(policy) = policy else { return Ok(self.default_retry.clone()) };
        if let Some((_, known)) = self.retry.as_ref().filter(|(written, _)| written == policy) {
            return Ok(Some(known.clone()));
        }
        let compiled = Arc::new(RetryPolicy::compile(policy)?);
        self.retry = Some((policy.clone(), compiled.clone()));
        Ok(Some(compiled))
    }

    fn index(&mut self, name: &str) -> ClusterIndex {
        if let Some(index) = self.known.get(name) {
            return *index;
        }
        let name: Arc<str> = name.into();
        let index = self.clusters.len() as ClusterIndex;
        self.clusters.push(name.clone());
        self.known.insert(name, index);
        index
    }
}

impl Action {
    pub(crate) fn compile(action: Option<&XdsAction>, shared: &mut Shared) -> Result<Self, CompileError> {
        match action {
            Some(XdsAction::Route(route)) => {
                let forward = Forward::compile(route, shared).map_err(|error| error.within("route"))?;
                Ok(Self::Forward(Box::new(forward)))
            }
            Some(XdsAction::Redirect(redirect)) => {
                let redirect = Redirect::compile(redirect).map_err(|error| error.within("redirect"))?;
                Ok(Self::Redirect(Box::new(redirect)))
            }
            Some(XdsAction::DirectResponse(response)) => DirectResponse::compile(response).map(Self::Respond),
            Some(_) => Err(CompileError::unsupported("action")),
            None => Err(CompileError::missing("action")),
        }
    }
}

impl DirectResponse {
    fn compile(response: &DirectResponseAction) -> Result<Self, CompileError> {
        let status = u16::try_from(response.status).ok().filter(|status| (100..600).contains(status));
        let status = status.ok_or_else(|| CompileError::new("direct_response.status", format!("{} is no status code", response.status)))?;
        Ok(Self { status, body: data_source(response.body.as_ref())? })
    }
}

/// Texts that stand in the configuration itself.
mod bytes_of {
    use weir_xds::core::DataSource;
    use weir_xds::core::data_source::Specifier;

    use crate::error::CompileError;

    pub(super) fn data_source(source: Option<&DataSource>) -> Result<Box<[u8]>, CompileError> {
        match source.and_then(|source| source.specifier.as_ref()) {
            Some(Specifier::InlineString(text)) => Ok(text.as_bytes().into()),
            Some(Specifier::InlineBytes(bytes)) => Ok(bytes.as_ref().into()),
            Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) => {
                Err(CompileError::unsupported("direct_response.body.filename"))
            }
            None => Ok(Box::default()),
        }
    }
}

/// Envoy's timeout for routes that say nothing. (Istio's routes always say something.)
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

impl Forward {
    fn compile(route: &RouteAction, shared: &mut Shared) -> Result<Self, CompileError> {
        let retry = shared.retry(route.retry_policy.as_ref()).map_err(|error| error.within("retry_policy"))?;
        let path = match (&route.regex_rewrite, route.prefix_rewrite.as_str()) {
            (Some(rewrite), _) => Some(PathRewrite::compile_regex(rewrite).map_err(|error| error.within("regex_rewrite"))?),
            (None, "") => None,
            (None, prefix) => Some(PathRewrite::Matched(prefix.into())),
        };
        let mirrors = route.request_mirror_policies.iter().map(|policy| Mirror {
            cluster: shared.index(&policy.cluster),
            millionths: policy.runtime_fraction.as_ref().and_then(|f| f.default_value.as_ref()).map_or(1_000_000, millionths),
            shadow_suffix: !policy.disable_shadow_host_suffix_append,
        });
        Ok(Self {
            mirrors: mirrors.collect(),
            hash: route
                .hash_policy
                .iter()
                .map(HashPolicy::compile)
                .collect::<Result<_, _>>()
                .map_err(|error| error.within("hash_policy"))?,
            clusters: clusters(route, shared)?,
            not_found_status: match route.cluster_not_found_response_code() {
                ClusterNotFoundResponseCode::ServiceUnavailable => 503,
                ClusterNotFoundResponseCode::NotFound => 404,
                ClusterNotFoundResponseCode::InternalServerError => 500,
            },
            timeout: route.timeout.as_ref().map_or(Some(DEFAULT_TIMEOUT), |timeout| limit(std_duration(timeout))),
            grpc_timeout: grpc_timeout(route),
            max_duration: route.max_stream_duration.as_ref().and_then(|limits| limits.max_stream_duration.as_ref()).map(std_duration),
            idle_timeout: route.idle_timeout.as_ref().map(std_duration),
            retry,
            path,
            host: host_rewrite(route)?,
            rate_limits: rate_limits::compile(&route.rate_limits, Owner::Route)?,
            include_host_rate_limits: include_host_rate_limits(route),
        })
    }
}

/// Zero means no limit.
fn limit(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

#[allow(deprecated)] // Istio still sends `max_grpc_timeout`.
fn grpc_timeout(route: &RouteAction) -> GrpcTimeout {
    let max = route.max_stream_duration.as_ref().and_then(|duration| duration.grpc_timeout_header_max.as_ref());
    match max.or(route.max_grpc_timeout.as_ref()) {
        Some(max) => GrpcTimeout::Honoured(limit(std_duration(max))),
        None => GrpcTimeout::Ignored,
    }
}

#[allow(deprecated)] // Filters say it now; Istio's routes still do.
fn include_host_rate_limits(route: &RouteAction) -> bool {
    route.include_vh_rate_limits.unwrap_or(false)
}

fn host_rewrite(route: &RouteAction) -> Result<HostRewrite, CompileError> {
    Ok(match &route.host_rewrite_specifier {
        None => HostRewrite::Keep,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => HostRewrite::To(host.as_str().into()),
        Some(HostRewriteSpecifier::AutoHostRewrite(true)) => HostRewrite::OfInstance,
        Some(HostRewriteSpecifier::AutoHostRewrite(false)) => HostRewrite::Keep,
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => HostRewrite::OfHeader(
            HeaderName::try_from(name.as_str())
                .map_err(|_| CompileError::new("host_rewrite_header", format!("`{name}` is no name of a header")))?,
        ),
        Some(_) => return Err(CompileError::unsupported("host_rewrite_path_regex")),
    })
}

fn clusters(route: &RouteAction, shared: &mut Shared) -> Result<Clusters, CompileError> {
    match &route.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => Ok(Clusters::One(shared.index(name))),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => self::weighted(weighted, shared),
        Some(ClusterSpecifier::ClusterHeader(name)) => {
            let name = HeaderName::try_from(name.as_str());
            name.map(Clusters::Header).map_err(|_| CompileError::new("cluster_header", "is no name of a header"))
        }
        Some(_) => Err(CompileError::unsupported("cluster_specifier")),
        None => Err(CompileError::missing("cluster")),
    }
}

fn weighted(weighted: &XdsWeighted, shared: &mut Shared) -> Result<Clusters, CompileError> {
    let mut choices = vec![];
    for (i, cluster) in weighted.clusters.iter().enumerate() {
        let within = |error: CompileError| error.within(&format!("weighted_clusters.clusters[{i}]"));
        let host = cluster.host_rewrite_specifier.as_ref().map(|HostRewriteLiteral(host)| host.as_str().into());
        choices.push(WeightedCluster {
            cluster: shared.index(&cluster.name),
            weight: cluster.weight.unwrap_or(0),
            request_headers: HeaderChanges::compile(&cluster.request_headers_to_add, &cluster.request_headers_to_remove).map_err(within)?,
            response_headers: HeaderChanges::compile(&cluster.response_headers_to_add, &cluster.response_headers_to_remove)
                .map_err(within)?,
            host,
            filters: Overrides::compile(&cluster.typed_per_filter_config).map_err(within)?,
        });
    }
    let total = choices.iter().map(|choice| u64::from(choice.weight)).sum();
    if total == 0 {
        return Err(CompileError::new("weighted_clusters", "all weights are zero"));
    }
    Ok(Clusters::Weighted(Weighted { choices, total }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shares() {
        let choice = |cluster, weight| WeightedCluster {
            cluster,
            weight,
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            host: None,
            filters: Overrides::default(),
        };
        let weighted = Weighted { choices: vec![choice(0, 3), choice(1, 0), choice(2, 1)], total: 4 };
        let chosen: Vec<u32> = (0..8).filter_map(|random| Some(weighted.choose(random)?.cluster)).collect();
        assert_eq!(chosen, [0, 0, 0, 2, 0, 0, 0, 2]);
    }
}
