//! Webhooks of a control plane: no pod is sent to two of them, and each leads somewhere.

use std::collections::{BTreeMap, BTreeSet};

use weir_api::resources::mesh_config::LabelSelector;
use weir_api::resources::meta::Labels;
use weir_api::syntax::de::{self, Unknown};
use weir_api::{Document, FieldPath, Node, Value};

use super::codes::{EXTERNAL_ADDRESS, EXTERNAL_CONTROL_PLANE, INVALID_WEBHOOK};
use super::finding::{Report, listed, path};
use super::in_mesh::{INJECT, NAMESPACE_INJECTION, REVISION};
use super::index::Index;
use super::tree::{at, items, text};

const ADMISSION: &str = "admissionregistration.k8s.io";
const MUTATING: &str = "MutatingWebhookConfiguration";
/// What the names of webhooks of a control plane end with.
const OF_ISTIO: &str = "istio.io";

/// Of so many revisions all combinations are tried: a cluster has two or three.
const MOST_REVISIONS: usize = 16;

/// Looks at webhooks of both kinds.
pub(super) fn check(index: &Index<'_>, report: &mut Report) {
    let hooks: Vec<Hook<'_>> =
        index.of(ADMISSION, MUTATING).iter().filter(|document| is_of_istio(document)).flat_map(|document| hooks(document)).collect();
    check_overlap(&hooks, report);
    for hook in &hooks {
        check_service(index, hook, report);
    }
    for document in index.of(ADMISSION, "ValidatingWebhookConfiguration") {
        let name = document.meta.name.as_str();
        if name == "istiod-default-validator" || name.starts_with("istio-validator") {
            hooks_of(document).for_each(|(number, hook)| check_address(document, number, hook, report));
        }
    }
    for document in index.of(ADMISSION, MUTATING).iter().filter(|document| document.meta.name.starts_with("istio-sidecar-injector")) {
        hooks_of(document).for_each(|(number, hook)| check_address(document, number, hook, report));
    }
}

/// A webhook that injects.
struct Hook<'i> {
    document: &'i Document,
    number: usize,
    name: &'i str,
    namespaces: Option<LabelSelector>,
    objects: Option<LabelSelector>,
}

fn hooks_of(document: &Document) -> impl Iterator<Item = (usize, &Node)> {
    items(document.node(), "webhooks")
}

fn hooks(document: &Document) -> impl Iterator<Item = Hook<'_>> {
    hooks_of(document).map(move |(number, hook)| Hook {
        document,
        number,
        name: text(hook, "name"),
        namespaces: selector(hook, "namespaceSelector"),
        objects: selector(hook, "objectSelector"),
    })
}

fn is_of_istio(document: &Document) -> bool {
    hooks_of(document).any(|(_, hook)| text(hook, "name").ends_with(OF_ISTIO))
        || document.meta.labels.contains_key(REVISION)
        || hooks(document).any(|hook| revisions(&hook).next().is_some())
}

/// The selector of a field; none where it is not written. One that cannot be read selects nothing.
pub(super) fn selector(hook: &Node, field: &str) -> Option<LabelSelector> {
    let node = at(hook, field)?;
    let (selector, errors) = de::read::<LabelSelector>(node, &FieldPath::default(), Unknown::Allow);
    if errors.is_empty() {
        return Some(selector);
    }
    let nothing = weir_api::resources::mesh_config::LabelSelectorRequirement::default();
    Some(LabelSelector { match_expressions: vec![nothing], ..LabelSelector::default() })
}

/// Whether labels are selected; where no selector is written, all are.
pub(super) fn selects_all(selector: &Option<LabelSelector>, labels: &Labels) -> bool {
    selector.as_ref().is_none_or(|selector| selector.matches(labels))
}

/// The revisions that the selectors of a webhook name.
fn revisions<'h>(hook: &'h Hook<'_>) -> impl Iterator<Item = &'h String> {
    let selectors = hook.namespaces.iter().chain(&hook.objects);
    selectors.flat_map(|selector| {
        let named =
            selector.match_expressions.iter().filter(|expression| expression.key == REVISION).flat_map(|expression| &expression.values);
        selector.match_labels.get(REVISION).into_iter().chain(named)
    })
}

/// A pod and its namespace, by the labels that decide about injection, are sent to one webhook at most.
fn check_overlap(hooks: &[Hook<'_>], report: &mut Report) {
    let written = hooks.iter().flat_map(|hook| hook.document.meta.labels.get(REVISION).into_iter().chain(revisions(hook)));
    let revisions: BTreeSet<&String> = written.collect::<BTreeSet<_>>().into_iter().take(MOST_REVISIONS).collect();
    let mut overlaps: BTreeMap<usize, BTreeSet<Vec<String>>> = BTreeMap::new();
    for namespace in variants(NAMESPACE_INJECTION, ["enabled", "disabled"], &revisions) {
        for object in variants(INJECT, ["true", "false"], &revisions) {
            let is_sent = |hook: &Hook<'_>| selects_all(&hook.namespaces, &namespace) && selects_all(&hook.objects, &object);
            let matching: Vec<usize> = (0..hooks.len()).filter(|number| hooks.get(*number).is_some_and(is_sent)).collect();
            for one in matching.iter().filter(|_| matching.len() > 1) {
                let others = matching.iter().filter(|other| *other != one).filter_map(|other| hooks.get(*other));
                overlaps.entry(*one).or_default().insert(others.map(|hook| format!("{}/{}", hook.document.meta.name, hook.name)).collect());
            }
        }
    }
    for (number, others) in overlaps {
        let Some(hook) = hooks.get(number) else { continue };
        for others in others {
            let message = format!("pods may be sent to {} as well, and get two sidecars", listed(&others));
            let help = "let their selectors exclude one another".to_owned();
            report.say_help(INVALID_WEBHOOK, hook.document, path("webhooks").index(hook.number).key("name"), message, help);
        }
    }
}

/// Labels that something may have: without the label, with each of its values, and each of these with each revision.
fn variants(label: &str, values: [&str; 2], revisions: &BTreeSet<&String>) -> Vec<Labels> {
    let of = |value: &str| Labels::from([(label.to_owned(), value.to_owned())]);
    let plain = [Labels::new(), of(values[0]), of(values[1])];
    let revised = revisions.iter().flat_map(|revision| {
        plain.iter().map(|labels| {
            let mut labels = labels.clone();
            labels.insert(REVISION.to_owned(), (*revision).clone());
            labels
        })
    });
    plain.iter().cloned().chain(revised).collect()
}

fn check_service(index: &Index<'_>, hook: &Hook<'_>, report: &mut Report) {
    let written = items(hook.document.node(), "webhooks").nth(hook.number).and_then(|(_, node)| at(node, "clientConfig.service"));
    let Some(service) = written else { return };
    let (namespace, name) = (text(service, "namespace"), text(service, "name"));
    if index.find("", "Service", namespace, name).is_none() {
        let message = format!("there is no Service {namespace}/{name}, which is to answer: pods are not injected");
        report.say(INVALID_WEBHOOK, hook.document, path("webhooks").index(hook.number).key("clientConfig").key("service"), message);
    }
}

/// Where an external control plane is asked, its address is a name that is not empty.
fn check_address(document: &Document, number: usize, hook: &Node, report: &mut Report) {
    let field = path("webhooks").index(number).key("clientConfig");
    let Some(url) = at(hook, "clientConfig.url").filter(|url| url.value != Value::Null) else {
        if at(hook, "clientConfig.service").is_none() {
            let message = format!("the webhook {} has neither an address nor a Service: nobody answers", text(hook, "name"));
            report.say(EXTERNAL_CONTROL_PLANE, document, field, message);
        }
        return;
    };
    let written = url.as_str().unwrap_or_default();
    match host_of(written) {
        None => {
            let message = format!("{written:?} is no address of a control plane");
            report.say_help(EXTERNAL_CONTROL_PLANE, document, field.key("url"), message, "write https://HOST:PORT/inject".to_owned());
        }
        Some(host) if host.parse::<std::net::IpAddr>().is_ok() => {
            let message = format!("the control plane is asked by its IP address {host}, which may change");
            report.say_help(EXTERNAL_ADDRESS, document, field.key("url"), message, "use a name".to_owned());
        }
        Some(_) => {}
    }
}

/// The host of an address; none if it is no address.
fn host_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let is_clean = authority.bytes().all(|byte| byte.is_ascii_graphic());
    let host = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?.0,
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            if !port.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            host
        }
    };
    (is_scheme && is_clean).then(|| host.to_owned())
}
