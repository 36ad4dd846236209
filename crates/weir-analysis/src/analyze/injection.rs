//! Injection: namespaces whose labels contradict each other, pods without the sidecar that they should have, sidecars of another image
//! than those that are injected now, and gateways that wait for an image in vain.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value as Json;
use weir_api::resources::kubernetes::ConfigMap;
use weir_api::resources::mesh_config::LabelSelector;
use weir_api::resources::meta::Labels;
use weir_api::{Document, FieldPath, Node};

use super::Input;
use super::codes::{
    IMAGE_AUTO_DEPLOYMENT, IMAGE_AUTO_POD, INJECTED_BY_DEFAULT, INJECTION_LABELS, NAMESPACE_NOT_INJECTED, POD_MISSING_PROXY, PROXY_IMAGE,
};
use super::finding::{Report, listed, path};
use super::images::ImageTypes;
use super::in_mesh::{DATA_PLANE_MODE, INJECT, NAMESPACE_INJECTION, PROXY, REVISION, containers, is, proxy_image};
use super::index::Index;
use super::tree::{at, is_true, items, labels, text};
use super::webhooks::{selector, selects_all};

/// The ConfigMap of the webhook; those of other revisions than the default one have a dash and the revision behind it.
const CONFIG_MAP: &str = "istio-sidecar-injector";
/// The image that is replaced when a pod is injected.
const AUTO: &str = "auto";

/// Looks at namespaces, pods and Deployments.
pub(super) fn check(index: &Index<'_>, input: &Input<'_>, report: &mut Report) {
    let injectors: HashMap<&str, Json> = index.config_maps().filter_map(|(document, map)| injector(document, map)).collect();
    let mut injected = HashSet::new();
    for (document, _) in index.namespaces().filter(|(document, _)| document.meta.name != input.mesh.root_namespace) {
        if check_namespace(document, &injectors, report) {
            injected.insert(document.meta.name.as_str());
        }
    }
    for (document, _) in index.pods().filter(|(document, _)| injected.contains(document.meta.namespace.as_str())) {
        check_pod(document, report);
    }
    check_images(index, input, &injectors, report);
    check_auto(index, report);
}

/// The settings of a webhook.
fn injector<'i>(document: &'i Document, map: &ConfigMap) -> Option<(&'i str, Json)> {
    let name = document.meta.name.as_str();
    let is_one = name.starts_with(CONFIG_MAP);
    is_one.then(|| (name, map.data.get("values").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()))
}

fn injector_name(revision: &str) -> String {
    if matches!(revision, "" | "default") { CONFIG_MAP.to_owned() } else { format!("{CONFIG_MAP}-{revision}") }
}

/// Returns whether pods of a namespace get sidecars by its label.
fn check_namespace(document: &Document, injectors: &HashMap<&str, Json>, report: &mut Report) -> bool {
    let own = &document.meta.labels;
    let name = &document.meta.name;
    let injection = own.get(NAMESPACE_INJECTION).map(String::as_str);
    let at = path("metadata.labels");
    let all = [NAMESPACE_INJECTION, REVISION, DATA_PLANE_MODE];
    let written: Vec<String> = all.iter().filter_map(|label| Some(format!("{label}={}", own.get(*label)?))).collect();
    if written.len() > 1 && injection.is_none_or(|value| value == "enabled") {
        let message = format!("it has several labels that say how its pods join the mesh: {}", written.join(", "));
        report.say_help(INJECTION_LABELS, document, at.clone(), message, "keep one of them".to_owned());
    }
    if is(own, DATA_PLANE_MODE, "ambient") {
        return false;
    }
    let revision = own.get(REVISION).map(String::as_str);
    if injection.unwrap_or_default().is_empty() && revision.is_none() {
        let by_default = injectors.get(injector_name("").as_str());
        if by_default.is_some_and(|values| values["sidecarInjectorWebhook"]["enableNamespacesByDefault"] == true) {
            let message = "its pods get sidecars, since the webhook injects in every namespace without a label";
            report.say(INJECTED_BY_DEFAULT, document, path("metadata.name"), message);
        } else {
            let help = format!("`kubectl label namespace {name} {NAMESPACE_INJECTION}=enabled`, or `=disabled` to say that this is meant");
            report.say_help(NAMESPACE_NOT_INJECTED, document, path("metadata.name"), "its pods get no sidecars", help);
        }
        return false;
    }
    injection == Some("enabled")
}

fn check_pod(document: &Document, report: &mut Report) {
    let meta = &document.meta;
    let asked = meta.labels.get(INJECT).or_else(|| meta.annotations.get(INJECT));
    let Some(spec) = at(document.node(), "spec") else { return };
    let refuses = asked.is_some_and(|value| value.eq_ignore_ascii_case("false"));
    if !refuses && !is_true(spec, "hostNetwork") && proxy_image(spec).is_empty() {
        let message = "it has no sidecar, though its namespace is injected: it was made before, or without the webhook";
        report.say_help(POD_MISSING_PROXY, document, path("metadata.name"), message, "start its workload anew".to_owned());
    }
}

/// One finding for each namespace whose sidecars are of another image than those that are injected now.
fn check_images(index: &Index<'_>, input: &Input<'_>, injectors: &HashMap<&str, Json>, report: &mut Report) {
    if injectors.is_empty() {
        return;
    }
    let types = ImageTypes::new(index, input);
    let mut other: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (document, _) in index.pods() {
        let namespace = document.meta.namespace.as_str();
        let Some(of_namespace) = index.namespace_labels(namespace) else { continue };
        let revision = of_namespace.get(REVISION).map(String::as_str);
        let revision = revision.or_else(|| is(of_namespace, NAMESPACE_INJECTION, "enabled").then_some("default"));
        let Some(image) = revision.and_then(|revision| injectors.get(injector_name(revision).as_str())).map(injected_image) else {
            continue;
        };
        let is_own = document.meta.annotations.get("sidecar.istio.io/proxyImage").is_some_and(|image| !image.is_empty());
        let Some(spec) = at(document.node(), "spec").filter(|_| !is_own) else { continue };
        let of_type = format!("{image}-{}", types.of(document));
        let is_other = |container: &Node| {
            text(container, "name") == PROXY && ![&image, &of_type].iter().any(|image| text(container, "image") == **image)
        };
        if containers(spec).any(is_other) {
            other.entry(namespace).or_default().push(&document.meta.name);
        }
    }
    for (namespace, mut pods) in other {
        pods.sort_unstable();
        let Some(document) = index.find("", "Namespace", "", namespace) else { continue };
        let message = format!("sidecars of its pods are of another image than is injected now: {}", listed(&pods));
        report.say_help(PROXY_IMAGE, document, path("metadata.name"), message, "start their workloads anew".to_owned());
    }
}

/// The image that a webhook injects.
fn injected_image(values: &Json) -> String {
    let global = &values["global"];
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let image = text(&global["proxy"]["image"]);
    if image.contains('/') { image } else { format!("{}/{image}:{}", text(&global["hub"]), text(&global["tag"])) }
}

fn check_auto(index: &Index<'_>, report: &mut Report) {
    let message = "its image `auto` is replaced only when the pod is injected, and no webhook selects it";
    let help = || "label the pod, or its namespace, for injection".to_owned();
    let has_auto = |spec: &Node| {
        let mut all = items(spec, "containers");
        all.find(|(_, container)| text(container, "name") == PROXY && text(container, "image") == AUTO).map(|(number, _)| number)
    };
    for (document, _) in index.pods() {
        if let Some(number) = at(document.node(), "spec").and_then(has_auto) {
            let message = "its image is still `auto`: it was not injected when it was made";
            report.say_help(IMAGE_AUTO_POD, document, image(&path("spec"), number), message, help());
        }
    }
    let webhooks = index.of("admissionregistration.k8s.io", "MutatingWebhookConfiguration").iter();
    let hooks = webhooks.flat_map(|document| items(document.node(), "webhooks"));
    let of_istio = hooks.filter(|(_, hook)| text(hook, "name").ends_with("istio.io"));
    let selectors: Vec<(Option<LabelSelector>, Option<LabelSelector>)> =
        of_istio.map(|(_, hook)| (selector(hook, "namespaceSelector"), selector(hook, "objectSelector"))).collect();
    let none = Labels::new();
    for document in index.of("apps", "Deployment") {
        let node = document.node();
        let Some(number) = at(node, "spec.template.spec").and_then(has_auto) else { continue };
        let own = labels(node, "spec.template.metadata.labels");
        let of_namespace = index.namespace_labels(&document.meta.namespace).unwrap_or(&none);
        if !selectors.iter().any(|(namespace, object)| selects_all(namespace, of_namespace) && selects_all(object, &own)) {
            report.say_help(IMAGE_AUTO_DEPLOYMENT, document, image(&path("spec.template.spec"), number), message, help());
        }
    }
}

fn image(spec: &FieldPath, container: usize) -> FieldPath {
    spec.key("containers").index(container).key("image")
}
