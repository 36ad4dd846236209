//! CUSTOM: somebody else decides. A filter that decides nothing marks the requests that a policy is about, and the one behind it asks
//! about those that are marked.

use std::collections::{BTreeMap, BTreeSet};

use weir_api::resources::authorization_policy::Action;
use weir_model::AuthorizationPolicy;
use weir_xds::hcm::HttpFilter;
use weir_xds::listener::Filter;
use weir_xds::matcher::MetadataMatcher;
use weir_xds::matcher::string_matcher::MatchPattern;
use weir_xds::rbac::rbac::Action as XdsAction;
use weir_xds::rbac::{Policy, Rbac};
use weir_xds::{ext_authz, network_ext_authz, network_rbac, rbac_filter};

use super::provider::{self, Built};
use super::rule::{Rules, Traffic};
use super::{HTTP_RBAC, NETWORK_RBAC, TCP, filter, matcher, origin, policies};
use crate::context::Context;

/// How the names of policies begin that somebody else is asked about.
const PREFIX: &str = "istio-ext-authz";
/// What stands before the name of what marks them.
const MARK: &str = "istio_ext_authz_";

/// What becomes of what the policies of a provider are about.
enum Outcome {
    /// The provider is asked.
    Asked(Box<Built>),
    /// It cannot be asked, and so it is refused.
    Refused,
}

/// The policies of a provider.
struct Custom {
    provider: String,
    rules: BTreeMap<String, Policy>,
    outcome: Outcome,
}

pub(super) fn of_requests(context: &Context<'_>) -> Vec<HttpFilter> {
    let filters = |custom: Custom| match custom.outcome {
        Outcome::Asked(built) => {
            let ask = built.http;
            let marks = rbac_filter::Rbac {
                shadow_rules: Some(deny(custom.rules)),
                shadow_rules_stat_prefix: MARK.to_owned(),
                ..Default::default()
            };
            let ask = ext_authz::ExtAuthz { filter_enabled_metadata: Some(marked(HTTP_RBAC, &custom.provider)), ..ask };
            vec![filter::of_requests(HTTP_RBAC, &marks), filter::of_requests("envoy.filters.http.ext_authz", &ask)]
        }
        Outcome::Refused => {
            vec![filter::of_requests(HTTP_RBAC, &rbac_filter::Rbac { rules: Some(refused(custom.rules)), ..Default::default() })]
        }
    };
    by_provider(context, Traffic::Requests).into_iter().flat_map(filters).collect()
}

pub(super) fn of_connections(context: &Context<'_>) -> Vec<Filter> {
    let filters = |custom: Custom| match custom.outcome {
        Outcome::Asked(built) => {
            // One that speaks HTTP has nothing to say of connections, and Istio lets pass what it cannot be asked about.
            let Some(ask) = built.tcp else {
                warn_unasked(context, &custom.provider);
                return vec![];
            };
            let marks = network_rbac::Rbac {
                shadow_rules: Some(deny(custom.rules)),
                shadow_rules_stat_prefix: MARK.to_owned(),
                stat_prefix: TCP.to_owned(),
                ..Default::default()
            };
            let ask = network_ext_authz::ExtAuthz { filter_enabled_metadata: Some(marked(NETWORK_RBAC, &custom.provider)), ..ask };
            vec![filter::of_connections(NETWORK_RBAC, &marks), filter::of_connections("envoy.filters.network.ext_authz", &ask)]
        }
        Outcome::Refused => {
            let rbac = network_rbac::Rbac { rules: Some(refused(custom.rules)), stat_prefix: TCP.to_owned(), ..Default::default() };
            vec![filter::of_connections(NETWORK_RBAC, &rbac)]
        }
    };
    by_provider(context, Traffic::Connections).into_iter().flat_map(filters).collect()
}

/// Says that connections pass which no requests can be made out in.
fn warn_unasked(context: &Context<'_>, provider: &str) {
    let own = policies(context, Action::Custom).filter(|policy| provider_of(policy) == provider);
    let message = format!("`{provider}` speaks HTTP: on ports of TCP it is not asked, and connections pass");
    own.for_each(|policy| context.warn(&origin(policy, "provider"), message.clone()));
}

/// A workload has one provider: where there are several, nobody knows which of them has to be asked.
fn by_provider(context: &Context<'_>, traffic: Traffic) -> Vec<Custom> {
    let rules = Rules { context, traffic, action: XdsAction::Deny };
    let all: Vec<&AuthorizationPolicy> = policies(context, Action::Custom).collect();
    let providers: BTreeSet<&str> = all.iter().map(|policy| provider_of(policy)).collect();
    let several = (providers.len() > 1).then(|| {
        let named: Vec<&str> = providers.iter().copied().collect();
        format!("policies name several providers for one workload ({})", named.join(", "))
    });
    let custom = |provider: &str| {
        let own = || all.iter().filter(|policy| provider_of(policy) == provider);
        let prefix = format!("{PREFIX}-{provider}-");
        let built = several.clone().map_or_else(|| provider::of_name(context, provider), Err);
        let outcome = built.map_or_else(
            |reason| {
                own().for_each(|policy| context.warn(&origin(policy, "provider"), format!("{reason}: what it is about is refused")));
                Outcome::Refused
            },
            |built| Outcome::Asked(Box::new(built)),
        );
        Custom { provider: provider.to_owned(), rules: own().flat_map(|policy| rules.of_policy(policy, &prefix)).collect(), outcome }
    };
    providers.iter().map(|provider| custom(provider)).collect()
}

fn provider_of(policy: &AuthorizationPolicy) -> &str {
    let provider = policy.spec().and_then(|spec| spec.provider.as_ref());
    provider.map_or("", |provider| &provider.name)
}

fn deny(policies: BTreeMap<String, Policy>) -> Rbac {
    Rbac { action: XdsAction::Deny.into(), policies, ..Default::default() }
}

/// The same under names that say why.
fn refused(policies: BTreeMap<String, Policy>) -> Rbac {
    deny(policies.into_iter().map(|(name, policy)| (format!("{name}-deny-due-to-bad-CUSTOM-action"), policy)).collect())
}

/// That a policy of the provider's has matched.
fn marked(filter: &str, provider: &str) -> MetadataMatcher {
    let begins = matcher::of(MatchPattern::Prefix(format!("{PREFIX}-{provider}")));
    matcher::metadata(filter, &[&format!("{MARK}shadow_effective_policy_id")], matcher::text_value(begins))
}
