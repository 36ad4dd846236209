//! How an instance of a cluster is chosen: the policies are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/load_balancers>).

mod legacy;
mod typed;

use weir_routing::CompileError;
use weir_xds::cluster::Cluster as XdsCluster;
use weir_xds::cluster::cluster::LbPolicy as XdsLbPolicy;

use super::slow_start::SlowStart;

/// What a cluster says of how its instances are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How an instance is chosen among its like.
    pub balance: Balance,
    /// How it is found who they are.
    pub common: CommonLb,
}

impl Settings {
    /// Compiles what an xDS cluster says of it: by `load_balancing_policy`, or by the fields that it had before that.
    ///
    /// # Errors
    /// If it is not valid, or names no policy that is known.
    pub fn compile(cluster: &XdsCluster) -> Result<Self, CompileError> {
        match &cluster.load_balancing_policy {
            Some(policy) => typed::compile(cluster, policy).map_err(|error| error.within("load_balancing_policy")),
            None if cluster.lb_policy() == XdsLbPolicy::LoadBalancingPolicyConfig => Err(CompileError::missing("load_balancing_policy")),
            None => legacy::compile(cluster),
        }
    }
}

/// How an instance is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// By chance.
    Random,
    /// Of some by chance, the one with the fewest requests; where weights differ, by weight and requests.
    LeastRequest {
        /// How many by chance.
        choices: u32,
        /// The power to which its requests count against its weight: `weight / (requests + 1)^bias`.
        bias: f64,
    },
    /// By the request's hash, on a ring with at least and at most so many points.
    RingHash(u64, u64),
    /// By the request's hash, in a table of this size.
    Maglev(u64),
}

impl Balance {
    /// Whether a request's hash decides.
    pub fn is_by_hash(self) -> bool {
        matches!(self, Self::RingHash(..) | Self::Maglev(_))
    }
}

/// What Envoy's `common_lb_config` says, and slow start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CommonLb {
    /// If fewer percent of the instances than this are healthy, all are used; 0 is never.
    pub panic_percent: u32,
    /// Whether then none is used instead.
    pub fail_traffic_on_panic: bool,
    /// Whether localities have weights of their own.
    pub locality_weighted: bool,
    /// Whether rings and tables are made of the instances' names, and not of their addresses.
    pub hash_by_hostname: bool,
    /// By hash, an instance gets so many percent of its share of the requests under way; others take what is above that.
    pub hash_balance_percent: Option<u32>,
    /// How new instances warm up.
    pub slow_start: Option<SlowStart>,
}

/// Envoy's sizes where none are given; the second is also the greatest.
const MIN_RING: u64 = 1024;
const MAX_RING: u64 = 8 << 20;
const MAGLEV_TABLE: u64 = 65_537;
/// The largest table that Envoy allows.
const MAX_MAGLEV_TABLE: u64 = 5_000_011;

fn ring(minimum: Option<u64>, maximum: Option<u64>) -> Result<Balance, CompileError> {
    let (least, most) = (minimum.unwrap_or(MIN_RING), maximum.unwrap_or(MAX_RING));
    let sizes = [("minimum_ring_size", least), ("maximum_ring_size", most)];
    if let Some((field, _)) = sizes.into_iter().find(|(_, size)| *size > MAX_RING) {
        return Err(CompileError::new(field, format!("is more than {MAX_RING}")));
    }
    if least > most {
        return Err(CompileError::new("minimum_ring_size", format!("{least} is more than maximum_ring_size, {most}")));
    }
    Ok(Balance::RingHash(least, most))
}

fn maglev(size: Option<u64>) -> Result<Balance, CompileError> {
    let size = size.unwrap_or(MAGLEV_TABLE);
    if size > MAX_MAGLEV_TABLE {
        return Err(CompileError::new("table_size", format!("is more than {MAX_MAGLEV_TABLE}")));
    }
    // With another number not every instance would come by every slot: the table could not be filled.
    if !is_prime(size) {
        return Err(CompileError::new("table_size", format!("{size} is not a prime")));
    }
    Ok(Balance::Maglev(size))
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

fn least_request(choices: Option<u32>, bias: Option<f64>) -> Result<Balance, CompileError> {
    if choices.is_some_and(|choices| choices < 2) {
        return Err(CompileError::new("choice_count", "must be at least 2"));
    }
    let bias = bias.unwrap_or(1.0);
    Ok(Balance::LeastRequest { choices: choices.unwrap_or(2), bias: if bias > 0.0 { bias } else { 0.0 } })
}

#[cfg(test)]
mod tests;
