//! What is in force instead of a policy that is refused: who may get in is not known, so nobody does; plaintext that it was meant to
//! shut out does not pass because of an error in it.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Diagnostic, Severity};
use crate::field_path::FieldPath;
use crate::kind::{DOCUMENT, Kind};
use crate::node::Node;
use crate::resources::authorization_policy::{Action, PolicySelector, Rule, dry_run};
use crate::resources::destination_rule::MatchLabelsSelector;
use crate::resources::envoy_filter::PolicyTargetReference;
use crate::resources::meta::ObjectMeta;
use crate::resources::request_authentication::PolicySelector as TokenSelector;
use crate::resources::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication, Spec};
use crate::syntax::de::{self, Unknown};
use crate::validate::TARGETS;

/// What stands in for a refused object: for the same workloads, as far as these can be made out. None if it could have kept
/// nobody out.
pub(crate) fn of(kind: Kind, meta: &ObjectMeta, node: &Node, errors: &[Diagnostic]) -> Option<Spec> {
    let spec = node.get("spec");
    match kind {
        Kind::AuthorizationPolicy => of_access(meta, spec),
        Kind::RequestAuthentication => Some(Spec::RequestAuthentication(of_tokens(spec))),
        Kind::PeerAuthentication => Some(Spec::PeerAuthentication(PeerAuthentication::closed(selector_of(node, errors)))),
        _ => None,
    }
}

/// No token is good, and without one nobody gets in either: the headers that the policy was to take out may be forged.
fn of_tokens(spec: Option<&Node>) -> RequestAuthentication {
    let selector = spec.and_then(labels).map(|match_labels| TokenSelector { match_labels });
    RequestAuthentication {
        target_refs: spec.map(|spec| targets(spec, selector.is_some())).unwrap_or_default(),
        selector,
        stands_in: true,
        ..RequestAuthentication::default()
    }
}

fn of_access(meta: &ObjectMeta, spec: Option<&Node>) -> Option<Spec> {
    let action = spec.and_then(|spec| spec.get("action")).and_then(Node::as_str).unwrap_or_default();
    if action == "AUDIT" || (action != "CUSTOM" && dry_run(&meta.annotations) == Some(true)) {
        return None;
    }
    let selector = spec.and_then(labels).map(|match_labels| PolicySelector { match_labels });
    let policy = AuthorizationPolicy {
        target_refs: spec.map(|spec| targets(spec, selector.is_some())).unwrap_or_default(),
        selector,
        rules: vec![Rule::default()],
        action: Action::Deny,
        stands_in: true,
        ..AuthorizationPolicy::default()
    };
    Some(Spec::AuthorizationPolicy(policy))
}

/// Those of which one keeps somebody out, the narrowest first.
const POLICIES: [Kind; 3] = [Kind::AuthorizationPolicy, Kind::RequestAuthentication, Kind::PeerAuthentication];

/// The same for a document that cannot be read at all and speaks of policies: they are of the namespaces that it names, or of the one
/// that it is in without a name. `at` is a place within it; without one it may be any of the text's.
pub(crate) fn unreadable(text: &str, at: Option<usize>) -> Vec<(Kind, ObjectMeta, Spec)> {
    // In UTF-16 every other byte is a zero.
    let document = at.map_or(text, |at| document_at(text, at)).replace('\0', "");
    let kinds: Vec<Kind> = POLICIES.into_iter().filter(|kind| document.contains(kind.name())).collect();
    let mut namespaces: BTreeSet<String> = document.split("namespace").skip(1).filter_map(value).collect();
    if namespaces.is_empty() {
        namespaces.insert("default".to_owned());
    }
    let closed = |(kind, namespace): (Kind, &String)| {
        let mut meta = ObjectMeta::default();
        (meta.name, meta.namespace) = (format!("unreadable-{}", at.unwrap_or_default()), namespace.clone());
        Some((kind, meta.clone(), closed_of_kind(kind, &meta)?))
    };
    kinds.iter().flat_map(|kind| namespaces.iter().map(move |namespace| (*kind, namespace))).filter_map(closed).collect()
}

/// What stands in for a policy of which nothing is known but its namespace.
fn closed_of_kind(kind: Kind, meta: &ObjectMeta) -> Option<Spec> {
    match kind {
        Kind::AuthorizationPolicy => of_access(meta, None),
        Kind::RequestAuthentication => Some(Spec::RequestAuthentication(of_tokens(None))),
        Kind::PeerAuthentication => Some(Spec::PeerAuthentication(PeerAuthentication::closed(Err(())))),
        _ => None,
    }
}

/// What stands in for all that may be in a text of which nothing is known: nobody gets in anywhere. It is of no namespace, which no
/// policy is that was written.
pub(crate) fn of_unknown(name: &str) -> Option<(ObjectMeta, Spec)> {
    let mut meta = ObjectMeta::default();
    name.clone_into(&mut meta.name);
    of_access(&meta, None).map(|spec| (meta, spec))
}

/// The word that stands behind a key, which may have been in quotes.
fn value(behind: &str) -> Option<String> {
    word(behind.trim_start_matches(['"', '\'']).trim_start().strip_prefix(':')?)
}

/// The word that a text begins with.
fn word(text: &str) -> Option<String> {
    let text = text.trim_start_matches([' ', '"', '\'']);
    let end = text.find(|one: char| !(one.is_ascii_alphanumeric() || one == '-')).unwrap_or(text.len());
    text.get(..end).filter(|word| !word.is_empty()).map(str::to_owned)
}

/// The document in which a place of a text is. Where one ends too early, that place is its end.
fn document_at(text: &str, offset: usize) -> &str {
    let mut start = 0;
    for piece in text.split_inclusive("\n---") {
        let end = start + piece.len();
        if offset < end {
            return piece;
        }
        start = end;
    }
    text.rsplit("\n---").next().unwrap_or(text)
}

/// What is said of that.
pub(crate) fn warning(kind: Kind) -> Diagnostic {
    let instead = match kind {
        Kind::PeerAuthentication => "it counts as STRICT",
        _ => "every request to its workloads is refused",
    };
    let message = format!("until it is mended its last good version stays in force; if there was none, {instead}");
    Diagnostic::warning(message).at(FieldPath::default().key("kind"))
}

/// For whom a refused policy is, if nothing is wrong with that part of it.
fn selector_of(node: &Node, errors: &[Diagnostic]) -> Result<Option<MatchLabelsSelector>, ()> {
    let (spec, path) = (FieldPath::default().key("spec"), FieldPath::default().key("spec").key("selector"));
    let is_about = |error: &Diagnostic| error.severity == Severity::Error && (error.path == spec || error.path.0.starts_with(&path.0));
    // An unknown field may be the selector, written wrongly.
    let fields = ["selector", "mtls", "portLevelMtls"];
    let is_strange = node.get("spec").is_some_and(|spec| spec.entries().iter().any(|entry| !fields.contains(&entry.key.as_str())));
    let is_elsewhere = node.entries().iter().any(|entry| !DOCUMENT.contains(&entry.key.as_str()));
    if errors.iter().any(is_about) || (is_strange && node.at(&path).is_none()) || is_elsewhere {
        return Err(());
    }
    if node.at(&path).is_none() {
        return Ok(None);
    }
    let (selector, errors) = de::read::<MatchLabelsSelector>(node, &path, Unknown::Refuse);
    if errors.iter().any(|error| error.severity == Severity::Error) { Err(()) } else { Ok(Some(selector)) }
}

/// The labels of the selector; none, so all workloads, if it cannot be read.
fn labels(spec: &Node) -> Option<BTreeMap<String, String>> {
    let labels = spec.get("selector")?.get("matchLabels")?.entries();
    let label = |entry: &crate::node::Entry| Some((entry.key.clone(), entry.node.as_str()?.to_owned()));
    labels.iter().map(label).collect()
}

/// What it is attached to; nothing, so all workloads, if that cannot be read. Beside a selector, or if nothing can be attached to one
/// of them, they would keep it from the workloads that it was meant for.
fn targets(spec: &Node, has_selector: bool) -> Vec<PolicyTargetReference> {
    if has_selector {
        return vec![];
    }
    let written = spec.get("targetRefs").map(Node::items).unwrap_or_default();
    let target = |node: &Node| {
        let text = |key: &str| node.get(key).and_then(Node::as_str).unwrap_or_default().to_owned();
        let target = PolicyTargetReference { group: text("group"), kind: text("kind"), name: text("name"), namespace: text("namespace") };
        let is_known = TARGETS.contains(&(target.group.as_str(), target.kind.as_str()));
        (is_known && !target.name.is_empty()).then_some(target)
    };
    written.iter().chain(spec.get("targetRef")).map(target).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;
    use crate::source::Source;

    fn stand_ins(metadata: &str, spec: &str) -> Vec<(usize, usize)> {
        let text =
            format!("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p{metadata}}}\nspec: {{{spec}}}\n");
        let parsed = parse::parse(&Source::new("x.yaml", text));
        assert!(parsed.objects.is_empty(), "{spec}");
        let counts = parsed.stand_ins.iter().map(|object| match &object.spec {
            Spec::AuthorizationPolicy(policy)
                if object.stands_in() && policy.action == Action::Deny && policy.rules == [Rule::default()] =>
            {
                (policy.selector.as_ref().map_or(0, |selector| selector.match_labels.len()), policy.target_refs.len())
            }
            other => panic!("{other:?}"),
        });
        counts.collect()
    }

    #[test]
    fn a_policy_that_is_refused_lets_nobody_in() {
        let selector = "selector: {matchLabels: {app: a}}";
        for (spec, expected) in [
            ("rule: []".to_owned(), (0, 0)),
            (format!("{selector}, rules: [{{form: []}}]"), (1, 0)),
            (format!("{selector}, action: DENY"), (1, 0)),
            (format!("{selector}, action: NONE"), (1, 0)),
            ("selector: {matchLabel: {app: a}}".to_owned(), (0, 0)),
            ("selector: {matchLabels: {app: [a]}}".to_owned(), (0, 0)),
            ("rules: {}".to_owned(), (0, 0)),
            ("targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}], rules: 1".to_owned(), (0, 1)),
            ("targetRefs: [{kind: Gateway}], rules: 1".to_owned(), (0, 0)),
            ("targetRefs: [{kind: Pod, name: a}]".to_owned(), (0, 0)),
            ("targetRefs: [{group: gateway.networking.k8s.io, kind: Gatway, name: g}]".to_owned(), (0, 0)),
            (format!("{selector}, targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: g}}]"), (1, 0)),
        ] {
            assert_eq!(stand_ins("", &spec), [expected], "{spec}");
        }
    }

    #[test]
    fn a_policy_about_tokens_that_is_refused_lets_nobody_in() {
        let rule = "jwtRules: [{issuer: a, audiences: ['']}]";
        for (spec, expected) in [
            (rule.to_owned(), (0, 0)),
            (format!("selector: {{matchLabels: {{app: a}}}}, {rule}"), (1, 0)),
            (format!("selector: {{matchLabel: {{app: a}}}}, {rule}"), (0, 0)),
            (format!("targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: g}}], {rule}"), (0, 1)),
            ("jwtRules: {}".to_owned(), (0, 0)),
        ] {
            let text = format!("apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: p}}\nspec: {{{spec}}}\n");
            let parsed = parse::parse(&Source::new("x.yaml", text));
            let [object] = parsed.stand_ins.as_slice() else { panic!("{spec}: {:?}", parsed.stand_ins) };
            let Spec::RequestAuthentication(policy) = &object.spec else { panic!("{:?}", object.spec) };
            let found = (policy.selector.as_ref().map_or(0, |selector| selector.match_labels.len()), policy.target_refs.len());
            assert_eq!((parsed.objects.len(), object.stands_in(), found), (0, true, expected), "{spec}");
            let said: Vec<&str> = parsed.diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
            assert!(said.iter().any(|said| said.contains("every request to its workloads is refused")), "{said:?}");
        }
    }

    #[test]
    fn one_that_would_have_kept_nobody_out_needs_none() {
        assert_eq!(stand_ins("", "action: AUDIT, rule: []"), []);
        assert_eq!(stand_ins(", annotations: {istio.io/dry-run: 'true'}", "action: DENY"), []);
        assert_eq!(stand_ins(", annotations: {istio.io/dry-run: 'maybe'}", "rules: [{}]").len(), 1);
    }

    #[test]
    fn what_cannot_be_read_and_speaks_of_a_policy_lets_nobody_in() {
        let good = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec: {}\n";
        for (text, expected) in [
            (good.replace("spec: {}", "spec: ["), &["shop"][..]),
            (good.replace(", namespace: shop", "").replace("spec: {}", "spec: ["), &["default"]),
            (format!("{}---\nkind: [\n", good.replace("spec: {}", "spec: [")), &["shop"]),
            (good.replace("AuthorizationPolicy", "AuthorisationPolicy"), &["shop"]),
            (good.replace("security.istio.io", "security.itsio.io"), &["shop"]),
            (good.replace("security.istio.io/v1", "v1"), &["shop"]),
            (good.replace("security.istio.io", "policy.linkerd.io"), &[]),
            (good.replace("Authorization", "PeerAuthentication").replace("Policy", "").replace("spec: {}", "spec: ["), &["shop"]),
            (good.replace("AuthorizationPolicy", "RequestAuthentication").replace("spec: {}", "spec: ["), &["shop"]),
            (good.replace("AuthorizationPolicy", "PeerAuthentification"), &["shop"]),
            (good.replace("AuthorizationPolicy", "RequestAuthentification"), &["shop"]),
            (r#"{"kind": "AuthorizationPolicy", "metadata": {"name": "p", "namespace" : "shop"}, "spec": {"#.to_owned(), &["shop"]),
            ("kind: [\n".to_owned(), &[]),
        ] {
            let parsed = parse::parse(&Source::new("x.yaml", text.clone()));
            let found: Vec<&str> = parsed.stand_ins.iter().map(|object| object.meta.namespace.as_str()).collect();
            assert_eq!(found, expected, "{text}");
            assert!(parsed.stand_ins.iter().all(|object| object.stands_in()), "{text}");
        }
    }
}
