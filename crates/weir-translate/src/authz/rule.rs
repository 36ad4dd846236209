//! A rule of a policy, as a policy of Envoy's.

use weir_api::resources::authorization_policy::{Condition, Operation, Rule, Source};
use weir_model::AuthorizationPolicy;
use weir_xds::rbac::rbac::Action;
use weir_xds::rbac::{Permission, Policy, Principal};

use super::attribute::{Asked, Asking, Attribute};
use super::tree::Tree;
use super::trust_domains::TrustDomains;
use crate::context::Context;

/// What a filter sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    Requests,
    /// Connections that carry no requests: what only these have, they have not.
    Connections,
}

/// How rules are made for a proxy.
pub(super) struct Rules<'r, 'm> {
    pub context: &'r Context<'m>,
    pub traffic: Traffic,
    pub action: Action,
}

/// A rule asks for what there is not, and so lets nobody in.
struct Impossible;

/// An attribute with the values that it may have, and those that it must not.
struct Wanted<A> {
    attribute: A,
    values: Vec<String>,
    not_values: Vec<String>,
}

impl<A> Wanted<A> {
    /// None if nothing is asked for.
    fn new(attribute: A, values: &[String], not_values: &[String]) -> Option<Self> {
        let is_asked = !(values.is_empty() && not_values.is_empty());
        is_asked.then(|| Self { attribute, values: values.to_vec(), not_values: not_values.to_vec() })
    }
}

impl Rules<'_, '_> {
    /// The rules of a policy by their names, before which stands `prefix`.
    pub(super) fn of_policy(&self, policy: &AuthorizationPolicy, prefix: &str) -> Vec<(String, Policy)> {
        let meta = &policy.object.meta;
        let name = |index: usize| format!("{prefix}ns[{}]-policy[{}]-rule[{index}]", meta.namespace, meta.name);
        let rules = policy.spec().map_or(&[][..], |spec| &spec.rules);
        if rules.is_empty() {
            return vec![(name(0), never())];
        }
        let made = rules.iter().enumerate().filter_map(|(index, rule)| Some((name(index), self.of_rule(rule, &meta.namespace)?)));
        made.collect()
    }

    /// None if it can match nothing here, or what it asks for is not known.
    fn of_rule(&self, rule: &Rule, namespace: &str) -> Option<Policy> {
        let (asked, asking) = conditions(&rule.when, namespace)?;
        let permissions = if rule.to.is_empty() {
            vec![self.all(vec![], &asked)]
        } else {
            let operations = rule.to.iter().map(|to| to.operation.as_ref().map(operation).unwrap_or_default());
            operations.map(|own| self.all(own, &asked)).collect()
        };
        let principals = if rule.from.is_empty() {
            vec![self.all(vec![], &asking)]
        } else {
            let sources =
                rule.from.iter().map(|from| from.source.as_ref().map(|source| self::source(source, namespace)).unwrap_or_default());
            sources.map(|own| self.all(own, &asking)).collect()
        };
        let permissions: Vec<Permission> = permissions.into_iter().collect::<Result<_, _>>().ok()?;
        let principals: Vec<Principal> = principals.into_iter().collect::<Result<_, _>>().ok()?;
        Some(Policy { permissions, principals, ..Default::default() })
    }

    /// All that is asked for; what asks for nothing takes anybody.
    fn all<A: Attribute + Expand>(&self, own: Vec<Wanted<A>>, common: &[Wanted<A>]) -> Result<A::Tree, Impossible> {
        let mut all = vec![];
        for wanted in own.iter().chain(common) {
            if self.traffic == Traffic::Connections && wanted.attribute.is_of_requests() {
                match self.action {
                    // Fewer are let in.
                    Action::Allow => return Err(Impossible),
                    // More are refused.
                    Action::Deny | Action::Log => continue,
                }
            }
            let domains = TrustDomains::of(&self.context.mesh.config);
            let expanded = |values: &[String]| wanted.attribute.expand(&domains, values);
            let (values, not_values) = (expanded(&wanted.values), expanded(&wanted.not_values));
            all.extend(self.any(&wanted.attribute, &values)?);
            all.extend(self.any(&wanted.attribute, &not_values)?.map(A::Tree::not));
        }
        if all.is_empty() {
            all.push(A::Tree::always());
        }
        Ok(A::Tree::all(all))
    }

    /// That an attribute has one of these values; none if nothing is asked for. What cannot be made out lets nobody in, and keeps
    /// nobody from being refused.
    fn any<A: Attribute>(&self, attribute: &A, values: &[String]) -> Result<Option<A::Tree>, Impossible> {
        match (values.is_empty(), self.action) {
            (true, _) => Ok(None),
            (false, Action::Allow) => attribute.any(values).map(Some).ok_or(Impossible),
            (false, Action::Deny | Action::Log) => Ok(attribute.any(values)),
        }
    }
}

/// Values with those that are the same in another trust domain.
trait Expand {
    fn expand(&self, domains: &TrustDomains, values: &[String]) -> Vec<String>;
}

impl Expand for Asked {
    fn expand(&self, _: &TrustDomains, values: &[String]) -> Vec<String> {
        values.to_vec()
    }
}

impl Expand for Asking {
    fn expand(&self, domains: &TrustDomains, values: &[String]) -> Vec<String> {
        match self {
            Self::Principal => domains.principals(values),
            Self::TrustDomain => domains.domains(values),
            _ => values.to_vec(),
        }
    }
}

/// What no request is.
fn never() -> Policy {
    Policy {
        permissions: vec![Permission::not(Permission::always())],
        principals: vec![Principal::not(Principal::always())],
        ..Default::default()
    }
}

fn operation(operation: &Operation) -> Vec<Wanted<Asked>> {
    let Operation { hosts, not_hosts, ports, not_ports, methods, not_methods, paths, not_paths } = operation;
    let all = [
        Wanted::new(Asked::Host, hosts, not_hosts),
        Wanted::new(Asked::Method, methods, not_methods),
        Wanted::new(Asked::Path, paths, not_paths),
        Wanted::new(Asked::Port, ports, not_ports),
    ];
    all.into_iter().flatten().collect()
}

fn source(source: &Source, namespace: &str) -> Vec<Wanted<Asking>> {
    let Source {
        principals,
        not_principals,
        request_principals,
        not_request_principals,
        namespaces,
        not_namespaces,
        service_accounts,
        not_service_accounts,
        trust_domains,
        not_trust_domains,
        ip_blocks,
        not_ip_blocks,
        remote_ip_blocks,
        not_remote_ip_blocks,
    } = source;
    let all = [
        Wanted::new(Asking::Principal, principals, not_principals),
        Wanted::new(Asking::RequestPrincipal, request_principals, not_request_principals),
        Wanted::new(Asking::ServiceAccount(namespace.to_owned()), service_accounts, not_service_accounts),
        Wanted::new(Asking::TrustDomain, trust_domains, not_trust_domains),
        Wanted::new(Asking::Namespace, namespaces, not_namespaces),
        Wanted::new(Asking::RemoteIp, remote_ip_blocks, not_remote_ip_blocks),
        Wanted::new(Asking::SourceIp, ip_blocks, not_ip_blocks),
    ];
    all.into_iter().flatten().collect()
}

/// What is asked for, and who asks.
type Conditions = (Vec<Wanted<Asked>>, Vec<Wanted<Asking>>);

/// What conditions say; none if one of them is not known.
fn conditions(when: &[Condition], namespace: &str) -> Option<Conditions> {
    let (mut asked, mut asking) = (vec![], vec![]);
    for Condition { key, values, not_values } in when {
        match attribute(key, namespace)? {
            Either::Asked(attribute) => asked.extend(Wanted::new(attribute, values, not_values)),
            Either::Asking(attribute) => asking.extend(Wanted::new(attribute, values, not_values)),
        }
    }
    Some((asked, asking))
}

enum Either {
    Asked(Asked),
    Asking(Asking),
}

fn attribute(key: &str, namespace: &str) -> Option<Either> {
    Some(match key {
        "destination.ip" => Either::Asked(Asked::DestinationIp),
        "destination.port" => Either::Asked(Asked::Port),
        "connection.sni" => Either::Asked(Asked::ServerName),
        "source.ip" => Either::Asking(Asking::SourceIp),
        "remote.ip" => Either::Asking(Asking::RemoteIp),
        "source.namespace" => Either::Asking(Asking::Namespace),
        "source.trustDomain" => Either::Asking(Asking::TrustDomain),
        "source.serviceAccount" => Either::Asking(Asking::ServiceAccount(namespace.to_owned())),
        "source.principal" => Either::Asking(Asking::Principal),
        "request.auth.principal" => Either::Asking(Asking::RequestPrincipal),
        "request.auth.audiences" => Either::Asking(Asking::Claims(vec!["aud".to_owned()])),
        "request.auth.presenter" => Either::Asking(Asking::Claims(vec!["azp".to_owned()])),
        key => return named(key),
    })
}

/// An attribute with a name in brackets.
fn named(key: &str) -> Option<Either> {
    let bracketed = |rest: &str| Some(rest.strip_prefix('[')?.strip_suffix(']')?.to_owned());
    if let Some(rest) = key.strip_prefix("request.headers") {
        return bracketed(rest).map(|name| Either::Asking(Asking::Header(name)));
    }
    if let Some(rest) = key.strip_prefix("request.auth.claims") {
        let inner = bracketed(rest)?;
        // `[a][b]` is b within a; whatever else stands there is one name.
        let path: Vec<String> = inner.split("][").map(str::to_owned).collect();
        let is_nested = path.iter().all(|name| !name.contains(['[', ']']));
        return Some(Either::Asking(Asking::Claims(if is_nested { path } else { vec![inner] })));
    }
    let (filter, key) = key.strip_prefix("experimental.")?.strip_suffix(']')?.split_once('[')?;
    filter.starts_with("envoy.filters.").then(|| Either::Asked(Asked::OfFilter(filter.to_owned(), key.to_owned())))
}
