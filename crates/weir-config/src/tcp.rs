//! A TCP proxy filter, compiled.

use std::sync::Arc;
use std::time::Duration;

use weir_routing::CompileError;
use weir_xds::tcp_proxy::TcpProxy;
use weir_xds::tcp_proxy::tcp_proxy::ClusterSpecifier;
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
    pub max_duration: Option<Duration>,
    /// Whether connections of one client go to the same instance, where the cluster goes by hashes.
    pub hash_source: bool,
    /// How often a connection is tried.
    pub connect_attempts: u32,
    /// What is written of each connection.
    pub access_logs: Vec<AccessLog>,
}

impl TcpConfig {
    /// Compiles an xDS TCP proxy.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn compile(proxy: &TcpProxy) -> Result<Self, CompileError> {
        let clusters: Vec<(Arc<str>, u32)> = match &proxy.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => vec![(name.as_str().into(), 1)],
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                weighted.clusters.iter().map(|cluster| (cluster.name.as_str().into(), cluster.weight)).collect()
            }
            None => return Err(CompileError::missing("cluster_specifier")),
        };
        let total = clusters.iter().map(|(_, weight)| u64::from(*weight)).sum();
        if total == 0 {
            return Err(CompileError::new("weighted_clusters", "all weights are zero"));
        }
        if proxy.tunneling_config.is_some() {
            return Err(CompileError::unsupported("tunneling_config"));
        }
        let idle = proxy.idle_timeout.as_ref().map_or(IDLE_TIMEOUT, std_duration);
        Ok(Self {
            stat_prefix: proxy.stat_prefix.as_str().into(),
            clusters,
            total,
            idle_timeout: (!idle.is_zero()).then_some(idle),
            max_duration: proxy.max_downstream_connection_duration.as_ref().map(std_duration).filter(|limit| !limit.is_zero()),
            hash_source: proxy.hash_policy.iter().any(|policy| matches!(policy.policy_specifier, Some(PolicySpecifier::SourceIp(_)))),
            connect_attempts: proxy.max_connect_attempts.unwrap_or(1).max(1),
            access_logs: access_log::compile(&proxy.access_log)?,
        })
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
