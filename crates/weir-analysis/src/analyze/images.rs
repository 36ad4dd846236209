//! Which variant of the proxy's image a pod asks for: by the mesh's configuration, by ProxyConfig resources, by its own annotation; the
//! last that says so counts.

use std::collections::HashMap;

use weir_api::resources::meta::Labels;
use weir_api::syntax::yaml;
use weir_api::{Document, Node, Source};

use super::Input;
use super::index::Index;
use super::selection::selects;
use super::tree::{at, labels, text};

const IMAGE_TYPE: &str = "image.imageType";
/// The variant that has no name of its own in the image.
const DEFAULT: &str = "default";

/// What says which variant pods ask for.
pub(super) struct ImageTypes<'i> {
    of_mesh: &'i str,
    of_namespaces: HashMap<&'i str, &'i str>,
    of_workloads: HashMap<&'i str, Vec<(Labels, &'i str)>>,
}

impl<'i> ImageTypes<'i> {
    /// Reads the mesh's configuration and the ProxyConfigs.
    pub(super) fn new(index: &Index<'i>, input: &Input<'i>) -> Self {
        let of_mesh = input.written["defaultConfig"]["image"]["imageType"].as_str().unwrap_or_default();
        let mut types = Self { of_mesh, of_namespaces: HashMap::new(), of_workloads: HashMap::new() };
        for document in index.of("networking.istio.io", "ProxyConfig") {
            types.add(document, &input.mesh.root_namespace);
        }
        types
    }

    fn add(&mut self, document: &'i Document, root: &str) {
        let Some(spec) = at(document.node(), "spec") else { return };
        let variant = text(spec, IMAGE_TYPE);
        let namespace = document.meta.namespace.as_str();
        if variant.is_empty() {
            return;
        }
        if namespace == root {
            self.of_mesh = variant;
        } else if at(spec, "selector").is_none() {
            self.of_namespaces.insert(namespace, variant);
        } else {
            self.of_workloads.entry(namespace).or_default().push((labels(spec, "selector.matchLabels"), variant));
        }
    }

    /// The variant that a pod asks for; empty for the one without a name.
    pub(super) fn of(&self, pod: &Document) -> String {
        let meta = &pod.meta;
        let namespace = meta.namespace.as_str();
        let mut of_workloads = self.of_workloads.get(namespace).into_iter().flatten();
        let of_workload = of_workloads.rfind(|(selector, _)| selects(selector, &meta.labels));
        let inherited =
            of_workload.map(|(_, variant)| *variant).or_else(|| self.of_namespaces.get(namespace).copied()).unwrap_or(self.of_mesh);
        let own = meta.annotations.get("proxy.istio.io/config").and_then(|written| of_annotation(written));
        let variant = own.unwrap_or_else(|| inherited.to_owned());
        if variant == DEFAULT { String::new() } else { variant }
    }
}

fn of_annotation(written: &str) -> Option<String> {
    let documents = yaml::documents(&Source::new("proxy.istio.io/config", written));
    let node: Node = documents.into_iter().next()?.ok()?;
    Some(text(&node, IMAGE_TYPE)).filter(|variant| !variant.is_empty()).map(str::to_owned)
}
