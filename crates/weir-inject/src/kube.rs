//! The parts of a pod that are injected, as Kubernetes' API has them. Only what is used is here.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

/// A container.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its name in the pod.
    pub name: &'static str,
    /// The image.
    pub image: String,
    /// When the image is pulled; absent is the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// What runs; none is the image's entrypoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// `Always` makes an init container a native sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<&'static str>,
    /// What it says of its ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Its environment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<Variable>,
    /// What it gets of the machine.
    pub resources: Resources,
    /// What runs when it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Until it succeeds, the next native sidecar or container does not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Probe>,
    /// Whether the pod is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// Who it runs as.
    pub security_context: SecurityContext,
    /// The volumes that it sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<Mount>,
}

/// A port that a container listens on.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Its number.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: &'static str,
    /// Its name.
    pub name: &'static str,
}

/// A variable of the environment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Its name.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_from: Option<Value>,
}

impl Variable {
    /// One with this value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(value.into()), value_from: None }
    }

    /// One that the kubelet reads from a field of the pod.
    pub fn of_field(name: &str, path: &str) -> Self {
        Self::from(name, json!({"fieldRef": {"fieldPath": path}}))
    }

    /// One that is a limit of the container, in whole units: processors, or bytes. Without a limit it is what the machine has.
    pub fn of_limit(name: &str, resource: &str) -> Self {
        Self::from(name, json!({"resourceFieldRef": {"resource": resource, "divisor": "1"}}))
    }

    fn from(name: &str, source: Value) -> Self {
        Self { name: name.to_owned(), value: None, value_from: Some(source) }
    }
}

/// What a container gets of the machine: at least, and at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// What the scheduler keeps for it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<&'static str, String>,
    /// What it never exceeds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<&'static str, String>,
}

/// What the kubelet runs in a container.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// After its start; the next container starts when it has ended.
    pub post_start: Handler,
}

/// A command in the container.
#[derive(Debug, Clone, Serialize)]
pub struct Handler {
    /// What to run.
    pub exec: Exec,
}

/// A command.
#[derive(Debug, Clone, Serialize)]
pub struct Exec {
    /// The program and its arguments.
    pub command: Vec<&'static str>,
}

/// A question that the kubelet asks by HTTP.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Where.
    pub http_get: HttpGet,
    /// Seconds before the first.
    pub initial_delay_seconds: u32,
    /// Seconds between two.
    pub period_seconds: u32,
    /// Seconds that an answer may take.
    pub timeout_seconds: u32,
    /// So many failures in a row count.
    pub failure_threshold: u32,
}

/// A place to ask.
#[derive(Debug, Clone, Serialize)]
pub struct HttpGet {
    /// The path.
    pub path: &'static str,
    /// The port of the pod.
    pub port: u16,
}

/// Who a container runs as, and what it may do.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    /// Whether a process may get more rights than its parent.
    pub allow_privilege_escalation: bool,
    /// Rights of root.
    pub capabilities: Capabilities,
    /// All of them.
    pub privileged: bool,
    /// Whether nothing of the image can be changed.
    pub read_only_root_filesystem: bool,
    /// The group.
    pub run_as_group: i64,
    /// Whether the kubelet refuses to start it as root.
    pub run_as_non_root: bool,
    /// The user.
    pub run_as_user: i64,
}

/// Rights of root that are given, and taken away.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Capabilities {
    /// Given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<&'static str>,
    /// Taken away.
    pub drop: Vec<&'static str>,
}

/// Where a container sees a volume.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// The volume.
    pub name: String,
    /// The folder.
    pub mount_path: String,
}

/// A volume of the pod.
#[derive(Debug, Clone, Serialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// What is in it.
    #[serde(flatten)]
    pub source: Source,
}

/// What is in a volume.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Nothing at first.
    EmptyDir {
        /// `Memory` keeps it off the disk.
        #[serde(skip_serializing_if = "Option::is_none")]
        medium: Option<&'static str>,
    },
    /// A ConfigMap's keys.
    ConfigMap {
        /// The ConfigMap.
        name: &'static str,
        /// Whether the pod starts without it.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        optional: bool,
    },
    /// The pod's own metadata.
    #[serde(rename = "downwardAPI")]
    DownwardApi {
        /// Files with fields of it.
        items: Vec<Value>,
    },
    /// Several things in one.
    Projected {
        /// What they are.
        sources: Vec<Value>,
    },
}
