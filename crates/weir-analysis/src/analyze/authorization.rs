//! Policies: whom they are for, and the namespaces that they name; and that keys of tokens are not fetched from everywhere.

use weir_api::resources::AuthorizationPolicy;
use weir_api::{Document, FieldPath};
use weir_model::registry::workload::entry_labels;

use super::Input;
use super::codes::{NO_WORKLOADS, UNRESTRICTED_KEYS};
use super::finding::{Report, judged, listed, path};
use super::in_mesh::{has_sidecar, is, is_ambient};
use super::index::Index;
use super::selection::{Selectable, Selected, written};
use super::tree::{at, items, labels, text};

/// The variable of istiod that says from where no keys may be fetched.
const BLOCKED: &str = "BLOCKED_CIDRS_IN_JWKS_URIS";

/// Looks at AuthorizationPolicies, and at istiod's Deployment.
pub(super) fn check(index: &Index<'_>, input: &Input<'_>, report: &mut Report) {
    let workloads = of_mesh(index);
    for (document, policy) in index.authorization_policies() {
        check_selector(document, policy, &workloads, &input.mesh.root_namespace, report);
        check_namespaces(index, document, policy, report);
    }
    check_keys(index, report);
}

/// The workloads that are of the mesh.
fn of_mesh<'i>(index: &Index<'i>) -> Selectable<'i> {
    let mut found = Selectable::default();
    for (document, _) in index.pods() {
        let (node, meta) = (document.node(), &document.meta);
        let injected = at(node, "spec").is_some_and(|spec| has_sidecar(index, spec, &meta.labels, &meta.annotations, &meta.namespace));
        if injected || is_ambient(document) {
            found.add(Selected::of(document));
        }
    }
    for document in index.of("apps", "Deployment") {
        let node = document.node();
        let (own, annotations) = (labels(node, "spec.template.metadata.labels"), labels(node, "spec.template.metadata.annotations"));
        let spec = at(node, "spec.template.spec");
        if spec.is_some_and(|spec| has_sidecar(index, spec, &own, &annotations, &document.meta.namespace)) {
            found.add(Selected::new(document, own));
        }
    }
    // A WorkloadEntry is there because it is of the mesh.
    for (document, entry) in index.workload_entries() {
        found.add(Selected::new(document, entry_labels(entry, &document.meta.labels)));
    }
    found
}

fn check_selector(document: &Document, policy: &AuthorizationPolicy, workloads: &Selectable<'_>, root: &str, report: &mut Report) {
    let namespace = document.meta.namespace.as_str();
    let is_of_mesh = namespace == root;
    let selector = policy.selector.as_ref().map(|selector| &selector.match_labels);
    let selects_some = match selector {
        Some(labels) => workloads.any(labels, (!is_of_mesh).then_some(namespace)),
        None => is_of_mesh || workloads.of_namespace(namespace).next().is_some(),
    };
    if !selects_some {
        let of = if is_of_mesh { "the mesh".to_owned() } else { format!("the mesh in namespace {namespace}") };
        let with = selector.map(|labels| format!(" has the labels {}", written(labels)));
        let message = format!("no workload of {of}{}: it decides about nothing", with.unwrap_or_else(|| " is there".to_owned()));
        let at = if selector.is_some() { path("spec.selector.matchLabels") } else { path("spec") };
        report.say(NO_WORKLOADS, document, at, message);
    }
}

fn check_namespaces(index: &Index<'_>, document: &Document, policy: &AuthorizationPolicy, report: &mut Report) {
    for (i, rule) in policy.rules.iter().enumerate() {
        for (j, from) in rule.from.iter().enumerate() {
            let Some(source) = &from.source else { continue };
            let at = path("spec.rules").index(i).key("from").index(j).key("source");
            check_names(index, document, &at.key("namespaces"), &source.namespaces, report);
            check_names(index, document, &at.key("notNamespaces"), &source.not_namespaces, report);
        }
    }
}

fn check_names(index: &Index<'_>, document: &Document, at: &FieldPath, names: &[String], report: &mut Report) {
    for (number, name) in names.iter().enumerate() {
        if !is_there(index, name) {
            let message = format!("there is no namespace {name}");
            let (code, help) = judged(index.of("", "Namespace").is_empty(), "Namespace");
            report.say_help(code, document, at.index(number), message, help);
        }
    }
}

/// Whether a name, or a pattern that begins or ends with `*`, means a namespace.
fn is_there(index: &Index<'_>, name: &str) -> bool {
    let any = |is_meant: &dyn Fn(&str) -> bool| index.of("", "Namespace").iter().any(|namespace| is_meant(&namespace.meta.name));
    match (name.strip_prefix('*'), name.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(end), _) => any(&|namespace| namespace.ends_with(end)),
        (None, Some(start)) => any(&|namespace| namespace.starts_with(start)),
        (None, None) => index.find("", "Namespace", "", &name.to_ascii_lowercase()).is_some(),
    }
}

fn check_keys(index: &Index<'_>, report: &mut Report) {
    let names: Vec<String> =
        index.request_authentications().map(|(document, _)| format!("{}/{}", document.meta.namespace, document.meta.name)).collect();
    if names.is_empty() {
        return;
    }
    for document in index.of("apps", "Deployment").iter().filter(|document| is(&document.meta.labels, "app", "istiod")) {
        const CONTAINERS: &str = "spec.template.spec.containers";
        let mut variables = items(document.node(), CONTAINERS).flat_map(|(_, container)| items(container, "env"));
        if !variables.any(|(_, variable)| text(variable, "name") == BLOCKED && !text(variable, "value").is_empty()) {
            let message = format!("RequestAuthentications ({}) may make it fetch keys from any address", listed(&names));
            let help = format!("set {BLOCKED} to the networks that it must not ask, such as those of the cloud's metadata");
            report.say_help(UNRESTRICTED_KEYS, document, path(CONTAINERS), message, help);
        }
    }
}
