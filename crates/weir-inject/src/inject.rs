//! A pod goes in, and comes out with its sidecar: the templates it asks for, the user's own containers over them, labels and annotations,
//! probes and metrics by way of the proxy, and all of it in the right order.
//!
//! Facts: `injectPod` in pkg/kube/inject/webhook.go of Istio.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::annotations::{AnnotationError, Wishes};
use crate::kube::Container;
use crate::merge::lay_over;
use crate::names;
use crate::pod::{Pod, list_in, map_in};
use crate::settings::Settings;
use crate::template::{Context, Rendered, Template, holds_application, volumes};
use crate::workload::Workload;
use crate::{metrics, probes};

/// The image of a container of the user's that means: that of the template.
const AUTO: &str = "auto";
/// The longest value of a label.
const LONGEST_LABEL: usize = 63;

/// A pod with its sidecar.
#[derive(Debug, Clone, PartialEq)]
pub struct Injected {
    /// The pod.
    pub pod: Value,
    /// Whether it is another one than before: a pod that has its sidecar is left alone.
    pub changed: bool,
    /// What is not carried out of what it asks for, and what would be right.
    pub reports: Vec<String>,
}

/// Why a pod cannot be injected; it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Annotations whose values cannot be read.
    Annotations(Vec<AnnotationError>),
    /// Anything else, in words that name the annotation.
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotations(errors) => f.write_str(&errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Refusal {}

/// Injects a pod, or the template of pods. Who is injected is decided before, by [`Policy`](crate::Policy).
///
/// # Errors
/// If it asks for what cannot be read.
pub fn inject(pod: &Value, workload: &Workload, settings: &Settings) -> Result<Injected, Refusal> {
    if is_injected(Pod(pod)) {
        return Ok(Injected { pod: pod.clone(), changed: false, reports: vec![] });
    }
    let wishes = Wishes::read(Pod(pod), settings).map_err(Refusal::Annotations)?;
    let templates = Template::of(Pod(pod), settings).map_err(Refusal::Other)?;
    let labels = labels(Pod(pod), workload, settings, &templates);
    let context = Context { pod: Pod(pod), labels: &labels, workload, wishes: &wishes, settings };
    let mut work = Work { pod: pod.clone(), reports: wishes.reports.clone(), overrides: BTreeMap::new(), added: Added::default() };
    for template in templates {
        work.apply(template.render(&context), &context);
    }
    work.label(&labels);
    work.annotate(&context).map_err(Refusal::Other)?;
    work.rewrite_probes(&wishes);
    work.order(holds_application(&wishes));
    Ok(Injected { pod: work.pod, changed: true, reports: work.reports })
}

/// Whether a pod has its sidecar: it says so, and the container is there.
fn is_injected(pod: Pod<'_>) -> bool {
    let status = pod.annotation(names::STATUS).and_then(|text| serde_json::from_str::<Value>(text).ok());
    status.is_some_and(|status| status.is_object()) && pod.has_container(names::PROXY)
}

/// A pod's labels with those that injection adds; its own stay.
fn labels(pod: Pod<'_>, workload: &Workload, settings: &Settings, templates: &[Template]) -> BTreeMap<String, String> {
    let mut labels = pod.labels();
    let of = |names: &[&str]| names.iter().find_map(|name| pod.label(name).filter(|value| !value.is_empty())).map(str::to_owned);
    let name = of(&["app.kubernetes.io/name", "app"]).unwrap_or_else(|| workload.name.clone());
    let shortened: String = name.chars().take(LONGEST_LABEL).collect();
    let name = shortened.trim_matches(['-', '_', '.']).to_owned();
    let revision = of(&["app.kubernetes.io/version", "version"]).unwrap_or_else(|| "latest".to_owned());
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            labels.entry(name.to_owned()).or_insert(value);
        }
    };
    if templates.contains(&Template::Sidecar) {
        add("security.istio.io/tlsMode", "istio".to_owned());
    }
    add("service.istio.io/canonical-name", name);
    add("service.istio.io/canonical-revision", revision);
    add(names::NETWORK, settings.network.clone());
    labels
}

/// What was added, by its names.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    init_containers: Vec<&'static str>,
    containers: Vec<&'static str>,
    volumes: Vec<String>,
    image_pull_secrets: Vec<String>,
    revision: String,
}

/// A pod that is being injected.
struct Work {
    pod: Value,
    reports: Vec<String>,
    /// The user's own containers, by the field that ours are in.
    overrides: BTreeMap<&'static str, Vec<Value>>,
    added: Added,
}

impl Work {
    fn spec(&mut self, field: &str) -> &mut Vec<Value> {
        map_in(&mut self.pod, "spec");
        list_in(&mut self.pod["spec"], field)
    }

    /// Adds what a template gives.
    fn apply(&mut self, rendered: Rendered, context: &Context<'_>) {
        let (volumes, mounts) = volumes::of_user(context);
        for (field, containers) in [("initContainers", rendered.init_containers), ("containers", rendered.containers)] {
            for container in containers {
                self.add_container(field, &container, &mounts);
            }
        }
        let own = rendered.volumes.iter().map(|volume| json!(volume));
        for volume in own.chain(volumes) {
            self.add_named("volumes", volume);
        }
        for secret in &context.settings.image_pull_secrets {
            self.add_named("imagePullSecrets", json!({"name": secret}));
            self.added.image_pull_secrets.push(secret.clone());
        }
        self.add_sysctls(&rendered.sysctls);
    }

    /// Adds a container, under what the user has written of it.
    fn add_container(&mut self, field: &'static str, container: &Container, mounts: &[Value]) {
        let mut made = json!(container);
        if [names::PROXY, names::AGENT].contains(&container.name) && !mounts.is_empty() {
            list_in(&mut made, "volumeMounts").extend(mounts.iter().cloned());
        }
        if let Some(mut own) = self.take_container(container.name) {
            if own["image"] == AUTO || own["image"] == "" {
                own.as_object_mut().map(|fields| fields.remove("image"));
            }
            let root = made["securityContext"]["runAsUser"] == 0;
            lay_over(&mut made, &own);
            // What the kernel asks of a sidecar that keeps its clients' addresses is not the user's to change.
            if root && container.name == names::PROXY {
                made["securityContext"]["runAsUser"] = 0.into();
                made["securityContext"]["runAsNonRoot"] = false.into();
            }
            self.overrides.entry(field).or_default().push(own);
        }
        self.spec(field).push(made);
        match field {
            "containers" => self.added.containers.push(container.name),
            _ => self.added.init_containers.push(container.name),
        }
    }

    /// Takes a container out of the pod, wherever it stands.
    fn take_container(&mut self, name: &str) -> Option<Value> {
        for field in ["containers", "initContainers"] {
            if let Some(place) = Pod(&self.pod).containers(field).iter().position(|container| container["name"] == name) {
                return Some(self.spec(field).remove(place));
            }
        }
        None
    }

    /// Adds a thing that is known by its name, unless the user has one of that name.
    fn add_named(&mut self, field: &str, thing: Value) {
        if field == "volumes" {
            self.added.volumes.extend(thing["name"].as_str().map(str::to_owned));
        }
        let known = self.spec(field);
        if !known.iter().any(|other| other["name"] == thing["name"]) {
            known.push(thing);
        }
    }

    fn add_sysctls(&mut self, sysctls: &[(&str, &str)]) {
        if sysctls.is_empty() {
            return;
        }
        map_in(&mut self.pod, "spec");
        map_in(&mut self.pod["spec"], "securityContext");
        let known = list_in(&mut self.pod["spec"]["securityContext"], "sysctls");
        for (name, value) in sysctls {
            if !known.iter().any(|other| other["name"] == *name) {
                known.push(json!({"name": name, "value": value}));
            }
        }
    }

    fn label(&mut self, labels: &BTreeMap<String, String>) {
        map_in(&mut self.pod, "metadata");
        let known = map_in(&mut self.pod["metadata"], "labels");
        for (name, value) in labels {
            known.entry(name.as_str()).or_insert_with(|| value.as_str().into());
        }
    }

    /// Sets the annotations, and has metrics merged.
    fn annotate(&mut self, context: &Context<'_>) -> Result<(), String> {
        let settings = context.settings;
        let revision = if settings.revision.is_empty() { crate::decision::DEFAULT } else { &settings.revision };
        revision.clone_into(&mut self.added.revision);
        let first = Pod(&self.pod).containers("containers").iter().filter_map(|container| container["name"].as_str());
        let first = first.filter(|name| ![names::PROXY, names::AGENT].contains(name)).map(str::to_owned).next();
        let overrides = (!self.overrides.is_empty()).then(|| json!(self.overrides).to_string());
        let status = json!(self.added).to_string();
        let annotations = map_in(&mut self.pod["metadata"], "annotations");
        annotations.insert(names::REVISION.to_owned(), revision.into());
        if let Some(first) = first {
            for name in ["kubectl.kubernetes.io/default-container", "kubectl.kubernetes.io/default-logs-container"] {
                annotations.entry(name).or_insert_with(|| first.as_str().into());
            }
        }
        annotations.extend(overrides.map(|text| (names::OVERRIDES.to_owned(), text.into())));
        annotations.insert(names::STATUS.to_owned(), status.into());
        annotations.extend(settings.annotations.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
        let port = context.wishes.status_port;
        if context.wishes.merge_metrics && port != 0 {
            let asked = metrics::merge(annotations, port)?;
            self.tell_proxy(metrics::VARIABLE, asked);
        }
        Ok(())
    }

    fn rewrite_probes(&mut self, wishes: &Wishes) {
        if wishes.rewrite_probes && wishes.status_port != 0 {
            let asked = probes::rewrite(&mut self.pod, wishes.status_port, &mut self.reports);
            self.tell_proxy(probes::VARIABLE, (!asked.is_empty()).then_some(Value::Object(asked)));
        }
    }

    /// Sets a variable of who serves the status port: the agent, if there is one.
    fn tell_proxy(&mut self, name: &str, value: Option<Value>) {
        let Some(value) = value else { return };
        for server in [names::AGENT, names::PROXY] {
            for field in ["containers", "initContainers"] {
                if let Some(container) = self.spec(field).iter_mut().find(|container| container["name"] == server) {
                    list_in(container, "env").push(json!({"name": name, "value": value.to_string()}));
                    return;
                }
            }
        }
    }

    /// Puts the containers into their order. A native sidecar runs before the user's init containers, which then are part of the mesh;
    /// otherwise capture is set last, so that they are not cut off. Among the usual containers the proxy is the last, so that kubectl
    /// takes the application's, or the first if the application waits for it.
    fn order(&mut self, hold: bool) {
        let native = Pod(&self.pod).containers("initContainers").iter().any(|container| container["name"] == names::PROXY);
        let rank = |container: &Value, order: &[&str]| order.iter().position(|name| container["name"] == *name);
        let init: &[&str] = if native { &[names::INIT, names::AGENT, names::PROXY] } else { &[] };
        self.spec("initContainers").sort_by_key(|container| match rank(container, init) {
            Some(place) => place,
            None if !native && container["name"] == names::INIT => usize::MAX,
            None => init.len(),
        });
        let ours = [names::PROXY, names::AGENT];
        self.spec("containers").sort_by_key(|container| match rank(container, &ours) {
            Some(place) if hold => place,
            Some(place) => ours.len() + place,
            None if hold => ours.len(),
            None => 0,
        });
        let spec: &mut Map<String, Value> = map_in(&mut self.pod, "spec");
        spec.retain(|field, value| field != "initContainers" || value.as_array().is_none_or(|items| !items.is_empty()));
    }
}
