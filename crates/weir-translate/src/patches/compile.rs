//! From an EnvoyFilter as it is written to patches that can be applied. What can be told without a mesh is told here.

use std::sync::Arc;

use weir_api::resources::EnvoyFilter;
use weir_api::resources::envoy_filter::{ApplyTo, EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, PatchContext, PatchOperation};
use weir_api::validate::takes_version;
use weir_api::{Diagnostic, FieldPath, Object, Segment, Severity, Spec};
use weir_model::Origin;
use weir_xds::cluster::Cluster;
use weir_xds::core::TypedExtensionConfig;
use weir_xds::hcm::HttpFilter;
use weir_xds::listener::{Filter, FilterChain, Listener, ListenerFilter};
use weir_xds::route::{Route, RouteConfiguration, VirtualHost};
use weir_xds::written::{Step, read};
use weir_xds::{Any, Name};

use super::compiled::Compiled;
use super::work::{INTERCEPTION_MODE, NAMESPACE, Patch};
use super::{matching, old_names, plain};

/// The version of Istio whose proxies get what ours get.
const VERSION: &str = "1.31.0";

/// Reads an EnvoyFilter.
pub(super) fn compile(object: &Arc<Object>) -> Compiled {
    let mut compiler = Compiler { object, findings: vec![] };
    let patches = match &object.spec {
        Spec::EnvoyFilter(filter) => compiler.filter(filter),
        _ => vec![],
    };
    Compiled { patches, findings: compiler.findings }
}

struct Compiler<'o> {
    object: &'o Arc<Object>,
    findings: Vec<Diagnostic>,
}

impl Compiler<'_> {
    fn tell(&mut self, severity: Severity, path: FieldPath, message: impl Into<String>) {
        self.findings.push(self.object.diagnostic(severity, path, message.into()));
    }

    fn warn(&mut self, path: FieldPath, message: impl Into<String>) {
        self.tell(Severity::Warning, path, message);
    }

    fn filter(&mut self, filter: &EnvoyFilter) -> Vec<Arc<Patch>> {
        let spec = FieldPath::default().key("spec");
        for (index, target) in filter.target_refs.iter().enumerate() {
            if !matches!(target.kind.as_str(), "Gateway" | "GatewayClass") {
                let message = format!("it is attached to no proxy: only a waypoint stands for a {}, and there are none", target.kind);
                self.warn(spec.key("targetRefs").index(index), message);
            }
        }
        let names_workloads = filter.workload_selector.is_some() || !filter.target_refs.is_empty();
        let patches = filter.config_patches.iter().enumerate();
        let read = patches.filter_map(|(index, written)| {
            let patch = self.patch(written, &spec.key("configPatches").index(index))?;
            Some(Arc::new(Patch { names_workloads, ..patch }))
        });
        read.collect()
    }

    fn patch(&mut self, written: &EnvoyConfigObjectPatch, path: &FieldPath) -> Option<Patch> {
        // Without these it was refused.
        let (apply_to, change) = (written.apply_to, written.patch.as_ref()?);
        let Some(type_name) = type_of(apply_to) else {
            if apply_to == ApplyTo::Bootstrap {
                self.warn(path.key("applyTo"), "not carried out yet: proxies start with a bootstrap of their own");
            }
            return None;
        };
        let matched = written.r#match.clone().unwrap_or_default();
        if !self.may_match(&matched, path) {
            return None;
        }
        let at = path.key("patch");
        let Some(operation) = effective(apply_to, change.operation) else {
            let message = format!("it does nothing with `applyTo: {}`", apply_to.name());
            self.warn(at.key("operation"), message);
            return None;
        };
        if let Some(needed) = missing_anchor(apply_to, operation, &matched) {
            self.warn(path.clone(), format!("it does nothing: the match says no `{needed}`"));
            return None;
        }
        let value = match operation {
            PatchOperation::Remove => None,
            _ => Some(self.value(type_name, change.value.as_ref()?, operation, &at.key("value"))?),
        };
        for (place, old, new) in old_names::of(&matched) {
            let message = format!("`{old}` is an old name: what is meant is called `{new}` here, and nothing is found");
            self.warn(join(&path.key("match"), &place), message);
        }
        for (field, plain) in value.iter().flat_map(|value| plain::fields(apply_to, operation, value)) {
            let message = format!("{plain} says this without an EnvoyFilter");
            self.tell(Severity::Info, at.key("value").key(field), message);
        }
        let sets_socket = apply_to == ApplyTo::Cluster
            && value.as_ref().and_then(|value| value.unpack::<Cluster>().ok()).is_some_and(|value| value.transport_socket.is_some());
        let origin = Origin::new(self.object, path.clone());
        Some(Patch { apply_to, operation, context: matched.context, matched, value, origin, names_workloads: false, sets_socket })
    }

    /// Whether any proxy can be meant.
    fn may_match(&mut self, matched: &EnvoyConfigObjectMatch, path: &FieldPath) -> bool {
        let at = path.key("match");
        if matched.context == PatchContext::Waypoint {
            self.warn(at.key("context"), "it does nothing: there are no waypoints");
            return false;
        }
        let Some(proxy) = &matched.proxy else { return true };
        for (name, value) in &proxy.metadata {
            let of_all = match name.as_str() {
                NAMESPACE | INTERCEPTION_MODE => continue,
                "ISTIO_VERSION" => Some(VERSION),
                _ => None,
            };
            if of_all != Some(value.as_str()) {
                let message = match of_all {
                    Some(of_all) => format!("it does nothing: proxies here say `{of_all}`"),
                    None => format!("it does nothing: of proxies `{NAMESPACE}`, `{INTERCEPTION_MODE}` and `ISTIO_VERSION` are looked at"),
                };
                self.warn(at.key("proxy").key("metadata").key(name.clone()), message);
                return false;
            }
        }
        if !takes_version(proxy, VERSION) {
            let message = format!("it does nothing: proxies here are of version {VERSION}");
            self.warn(at.key("proxy").key("proxyVersion"), message);
            return false;
        }
        true
    }

    /// The value as a message; none if it is refused.
    fn value(&mut self, type_name: String, written: &serde_json::Value, operation: PatchOperation, at: &FieldPath) -> Option<Any> {
        let made = match read(&type_name, written) {
            Ok(made) => made,
            Err(error) => {
                self.tell(Severity::Error, at.clone(), format!("the patch is refused: {error}"));
                return None;
            }
        };
        for problem in &made.problems {
            match problem.is_error {
                true => self.tell(Severity::Error, below(at, &problem.path), format!("the patch is refused: {}", problem.message)),
                false => self.warn(below(at, &problem.path), problem.message.clone()),
            }
        }
        if matches!(operation, PatchOperation::Merge | PatchOperation::MergeAndReplaceList) {
            for zero in &made.zeros {
                self.warn(below(at, zero), "a merge does not undo what is set: where it is, it stays as it is");
            }
        } else if needs_name(&type_name) && written.get("name").and_then(serde_json::Value::as_str).is_none_or(str::is_empty) {
            self.tell(Severity::Error, at.clone(), "the patch is refused: the name is missing");
            return None;
        }
        made.is_message().then_some(made.message)
    }
}

fn join(path: &FieldPath, rest: &FieldPath) -> FieldPath {
    let mut path = path.clone();
    path.0.extend(rest.0.iter().cloned());
    path
}

fn below(path: &FieldPath, steps: &[Step]) -> FieldPath {
    let mut path = path.clone();
    path.0.extend(steps.iter().map(|step| match step {
        Step::Key(key) => Segment::Key(key.clone().into()),
        Step::Index(index) => Segment::Index(*index),
    }));
    path
}

/// The type of the objects that are changed.
fn type_of(apply_to: ApplyTo) -> Option<String> {
    Some(match apply_to {
        ApplyTo::Listener => Listener::full_name(),
        ApplyTo::FilterChain => FilterChain::full_name(),
        ApplyTo::NetworkFilter => Filter::full_name(),
        ApplyTo::HttpFilter => HttpFilter::full_name(),
        ApplyTo::ListenerFilter => ListenerFilter::full_name(),
        ApplyTo::RouteConfiguration => RouteConfiguration::full_name(),
        ApplyTo::VirtualHost => VirtualHost::full_name(),
        ApplyTo::HttpRoute => Route::full_name(),
        ApplyTo::Cluster => Cluster::full_name(),
        ApplyTo::ExtensionConfig => TypedExtensionConfig::full_name(),
        ApplyTo::Bootstrap | ApplyTo::Invalid => return None,
    })
}

/// Whether what is added must have a name: it is found by it.
fn needs_name(type_name: &str) -> bool {
    type_name != Route::full_name() && type_name != FilterChain::full_name()
}

/// What an operation comes to; none if it does nothing to such objects.
fn effective(apply_to: ApplyTo, operation: PatchOperation) -> Option<PatchOperation> {
    use ApplyTo::{Cluster, ExtensionConfig, FilterChain, HttpFilter, HttpRoute, Listener, ListenerFilter};
    use ApplyTo::{NetworkFilter, RouteConfiguration, VirtualHost};
    use PatchOperation::{Add, InsertAfter, InsertBefore, InsertFirst, Merge, MergeAndReplaceList, Remove, Replace};
    let is_ordered = matches!(apply_to, NetworkFilter | HttpFilter | ListenerFilter | HttpRoute);
    let operation = match operation {
        // What has no order is added wherever it is asked to be.
        InsertFirst | InsertBefore | InsertAfter if !is_ordered => Add,
        other => other,
    };
    let does = match (apply_to, operation) {
        (_, PatchOperation::Invalid) | (ApplyTo::Invalid | ApplyTo::Bootstrap, _) => false,
        (ExtensionConfig, operation) => operation == Add,
        (RouteConfiguration, operation) => matches!(operation, Merge | MergeAndReplaceList),
        (_, Replace) => matches!(apply_to, NetworkFilter | HttpFilter | ListenerFilter | VirtualHost),
        (_, MergeAndReplaceList) => !matches!(apply_to, NetworkFilter | HttpFilter | ListenerFilter),
        (Listener | FilterChain | NetworkFilter | HttpFilter | ListenerFilter | VirtualHost | HttpRoute | Cluster, operation) => {
            matches!(operation, Add | InsertFirst | InsertBefore | InsertAfter | Merge | Remove)
        }
    };
    does.then_some(operation)
}

/// What a match must say for an operation to do anything.
fn missing_anchor(apply_to: ApplyTo, operation: PatchOperation, matched: &EnvoyConfigObjectMatch) -> Option<&'static str> {
    use PatchOperation::{Merge, Remove, Replace};
    let (needed, has_it, needing) = match apply_to {
        ApplyTo::NetworkFilter => ("filter", matching::network_filter(matched).is_some(), matches!(operation, Remove | Replace)),
        ApplyTo::HttpFilter => ("subFilter", matching::http_filter(matched).is_some(), matches!(operation, Merge | Remove | Replace)),
        ApplyTo::ListenerFilter => ("listenerFilter", matching::listener_filter(matched).is_some(), matches!(operation, Remove | Replace)),
        _ => return None,
    };
    (needing && !has_it).then_some(needed)
}
