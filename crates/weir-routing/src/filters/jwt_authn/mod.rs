//! Requests that need a token: Envoy's JWT authentication filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/jwt_authn_filter>).
//!
//! A check is a function of a request, the time and the keys. What it changes of the request it tells, and does not do: where keys
//! are to be fetched first, it is made once more. Tokens are read in [`token`], keys in [`keys`], where tokens stand in
//! [`places`], whose they are in [`provider`], and what is required in [`requirement`].

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_http1::HeaderName;
use weir_http1::header::{HeaderValue, ORIGIN};
use weir_xds::jwt_authn::per_route_config::RequirementSpecifier;
use weir_xds::jwt_authn::requirement_rule::RequirementType;
use weir_xds::jwt_authn::{FilterStateRule, JwtAuthentication, PerRouteConfig, RequirementRule};
use weir_xds::prost_types::Value;

use super::Policy;
use super::basic_auth::told_address;
use crate::dynamic_metadata::DynamicMetadata;
use crate::error::CompileError;
use crate::matcher::RouteMatcher;
use crate::request::RequestHead;
pub use counted::{Count, Counted, NAMES};
pub use keys::{KeySet, MOST_KEYS};
use places::Places;
pub use provider::{KeySource, Provider, RemoteKeys};
pub use requirement::Held;
use requirement::{Judge, Requirement, Unmet};
pub use status::Status;
pub use view::Changes;
use view::View;

mod claims;
mod counted;
mod json;
mod keys;
mod own_header;
mod places;
mod provider;
mod requirement;
mod signature;
mod status;
mod token;
mod view;

/// Where what is found in tokens is left for filters, routes and logs.
pub const NAMESPACE: &str = "envoy.filters.http.jwt_authn";

const REQUEST_METHOD: HeaderName = HeaderName::from_static("access-control-request-method");

/// What is required of requests. Cheap to clone: all clones are the same.
#[derive(Debug, Clone)]
pub struct JwtPolicy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    providers: Box<[Provider]>,
    /// The places of all of them.
    places: Places,
    rules: Box<[Rule]>,
    /// Requirements that routes name.
    named: BTreeMap<String, Requirement>,
    bypasses_preflights: bool,
    strips_failures: bool,
    stat_prefix: Box<str>,
    counted: Counted,
}

/// What is required of some requests.
#[derive(Debug)]
struct Rule {
    matcher: RouteMatcher,
    requirement: Option<Requirement>,
}

/// What a route says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtOverride {
    /// Nothing is required.
    Disabled,
    /// What the filter requires under this name.
    Named(Box<str>),
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It goes on.
    Pass(Box<Passed>),
    /// It is refused.
    Refuse(Box<Refusal>),
    /// The keys of this provider are to be fetched first.
    Fetch(usize),
}

/// How a request goes on.
#[derive(Debug, Default)]
pub struct Passed {
    /// What is changed of it.
    pub changes: Changes,
    /// What is left for filters, routes and logs, within [`NAMESPACE`].
    pub data: BTreeMap<String, Value>,
    /// Whether its route is found anew.
    pub clears_route: bool,
    /// The providers whose tokens it has.
    pub accepted: Vec<usize>,
}

/// How a request is refused.
#[derive(Debug)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The body; empty for none.
    pub body: String,
    /// What the client is told that it needs.
    pub challenge: Option<HeaderValue>,
    /// What the log is told.
    pub details: String,
    /// Whose token it was, if that is known.
    pub provider: Option<usize>,
    /// What is left for filters and logs, within [`NAMESPACE`].
    pub data: BTreeMap<String, Value>,
}

impl Policy for JwtPolicy {
    type Message = JwtAuthentication;

    fn compile(message: &JwtAuthentication) -> Result<Self, CompileError> {
        let JwtAuthentication {
            providers,
            rules,
            filter_state_rules,
            bypass_cors_preflight,
            requirement_map,
            strip_failure_response,
            stat_prefix,
        } = message;
        let (mut compiled, mut places) = (vec![], Places::default());
        for (name, provider) in providers {
            let within = |error: CompileError| error.within(&format!("providers[{name}]"));
            compiled.push(Provider::compile(name, provider).map_err(within)?);
            places.add(provider).map_err(within)?;
        }
        let mut named = BTreeMap::new();
        for (name, requirement) in requirement_map {
            let requirement =
                Requirement::compile(requirement, &compiled).map_err(|error| error.within(&format!("requirement_map[{name}]")))?;
            named.insert(name.clone(), requirement);
        }
        let rule = |(i, rule)| Rule::compile(rule, message, &compiled).map_err(|error: CompileError| error.within(&format!("rules[{i}]")));
        let rules = rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?;
        // They are for what filters leave behind as state, and none that is carried out leaves any: they are only read.
        if let Some(FilterStateRule { name: _, requires }) = filter_state_rules {
            for (state, requirement) in requires {
                let within = |error: CompileError| error.within(&format!("filter_state_rules.requires[{state}]"));
                Requirement::compile(requirement, &compiled).map_err(within)?;
            }
        }
        Ok(Self(Arc::new(Inner {
            providers: compiled.into(),
            places,
            rules,
            named,
            bypasses_preflights: *bypass_cors_preflight,
            strips_failures: *strip_failure_response,
            stat_prefix: stat_prefix.as_str().into(),
            counted: Counted::default(),
        })))
    }
}

impl Rule {
    fn compile(message: &RequirementRule, filter: &JwtAuthentication, providers: &[Provider]) -> Result<Self, CompileError> {
        let RequirementRule { r#match, requirement_type } = message;
        let matcher = RouteMatcher::compile(r#match.as_ref().ok_or_else(|| CompileError::missing("match"))?);
        let requirement = match requirement_type {
            None => None,
            Some(RequirementType::Requires(requirement)) => {
                Some(Requirement::compile(requirement, providers).map_err(|error| error.within("requires"))?)
            }
            Some(RequirementType::RequirementName(name)) => {
                let wrong = || CompileError::new("requirement_name", format!("there is no requirement `{name}`"));
                Some(Requirement::compile(filter.requirement_map.get(name).ok_or_else(wrong)?, providers)?)
            }
        };
        Ok(Self { matcher: matcher.map_err(|error| error.within("match"))?, requirement })
    }
}

impl Policy for JwtOverride {
    type Message = PerRouteConfig;

    fn compile(message: &PerRouteConfig) -> Result<Self, CompileError> {
        let PerRouteConfig { requirement_specifier } = message;
        match requirement_specifier {
            Some(RequirementSpecifier::Disabled(true)) => Ok(Self::Disabled),
            Some(RequirementSpecifier::Disabled(false)) => Err(CompileError::new("disabled", "must be true")),
            Some(RequirementSpecifier::RequirementName(name)) if name.is_empty() => Err(CompileError::missing("requirement_name")),
            Some(RequirementSpecifier::RequirementName(name)) => Ok(Self::Named(name.as_str().into())),
            None => Err(CompileError::missing("requirement_specifier")),
        }
    }
}

impl JwtPolicy {
    /// The headers that only this filter may set.
    pub fn own_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.providers.iter().flat_map(Provider::own_headers)
    }

    /// Its providers, by their positions.
    pub fn providers(&self) -> &[Provider] {
        &self.0.providers
    }

    /// What is counted of it.
    pub fn counted(&self) -> &Counted {
        &self.0.counted
    }

    /// What stands before the names of what is counted, besides the usual; mostly empty.
    pub fn stat_prefix(&self) -> &str {
        &self.0.stat_prefix
    }

    /// What becomes of a request for which a route says this, so many seconds after 1970; `keys` are those that are fetched.
    pub fn judge(
        &self,
        head: &RequestHead<'_>,
        metadata: &DynamicMetadata,
        of_route: Option<&JwtOverride>,
        now: u64,
        keys: &dyn Fn(usize) -> Held,
    ) -> Outcome {
        let outcome = self.outcome(head, metadata, of_route, now, keys);
        match &outcome {
            Outcome::Pass(_) => self.0.counted.count(Count::Allowed),
            Outcome::Refuse(_) => self.0.counted.count(Count::Denied),
            Outcome::Fetch(_) => {}
        }
        outcome
    }

    fn outcome(
        &self,
        head: &RequestHead<'_>,
        metadata: &DynamicMetadata,
        of_route: Option<&JwtOverride>,
        now: u64,
        keys: &dyn Fn(usize) -> Held,
    ) -> Outcome {
        let inner = &*self.0;
        let mut view = View::new(*head);
        // What stands there later only this filter has said.
        inner.providers.iter().flat_map(Provider::own_headers).for_each(|name| view.remove(name));
        // The route was found by the whole head: what only this filter may say must not have chosen it.
        let was_told = !view.changes.removed.is_empty();
        let nothing =
            |view: View<'_>| Outcome::Pass(Box::new(Passed { changes: view.changes, clears_route: was_told, ..Passed::default() }));
        if inner.bypasses_preflights && is_preflight(head) {
            inner.counted.count(Count::CorsPreflightBypassed);
            return nothing(view);
        }
        let requirement = match of_route {
            Some(JwtOverride::Disabled) => None,
            Some(JwtOverride::Named(name)) => match inner.named.get(&**name) {
                Some(requirement) => Some(requirement),
                None => return Outcome::Refuse(Box::new(self.wrong_name(name))),
            },
            None => self.rule(head, metadata),
        };
        let Some(requirement) = requirement else { return nothing(view) };
        let mut judge = Judge {
            providers: &inner.providers,
            places: &inner.places,
            now,
            keys,
            view,
            data: BTreeMap::new(),
            clears_route: was_told,
            accepted: vec![],
            failures: vec![],
        };
        let judged = judge.judge(requirement);
        let Judge { view, data, clears_route, accepted, failures, .. } = judge;
        match judged {
            Ok(()) => Outcome::Pass(Box::new(Passed { changes: view.changes, data, clears_route, accepted })),
            Err(Unmet::Keys(provider)) => Outcome::Fetch(provider),
            Err(Unmet::Status(status)) => {
                let provider = failures.iter().find(|(_, failure)| *failure == status).and_then(|(provider, _)| *provider);
                Outcome::Refuse(Box::new(self.refusal(status, head, provider, data)))
            }
        }
    }

    /// The requirement of the first rule that is for a request.
    fn rule(&self, head: &RequestHead<'_>, metadata: &DynamicMetadata) -> Option<&Requirement> {
        let is_for = |rule: &&Rule| rule.matcher.matches(head.path_only(), head, metadata);
        self.0.rules.iter().find(is_for)?.requirement.as_ref()
    }

    fn refusal(&self, status: Status, head: &RequestHead<'_>, provider: Option<usize>, data: BTreeMap<String, Value>) -> Refusal {
        let told = !self.0.strips_failures;
        let error = if status == Status::Missing { "" } else { ", error=\"invalid_token\"" };
        let challenge = told.then(|| format!("Bearer realm=\"{}\"{error}", told_address(head)));
        Refusal {
            status: if status == Status::AudienceNotAllowed { 403 } else { 401 },
            body: if told { status.text().to_owned() } else { String::new() },
            challenge: challenge.and_then(|challenge| HeaderValue::try_from(challenge).ok()),
            details: details(status.text()),
            provider,
            data,
        }
    }

    /// A route names a requirement that there is not.
    fn wrong_name(&self, name: &str) -> Refusal {
        let known: Vec<&str> = self.0.named.keys().map(String::as_str).collect();
        let what = format!("Wrong requirement_name: {name}. It should be one of [{}]", known.join(","));
        Refusal {
            status: 403,
            body: if self.0.strips_failures { String::new() } else { format!("Failed JWT authentication: {what}") },
            challenge: None,
            details: details(&what),
            provider: None,
            data: BTreeMap::new(),
        }
    }
}

/// What logs are told: in one word.
fn details(what: &str) -> String {
    format!("jwt_authn_access_denied{{{}}}", what.replace(|one: char| one.is_ascii_whitespace(), "_"))
}

/// Whether a browser asks whether it may make another request. It brings no token along then.
fn is_preflight(head: &RequestHead<'_>) -> bool {
    let is_there = |name: &HeaderName| head.headers.get(name).is_some_and(|value| !value.is_empty());
    head.method == "OPTIONS" && is_there(&ORIGIN) && is_there(&REQUEST_METHOD)
}

#[cfg(test)]
mod tests;
