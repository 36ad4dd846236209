//! Who may: what the access rules of a proxy say of a call, and which policy says it.

use std::net::IpAddr;

use weir_api::FieldPath;
use weir_config::http::HttpConfig;
use weir_config::listener::ConnectionRbac;
use weir_model::AuthorizationPolicy;
use weir_routing::dynamic_metadata::DynamicMetadata;
use weir_routing::filters::FilterPolicy;
use weir_routing::filters::rbac::{RbacOverride, RbacPolicy};
use weir_routing::rbac::{Action, ConnectionFacts, Facts, Peer, Rules, Verdict};
use weir_routing::{Decision, RequestHead, RouteTable};

use super::Explainer;
use super::answer::{Answer, Error};
use super::call::{Call, Tls};

const FORWARDED_FOR: &str = "x-forwarded-for";
/// How the names of policies begin that somebody else is asked about.
const ASKED: &str = "istio-ext-authz-";

/// What a client shows of itself, as rules look at it.
pub(super) struct Client {
    names: Vec<String>,
}

impl Client {
    pub(super) fn of(call: &Call) -> Self {
        let spiffe = |name: &String| if name.contains("://") { name.clone() } else { format!("spiffe://{name}") };
        Self { names: call.principal.iter().map(spiffe).collect() }
    }

    fn facts<'f>(&'f self, call: &'f Call) -> ConnectionFacts<'f> {
        let peer = Peer { uris: &self.names, ..Peer::default() };
        ConnectionFacts {
            local: call.destination(),
            direct_remote: call.client(),
            server_name: call.sni.as_deref().unwrap_or_default(),
            peer: (call.tls != Tls::Plaintext).then_some(peer),
        }
    }
}

/// The place of a rule: the policy, and which of its rules it is.
struct Found<'p> {
    policy: &'p AuthorizationPolicy,
    rule: usize,
}

impl Found<'_> {
    fn place(&self) -> Option<String> {
        let path = FieldPath::default().key("spec").key("rules").index(self.rule);
        self.policy.object.place(&path).map(|place| place.line())
    }

    fn told(&self) -> String {
        match self.policy.object.stands_in() {
            true => format!("{} cannot be carried out as it is written, so that it refuses all", self.policy.object.name()),
            false => format!("rule {} of {}", self.rule, self.policy.object.name()),
        }
    }
}

impl<'t> Explainer<'t> {
    /// Knows also where access rules stand.
    #[must_use]
    pub fn with_policies(self, policies: &'t [AuthorizationPolicy]) -> Self {
        Self { policies, ..self }
    }

    /// What the rules for connections say.
    pub(super) fn connect(&self, filters: &[ConnectionRbac], call: &Call, answer: &mut Answer) -> Result<(), Error> {
        let client = Client::of(call);
        let nothing = DynamicMetadata::new();
        let facts = Facts { connection: client.facts(call), remote: call.client(), request: None, metadata: &nothing, route: None };
        for rules in filters.iter().filter_map(ConnectionRbac::rules) {
            self.judge(rules, &facts, "the connection is closed", answer)?;
        }
        Ok(())
    }

    /// What the rules for requests say.
    pub(super) fn enter(
        &self,
        to: (&HttpConfig, &RouteTable),
        head: &RequestHead<'_>,
        known: &DynamicMetadata,
        call: &Call,
        answer: &mut Answer,
    ) -> Result<(), Error> {
        let (manager, table) = to;
        if !manager.filters.iter().any(|filter| matches!(filter.policy, FilterPolicy::Rbac(_))) {
            return Ok(());
        }
        let (host, route) = match table.decide_knowing(head, known) {
            Decision::Route { host, route } => {
                (table.virtual_hosts.get(host), table.virtual_hosts.get(host).and_then(|host| host.routes.get(route)))
            }
            Decision::TlsRequired(host) | Decision::NoRoute(host) => (table.virtual_hosts.get(host), None),
            Decision::NoVirtualHost => (None, None),
        };
        let levels = host.map(|host| table.filter_levels(host, route, None)).unwrap_or_default();
        answer.virtual_host = host.map(|host| host.name.to_string());
        answer.route = route.map(|route| route.name.to_string());
        let client = Client::of(call);
        let facts = Facts {
            connection: client.facts(call),
            remote: remote(manager, call),
            request: Some(*head),
            metadata: known,
            route: route.map(|route| &route.filter_metadata),
        };
        for filter in manager.filters.iter().filter(|filter| !levels.is_disabled(&filter.name, filter.disabled)) {
            let FilterPolicy::Rbac(own) = &filter.policy else { continue };
            let policy = match levels.most_specific::<RbacOverride>(&filter.name) {
                None => own,
                Some(RbacOverride(Some(policy))) => policy,
                Some(RbacOverride(None)) => continue,
            };
            self.try_out(policy, &facts, answer);
            if let Some(rules) = &policy.rules {
                self.judge(rules, &facts, "403, `RBAC: access denied`", answer)?;
            }
        }
        Ok(())
    }

    /// What rules say that do not decide themselves.
    fn try_out(&self, policy: &RbacPolicy, facts: &Facts<'_>, answer: &mut Answer) {
        let Some(shadow) = &policy.shadow else { return };
        let Verdict { allowed, policy: matched } = shadow.judge(facts);
        let found = matched.and_then(|name| self.find(name));
        let place = found.as_ref().and_then(Found::place);
        let told = || found.as_ref().map_or_else(|| matched.unwrap_or("no policy").to_owned(), Found::told);
        match matched {
            Some(name) if name.starts_with(ASKED) => {
                let provider =
                    found.as_ref().and_then(|found| found.policy.spec()?.provider.as_ref()).map_or("a service", |provider| &provider.name);
                answer.step_at(format!("{provider} is asked"), format!("{} says so", told()), place.as_deref());
            }
            None if !shadow.names().any(|name| !name.starts_with(ASKED)) => {}
            _ => {
                let what = if allowed { "would be let in" } else { "would be refused" };
                answer.step_at(what, format!("{}, which is only tried", told()), place.as_deref());
            }
        }
    }

    /// What rules say that decide.
    fn judge(&self, rules: &Rules, facts: &Facts<'_>, refused: &str, answer: &mut Answer) -> Result<(), Error> {
        let Verdict { allowed, policy } = rules.judge(facts);
        let found = policy.and_then(|name| self.find(name));
        let place = found.as_ref().and_then(Found::place);
        let told = found.as_ref().map_or_else(|| policy.unwrap_or("no policy").to_owned(), Found::told);
        match (allowed, rules.action) {
            (true, Action::Allow) => answer.step_at("is let in", format!("{told} allows it"), place.as_deref()),
            (true, Action::Log) if policy.is_some() => answer.step_at("is audited", format!("{told} says so"), place.as_deref()),
            (true, Action::Deny | Action::Log) => {}
            (false, Action::Allow) => {
                let (first, names) = self.named(rules);
                let place = first.and_then(|found| found.policy.object.place(&FieldPath::default().key("spec"))).map(|place| place.line());
                answer.step_at(refused, format!("no policy allows it: {names}"), place.as_deref());
                return Err(Error::AccessDenied);
            }
            (false, Action::Deny | Action::Log) => {
                answer.step_at(refused, format!("{told} denies it"), place.as_deref());
                return Err(Error::AccessDenied);
            }
        }
        Ok(())
    }

    /// The policies of rules by their names, and the first of them.
    fn named(&self, rules: &Rules) -> (Option<Found<'t>>, String) {
        let all: Vec<Found<'t>> = rules.names().filter_map(|name| self.find(name)).collect();
        let mut names: Vec<String> = all.iter().map(|found| found.policy.object.name().to_string()).collect();
        names.dedup();
        if names.is_empty() {
            names = rules.names().map(str::to_owned).collect();
        }
        (all.into_iter().next(), format!("none of {}", names.join(", ")))
    }

    /// The rule that became a policy of that name.
    fn find(&self, name: &str) -> Option<Found<'t>> {
        let (_, rest) = name.split_once("ns[")?;
        let (namespace, rest) = rest.split_once("]-policy[")?;
        let (policy, rest) = rest.split_once("]-rule[")?;
        let rule = rest.split_once(']')?.0.parse().ok()?;
        let is_it = |known: &&AuthorizationPolicy| known.object.meta.namespace == namespace && known.object.meta.name == policy;
        self.policies.iter().find(is_it).map(|policy| Found { policy, rule })
    }
}

/// The client's address, as far as proxies before this one are believed.
fn remote(manager: &HttpConfig, call: &Call) -> IpAddr {
    let believed = match (manager.edge, manager.trusted_hops) {
        (true, 0) => return call.client(),
        (true, hops) => hops,
        (false, hops) => hops + 1,
    };
    let values = call.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(FORWARDED_FOR)).flat_map(|(_, values)| values);
    let told: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let at = told.len().checked_sub(believed as usize);
    at.and_then(|at| told.get(at)?.parse().ok()).unwrap_or_else(|| call.client())
}
