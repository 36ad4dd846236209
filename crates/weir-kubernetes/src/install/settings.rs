//! How a control plane is to be installed. The same names, spelled alike, are the values of the Helm chart `charts/weir`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_api::resources::MeshConfig;
use weir_api::{Severity, Source};
use weir_inject::configuration::service;
use weir_inject::decision::DEFAULT;

/// No name of an object that another object's host name is made of may be longer.
const LONGEST_NAME: usize = 63;

/// What is installed, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InstallSettings {
    /// The namespace of the control plane. Helm has it from its command line.
    #[serde(skip)]
    pub namespace: String,
    /// The revision: several stand side by side.
    pub revision: String,
    /// The tags that mean this revision from now on, whichever they meant before.
    pub tags: Vec<String>,
    /// The image in which `weir` is the entrypoint.
    pub image: String,
    /// What runs as the sidecar: `weir`, or `envoy` for a stock Envoy.
    pub data_plane: String,
    /// The image of Envoy, for the data plane of that name; empty is the usual one.
    pub envoy_image: String,
    /// When the control plane's image is pulled; empty is the cluster's default.
    pub image_pull_policy: String,
    /// The names of the Secrets by which it is pulled.
    pub image_pull_secrets: Vec<String>,
    /// How many pods there are, if their number does not follow the load.
    pub replicas: u32,
    /// How their number follows the load.
    pub autoscale: Autoscale,
    /// What each of them asks for, and may take.
    pub resources: Resources,
    /// The labels of the nodes that it may run on.
    pub node_selector: BTreeMap<String, String>,
    /// The taints that it tolerates.
    pub tolerations: Vec<Value>,
    /// Its priority class; empty is the cluster's default.
    pub priority_class: String,
    /// Whether the mesh's configuration is told in plain text at port 15010 to whoever can reach it. Certificates never are.
    pub plaintext_xds: bool,
    /// Whether pods of namespaces without any label are injected, by the default revision.
    pub every_namespace: bool,
    /// What is logged: a level, or a filter.
    pub log: String,
    /// The mesh's configuration, over the little that installing says of it.
    pub mesh_config: Map<String, Value>,
}

/// How the number of pods follows the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Autoscale {
    /// Whether it does.
    pub enabled: bool,
    /// The fewest.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// The percentage of the processors asked for that each is to use.
    pub cpu: u32,
}

/// Quantities by their names, as Kubernetes writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// What is set aside.
    pub requests: BTreeMap<String, String>,
    /// What may be taken.
    pub limits: BTreeMap<String, String>,
}

impl Default for InstallSettings {
    fn default() -> Self {
        Self {
            namespace: "istio-system".to_owned(),
            revision: DEFAULT.to_owned(),
            tags: vec![],
            image: concat!("weir:", env!("CARGO_PKG_VERSION")).to_owned(),
            data_plane: "weir".to_owned(),
            envoy_image: String::new(),
            image_pull_policy: String::new(),
            image_pull_secrets: vec![],
            replicas: 2,
            autoscale: Autoscale::default(),
            resources: Resources::default(),
            node_selector: BTreeMap::new(),
            tolerations: vec![],
            priority_class: String::new(),
            plaintext_xds: false,
            every_namespace: false,
            log: "info".to_owned(),
            mesh_config: Map::new(),
        }
    }
}

impl Default for Autoscale {
    fn default() -> Self {
        Self { enabled: true, min: 2, max: 5, cpu: 80 }
    }
}

impl Default for Resources {
    fn default() -> Self {
        let all = |all: &[(&str, &str)]| all.iter().map(|(name, quantity)| ((*name).to_owned(), (*quantity).to_owned())).collect();
        Self { requests: all(&[("cpu", "100m"), ("memory", "256Mi")]), limits: all(&[("memory", "2Gi")]) }
    }
}

impl InstallSettings {
    /// The settings of a file of values, as Helm reads it: they lie over the usual ones, objects by their fields, and `null` takes one away.
    ///
    /// # Errors
    /// If there is no such setting, or a value is of another type.
    pub fn of_values(values: &Value) -> Result<Self, serde_json::Error> {
        let mut all = serde_json::to_value(Self::default())?;
        // An empty file says nothing.
        if !values.is_null() {
            merge(&mut all, values);
        }
        serde_json::from_value(all)
    }

    /// What cannot be installed, and why; nothing if all of it can be.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = vec![];
        let mut names = vec![("the namespace", &self.namespace), ("the revision", &self.revision)];
        names.extend(self.tags.iter().map(|tag| ("the tag", tag)));
        for (what, name) in names {
            if !is_label(name) {
                problems.push(format!("{what} {name:?} is no name: it takes lower-case letters, digits and -, as in canary-2"));
            }
        }
        let longest = self.service();
        if longest.len() > LONGEST_NAME {
            problems.push(format!("the revision is too long: no Service may be called {longest}, which is over {LONGEST_NAME} characters"));
        }
        if self.image.is_empty() || self.image.contains(char::is_whitespace) {
            problems.push(format!("the image {:?} is no image, as registry.example/weir:1.0 is", self.image));
        }
        if !["weir", "envoy"].contains(&self.data_plane.as_str()) {
            problems.push(format!("dataPlane {:?} is neither weir nor envoy", self.data_plane));
        }
        if self.envoy_image.contains(char::is_whitespace) {
            problems.push(format!("envoyImage {:?} is no image", self.envoy_image));
        }
        if !["", "Always", "IfNotPresent", "Never"].contains(&self.image_pull_policy.as_str()) {
            problems.push(format!("imagePullPolicy {:?} is none of Always, IfNotPresent, Never", self.image_pull_policy));
        }
        problems.extend(self.problems_of_numbers());
        problems.extend(self.problems_of_mesh());
        problems
    }

    fn problems_of_numbers(&self) -> Vec<String> {
        let Autoscale { enabled, min, max, cpu } = self.autoscale;
        let mut problems = vec![];
        if self.replicas == 0 {
            problems.push("replicas is 0: nobody would serve the mesh".to_owned());
        }
        if enabled && !(1..=max).contains(&min) {
            problems.push(format!("autoscale asks for {min} to {max} pods: min must be at least 1, and max at least min"));
        }
        if enabled && cpu == 0 {
            problems.push("autoscale.cpu is 0: it is the percentage of a processor that each pod is to use, such as 80".to_owned());
        }
        if enabled && !self.resources.requests.contains_key("cpu") {
            problems.push("autoscale.cpu is a part of resources.requests.cpu, which is not given".to_owned());
        }
        problems
    }

    fn problems_of_mesh(&self) -> Vec<String> {
        let (_, found) = MeshConfig::parse(&Source::new("meshConfig", self.mesh().to_string()));
        let errors = found.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        errors.map(|diagnostic| format!("meshConfig.{}: {}", diagnostic.path, diagnostic.message)).collect()
    }

    /// The mesh's configuration as it is installed.
    pub(super) fn mesh(&self) -> Value {
        let mut mesh = serde_json::json!({
            "defaultConfig": {"discoveryAddress": format!("{}.{}.svc:15012", self.service(), self.namespace)},
            "rootNamespace": self.namespace,
            "trustDomain": "cluster.local",
        });
        merge(&mut mesh, &Value::Object(self.mesh_config.clone()));
        mesh
    }

    /// The name of the control plane's Service, and of what goes with it.
    pub fn service(&self) -> String {
        service(&self.revision)
    }

    /// What the names of a revision's objects end in.
    pub(super) fn suffix(&self) -> String {
        if self.revision == DEFAULT { String::new() } else { format!("-{}", self.revision) }
    }
}

/// What lies above wins: objects by their fields, of which `null` takes one away, everything else whole.
fn merge(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                match value {
                    Value::Null => drop(below.shift_remove(name)),
                    value => merge(below.entry(name).or_insert(Value::Null), value),
                }
            }
        }
        (below, above) => below.clone_from(above),
    }
}

/// Whether a text is a label of RFC 1123, of which the names of Services and namespaces are.
fn is_label(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(values: Value) -> InstallSettings {
        InstallSettings::of_values(&values).unwrap()
    }

    #[test]
    fn values_lie_over_the_usual_ones() {
        assert_eq!(settings(json!(null)), InstallSettings::default());
        let resources = |values: Value| serde_json::to_value(settings(json!({"resources": values})).resources).unwrap();
        let requests = json!({"cpu": "100m", "memory": "256Mi"});
        let limits = |limits: Value| json!({"requests": requests, "limits": limits});
        assert_eq!(resources(json!({"limits": {"cpu": "2"}})), limits(json!({"memory": "2Gi", "cpu": "2"})));
        assert_eq!(resources(json!({"limits": {"memory": null}})), limits(json!({})));
        assert!(InstallSettings::of_values(&json!("canary")).is_err());
    }

    #[test]
    fn what_cannot_be_installed_is_said() {
        assert_eq!(InstallSettings::default().problems(), Vec::<String>::new());
        for (values, wanted) in [
            (json!({"revision": "Canary"}), "the revision \"Canary\" is no name"),
            (json!({"revision": ""}), "the revision \"\" is no name"),
            (json!({"revision": "a".repeat(60)}), "is over 63 characters"),
            (json!({"tags": ["prod", "-"]}), "the tag \"-\" is no name"),
            (json!({"image": ""}), "the image \"\" is no image"),
            (json!({"dataPlane": "Envoy"}), "is neither weir nor envoy"),
            (json!({"envoyImage": "a b"}), "is no image"),
            (json!({"imagePullPolicy": "always"}), "is none of Always"),
            (json!({"replicas": 0}), "replicas is 0"),
            (json!({"autoscale": {"min": 6}}), "asks for 6 to 5 pods"),
            (json!({"autoscale": {"cpu": 0}}), "autoscale.cpu is 0"),
            (json!({"resources": {"requests": {"cpu": null}}}), "resources.requests.cpu, which is not given"),
            (json!({"meshConfig": {"accessLogEncoding": "XML"}}), "meshConfig.accessLogEncoding"),
        ] {
            let problems = settings(values.clone()).problems();
            assert!(problems.len() == 1 && problems[0].contains(wanted), "{values}: {problems:?}");
        }
        let unknown = InstallSettings::of_values(&json!({"replica": 1})).unwrap_err().to_string();
        assert!(unknown.contains("`replica`"), "{unknown}");
    }

    #[test]
    fn the_meshs_configuration_lies_over_ours() {
        let mesh = settings(json!({"revision": "canary", "meshConfig": {
            "trustDomain": "example.org", "defaultConfig": {"concurrency": 2}, "accessLogFile": "/dev/stdout"
        }}));
        let wanted = json!({
            "accessLogFile": "/dev/stdout",
            "defaultConfig": {"concurrency": 2, "discoveryAddress": "istiod-canary.istio-system.svc:15012"},
            "rootNamespace": "istio-system",
            "trustDomain": "example.org",
        });
        assert_eq!(mesh.mesh(), wanted);
    }
}
