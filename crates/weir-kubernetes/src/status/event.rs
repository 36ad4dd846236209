//! An Event that tells of a refusal: `kubectl describe` and `kubectl events` show it.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde_json::{Value, json};
use weir_registry::Written;

use super::place::Place;

/// Who tells.
const CONTROLLER: &str = "weir.dev/pilot";
/// So many bytes of a name stand before what tells events apart, so many of who tells, and of what; the API's limits.
const NAME: usize = 230;
const INSTANCE: usize = 128;
const NOTE: usize = 1000;

/// That a generation of a resource is refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub note: String,
}

impl Refusal {
    /// Its Event. That has the same name whoever tells it and however often, so that the second one is refused by the API server.
    pub fn event(&self, place: &Place<'_>, written: &Written, instance: &str) -> Value {
        let Place { kind, namespace, name } = *place;
        let mut hasher = DefaultHasher::new();
        (&written.uid, written.generation, &self.note).hash(&mut hasher);
        // What stands before a dot ends in a letter or digit.
        let own = format!("{}.{:016x}", cut(name, NAME).trim_end_matches(['-', '.']), hasher.finish());
        let regarding =
            json!({"apiVersion": written.api_version, "kind": kind.name(), "namespace": namespace, "name": name, "uid": written.uid});
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": own, "namespace": namespace},
            "eventTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            "type": "Warning",
            "reason": "Refused",
            "action": "Read",
            "note": cut(&self.note, NOTE),
            "regarding": regarding,
            "reportingController": CONTROLLER,
            "reportingInstance": cut(instance, INSTANCE),
        })
    }
}

/// The beginning of a word, so many bytes at most.
fn cut(word: &str, most: usize) -> &str {
    &word[..word.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_event_has_one_name_for_each_generation_and_message() {
        let name = |generation: i64, note: &str| {
            let written = Written { api_version: "networking.istio.io/v1".to_owned(), uid: "u".to_owned(), generation, revision: None };
            let place = Place::of(Path::new("VirtualService/shop/reviews")).unwrap();
            let event = Refusal { note: note.to_owned() }.event(&place, &written, &"i".repeat(200));
            assert_eq!(
                (&event["regarding"]["kind"], event["reportingInstance"].as_str().unwrap().len()),
                (&json!("VirtualService"), INSTANCE)
            );
            event["metadata"]["name"].as_str().unwrap().to_owned()
        };
        assert_eq!(name(1, "a"), name(1, "a"));
        assert_eq!(cut("ää", 3), "ä");
        assert!(name(1, "a") != name(2, "a") && name(1, "a") != name(1, "b") && name(1, "a").starts_with("reviews."));
    }
}
