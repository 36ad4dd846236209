//! Delegates: a rule of a VirtualService that goes on with the rules of another one, which has no hosts.
//!
//! What remains is one list of ordinary rules, so that nobody behind this needs to know of delegates. Facts:
//! pilot/pkg/model/virtualservice.go of Istio. There is one level only: a delegate's own delegates do not count.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::resources::StringMatch;
use weir_api::resources::virtual_service::{Delegate, HttpMatchRequest, HttpRoute};
use weir_api::{Diagnostic, Severity};

use crate::changes::Name;
use crate::rule::Origin;
use crate::tree::Tree;
use crate::virtual_service::{HttpRule, VirtualService};

/// The VirtualServices that others may delegate to, by namespace and name.
pub(crate) type Delegates = Tree<Name, Arc<VirtualService>>;

/// Whom a rule of a namespace delegates to.
pub(crate) fn name_of(reference: &Delegate, own: &str) -> Name {
    let namespace = if reference.namespace.is_empty() { own } else { &reference.namespace };
    (namespace.to_owned(), reference.name.clone())
}

/// Puts the rules of delegates into the place of those that refer to them. What cannot be followed is left out,
/// alone, and told.
pub(crate) fn resolve(service: &mut VirtualService, delegates: &Delegates, findings: &mut Vec<Diagnostic>) {
    if service.http.iter().all(|rule| rule.spec.delegate.is_none()) {
        return;
    }
    let mut resolved = vec![];
    for rule in std::mem::take(&mut service.http) {
        let Some(reference) = &rule.spec.delegate else {
            resolved.push(rule);
            continue;
        };
        match find(delegates, reference, &service.namespace) {
            Ok(delegate) => resolved.extend(merge_all(&rule, delegate, findings)),
            Err(reason) => findings.push(warning(&rule.origin, "delegate", reason)),
        }
    }
    service.http = resolved;
}

fn find<'d>(delegates: &'d Delegates, reference: &Delegate, own: &str) -> Result<&'d VirtualService, String> {
    let key = name_of(reference, own);
    let name = format!("{}/{}", key.0, key.1);
    match delegates.get(&key) {
        None => Err(format!("there is no VirtualService {name} without hosts to delegate to: the rule has no effect")),
        Some(delegate) if delegate.visibility.allows(own) => Ok(delegate),
        Some(_) => Err(format!("{name} is not exported to the namespace {own}: the rule has no effect; see its exportTo")),
    }
}

fn merge_all(root: &HttpRule, delegate: &VirtualService, findings: &mut Vec<Diagnostic>) -> Vec<HttpRule> {
    let mut merged = vec![];
    // A delegate that delegates again is refused when it is read.
    for rule in delegate.http.iter().filter(|rule| rule.spec.delegate.is_none()) {
        match merge(&root.spec, &rule.spec) {
            Some(spec) => merged.push(HttpRule { spec, origin: rule.origin.clone() }),
            None => findings.push(conflict(root, rule)),
        }
    }
    merged
}

fn conflict(root: &HttpRule, rule: &HttpRule) -> Diagnostic {
    let place = root.origin.place().map_or_else(|| root.origin.path.to_string(), |place| place.line());
    let message = format!(
        "a block of this match does not lie within the rule that delegates here ({place}): the whole rule has no effect there; \
         a path must begin with the other's prefix, and a regex fits nothing but an absent condition"
    );
    warning(&rule.origin, "match", message)
}

fn warning(origin: &Origin, key: &'static str, message: String) -> Diagnostic {
    origin.object.diagnostic(Severity::Warning, origin.path.key(key), message)
}

/// A delegate's rule as it counts under the rule that delegates: where both match, with the settings of the
/// delegate, and those that it lacks from the root. A redirect is not inherited: a rule has either.
fn merge(root: &HttpRoute, delegate: &HttpRoute) -> Option<HttpRoute> {
    let mut merged = delegate.clone();
    merged.r#match = merge_matches(&root.r#match, &delegate.r#match)?;
    merged.name = joined(&root.name, &delegate.name);
    inherit(&mut merged.rewrite, &root.rewrite);
    inherit(&mut merged.direct_response, &root.direct_response);
    inherit(&mut merged.timeout, &root.timeout);
    inherit(&mut merged.retries, &root.retries);
    inherit(&mut merged.fault, &root.fault);
    inherit(&mut merged.mirror, &root.mirror);
    inherit(&mut merged.mirror_percent, &root.mirror_percent);
    inherit(&mut merged.mirror_percentage, &root.mirror_percentage);
    inherit(&mut merged.cors_policy, &root.cors_policy);
    inherit(&mut merged.headers, &root.headers);
    if merged.mirrors.is_empty() {
        merged.mirrors.clone_from(&root.mirrors);
    }
    Some(merged)
}

fn inherit<T: Clone>(own: &mut Option<T>, root: &Option<T>) {
    if own.is_none() {
        own.clone_from(root);
    }
}

/// `root-delegate`, or the one that there is.
fn joined(root: &str, delegate: &str) -> String {
    match (root, delegate) {
        ("", name) | (name, "") => name.to_owned(),
        (root, delegate) => format!("{root}-{delegate}"),
    }
}

/// All pairs that do not exclude one another; none if a block of the delegate fits no block of the root.
fn merge_matches(root: &[HttpMatchRequest], delegate: &[HttpMatchRequest]) -> Option<Vec<HttpMatchRequest>> {
    match (root, delegate) {
        ([], blocks) | (blocks, []) => return Some(blocks.to_vec()),
        _ => {}
    }
    let mut merged = vec![];
    for block in delegate {
        let before = merged.len();
        merged.extend(root.iter().filter(|root| refines(root, block)).map(|root| merge_match(root, block)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn merge_match(root: &HttpMatchRequest, delegate: &HttpMatchRequest) -> HttpMatchRequest {
    let mut merged = delegate.clone();
    merged.name = joined(&root.name, &delegate.name);
    inherit(&mut merged.uri, &root.uri);
    inherit(&mut merged.scheme, &root.scheme);
    inherit(&mut merged.method, &root.method);
    inherit(&mut merged.authority, &root.authority);
    merged.headers = overlaid(&root.headers, &delegate.headers);
    merged.without_headers = overlaid(&root.without_headers, &delegate.without_headers);
    merged.query_params = overlaid(&root.query_params, &delegate.query_params);
    if merged.port == 0 {
        merged.port = root.port;
    }
    merged.source_labels = overlaid(&root.source_labels, &delegate.source_labels);
    if merged.source_namespace.is_empty() {
        merged.source_namespace.clone_from(&root.source_namespace);
    }
    if merged.gateways.is_empty() {
        merged.gateways.clone_from(&root.gateways);
    }
    if merged.stat_prefix.is_empty() {
        merged.stat_prefix.clone_from(&root.stat_prefix);
    }
    merged
}

fn overlaid<T: Clone>(root: &BTreeMap<String, T>, delegate: &BTreeMap<String, T>) -> BTreeMap<String, T> {
    root.iter().chain(delegate).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether all that a delegate's block asks for lies within what the root's block asks for.
fn refines(root: &HttpMatchRequest, delegate: &HttpMatchRequest) -> bool {
    let singles = [
        (&root.uri, &delegate.uri),
        (&root.scheme, &delegate.scheme),
        (&root.method, &delegate.method),
        (&root.authority, &delegate.authority),
    ];
    singles.iter().all(|(root, delegate)| narrows(root.as_ref(), delegate.as_ref()))
        && narrows_all(&root.headers, &delegate.headers)
        && narrows_all(&root.without_headers, &delegate.without_headers)
        && narrows_all(&root.query_params, &delegate.query_params)
        && root.ignore_uri_case == delegate.ignore_uri_case
        && (root.port == 0 || delegate.port == 0 || root.port == delegate.port)
        && has_sources_of(root, delegate)
}

/// Whether the clients that a delegate's block is for are among those of the root's. Where the root names a
/// namespace, the delegate must name the same: Istio does not take its silence for consent.
fn has_sources_of(root: &HttpMatchRequest, delegate: &HttpMatchRequest) -> bool {
    let same = |(name, value): (&String, &String)| root.source_labels.get(name).is_none_or(|own| own == value);
    (root.source_namespace.is_empty() || root.source_namespace == delegate.source_namespace)
        && delegate.source_labels.iter().all(same)
        && (root.gateways.is_empty() || delegate.gateways.iter().all(|gateway| root.gateways.contains(gateway)))
}

fn narrows_all(root: &BTreeMap<String, StringMatch>, delegate: &BTreeMap<String, StringMatch>) -> bool {
    delegate.iter().all(|(name, condition)| narrows(root.get(name), Some(condition)))
}

/// Whether one condition lies within another, as far as their texts say it. An empty text counts as none, and nothing is
/// said to lie within that, not even the same: so Istio decides.
fn narrows(root: Option<&StringMatch>, delegate: Option<&StringMatch>) -> bool {
    let (Some(root), Some(delegate)) = (root, delegate) else { return true };
    match (root, delegate) {
        (StringMatch::Exact(root), StringMatch::Exact(own)) => root == own && !own.is_empty(),
        (StringMatch::Prefix(root), StringMatch::Prefix(own) | StringMatch::Exact(own)) => !root.is_empty() && own.starts_with(root),
        _ => false,
    }
}
