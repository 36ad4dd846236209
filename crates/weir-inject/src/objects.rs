//! Objects that make pods: what of them is the template of a pod, and that injected.

use serde_json::Value;

use crate::inject::{Refusal, inject};
use crate::pod::Pod;
use crate::settings::Settings;
use crate::workload::Workload;

/// Kinds whose pods are made of `spec.template`.
const WITH_TEMPLATE: [&str; 6] = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController"];
/// Groups of Kubernetes that have them, or had them once.
const GROUPS: [&str; 4] = ["", "apps", "batch", "extensions"];

/// What became of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The object, if it is another one than before.
    pub changed: Option<Value>,
    /// What a person should know: who is not injected and why, and what has no effect.
    pub notes: Vec<String>,
}

/// Injects an object, or those of a List. What makes no pods stays as it is.
///
/// # Errors
/// If a pod asks for what cannot be read; names the object.
pub fn inject_object(object: &Value, settings: &Settings) -> Result<Outcome, String> {
    let word = |field: &str| object[field].as_str().unwrap_or_default();
    let group = word("apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    if !GROUPS.contains(&group) {
        return Ok(Outcome::default());
    }
    match word("kind") {
        "List" => inject_list(object, settings),
        "Pod" => {
            let workload = Workload::of_pod(Pod(object), namespace(object));
            inject_at(object, "", &workload, settings)
        }
        "CronJob" => inject_at(object, "/spec/jobTemplate/spec/template", &workload(object), settings),
        kind if WITH_TEMPLATE.contains(&kind) => inject_at(object, "/spec/template", &workload(object), settings),
        _ => Ok(Outcome::default()),
    }
}

fn inject_list(list: &Value, settings: &Settings) -> Result<Outcome, String> {
    let mut changed = list.clone();
    let mut outcome = Outcome::default();
    let mut any = false;
    for item in changed["items"].as_array_mut().into_iter().flatten() {
        let of_item = inject_object(item, settings)?;
        outcome.notes.extend(of_item.notes);
        if let Some(injected) = of_item.changed {
            *item = injected;
            any = true;
        }
    }
    outcome.changed = any.then_some(changed);
    Ok(outcome)
}

/// Injects the template at a place of an object.
fn inject_at(object: &Value, place: &str, workload: &Workload, settings: &Settings) -> Result<Outcome, String> {
    let name = format!("{} {}", object["kind"].as_str().unwrap_or_default(), full_name(object));
    let Some(template) = object.pointer(place).filter(|template| template.is_object()) else {
        return Ok(Outcome { notes: vec![format!("{name} is not injected: it has no {}", place.trim_start_matches('/'))], changed: None });
    };
    let (decision, warning) = settings.policy.decide(namespace(object), Pod(template));
    let mut notes: Vec<String> = warning.into_iter().collect();
    if !decision.injects() {
        notes.push(decision.to_string());
        return Ok(Outcome { notes: about(&name, notes), changed: None });
    }
    let injected = inject(template, workload, settings).map_err(|refusal: Refusal| format!("{name}: {refusal}"))?;
    notes.extend(injected.reports);
    let mut whole = object.clone();
    if let Some(template) = whole.pointer_mut(place) {
        *template = injected.pod;
    }
    Ok(Outcome { changed: injected.changed.then_some(whole), notes: about(&name, notes) })
}

fn about(name: &str, notes: Vec<String>) -> Vec<String> {
    notes.into_iter().map(|note| format!("{name}: {note}")).collect()
}

/// The workload that an object is.
fn workload(object: &Value) -> Workload {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = word(&object["metadata"]["name"]);
    Workload::new(&word(&object["kind"]), &word(&object["apiVersion"]), &name, namespace(object))
}

fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn full_name(object: &Value) -> String {
    let name = Pod(object).name();
    match namespace(object) {
        "" => name.to_owned(),
        namespace => format!("{namespace}/{name}"),
    }
}
