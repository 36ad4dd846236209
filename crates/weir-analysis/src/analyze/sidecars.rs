//! Sidecar resources: each selects something, and no two select the same.

use std::collections::{BTreeMap, HashMap};

use weir_api::{Document, FieldPath};

use super::codes::{CONFLICTING_SIDECARS, INEFFECTIVE_POLICY, NOT_FOUND, SIDECARS_WITHOUT_SELECTOR};
use super::finding::{Report, listed, path};
use super::in_mesh::{is_ambient, is_ambient_namespace};
use super::index::Index;
use super::selection::written;

/// Looks at all Sidecars.
pub(super) fn check(index: &Index<'_>, report: &mut Report) {
    let mut by_namespace: BTreeMap<&str, Vec<&Document>> = BTreeMap::new();
    let mut by_pod: HashMap<*const Document, (&Document, Vec<&Document>)> = HashMap::new();
    for (document, sidecar) in index.sidecars() {
        let namespace = document.meta.namespace.as_str();
        let Some(selector) = sidecar.workload_selector.as_ref().filter(|selector| !selector.labels.is_empty()) else {
            by_namespace.entry(namespace).or_default().push(document);
            continue;
        };
        if !index.workloads.any(&selector.labels, Some(namespace)) {
            let message = format!("no workload of the namespace has the labels {}", written(&selector.labels));
            report.say(NOT_FOUND, document, path("spec.workloadSelector.labels"), message);
        }
        for pod in index.pods.selected(&selector.labels, Some(namespace)) {
            by_pod.entry(std::ptr::from_ref(pod.document)).or_insert_with(|| (pod.document, vec![])).1.push(document);
        }
    }
    of_pods(by_pod.into_values().collect(), report);
    for (namespace, sidecars) in by_namespace {
        of_namespace(index, namespace, &sidecars, report);
    }
}

/// Each Sidecar is told once, at the first of the pods that it is about.
fn of_pods(mut selected: Vec<(&Document, Vec<&Document>)>, report: &mut Report) {
    selected.sort_by_key(|(pod, _)| (&pod.meta.namespace, &pod.meta.name));
    let mut told: HashMap<(*const Document, bool), ()> = HashMap::new();
    for (pod, sidecars) in selected {
        let ambient = is_ambient(pod);
        if !ambient && sidecars.len() < 2 {
            continue;
        }
        let all = names(&sidecars);
        for sidecar in sidecars {
            if told.insert((std::ptr::from_ref(sidecar), ambient), ()).is_some() {
                continue;
            }
            if ambient {
                let message = format!("it has no effect: the pod {} is of the mesh without a sidecar", pod.meta.name);
                report.say(INEFFECTIVE_POLICY, sidecar, path("spec.workloadSelector"), message);
            } else {
                let message =
                    format!("the Sidecars {} select the same pod {}: which of them counts is not told", listed(&all), pod.meta.name);
                let help = "let each pod be selected by one".to_owned();
                report.say_help(CONFLICTING_SIDECARS, sidecar, path("spec.workloadSelector"), message, help);
            }
        }
    }
}

fn of_namespace(index: &Index<'_>, namespace: &str, sidecars: &[&Document], report: &mut Report) {
    let all = names(sidecars);
    let ambient = index.namespace_labels(namespace).is_some_and(is_ambient_namespace);
    for sidecar in sidecars {
        if ambient {
            let message = format!("it has no effect: the pods of namespace {namespace} are of the mesh without sidecars");
            report.say(INEFFECTIVE_POLICY, sidecar, FieldPath::default().key("spec"), message);
        } else if sidecars.len() > 1 {
            let message =
                format!("the Sidecars {} are all for the whole namespace {namespace}: which of them counts is not told", listed(&all));
            let help = "keep one of them without a `workloadSelector`".to_owned();
            report.say_help(SIDECARS_WITHOUT_SELECTOR, sidecar, FieldPath::default().key("spec"), message, help);
        }
    }
}

fn names<'d>(documents: &[&'d Document]) -> Vec<&'d str> {
    let mut names: Vec<&str> = documents.iter().map(|document| document.meta.name.as_str()).collect();
    names.sort_unstable();
    names
}
