//! What is in force instead of a policy that is refused: who may get in is not known, so nobody does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::field_path::FieldPath;
use crate::kind::Kind;
use crate::node::{Node, Value};
use crate::object::Object;
use crate::resources::authorization_policy::{Action, PolicySelector, Rule, dry_run};
use crate::resources::envoy_filter::PolicyTargetReference;
use crate::resources::meta::ObjectMeta;
use crate::resources::{AuthorizationPolicy, Spec};
use crate::source::{Source, Span};
use crate::validate::TARGETS;

/// What stands in for a refused object: for the same workloads, as far as these can be made out. None if it could have kept
/// nobody out.
pub(crate) fn of(refused: &Object) -> Option<Object> {
    if refused.kind != Kind::AuthorizationPolicy {
        return None;
    }
    let spec = refused.node.get("spec");
    let action = spec.and_then(|spec| spec.get("action")).and_then(Node::as_str).unwrap_or_default();
    if action == "AUDIT" || (action != "CUSTOM" && dry_run(&refused.meta.annotations) == Some(true)) {
        return None;
    }
    let selector = spec.and_then(selector);
    let policy = AuthorizationPolicy {
        selector: selector.clone(),
        target_refs: spec.map(|spec| targets(spec, selector.is_some())).unwrap_or_default(),
        rules: vec![Rule::default()],
        action: Action::Deny,
        stands_in: true,
        ..AuthorizationPolicy::default()
    };
    Some(Object { spec: Spec::AuthorizationPolicy(policy), ..refused.clone() })
}

/// The same for what was meant as a policy, and has a kind or a group that does not exist.
pub(crate) fn misnamed(source: &Arc<Source>, api_version: String, meta: ObjectMeta, node: Node) -> Option<Object> {
    let spec = Spec::AuthorizationPolicy(AuthorizationPolicy::default());
    of(&Object { kind: Kind::AuthorizationPolicy, api_version, meta, spec, source: source.clone(), node })
}

/// The same for a document that cannot be read at all and speaks of a policy: nobody gets into the namespaces that it names, or into
/// the one that it is in without a name. `at` is a place within it; without one it may be any of the text's.
pub(crate) fn unreadable(source: &Arc<Source>, at: Option<usize>) -> Vec<Object> {
    let document = at.map_or(source.text.as_str(), |at| document_at(&source.text, at));
    if !document.contains(Kind::AuthorizationPolicy.name()) {
        return vec![];
    }
    let mut namespaces: BTreeSet<String> = document.split("namespace:").skip(1).filter_map(word).collect();
    if namespaces.is_empty() {
        namespaces.insert("default".to_owned());
    }
    let object = |namespace: String| {
        let mut meta = ObjectMeta::default();
        (meta.name, meta.namespace) = (format!("unreadable-{}", at.unwrap_or_default()), namespace);
        let node = Node { value: Value::Null, span: Span::default() };
        misnamed(source, String::new(), meta, node)
    };
    namespaces.into_iter().filter_map(object).collect()
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
pub(crate) fn warning() -> Diagnostic {
    let message = "until it is mended its last good version stays in force; if there was none, every request to its workloads is refused";
    Diagnostic::warning(message).at(FieldPath::default().key("kind"))
}

/// The selector; none, so all workloads, if it cannot be read.
fn selector(spec: &Node) -> Option<PolicySelector> {
    let labels = spec.get("selector")?.get("matchLabels")?.entries();
    let label = |entry: &crate::node::Entry| Some((entry.key.clone(), entry.node.as_str()?.to_owned()));
    let match_labels: BTreeMap<String, String> = labels.iter().map(label).collect::<Option<_>>()?;
    Some(PolicySelector { match_labels })
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
            ("kind: [\n".to_owned(), &[]),
        ] {
            let parsed = parse::parse(&Source::new("x.yaml", text.clone()));
            let found: Vec<&str> = parsed.stand_ins.iter().map(|object| object.meta.namespace.as_str()).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
