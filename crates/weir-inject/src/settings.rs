//! What injection is told: by the mesh's configuration, and by who runs the control plane.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use weir_api::resources::MeshConfig;
use weir_api::{Diagnostic, Severity, Source};

use crate::configuration::service;
use crate::decision::{DEFAULT, Policy};
use crate::pod::Pod;

/// What runs as the sidecar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataPlane {
    /// `weir proxy`.
    #[default]
    Weir,
    /// A stock Envoy, with `weir agent` beside it.
    Envoy,
}

/// How injection is set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The control plane's revision.
    pub revision: String,
    /// The namespace that it runs in.
    pub own_namespace: String,
    /// Who is injected of those that come.
    pub policy: Policy,
    /// The templates of pods that name none.
    pub default_templates: Vec<String>,
    /// Names that stand for several templates.
    pub aliases: BTreeMap<String, Vec<String>>,
    /// What runs as the sidecar.
    pub data_plane: DataPlane,
    /// The image in which `weir` is the entrypoint.
    pub image: String,
    /// The image of Envoy, for the data plane of that name.
    pub envoy_image: String,
    /// When images are pulled; absent is the cluster's default.
    pub image_pull_policy: Option<String>,
    /// Secrets by which they are pulled.
    pub image_pull_secrets: Vec<String>,
    /// Whether the sidecar is an init container that stays, which Kubernetes has since 1.29, and for good since 1.33.
    pub native_sidecars: bool,
    /// The same of some nodes, by their names: for pods that say on which they run.
    pub native_nodes: Arc<BTreeMap<String, bool>>,
    /// Whether probes of applications are asked through the sidecar.
    pub rewrite_probes: bool,
    /// The cluster's name in the mesh.
    pub cluster: String,
    /// The network that pods are in unless they say otherwise; empty for none.
    pub network: String,
    /// More variables for the proxy, from the webhook's path.
    pub environment: BTreeMap<String, String>,
    /// Annotations that each injected pod gets.
    pub annotations: BTreeMap<String, String>,
    /// The mesh's configuration.
    pub mesh: Mesh,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            revision: DEFAULT.to_owned(),
            own_namespace: "istio-system".to_owned(),
            policy: Policy::default(),
            default_templates: vec!["sidecar".to_owned()],
            aliases: BTreeMap::new(),
            data_plane: DataPlane::default(),
            image: concat!("weir:", env!("CARGO_PKG_VERSION")).to_owned(),
            envoy_image: "docker.io/envoyproxy/envoy:v1.36-latest".to_owned(),
            image_pull_policy: None,
            image_pull_secrets: vec![],
            native_sidecars: false,
            native_nodes: Arc::default(),
            rewrite_probes: true,
            cluster: "Kubernetes".to_owned(),
            network: String::new(),
            environment: BTreeMap::new(),
            annotations: BTreeMap::new(),
            mesh: Mesh::default(),
        }
    }
}

impl Settings {
    /// Whether the sidecar of a pod is native, if it does not say.
    pub(crate) fn is_native(&self, pod: Pod<'_>) -> bool {
        let node = pod.0["spec"]["nodeName"].as_str().and_then(|node| self.native_nodes.get(node));
        node.copied().unwrap_or(self.native_sidecars)
    }

    /// Where proxies reach the control plane unless the mesh's configuration says otherwise: Istio's Service, of the revision.
    pub fn control_plane(&self) -> String {
        format!("{}.{}.svc:15012", service(&self.revision), self.own_namespace)
    }
}

/// The mesh's configuration, and what of `defaultConfig` is written: the proxy gets that, without defaults.
#[derive(Debug, Clone, Default)]
pub struct Mesh {
    /// With defaults.
    pub config: MeshConfig,
    written: Map<String, Value>,
}

impl Mesh {
    /// Reads a MeshConfig, or Istio's ConfigMap. The diagnostics beside it are warnings.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(source: &Arc<Source>) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let (config, written, diagnostics) = MeshConfig::parse_as_written(source);
        if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(diagnostics);
        }
        let written = written["defaultConfig"].as_object().cloned().unwrap_or_default();
        Ok((Self { config, written }, diagnostics))
    }

    /// The same with a ProxyConfig over `defaultConfig`: field by field, and `proxyMetadata` by its names. With the names of the fields that it
    /// says.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn with_proxy_config(&self, text: &str) -> Result<(Self, Vec<String>), String> {
        let problems = |found: &[Diagnostic]| {
            let errors = found.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
            let said = errors.map(|diagnostic| format!("{}: {}", diagnostic.path, diagnostic.message).replace("defaultConfig.", ""));
            said.collect::<Vec<_>>().join("; ")
        };
        let (_, over, found) = MeshConfig::parse_as_written(&Source::new("", format!("defaultConfig:\n{}", indented(text))));
        if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(problems(&found));
        }
        let (mut written, mut said) = (self.written.clone(), vec![]);
        for (name, value) in over["defaultConfig"].as_object().into_iter().flatten() {
            said.push(name.clone());
            match (written.get_mut(name), value) {
                (Some(Value::Object(before)), Value::Object(now)) if name == "proxyMetadata" => before.extend(now.clone()),
                _ => {
                    written.insert(name.clone(), value.clone());
                }
            }
        }
        let whole = serde_json::json!({"defaultConfig": written}).to_string();
        let (merged, _) = Self::parse(&Source::new("", whole)).map_err(|found| problems(&found))?;
        let mut config = self.config.clone();
        config.default_config = merged.config.default_config;
        Ok((Self { config, written }, said))
    }

    /// What of the proxy's configuration is written, as the proxy gets it.
    pub fn proxy_config(&self) -> Value {
        Value::Object(self.written.clone())
    }

    /// A field of it, if it is written.
    pub fn written(&self, field: &str) -> Option<&Value> {
        self.written.get(field)
    }

    /// A variable of the proxy's.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.config.default_config.proxy_metadata.get(name).map(String::as_str)
    }
}

/// A text one level deeper, so that it can stand in a field.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
