//! The webhook's answers: an AdmissionReview goes in as the API server sends it, and comes out with a patch, or with the reason why the pod
//! is refused. Bad input is answered, never guessed at.
//!
//! Facts: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>, `serveInject` in
//! pkg/kube/inject/webhook.go of Istio.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::inject::inject;
use crate::patch::difference;
use crate::pod::Pod;
use crate::settings::Settings;
use crate::workload::Workload;

/// The largest body that is read: twice what the API server takes, which may be twice what it keeps. As Istio's.
pub const LARGEST_BODY: usize = 6 * 1024 * 1024;
/// The one version of the review that is spoken.
const VERSION: &str = "admission.k8s.io/v1";
/// The API server shows no more of a warning.
const LONGEST_WARNING: usize = 256;
/// And of all of them, 4096 bytes.
const MOST_WARNINGS: usize = 16;

/// An answer to a call of the webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body: an AdmissionReview, or where there can be none a sentence.
    pub body: String,
    /// What is to be logged, if anything: who was injected, or not, and why.
    pub log: String,
}

impl Answer {
    fn refuse(status: u16, reason: &str) -> Self {
        Self { status, body: reason.to_owned() + "\n", log: reason.to_owned() }
    }
}

/// Answers a call. The path may say more of the cluster that it comes from: `/inject/cluster/NAME/net/NETWORK`.
pub fn review(path: &str, content_type: Option<&str>, body: &[u8], settings: &Settings) -> Answer {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Answer::refuse(415, "a review comes as application/json");
    }
    if body.len() > LARGEST_BODY {
        return Answer::refuse(413, &format!("a review has at most {LARGEST_BODY} bytes"));
    }
    let review: Value = match serde_json::from_slice(body) {
        Ok(review) => review,
        Err(error) => return Answer::refuse(400, &format!("the body is no JSON: {error}")),
    };
    let version = review["apiVersion"].as_str().unwrap_or_default();
    if (version, review["kind"].as_str()) != (VERSION, Some("AdmissionReview")) {
        let found = format!("{version:?}, {}", review["kind"]);
        return Answer::refuse(400, &format!("the body is no AdmissionReview of {VERSION}, but {found}"));
    }
    let request = &review["request"];
    // Without it nobody could tell which request is answered.
    let Some(uid) = request["uid"].as_str().filter(|uid| !uid.is_empty()) else {
        return Answer::refuse(400, "the AdmissionReview has no request with a uid");
    };
    let verdict = verdict(request, &for_path(path, settings));
    let mut response = json!({"uid": uid, "allowed": verdict.refusal.is_none()});
    if let Some(patch) = &verdict.patch {
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch.to_string()).into();
    }
    if !verdict.warnings.is_empty() {
        let shown = verdict.warnings.iter().take(MOST_WARNINGS).map(|text| shorten(text));
        response["warnings"] = shown.collect::<Vec<_>>().into();
    }
    if let Some(reason) = &verdict.refusal {
        response["status"] = json!({"status": "Failure", "message": reason, "reason": "Invalid", "code": 422});
    }
    let answer = json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response});
    Answer { status: 200, body: answer.to_string(), log: verdict.log }
}

/// What becomes of a pod.
#[derive(Default)]
struct Verdict {
    refusal: Option<String>,
    patch: Option<Value>,
    warnings: Vec<String>,
    log: String,
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

fn shorten(text: &str) -> String {
    match text.char_indices().nth(LONGEST_WARNING) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
