//! A TCP proxy filter, compiled.

use std::sync::Arc;
use std::time::Duration;

use weir_routing::CompileError;
use weir_xds::tcp_proxy::TcpProxy;
use weir_xds::tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight;
use weir_xds::tcp_proxy::tcp_proxy::{ClusterSpecifier, TunnelingConfig};
use weir_xds::types::hash_policy::PolicySpecifier;
use weir_xds::values::std_duration;

use super::access_log::{self, AccessLog};

/// Envoy closes a connection on which nothing is sent for so long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Where the connections of a filter chain go.
#[derive(Debug)]
pub struct TcpConfig {
    /// Names it in statistics.
    pub stat_prefix: Arc<str>,
    /// The clusters, with their shares.
    pub clusters: Vec<(Arc<str>, u32)>,
    /// The sum of the shares.
    pub total: u64,
    /// Silence that ends a connection.
    pub idle_timeout: Option<Duration>,
    /// How long a connection may last.
    max_duration: Option<Duration>,
    /// By chance it may last longer, at most by this share.
    max_duration_jitter: f64,
    /// Whether connections of one client go to the same instance, where the cluster goes by hashes.
    pub hash_source: bool,
    /// How often a connection is tried.
    pub connect_attempts: u32,
    /// What is written of each connection.
    pub access_logs: Vec<AccessLog>,
    /// The tunnel that connections take, where they take one.
    pub tunnel: Option<Tunnel>,
}

/// How an instance is asked to pass bytes on to a host beyond it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Where they are to go, as a host and a port.
    pub host: Arc<str>,
    /// The path, where they go as the body of a POST, and not by CONNECT.
    pub post: Option<Arc<str>>,
}

impl Tunnel {
    fn compile(config: &TunnelingConfig) -> Result<Self, CompileError> {
        let TunnelingConfig {
            hostname,
            use_post,
            headers_to_add,
            post_path,
            formatters,
            // Reported.
            propagate_response_headers: _,
            propagate_response_trailers: _,
            request_id_extension: _,
            request_id_header: _,
            request_id_metadata_key: _,
        } = config;
        // The instance decides by them.
        if !headers_to_add.is_empty() {
            return Err(CompileError::unsupported("headers_to_add"));
        }
        if !formatters.is_empty() {
            return Err(CompileError::unsupported("formatters"));
        }
        if hostname.contains('%') {
            return Err(CompileError::new("hostname", "names what is only known of each connection, which is not supported"));
        }
        if !is_authority(hostname) {
            return Err(CompileError::new("hostname", "is no host and port"));
        }
        if !use_post && !post_path.is_empty() {
            return Err(CompileError::new("post_path", "is for POST only"));
        }
        if !post_path.is_empty() && !is_path(post_path) {
            return Err(CompileError::new("post_path", "is no path"));
        }
        let path = if post_path.is_empty() { "/" } else { post_path };
        Ok(Self { host: hostname.as_str().into(), post: use_post.then(|| path.into()) })
    }
}

/// Whether a text can stand in a request line, and in `host`.
fn is_authority(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@'))
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

impl TcpConfig {
    /// Compiles an xDS TCP proxy.
    ///
    /// # Errors
    /// If it is not valid, or asks for what is not carried out and cannot be passed over.
    #[allow(deprecated)] // Fields that Envoy still reads are decided about, too.
    pub fn compile(proxy: &TcpProxy) -> Result<Self, CompileError> {
        let TcpProxy {
            stat_prefix,
            cluster_specifier,
            idle_timeout,
            max_downstream_connection_duration,
            max_downstream_connection_duration_jitter_percentage: jitter,
            hash_policy,
            max_connect_attempts,
            access_log,
            tunneling_config,
            // Of clusters with subsets, which are refused.
            metadata_match: _,
            // Reported.
            on_demand: _,
            downstream_idle_timeout: _,
            upstream_idle_timeout: _,
            backoff_options: _,
            access_log_flush_interval: _,
            flush_access_log_on_connected: _,
            access_log_options: _,
            proxy_protocol_tlvs: _,
            proxy_protocol_tlv_merge_policy: _,
            upstream_connect_mode: _,
            max_early_data_bytes: _,
            check_drain_close: _,
        } = proxy;
        if stat_prefix.is_empty() {
            return Err(CompileError::missing("stat_prefix"));
        }
        if *max_connect_attempts == Some(0) {
            return Err(CompileError::new("max_connect_attempts", "must be at least 1"));
        }
        if hash_policy.len() > 1 {
            return Err(CompileError::new("hash_policy", "has more than one, which is not supported"));
        }
        let clusters = clusters(cluster_specifier.as_ref())?;
        let idle = idle_timeout.as_ref().map_or(IDLE_TIMEOUT, std_duration);
        Ok(Self {
            stat_prefix: stat_prefix.as_str().into(),
            total: clusters.iter().map(|(_, weight)| u64::from(*weight)).sum(),
            clusters,
            idle_timeout: (!idle.is_zero()).then_some(idle),
            max_duration: max_downstream_connection_duration.as_ref().map(std_duration).filter(|limit| !limit.is_zero()),
            max_duration_jitter: jitter.as_ref().map_or(0.0, |percent| percent.value.clamp(0.0, 100.0) / 100.0),
            hash_source: hash_policy.iter().any(|policy| matches!(policy.policy_specifier, Some(PolicySpecifier::SourceIp(_)))),
            connect_attempts: max_connect_attempts.unwrap_or(1),
            access_logs: access_log::compile(access_log)?,
            tunnel: tunneling_config.as_ref().map(Tunnel::compile).transpose().map_err(|error| error.within("tunneling_config"))?,
        })
    }

    /// How long a connection may last, by a chance from 0 to 1.
    pub fn longest(&self, chance: f64) -> Option<Duration> {
        let limit = self.max_duration?;
        Some(Duration::try_from_secs_f64(limit.as_secs_f64() * (1.0 + self.max_duration_jitter * chance)).unwrap_or(limit))
    }

    /// The position of the cluster that a random number stands for.
    pub fn choose(&self, random: u64) -> usize {
        let mut left = random % self.total;
        for (position, (_, weight)) in self.clusters.iter().enumerate() {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return position,
            }
        }
        0
    }
}

/// The clusters and their shares; at least one has a share, as Envoy asks of all of them.
fn clusters(specifier: Option<&ClusterSpecifier>) -> Result<Vec<(Arc<str>, u32)>, CompileError> {
    let weighted = match specifier {
        Some(ClusterSpecifier::Cluster(name)) => return Ok(vec![(name.as_str().into(), 1)]),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => &weighted.clusters,
        None => return Err(CompileError::missing("cluster_specifier")),
    };
    let one = |(i, cluster): (usize, &ClusterWeight)| {
        // Metadata chooses subsets of clusters; those with subsets are refused.
        let ClusterWeight { name, weight, metadata_match: _ } = cluster;
        match (name.as_str(), *weight) {
            ("", _) => Err(CompileError::missing(&format!("weighted_clusters.clusters[{i}].name"))),
            (_, 0) => Err(CompileError::new(format!("weighted_clusters.clusters[{i}].weight"), "must be at least 1")),
            (name, weight) => Ok((name.into(), weight)),
        }
    };
    let clusters = weighted.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?;
    if clusters.is_empty() { Err(CompileError::missing("weighted_clusters.clusters")) } else { Ok(clusters) }
}

#[cfg(test)]
mod tests {
    use weir_xds::tcp_proxy::tcp_proxy::WeightedCluster;
    use weir_xds::types::{HashPolicy, Percent};

    use super::*;

    fn proxy() -> TcpProxy {
        TcpProxy { stat_prefix: "p".into(), cluster_specifier: Some(ClusterSpecifier::Cluster("a".into())), ..Default::default() }
    }

    fn weighted(weights: &[u32]) -> TcpProxy {
        let clusters = weights.iter().map(|weight| ClusterWeight { name: "a".into(), weight: *weight, ..Default::default() }).collect();
        TcpProxy { cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster { clusters })), ..proxy() }
    }

    fn tunnel(config: TunnelingConfig) -> TcpProxy {
        TcpProxy { tunneling_config: Some(config), ..proxy() }
    }

    #[test]
    fn a_tunnel_is_asked_for_by_connect_or_post() {
        let compiled = |use_post: bool, post_path: &str| {
            let config = TunnelingConfig { hostname: "a:1".into(), use_post, post_path: post_path.into(), ..Default::default() };
            TcpConfig::compile(&tunnel(config)).expect("valid").tunnel.expect("a tunnel").post
        };
        assert_eq!(compiled(false, ""), None);
        assert_eq!(compiled(true, "").as_deref(), Some("/"));
        assert_eq!(compiled(true, "/t").as_deref(), Some("/t"));
    }

    #[test]
    fn what_envoy_refuses_or_we_do_not_carry_out_is_refused() {
        let cases = [
            (proxy(), ""),
            (weighted(&[1, 2]), ""),
            (weighted(&[1, 0]), "weighted_clusters.clusters[1].weight: must be at least 1"),
            (weighted(&[]), "weighted_clusters.clusters: is missing"),
            (TcpProxy { cluster_specifier: None, ..proxy() }, "cluster_specifier: is missing"),
            (TcpProxy { stat_prefix: String::new(), ..proxy() }, "stat_prefix: is missing"),
            (TcpProxy { max_connect_attempts: Some(0), ..proxy() }, "max_connect_attempts: must be at least 1"),
            (TcpProxy { hash_policy: vec![HashPolicy::default(); 2], ..proxy() }, "hash_policy: has more than one, which is not supported"),
            (tunnel(TunnelingConfig::default()), "tunneling_config.hostname: is no host and port"),
            (tunnel(TunnelingConfig { hostname: "a b:1".into(), ..Default::default() }), "tunneling_config.hostname: is no host and port"),
            (
                tunnel(TunnelingConfig { hostname: "%REQUESTED_SERVER_NAME%:443".into(), ..Default::default() }),
                "tunneling_config.hostname: names what is only known of each connection, which is not supported",
            ),
            (
                tunnel(TunnelingConfig { hostname: "a:1".into(), post_path: "/x".into(), ..Default::default() }),
                "tunneling_config.post_path: is for POST only",
            ),
            (
                tunnel(TunnelingConfig { hostname: "a:1".into(), headers_to_add: vec![Default::default()], ..Default::default() }),
                "tunneling_config.headers_to_add: is not supported",
            ),
        ];
        for (proxy, wanted) in cases {
            assert_eq!(TcpConfig::compile(&proxy).map_or_else(|error| error.to_string(), |_| String::new()), wanted);
        }
    }

    #[test]
    fn a_longest_time_may_be_longer_by_chance() {
        let minute = Some(weir_xds::values::duration(Duration::from_secs(60)));
        let jitter = Some(Percent { value: 50.0 });
        let compiled = TcpConfig::compile(&TcpProxy {
            max_downstream_connection_duration: minute,
            max_downstream_connection_duration_jitter_percentage: jitter,
            ..proxy()
        });
        let compiled = compiled.expect("valid");
        let longest = |chance| compiled.longest(chance).map(|limit| limit.as_secs());
        assert_eq!([longest(0.0), longest(0.5), longest(1.0)], [Some(60), Some(75), Some(90)]);
        assert_eq!(TcpConfig::compile(&proxy()).expect("valid").longest(1.0), None);
    }
}
