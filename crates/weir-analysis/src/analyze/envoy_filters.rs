//! EnvoyFilters: operations that are ignored, or that depend on the order in which filters are applied.

use std::collections::HashSet;

use weir_api::Document;
use weir_api::resources::envoy_filter::{ApplyTo, EnvoyConfigObjectPatch, EnvoyFilter, PatchOperation};

use super::codes::{ADD_OPERATION, Code, RELATIVE_OPERATION, RELATIVE_OPERATION_BY_VERSION, REMOVE_OPERATION, REPLACE_OPERATION};
use super::finding::{Report, path};
use super::index::Index;

/// Looks at all EnvoyFilters, in the order of their names, since what an earlier one patches for a version matters to later ones.
pub(super) fn check(index: &Index<'_>, report: &mut Report) {
    let mut all: Vec<(&Document, &EnvoyFilter)> = index.envoy_filters().collect();
    all.sort_by_key(|(document, _)| (&document.meta.namespace, &document.meta.name));
    let mut of_versions = HashSet::new();
    for (document, filter) in all {
        let mut told = HashSet::new();
        for (number, patch) in filter.config_patches.iter().enumerate() {
            let Some(deed) = &patch.patch else { break };
            let name = patched_name(patch);
            let place = path("spec.configPatches").index(number).key("patch").key("operation");
            let found = check_operation(filter, (patch.apply_to, deed.operation), of_versions.contains(&name));
            if let Some((code, message, help)) = found.filter(|(code, ..)| told.insert(code.id)) {
                report.say_help(code, document, place, message, help.to_owned());
            }
            let proxy = patch.r#match.as_ref().and_then(|found| found.proxy.as_ref());
            if proxy.is_some_and(|proxy| !proxy.proxy_version.is_empty()) {
                of_versions.insert(name);
            }
        }
    }
}

/// The name of the filter that a patch puts in or is about.
fn patched_name(patch: &EnvoyConfigObjectPatch) -> String {
    let Some(value) = patch.patch.as_ref().and_then(|deed| deed.value.as_ref()?.as_object()) else { return String::new() };
    if let Some(name) = value.get("name") {
        return name.to_string();
    }
    let listener = patch.r#match.as_ref().and_then(|found| found.listener.as_ref());
    let filter = listener.and_then(|listener| listener.filter_chain.as_ref()?.filter.as_ref());
    filter.map(|filter| filter.name.clone()).unwrap_or_default()
}

/// What is to be said of an operation. Each thing is told once of an EnvoyFilter, at the first of its patches that it is about.
fn check_operation(
    filter: &EnvoyFilter,
    (apply_to, operation): (ApplyTo, PatchOperation),
    is_patched_by_version: bool,
) -> Option<(&'static Code, String, &'static str)> {
    let is_of_routes = matches!(apply_to, ApplyTo::RouteConfiguration | ApplyTo::HttpRoute);
    let can_replace = matches!(apply_to, ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::VirtualHost);
    let target = apply_to.name();
    let ignored = |code, help| Some((code, format!("the operation is ignored for {target}"), help));
    match operation {
        PatchOperation::Add if is_of_routes => return ignored(ADD_OPERATION, "use INSERT_FIRST or MERGE"),
        PatchOperation::Remove if is_of_routes => return ignored(REMOVE_OPERATION, "use MERGE"),
        PatchOperation::Replace if !can_replace => {
            return ignored(REPLACE_OPERATION, "REPLACE is for HTTP_FILTER, NETWORK_FILTER and VIRTUAL_HOST: use MERGE");
        }
        PatchOperation::Remove | PatchOperation::Replace | PatchOperation::InsertBefore | PatchOperation::InsertAfter => {}
        _ => return None,
    }
    if filter.priority != 0 {
        return None;
    }
    let help = "set `priority`, or use INSERT_FIRST or ADD";
    if is_patched_by_version {
        let message = "it depends on what another patch for one version of proxies puts in: with the next version it may not apply";
        return Some((RELATIVE_OPERATION_BY_VERSION, message.to_owned(), help));
    }
    let message = "it depends on what is there when it is applied, and without a priority that is by chance";
    Some((RELATIVE_OPERATION, message.to_owned(), help))
}
