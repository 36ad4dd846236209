//! The answers of the webhook that validates: resources of Istio's are read as the mesh would read them, and a broken one is refused with a
//! picture of the place. Nobody hears of it later, from a log.
//!
//! Facts: pkg/webhooks/validation/server/server.go of Istio.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::{Diagnostic, Kind, Object, Severity};
use weir_inject::Answer;
use weir_inject::admission::{Review, Verdict};
use weir_registry::kubernetes::read_object;
use weir_translate::unsupported;

/// Annotation of a resource that is refused whatever it says: by the answer the control plane sees that it is asked. Istio's name.
pub(super) const ALWAYS_REJECT: &str = "internal.istio.io/webhook-always-reject";
/// So many mistakes are shown of a resource, in so many bytes.
const MOST_SHOWN: usize = 10;
const LONGEST_REFUSAL: usize = 16 * 1024;

/// Answers a call.
pub(super) fn validate(content_type: Option<&str>, body: &[u8]) -> Answer {
    match Review::read(content_type, body) {
        Ok(review) => review.answer(verdict(&review)),
        Err(answer) => answer,
    }
}

fn verdict(review: &Review) -> Verdict {
    let request = &review.request;
    let allowed = |why: &str| Verdict { log: format!("{} is allowed: {why}", shown(request)), ..Verdict::default() };
    if !matches!(review.word("operation"), "CREATE" | "UPDATE") || !review.word("subResource").is_empty() {
        return allowed("it is neither made nor changed");
    }
    let object = &request["object"];
    if !object.is_object() {
        return refused(request, "the review holds no object".to_owned());
    }
    if let Some(reason) = object["metadata"]["annotations"][ALWAYS_REJECT].as_str() {
        // Whoever has written that is told that it was read here.
        return refused(request, format!("annotation {ALWAYS_REJECT}: {reason}: what has it is always refused"));
    }
    let Some(kind) = known_kind(object) else {
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default();
        // Its definition is in the cluster: it is somebody's.
        return Verdict { warnings: vec![format!("{api_version} {kind} is not carried out by Weir")], ..allowed("its kind is not known") };
    };
    let (mut errors, warnings) = diagnostics(kind, object, review.word("namespace"));
    if errors.is_empty() {
        return Verdict { warnings: warnings.iter().map(line).collect(), ..allowed("it is good") };
    }
    if changes_nothing(request) {
        // It may be on its way out: whoever takes a finalizer from it must not be stopped.
        errors.extend(warnings);
        return Verdict { warnings: errors.iter().map(line).collect(), ..allowed("it was broken before") };
    }
    refused(request, picture(&errors))
}

/// What is wrong with an object, and what is to be said of it besides.
fn diagnostics(kind: Kind, object: &Value, namespace: &str) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
    let parsed = read_object(kind, completed(kind, object, namespace));
    let good: Vec<Arc<Object>> = parsed.objects.clone();
    let all = parsed.diagnostics.into_iter().chain(unsupported::findings(&good));
    let told = all.filter(|diagnostic| diagnostic.severity != Severity::Info);
    told.partition(|diagnostic| diagnostic.severity == Severity::Error)
}

/// The kind, whatever its version: a later one has the same schema, and a control plane that does not know it is not in its way.
fn known_kind(object: &Value) -> Option<Kind> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    Kind::all().find(|kind| kind.name() == object["kind"] && kind.group() == group && group.ends_with(".istio.io"))
}

/// The object with what it will have once it is made: a name, and its namespace; in a version that is known.
fn completed(kind: Kind, object: &Value, namespace: &str) -> Value {
    let mut object = object.clone();
    let version = object["apiVersion"].as_str().and_then(|written| written.rsplit_once('/')).map_or("", |(_, version)| version);
    if !kind.versions().contains(&version) {
        object["apiVersion"] = json!(format!("{}/{}", kind.group(), kind.versions().first().copied().unwrap_or_default()));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let metadata = &mut object["metadata"];
    if let (None, Some(begin)) = (metadata["name"].as_str(), metadata["generateName"].as_str()) {
        metadata["name"] = json!(format!("{begin}xxxxx"));
    }
    if metadata["namespace"].as_str().unwrap_or_default().is_empty() && !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    object
}

/// Whether a change leaves all as it is that anybody reads, or the object is about to go.
fn changes_nothing(request: &Value) -> bool {
    let (before, now) = (&request["oldObject"], &request["object"]);
    if !before.is_object() {
        return false;
    }
    let is_same = |pointer: &str| before.pointer(pointer).unwrap_or(&Value::Null) == now.pointer(pointer).unwrap_or(&Value::Null);
    now["metadata"]["deletionTimestamp"].is_string() || ["/spec", "/metadata/labels", "/metadata/annotations"].into_iter().all(is_same)
}

fn refused(request: &Value, reason: String) -> Verdict {
    let first = reason.lines().find(|line| !line.is_empty()).unwrap_or_default();
    let log = format!("{} is refused: {first}", shown(request));
    Verdict { refusal: Some(format!("configuration is invalid: {reason}")), log, ..Verdict::default() }
}

/// Which object it is.
fn shown(request: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &request["object"]["metadata"];
    let (name, begin) = (word(&metadata["name"]), word(&metadata["generateName"]));
    format!("{} {}/{}", word(&request["kind"]["kind"]), word(&request["namespace"]), if name.is_empty() { begin } else { name })
}

/// What is wrong, as `weir validate` shows it.
fn picture(errors: &[Diagnostic]) -> String {
    let mut text: String = errors.iter().take(MOST_SHOWN).map(|error| format!("\n{}", error.render(false).trim_end())).collect();
    if text.len() > LONGEST_REFUSAL {
        text.truncate(text.floor_char_boundary(LONGEST_REFUSAL));
        text += "…";
    }
    match errors.len().saturating_sub(MOST_SHOWN) {
        0 => text,
        more => format!("{text}\nand {more} more"),
    }
}

/// The same in one line.
fn line(diagnostic: &Diagnostic) -> String {
    let place = diagnostic.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
    let path = if diagnostic.path.0.is_empty() { String::new() } else { format!("{}: ", diagnostic.path) };
    let help = diagnostic.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{place}{path}{}{help}", diagnostic.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A VirtualService of which a test changes the spec.
    fn rule(spec: Value) -> Value {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "reviews", "namespace": "shop"}, "spec": spec})
    }

    fn good() -> Value {
        rule(json!({"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}))
    }

    fn broken() -> Value {
        rule(json!({"hosts": ["reviews"], "http": [{"match": [{"uri": {"regex": "("}}], "route": [{"destination": {"host": "reviews"}}]}]}))
    }

    fn asked(operation: &str, object: &Value, before: &Value) -> Value {
        let kind = json!({"group": "networking.istio.io", "version": "v1", "kind": object["kind"]});
        let request = json!({"uid": "u", "operation": operation, "namespace": "shop", "kind": kind, "object": object, "oldObject": before});
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string();
        let answer = validate(Some("application/json"), review.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str::<Value>(&answer.body).unwrap()["response"].clone()
    }

    fn made(object: &Value) -> Value {
        asked("CREATE", object, &Value::Null)
    }

    #[test]
    fn a_broken_resource_is_refused_with_a_picture() {
        let response = made(&broken());
        assert_eq!(response["allowed"], false);
        let said = response["status"]["message"].as_str().unwrap();
        for expected in [
            "configuration is invalid: \nerror: VirtualService shop/reviews: spec.http[0].match[0].uri.regex",
            "--> VirtualService/shop/reviews:",
            "regex: \"(\"",
            "^",
        ] {
            assert!(said.contains(expected), "no {expected:?} in {said}");
        }
        assert!(!said.contains('\u{1b}'), "no colours: {said}");
    }

    #[test]
    fn a_good_one_is_allowed_and_what_is_to_be_said_of_it_comes_as_warnings() {
        assert_eq!(made(&good()), json!({"uid": "u", "allowed": true}));
        let unnamed = json!({"generateName": "a-"});
        let mut nameless = good();
        nameless["metadata"] = unnamed;
        assert_eq!(made(&nameless), json!({"uid": "u", "allowed": true}));
        let mut unreachable = good();
        unreachable["spec"]["http"] = json!([unreachable["spec"]["http"][0], unreachable["spec"]["http"][0]]);
        let response = made(&unreachable);
        assert_eq!(response["allowed"], true);
        let warning = response["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("VirtualService/shop/reviews:") && warning.contains("spec.http[1]"), "{warning}");
    }

    #[test]
    fn what_nobody_here_knows_is_not_in_the_way() {
        let telemetry = json!({"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": {"name": "a"}, "spec": {}});
        assert_eq!(made(&telemetry)["warnings"], json!(["telemetry.istio.io/v1 Telemetry is not carried out by Weir"]));
        let config = json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "ProxyConfig", "metadata": {"name": "a"}, "spec": {}});
        assert_eq!(made(&config)["allowed"], true);
        let mut later = broken();
        later["apiVersion"] = json!("networking.istio.io/v7");
        assert_eq!(made(&later)["allowed"], false);
        let mut later = good();
        later["apiVersion"] = json!("networking.istio.io/v7");
        assert_eq!(made(&later), json!({"uid": "u", "allowed": true}));
        assert_eq!(asked("DELETE", &Value::Null, &broken())["allowed"], true);
    }

    #[test]
    fn who_does_not_change_what_is_broken_is_not_stopped() {
        let mut touched = broken();
        touched["metadata"]["finalizers"] = json!([]);
        let response = asked("UPDATE", &touched, &broken());
        assert_eq!(response["allowed"], true);
        assert!(response["warnings"][0].as_str().unwrap().contains("regex"));
        assert_eq!(asked("UPDATE", &broken(), &good())["allowed"], false);
        let mut leaving = broken();
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(asked("UPDATE", &leaving, &good())["allowed"], true);
    }

    #[test]
    fn what_is_to_be_refused_is_and_its_word_comes_back() {
        let mut probe = good();
        probe["metadata"]["annotations"] = json!({ALWAYS_REJECT: "word-7"});
        let response = made(&probe);
        assert_eq!(response["allowed"], false);
        assert!(response["status"]["message"].as_str().unwrap().contains("word-7"));
    }

    #[test]
    fn odd_objects_are_answered() {
        for object in [json!(null), json!(7), json!([]), json!({})] {
            made(&object);
        }
        for odd in [json!(null), json!(1), json!("x"), json!([{}]), json!({"a": {"b": [1]}})] {
            for field in ["metadata", "spec", "apiVersion", "kind"] {
                let mut object = good();
                object[field] = odd.clone();
                made(&object);
            }
        }
        let many: Vec<Value> = (0..500).map(|number| json!({"name": format!("x{number}"), "match": [{"uri": {"regex": "("}}]})).collect();
        let response = made(&rule(json!({"hosts": ["reviews"], "http": many})));
        let said = response["status"]["message"].as_str().unwrap();
        assert!(said.len() < LONGEST_REFUSAL + 200 && said.contains("more"), "{}", said.len());
    }
}
