//! The answers of the webhook that injects: a review goes in as the API server sends it, and comes out with a patch, or with the reason why
//! the pod is refused. Bad input is answered, never guessed at.
//!
//! Facts: `serveInject` in pkg/kube/inject/webhook.go of Istio.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::admission::{Answer, Review, Verdict};
use crate::inject::inject;
use crate::patch::difference;
use crate::pod::Pod;
use crate::settings::Settings;
use crate::workload::Workload;

/// Answers a call. The path may say more of the cluster that it comes from: `/inject/cluster/NAME/net/NETWORK`.
pub fn review(path: &str, content_type: Option<&str>, body: &[u8], settings: &Settings) -> Answer {
    match Review::read(content_type, body) {
        Ok(review) => review.answer(verdict(&review.request, &for_path(path, settings))),
        Err(answer) => answer,
    }
}

fn verdict(request: &Value, settings: &Settings) -> Verdict {
    let kind = &request["kind"];
    let is_pod = kind["kind"] == "Pod" && kind["version"] == "v1" && kind["group"].as_str().unwrap_or_default().is_empty();
    let whole = request["subResource"].as_str().unwrap_or_default().is_empty();
    // Whoever asks about something else has another configuration than ours, and is not kept from his work.
    if !is_pod || !whole || request["operation"].as_str().is_some_and(|operation| operation != "CREATE") {
        return Verdict { log: "not injected: it is no pod that is being made".to_owned(), ..Verdict::default() };
    }
    let pod = &request["object"];
    if !pod["spec"].is_object() || !pod["metadata"].is_object() {
        let reason = "the review's object is no pod: it has no metadata or no spec".to_owned();
        return Verdict { log: format!("refused: {reason}"), refusal: Some(reason), ..Verdict::default() };
    }
    let namespace = pod["metadata"]["namespace"].as_str().or(request["namespace"].as_str()).unwrap_or_default();
    let name = format!("{namespace}/{}", Pod(pod).name());
    let (decision, warning) = settings.policy.decide(namespace, Pod(pod));
    let mut warnings: Vec<String> = warning.into_iter().collect();
    if !decision.injects() {
        return Verdict { warnings, log: format!("{name} {decision}"), ..Verdict::default() };
    }
    match inject(pod, &Workload::of_pod(Pod(pod), namespace), settings) {
        Ok(injected) => {
            warnings.extend(injected.reports);
            let (log, patch) = match injected.changed {
                true => (format!("{name} {decision}"), Some(difference(pod, &injected.pod))),
                false => (format!("{name} has its sidecar already"), None),
            };
            Verdict { patch, warnings, log, refusal: None }
        }
        Err(refusal) => Verdict { log: format!("{name} refused: {refusal}"), refusal: Some(refusal.to_string()), warnings, patch: None },
    }
}

/// The settings for calls by this path: pairs of names and values after `/inject`, with `--slash--` for a slash in a value.
fn for_path(path: &str, settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    let mut parts = path.trim_matches('/').split('/').skip(1);
    let mut environment = BTreeMap::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        let value = value.replace("--slash--", "/");
        match name {
            "cluster" => settings.cluster = value,
            "net" => settings.network = value,
            "" => {}
            _ => drop(environment.insert(name.to_uppercase(), value)),
        }
    }
    settings.environment.extend(environment);
    settings
}
