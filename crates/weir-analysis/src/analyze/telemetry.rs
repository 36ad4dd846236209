//! Telemetry resources, which Weir does not carry out: that they make sense can be told all the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_api::{Document, FieldPath, Value};

use super::Input;
use super::codes::{CONFLICTING_TELEMETRIES, DEPRECATED, NOT_FOUND, TELEMETRIES_WITHOUT_SELECTOR, TELEMETRY_WITHOUT_PROVIDER};
use super::finding::{Report, listed, path};
use super::index::Index;
use super::selection::written;
use super::tree::{at, is_true, items, labels, text};

const SELECTOR: &str = "spec.selector.matchLabels";

/// Looks at all Telemetries.
pub(super) fn check(index: &Index<'_>, input: &Input<'_>, report: &mut Report) {
    let all = index.of("telemetry.istio.io", "Telemetry");
    selected(index, all, report);
    without_selector(all, report);
    let has_default = input.written["defaultProviders"]["accessLogging"].as_array().is_some_and(|names| !names.is_empty());
    let of_lightstep: BTreeSet<&str> = lightstep(input).collect();
    for document in all {
        if !has_default {
            without_provider(document, report);
        }
        deprecated(document, &of_lightstep, report);
    }
}

fn selected(index: &Index<'_>, all: &[&Document], report: &mut Report) {
    let mut by_pod: HashMap<*const Document, (&Document, Vec<&Document>)> = HashMap::new();
    let selectors: Vec<_> = all.iter().map(|document| (*document, labels(document.node(), SELECTOR))).collect();
    for (document, selector) in selectors.iter().filter(|(_, selector)| !selector.is_empty()) {
        let namespace = Some(document.meta.namespace.as_str());
        if !index.workloads.any(selector, namespace) {
            let message = format!("no workload of the namespace has the labels {}", written(selector));
            report.say(NOT_FOUND, document, path(SELECTOR), message);
        }
        for pod in index.pods.selected(selector, namespace) {
            by_pod.entry(std::ptr::from_ref(pod.document)).or_insert_with(|| (pod.document, vec![])).1.push(document);
        }
    }
    let mut conflicts: Vec<_> = by_pod.into_values().filter(|(_, telemetries)| telemetries.len() > 1).collect();
    conflicts.sort_by_key(|(pod, _)| (&pod.meta.namespace, &pod.meta.name));
    let mut told = BTreeSet::new();
    for (pod, telemetries) in conflicts {
        let names = names(&telemetries);
        for document in telemetries.into_iter().filter(|document| told.insert((&document.meta.namespace, &document.meta.name))) {
            let message =
                format!("the Telemetries {} select the same pod {}: which of them counts is not told", listed(&names), pod.meta.name);
            report.say(CONFLICTING_TELEMETRIES, document, path(SELECTOR), message);
        }
    }
}

fn without_selector(all: &[&Document], report: &mut Report) {
    let mut by_namespace: BTreeMap<&str, Vec<&Document>> = BTreeMap::new();
    for document in all.iter().filter(|document| at(document.node(), "spec.selector").is_none()) {
        by_namespace.entry(&document.meta.namespace).or_default().push(document);
    }
    for (namespace, documents) in by_namespace.into_iter().filter(|(_, documents)| documents.len() > 1) {
        let names = names(&documents);
        for document in documents {
            let message =
                format!("the Telemetries {} are all for the whole namespace {namespace}: which of them counts is not told", listed(&names));
            let help = "keep one of them without a `selector`".to_owned();
            report.say_help(TELEMETRIES_WITHOUT_SELECTOR, document, FieldPath::default().key("spec"), message, help);
        }
    }
}

fn without_provider(document: &Document, report: &mut Report) {
    for (number, logging) in items(document.node(), "spec.accessLogging") {
        let is_disabled = is_true(logging, "disabled") || is_true(logging, "disabled.value");
        if !is_disabled && items(logging, "providers").next().is_none() {
            let message = "it names no provider, and the mesh has no default one: nothing is logged for it";
            let help = "name one under `providers`, or set `defaultProviders.accessLogging` of the mesh's configuration".to_owned();
            return report.say_help(TELEMETRY_WITHOUT_PROVIDER, document, path("spec.accessLogging").index(number), message, help);
        }
    }
}

/// The providers of the mesh that are of Lightstep.
fn lightstep<'i>(input: &'i Input<'_>) -> impl Iterator<Item = &'i str> {
    let providers = input.written["extensionProviders"].as_array().into_iter().flatten();
    providers.filter(|provider| provider["lightstep"].is_object()).filter_map(|provider| provider["name"].as_str())
}

fn deprecated(document: &Document, of_lightstep: &BTreeSet<&str>, report: &mut Report) {
    for (i, tracing) in items(document.node(), "spec.tracing") {
        for (j, provider) in items(tracing, "providers").filter(|(_, provider)| provider.value != Value::Null) {
            let name = text(provider, "name");
            if of_lightstep.contains(name) {
                let at = path("spec.tracing").index(i).key("providers").index(j).key("name");
                let message = format!("the provider {name} is of the deprecated kind `lightstep`");
                report.say_help(DEPRECATED, document, at, message, "use one of the kind `opentelemetry`".to_owned());
            }
        }
    }
}

fn names<'d>(documents: &[&'d Document]) -> Vec<&'d str> {
    let mut names: Vec<&str> = documents.iter().map(|document| document.meta.name.as_str()).collect();
    names.sort_unstable();
    names
}
