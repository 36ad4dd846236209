//! What route configurations, virtual hosts, routes and weighted clusters say of filters, by the filters' names.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_xds::Any;
use weir_xds::route::FilterConfig;

use super::cors::CorsPolicy;
use super::fault::FaultPolicy;
use super::{OfRoute, RoutePolicy};
use crate::error::CompileError;

/// What is said of a filter at one level.
#[derive(Debug, Clone)]
pub enum Override {
    /// It is left out.
    Disabled,
    /// It is there, as a less specific level or the connection manager configures it.
    Enabled,
    /// It is there, with this configuration.
    Policy(Box<RoutePolicy>),
}

/// What is said of filters at one level: its `typed_per_filter_config`.
#[derive(Debug, Clone, Default)]
pub struct Overrides(Box<[(Arc<str>, Override)]>);

impl Overrides {
    /// Compiles a `typed_per_filter_config`.
    ///
    /// # Errors
    /// If a configuration is not valid, or of a type that is not known and not optional.
    pub(crate) fn compile(configs: &BTreeMap<String, Any>) -> Result<Self, CompileError> {
        let compile = |(name, config): (&String, &Any)| {
            let compiled = Override::compile(config).map_err(|error| error.within(&format!("typed_per_filter_config[{name}]")))?;
            Ok((name.as_str().into(), compiled))
        };
        configs.iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nothing is said of any filter, as mostly.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is said of the filter of this name.
    pub fn get(&self, name: &str) -> Option<&Override> {
        self.0.iter().find(|(own, _)| **own == *name).map(|(_, said)| said)
    }

    /// The policy for cross-origin requests, under whatever name it stands.
    pub fn cors(&self) -> Option<&CorsPolicy> {
        self.any()
    }

    /// The faults, under whatever name they stand.
    pub fn fault(&self) -> Option<&FaultPolicy> {
        self.any()
    }

    /// The policies of one kind, and the names that they stand under.
    pub(crate) fn all<'a, P: OfRoute + 'a>(&'a self) -> impl Iterator<Item = (&'a str, &'a P)> {
        self.0.iter().filter_map(|(name, said)| Some((&**name, said.policy()?)))
    }

    fn any<P: OfRoute>(&self) -> Option<&P> {
        self.0.iter().find_map(|(_, said)| said.policy())
    }
}

impl Override {
    /// As Envoy reads an entry (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-filterconfig>):
    /// a policy, or a `FilterConfig` that may disable the filter, enable it (an empty `config`), or hold a policy.
    fn compile(config: &Any) -> Result<Self, CompileError> {
        if !config.is::<FilterConfig>() {
            return Self::policy_of(config, false);
        }
        let filter = config.unpack::<FilterConfig>().map_err(|error| CompileError::new("", error.to_string()))?;
        match filter {
            FilterConfig { disabled: true, config: _, is_optional: _ } => Ok(Self::Disabled),
            FilterConfig { config: None, .. } => Err(CompileError::missing("config")),
            FilterConfig { config: Some(config), .. } if config.type_url.is_empty() => Ok(Self::Enabled),
            FilterConfig { config: Some(config), is_optional, disabled: false } => {
                Self::policy_of(&config, is_optional).map_err(|error| error.within("config"))
            }
        }
    }

    /// What is optional and not known says no more than that the filter is there.
    fn policy_of(config: &Any, optional: bool) -> Result<Self, CompileError> {
        match RoutePolicy::compile(config)? {
            Some(policy) => Ok(Self::Policy(Box::new(policy))),
            None if optional => Ok(Self::Enabled),
            None => Err(CompileError::new("", format!("the type `{}` is not supported", config.type_name()))),
        }
    }

    fn policy<P: OfRoute>(&self) -> Option<&P> {
        match self {
            Self::Policy(policy) => P::of(policy),
            Self::Disabled | Self::Enabled => None,
        }
    }
}

/// All that is said of filters for one request, at every level that applies to it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Levels<'o>([Option<&'o Overrides>; 4]);

impl<'o> Levels<'o> {
    /// The levels of a request, from the least to the most specific.
    pub(crate) fn new(levels: [Option<&'o Overrides>; 4]) -> Self {
        Self(levels.map(|level| level.filter(|level| !level.is_empty())))
    }

    /// Whether nothing is said of any filter, as mostly.
    pub fn are_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// What is said of a filter, the most specific last.
    fn said(&self, name: &str) -> impl DoubleEndedIterator<Item = &'o Override> {
        self.0.into_iter().flatten().filter_map(move |level| level.get(name))
    }

    /// Whether a filter is left out: the most specific level that speaks of it decides, and else the chain.
    pub fn is_disabled(&self, name: &str, by_default: bool) -> bool {
        self.said(name).next_back().map_or(by_default, |said| matches!(said, Override::Disabled))
    }

    /// The most specific policy for a filter. A level that only enables or disables it does not hide those below.
    pub fn most_specific<P: OfRoute + 'o>(&self, name: &str) -> Option<&'o P> {
        self.all(name).next_back()
    }

    /// The policies for a filter, from the least to the most specific.
    pub fn all<P: OfRoute + 'o>(&self, name: &str) -> impl DoubleEndedIterator<Item = &'o P> {
        self.said(name).filter_map(Override::policy)
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::cors::{Cors, CorsPolicy as Message};
    use weir_xds::fault::HttpFault;
    use weir_xds::grpc_web::GrpcWeb;

    use super::*;

    fn filter_config(config: Option<Any>, is_optional: bool, disabled: bool) -> Any {
        Any::pack(&FilterConfig { config, is_optional, disabled })
    }

    fn fault(max: u32) -> Any {
        Any::pack(&HttpFault { max_active_faults: Some(max), ..Default::default() })
    }

    fn overrides(entries: &[(&str, Any)]) -> Result<Overrides, CompileError> {
        Overrides::compile(&entries.iter().map(|(name, config)| ((*name).to_owned(), config.clone())).collect())
    }

    #[test]
    fn an_entry_disables_enables_or_configures_as_in_envoy() {
        let unknown = || Any::pack(&GrpcWeb::default());
        let cases = [
            (fault(1), "Policy"),
            (filter_config(Some(fault(1)), false, false), "Policy"),
            (filter_config(None, false, true), "Disabled"),
            (filter_config(Some(unknown()), false, true), "Disabled"),
            (filter_config(Some(Any::default()), false, false), "Enabled"),
            (filter_config(Some(unknown()), true, false), "Enabled"),
            (filter_config(Some(unknown()), false, false), "typed_per_filter_config[f].config: the type"),
            (filter_config(None, true, false), "typed_per_filter_config[f].config: is missing"),
            (filter_config(Some(filter_config(None, false, true)), false, false), "typed_per_filter_config[f].config: the type"),
            // gRPC-Web has nothing that a route could say.
            (unknown(), "typed_per_filter_config[f]: the type"),
            // The filter's own type is no route's.
            (Any::pack(&Cors::default()), "typed_per_filter_config[f]: the type"),
        ];
        for (config, expected) in cases {
            let found = match overrides(&[("f", config.clone())]) {
                Ok(compiled) => format!("{:?}", compiled.get("f").expect("there")),
                Err(error) => error.to_string(),
            };
            assert!(found.starts_with(expected), "{found} is not {expected}");
        }
    }

    #[test]
    fn the_most_specific_level_wins() {
        let levels = [
            overrides(&[("b", fault(1)), ("x", filter_config(None, false, true)), ("c", Any::pack(&Message::default()))]),
            overrides(&[("b", fault(2)), ("x", filter_config(Some(Any::default()), false, false))]),
            overrides(&[("b", filter_config(None, false, true))]),
            overrides(&[]),
        ]
        .map(|level| level.expect("valid"));
        let levels = Levels(levels.each_ref().map(Some));
        let most = |policy: &FaultPolicy| policy.max_active.unwrap_or(0);
        assert_eq!(levels.all::<FaultPolicy>("b").map(most).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(levels.most_specific::<FaultPolicy>("b").map(most), Some(2));
        assert!(levels.is_disabled("b", false));
        assert!(!levels.is_disabled("x", true), "it is enabled by the virtual host");
        assert!(levels.is_disabled("y", true) && !levels.is_disabled("y", false));
        // A filter that is called as another one is not configured by what is meant for that.
        assert!(levels.most_specific::<FaultPolicy>("c").is_none());
        assert!(levels.most_specific::<CorsPolicy>("c").is_some());
    }
}
