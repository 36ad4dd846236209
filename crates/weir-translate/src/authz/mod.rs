//! Who may ask a workload for what: AuthorizationPolicies as Envoy's filters.
//!
//! Each action has a filter of its own, in the order CUSTOM, AUDIT, DENY, ALLOW, before all filters that do something with a request. A
//! rule of a policy is a policy of Envoy's ([`rule`]), whose name says where it comes from.
//!
//! Facts: pilot/pkg/security/authz of Istio.

mod attribute;
mod custom;
mod filter;
mod matcher;
mod provider;
mod rule;
mod tree;
mod trust_domains;

use std::collections::BTreeMap;

use weir_api::FieldPath;
use weir_api::resources::authorization_policy::{Action, dry_run};
use weir_model::{AuthorizationPolicy, Origin};
use weir_xds::hcm::HttpFilter;
use weir_xds::listener::Filter;
use weir_xds::rbac::Rbac;
use weir_xds::rbac::rbac::Action as XdsAction;
use weir_xds::{network_rbac, rbac_filter};

use crate::context::Context;
use rule::{Rules, Traffic};

const HTTP_RBAC: &str = "envoy.filters.http.rbac";
const NETWORK_RBAC: &str = "envoy.filters.network.rbac";
/// How statistics of the filters of connections begin.
const TCP: &str = "tcp.";

/// The filters of an HTTP connection manager.
pub(crate) struct HttpFilters {
    /// Those that let somebody else decide: they come before tokens are looked at.
    pub custom: Vec<HttpFilter>,
    /// The others.
    pub rules: Vec<HttpFilter>,
}

/// The filters for requests that a proxy gets for its own workload, or as a gateway.
pub(crate) fn of_requests(context: &Context<'_>) -> HttpFilters {
    let filter = |built: &Built| {
        let (rules, shadow_rules, shadow_rules_stat_prefix) = (built.rules.clone(), built.shadow.clone(), built.shadow_prefix());
        let rbac = rbac_filter::Rbac { rules, shadow_rules, shadow_rules_stat_prefix, ..Default::default() };
        filter::of_requests(HTTP_RBAC, &rbac)
    };
    HttpFilters { custom: custom::of_requests(context), rules: all_built(context, Traffic::Requests).iter().map(filter).collect() }
}

/// The same for connections whose bytes are passed on as they are.
pub(crate) fn of_connections(context: &Context<'_>) -> Vec<Filter> {
    let filter = |built: &Built| {
        let rbac = network_rbac::Rbac {
            rules: built.rules.clone(),
            shadow_rules: built.shadow.clone(),
            shadow_rules_stat_prefix: built.shadow_prefix(),
            stat_prefix: TCP.to_owned(),
            ..Default::default()
        };
        filter::of_connections(NETWORK_RBAC, &rbac)
    };
    let mut filters = custom::of_connections(context);
    filters.extend(all_built(context, Traffic::Connections).iter().map(filter));
    filters
}

/// The policies with an action that are for a proxy.
fn policies<'c>(context: &'c Context<'_>, action: Action) -> impl Iterator<Item = &'c AuthorizationPolicy> {
    let root = context.mesh.config.root_namespace.as_str();
    let all = context.mesh.authorization_policies.iter().filter(move |policy| policy.spec().is_some_and(|spec| spec.action == action));
    all.filter(move |policy| policy.selects(context.proxy, root))
}

/// The rules of one action.
struct Built {
    action: XdsAction,
    /// Those that are in force.
    rules: Option<Rbac>,
    /// Those that are only tried.
    shadow: Option<Rbac>,
}

impl Built {
    /// Rules that are not there have the prefix of ALLOW's, as Istio gives them.
    fn shadow_prefix(&self) -> String {
        let prefix = match self.action {
            _ if self.shadow.is_none() => "istio_dry_run_allow_",
            XdsAction::Allow => "istio_dry_run_allow_",
            XdsAction::Deny => "istio_dry_run_deny_",
            XdsAction::Log => "",
        };
        prefix.to_owned()
    }
}

fn all_built(context: &Context<'_>, traffic: Traffic) -> Vec<Built> {
    let actions = [(Action::Audit, XdsAction::Log), (Action::Deny, XdsAction::Deny), (Action::Allow, XdsAction::Allow)];
    actions.into_iter().filter_map(|(action, xds)| build(context, action, xds, traffic)).collect()
}

/// None if there is no policy with the action.
fn build(context: &Context<'_>, action: Action, xds: XdsAction, traffic: Traffic) -> Option<Built> {
    let rules = Rules { context, traffic, action: xds };
    let (mut enforced, mut tried) = (None, None);
    for policy in policies(context, action) {
        // What is neither true nor false has been refused.
        let is_tried = dry_run(&policy.object.meta.annotations).unwrap_or(false);
        let all: &mut BTreeMap<_, _> = if is_tried { &mut tried } else { &mut enforced }.get_or_insert_default();
        all.extend(rules.of_policy(policy, ""));
    }
    let rbac = |policies| Rbac { action: xds.into(), policies, ..Default::default() };
    let built = Built { action: xds, rules: enforced.map(rbac), shadow: tried.map(rbac) };
    (built.rules.is_some() || built.shadow.is_some()).then_some(built)
}

/// A part of a policy, for what is to be said of it.
fn origin(policy: &AuthorizationPolicy, key: &'static str) -> Origin {
    Origin::new(&policy.object, FieldPath::default().key("spec").key(key))
}
