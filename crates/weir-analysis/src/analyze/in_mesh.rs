//! Whether workloads are of the mesh, as far as documents tell.

use weir_api::resources::meta::Labels;
use weir_api::{Document, Node};

use super::index::Index;
use super::tree::{items, text};

/// The label, and formerly annotation, by which a pod asks for a sidecar or refuses it.
pub(crate) const INJECT: &str = "sidecar.istio.io/inject";
/// The label by which a namespace does.
pub(crate) const NAMESPACE_INJECTION: &str = "istio-injection";
/// The label that names a control plane's revision.
pub(crate) const REVISION: &str = "istio.io/rev";
/// The label by which a namespace is without sidecars, and of the mesh all the same.
pub(crate) const DATA_PLANE_MODE: &str = "istio.io/dataplane-mode";
/// The annotation of a pod that is so.
const REDIRECTION: &str = "ambient.istio.io/redirection";
/// The name of the container that is a sidecar.
pub(crate) const PROXY: &str = "istio-proxy";

/// The containers of a pod, those that run before or beside the others at the end.
pub(crate) fn containers(pod: &Node) -> impl Iterator<Item = &Node> {
    items(pod, "containers").chain(items(pod, "initContainers")).map(|(_, container)| container)
}

/// The image of a pod's sidecar; empty if it has none.
pub(crate) fn proxy_image(pod: &Node) -> &str {
    containers(pod).find(|container| text(container, "name") == PROXY).map(|container| text(container, "image")).unwrap_or_default()
}

/// Whether a pod has a sidecar, or will get one; `pod` is its spec.
pub(crate) fn has_sidecar(index: &Index<'_>, pod: &Node, labels: &Labels, annotations: &Labels, namespace: &str) -> bool {
    if !proxy_image(pod).is_empty() {
        return true;
    }
    let own = labels.get(INJECT).or_else(|| annotations.get(INJECT));
    let of_namespace = || index.namespace_labels(namespace).is_some_and(|labels| is(labels, NAMESPACE_INJECTION, "enabled"));
    own.map_or_else(of_namespace, |value| value == "true")
}

/// Whether a pod is of the mesh without a sidecar.
pub(crate) fn is_ambient(pod: &Document) -> bool {
    is(&pod.meta.annotations, REDIRECTION, "enabled")
}

/// Whether the pods of a namespace are.
pub(crate) fn is_ambient_namespace(labels: &Labels) -> bool {
    let has_sidecars = is(labels, NAMESPACE_INJECTION, "enabled") || labels.get(REVISION).is_some_and(|revision| !revision.is_empty());
    !has_sidecars && is(labels, DATA_PLANE_MODE, "ambient")
}

/// Whether an object is a part of Istio's control plane, or came with it.
pub(crate) fn is_of_control_plane(labels: &Labels) -> bool {
    labels.contains_key("istio") || is(labels, "release", "istio")
}

/// Whether a label has this value.
pub(crate) fn is(labels: &Labels, name: &str, value: &str) -> bool {
    labels.get(name).is_some_and(|found| found == value)
}
