//! The cluster of a route, or several with weights: Envoy's `cluster_specifier`, compiled.

use weir_http1::HeaderName;
use weir_xds::route::route_action::ClusterSpecifier;
use weir_xds::route::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral;
use weir_xds::route::weighted_cluster::{ClusterWeight, RandomValueSpecifier};
use weir_xds::route::{RouteAction, WeightedCluster as XdsWeighted};

use crate::condition::Subject;
use crate::error::CompileError;
use crate::filters::Overrides;
use crate::header_changes::HeaderChanges;
use crate::request::RequestHead;
use crate::shared::{ClusterIndex, Shared};

/// The cluster of a route, or several with weights.
#[derive(Debug, Clone)]
pub enum Clusters {
    /// Always the same, or the one that the request names.
    One(ClusterChoice),
    /// One of several.
    Weighted(Weighted),
}

/// A cluster that is named by the configuration or by a request.
#[derive(Debug, Clone)]
pub enum ClusterChoice {
    /// By its position among the names of the virtual host.
    Named(ClusterIndex),
    /// The one that a header of the request names; nothing of ours asks for it, other control planes may.
    Header(Subject),
}

/// Clusters with weights.
#[derive(Debug, Clone)]
pub struct Weighted {
    /// In the order of the configuration.
    pub choices: Vec<WeightedCluster>,
    total: u64,
    by: WeightBy,
}

/// What decides between clusters with weights.
#[derive(Debug, Clone)]
enum WeightBy {
    Chance,
    /// The number in a header, else chance.
    Header(HeaderName),
    /// The hash of the request by the route's hash policies, else chance.
    Hash,
}

/// One of several clusters of a route.
#[derive(Debug, Clone)]
pub struct WeightedCluster {
    /// Which.
    pub cluster: ClusterChoice,
    /// Its share, relative to the others'.
    pub weight: u32,
    /// Changes to the request if it is chosen, before the route's.
    pub request_headers: HeaderChanges,
    /// Changes to the response if it is chosen, before the route's.
    pub response_headers: HeaderChanges,
    /// What becomes of the authority if it is chosen, where the route itself does not change it.
    pub host: Option<Box<str>>,
    /// What it says of filters if it is chosen.
    pub filters: Overrides,
}

impl Clusters {
    /// Those of which one is chosen; none where the route has but one.
    pub fn weighted(&self) -> &[WeightedCluster] {
        match self {
            Self::One(_) => &[],
            Self::Weighted(weighted) => &weighted.choices,
        }
    }

    pub(crate) fn compile(route: &RouteAction, shared: &mut Shared) -> Result<Self, CompileError> {
        match &route.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) if name.is_empty() => Err(CompileError::missing("cluster")),
            Some(ClusterSpecifier::Cluster(name)) => Ok(Self::One(ClusterChoice::Named(shared.index(name)))),
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                Weighted::compile(weighted, shared).map(Self::Weighted).map_err(|error| error.within("weighted_clusters"))
            }
            Some(ClusterSpecifier::ClusterHeader(name)) => Ok(Self::One(ClusterChoice::of_header(name)?)),
            Some(ClusterSpecifier::ClusterSpecifierPlugin(_) | ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => {
                Err(CompileError::unsupported("cluster_specifier_plugin"))
            }
            None => Err(CompileError::missing("cluster")),
        }
    }
}

impl ClusterChoice {
    fn of_header(name: &str) -> Result<Self, CompileError> {
        Subject::parse(name).map(Self::Header).map_err(|error| error.within("cluster_header"))
    }

    /// By name or by a header: one of the two must be given, and not both.
    pub(crate) fn compile(name: &str, header: &str, shared: &mut Shared) -> Result<Self, CompileError> {
        match (name, header) {
            ("", "") => Err(CompileError::missing("name")),
            (name, "") => Ok(Self::Named(shared.index(name))),
            ("", header) => Self::of_header(header),
            _ => Err(CompileError::new("cluster_header", "only a name or a header may be given, not both")),
        }
    }
}

impl Weighted {
    fn compile(weighted: &XdsWeighted, shared: &mut Shared) -> Result<Self, CompileError> {
        // Envoy counts the weights itself and ignores the total that is written down. There is no runtime, and so no key in it.
        #[allow(deprecated)]
        let XdsWeighted { clusters, total_weight: _, runtime_key_prefix: _, random_value_specifier } = weighted;
        let compile =
            |(i, cluster)| WeightedCluster::compile(cluster, shared).map_err(|error: CompileError| error.within(&format!("clusters[{i}]")));
        let choices = clusters.iter().enumerate().map(compile).collect::<Result<Vec<_>, _>>()?;
        let total = choices.iter().map(|choice| u64::from(choice.weight)).sum();
        if total == 0 || total > u64::from(u32::MAX) {
            return Err(CompileError::new("clusters", "the weights must come to more than 0 and less than 2^32"));
        }
        let by = match random_value_specifier {
            Some(RandomValueSpecifier::HeaderName(name)) if !name.is_empty() => WeightBy::Header(
                HeaderName::try_from(name.as_str())
                    .map_err(|_| CompileError::new("header_name", format!("`{name}` is no name of a header")))?,
            ),
            Some(RandomValueSpecifier::UseHashPolicy(true)) => WeightBy::Hash,
            Some(RandomValueSpecifier::HeaderName(_) | RandomValueSpecifier::UseHashPolicy(false)) | None => WeightBy::Chance,
        };
        Ok(Self { choices, total, by })
    }

    /// The position of the choice for a request; `hash` hashes it, where that is what decides.
    pub fn choose(&self, head: &RequestHead<'_>, hash: impl FnOnce() -> Option<u64>) -> Option<usize> {
        let number = match &self.by {
            WeightBy::Chance => None,
            WeightBy::Header(name) => head.headers.get(name).and_then(|value| value.to_str().ok()?.parse().ok()),
            WeightBy::Hash => hash(),
        };
        self.position(number.unwrap_or(head.random))
    }

    fn position(&self, number: u64) -> Option<usize> {
        let mut left = number.checked_rem(self.total)?;
        self.choices.iter().position(|choice| match left.checked_sub(u64::from(choice.weight)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
    }
}

impl WeightedCluster {
    fn compile(cluster: &ClusterWeight, shared: &mut Shared) -> Result<Self, CompileError> {
        // `metadata_match` is reported as not carried out.
        let ClusterWeight {
            name,
            cluster_header,
            weight,
            metadata_match: _,
            request_headers_to_add,
            request_headers_to_remove,
            response_headers_to_add,
            response_headers_to_remove,
            typed_per_filter_config,
            host_rewrite_specifier,
        } = cluster;
        let host = host_rewrite_specifier.as_ref().map(|HostRewriteLiteral(host)| host.as_str()).filter(|host| !host.is_empty());
        Ok(Self {
            cluster: ClusterChoice::compile(name, cluster_header, shared)?,
            weight: weight.ok_or_else(|| CompileError::missing("weight"))?,
            request_headers: HeaderChanges::of_route(request_headers_to_add, request_headers_to_remove)?,
            response_headers: HeaderChanges::of_route(response_headers_to_add, response_headers_to_remove)?,
            host: host.map(Into::into),
            filters: Overrides::compile(typed_per_filter_config)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use weir_http1::Headers;

    use super::*;

    fn compile(shares: &[(&str, &str, u32)], by: Option<RandomValueSpecifier>) -> Result<Weighted, CompileError> {
        let cluster = |(name, header, weight): &(&str, &str, u32)| ClusterWeight {
            name: (*name).into(),
            cluster_header: (*header).into(),
            weight: Some(*weight),
            ..Default::default()
        };
        let clusters = shares.iter().map(cluster).collect();
        Weighted::compile(&XdsWeighted { clusters, random_value_specifier: by, ..Default::default() }, &mut Shared::default())
    }

    fn choose(weighted: &Weighted, header: Option<&'static str>, random: u64, hash: Option<u64>) -> Option<usize> {
        let headers: Headers =
            header.into_iter().map(|value| (HeaderName::from_static("x-weight"), weir_http1::HeaderValue::from_static(value))).collect();
        let head = RequestHead { method: "GET", scheme: "http", authority: "a", path: "/", headers: &headers, random };
        weighted.choose(&head, || hash)
    }

    #[test]
    fn a_share_that_is_not_said_is_refused() {
        let cluster = ClusterWeight { name: "a".into(), ..Default::default() };
        assert_eq!(WeightedCluster::compile(&cluster, &mut Shared::default()).expect_err("no weight").path, "weight");
    }

    #[test]
    fn weights_are_shares() {
        let weighted = compile(&[("a", "", 3), ("b", "", 0), ("c", "", 1)], None).expect("valid");
        let chosen: Vec<usize> = (0..8).filter_map(|random| choose(&weighted, None, random, None)).collect();
        assert_eq!(chosen, [0, 0, 0, 2, 0, 0, 0, 2]);
    }

    #[test]
    fn a_header_or_the_hash_may_decide_instead_of_chance() {
        let by = |by| compile(&[("a", "", 1), ("b", "", 1)], Some(by)).expect("valid");
        let by_header = by(RandomValueSpecifier::HeaderName("x-weight".into()));
        assert_eq!(choose(&by_header, Some("1"), 0, None), Some(1));
        assert_eq!(choose(&by_header, Some("some"), 0, None), Some(0));
        let by_hash = by(RandomValueSpecifier::UseHashPolicy(true));
        assert_eq!((choose(&by_hash, None, 0, Some(1)), choose(&by_hash, None, 0, None)), (Some(1), Some(0)));
    }

    #[test]
    fn a_cluster_has_a_name_or_a_header_that_names_it() {
        assert!(compile(&[("", "x-cluster", 1)], None).is_ok());
        for wrong in [[("", "", 1)], [("a", "x-cluster", 1)], [("a", "", 0)], [("", "x cluster", 1)]] {
            assert!(compile(&wrong, None).is_err(), "{wrong:?}");
        }
        assert!(compile(&[("a", "", u32::MAX), ("b", "", 1)], None).is_err());
    }
}
