//! How endpoints are chosen: the part of a DestinationRule that MeshConfig shares.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Duration;

/// How an endpoint is chosen. `simple` and `consistentHash` exclude one another, as do `localityLbSetting`
/// and `zoneAwareLbSetting`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadBalancerSettings {
    /// One of the algorithms without memory; absent means `LEAST_REQUEST`.
    pub simple: Option<SimpleLb>,
    /// The same endpoint for the same hash.
    pub consistent_hash: Option<ConsistentHashLb>,
    /// Which localities are preferred; absent means as the mesh says.
    pub locality_lb_setting: Option<LocalityLoadBalancerSetting>,
    /// Lets the proxy's own zone come first, by itself.
    pub zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting>,
    /// Deprecated: `warmup.duration`.
    pub warmup_duration_secs: Option<Duration>,
    /// New endpoints get their share by and by. Only for `ROUND_ROBIN` and `LEAST_REQUEST`.
    pub warmup: Option<WarmupConfiguration>,
}

/// An algorithm without memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLb {
    /// As `LeastRequest`.
    #[default]
    Unspecified,
    /// Deprecated: as `LeastRequest`.
    LeastConn,
    /// Any endpoint.
    Random,
    /// The address that the client asked for.
    Passthrough,
    /// One after the other.
    RoundRobin,
    /// Of two endpoints the one with fewer requests.
    LeastRequest,
}

/// The same endpoint for the same hash. One of the four sources is the key, one of the two tables may be chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsistentHashLb {
    /// The key is this header.
    pub http_header_name: Option<String>,
    /// The key is this cookie, which is made if the request has none.
    pub http_cookie: Option<HttpCookie>,
    /// The key is the client's address.
    pub use_source_ip: Option<bool>,
    /// The key is this query parameter.
    pub http_query_parameter_name: Option<String>,
    /// A ring.
    pub ring_hash: Option<RingHash>,
    /// Maglev's table.
    pub maglev: Option<MagLev>,
    /// Deprecated: `ringHash.minimumRingSize`.
    pub minimum_ring_size: u64,
}

/// A cookie as a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpCookie {
    /// Its name.
    pub name: String,
    /// Its path; empty means that of the request's host.
    pub path: String,
    /// How long it lives; 0 means as long as the browser, absent means that none is made.
    pub ttl: Option<Duration>,
    /// More attributes that it is made with.
    pub attributes: Vec<CookieAttribute>,
}

/// An attribute of a cookie.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CookieAttribute {
    /// Its name.
    pub name: String,
    /// Its value; may be empty.
    pub value: String,
}

/// A hash ring.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RingHash {
    /// How many points the ring has at least; 0 means 1024.
    pub minimum_ring_size: u64,
}

/// Maglev's table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MagLev {
    /// Its size, a prime number below 5000011; required.
    pub table_size: u64,
}

/// Which localities (`region/zone/subzone`) are preferred. `distribute` excludes `failover`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LocalityLoadBalancerSetting {
    /// Shares by locality.
    pub distribute: Vec<Distribute>,
    /// The region that takes over from another.
    pub failover: Vec<Failover>,
    /// Labels, or `label=value`: the more of the first ones an endpoint shares with the client, the sooner it is taken.
    pub failover_priority: Vec<String>,
    /// Whether localities matter; absent means as the mesh says, which is yes.
    pub enabled: Option<bool>,
}

/// The shares of localities for clients of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Distribute {
    /// The clients' locality; `*` at its end matches the rest.
    pub from: String,
    /// Localities and their shares in percent, 100 in all.
    pub to: BTreeMap<String, u32>,
}

/// A region that takes over from another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Failover {
    /// The region whose endpoints are unhealthy.
    pub from: String,
    /// The region that takes over.
    pub to: String,
}

/// Lets the proxy's own zone come first as far as its endpoints suffice; regions are always kept apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ZoneAwareLoadBalancerSetting {
    /// Whether it is in force.
    pub enabled: Option<bool>,
    /// The region that takes over from another.
    pub failover: Vec<Failover>,
    /// Labels that order the endpoints, as in [`LocalityLoadBalancerSetting`], but none of the topology.
    pub failover_priority: Vec<String>,
    /// How many endpoints there must be; absent means 6.
    pub min_cluster_size: Option<u32>,
}

/// New endpoints get their share by and by.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WarmupConfiguration {
    /// How long it takes; required.
    pub duration: Option<Duration>,
    /// The share to begin with, in percent; absent means 10.
    pub minimum_percent: Option<f64>,
    /// How the share grows: 1, the default, is linear.
    pub aggression: Option<f64>,
}
