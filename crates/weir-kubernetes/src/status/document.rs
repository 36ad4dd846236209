//! A status as the API server has it, and what is to be changed of it. What others keep there stays as it is.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::desired::{Desired, InForce, Message, State};

/// The type of the condition.
pub(super) const IN_FORCE: &str = "weir.dev/InForce";

/// What of a status is to be changed, as a merge patch of it; none if it says already what it is to say. A generation that once was in
/// force is not told otherwise because proxies come and go.
pub(super) fn patch(status: &Value, desired: &Desired, now: Timestamp) -> Option<Value> {
    let conditions: Vec<Value> = status["conditions"].as_array().cloned().unwrap_or_default();
    let place = conditions.iter().position(|condition| condition["type"] == IN_FORCE);
    let before = place.and_then(|place| conditions.get(place));
    let mut patch = Map::new();
    if integer(&status["observedGeneration"]) != Some(desired.generation) {
        patch.insert("observedGeneration".to_owned(), json!(desired.generation));
    }
    let messages: Vec<Value> = desired.messages.iter().map(message).collect();
    let said = status["validationMessages"].as_array().cloned().unwrap_or_default();
    if messages != said {
        // Null takes the field away.
        patch.insert("validationMessages".to_owned(), if messages.is_empty() { Value::Null } else { messages.into() });
    }
    if !before.is_some_and(|before| says(before, desired)) {
        let ours = condition(&desired.in_force, desired.generation, before, now);
        let mut next = conditions;
        match place.and_then(|place| next.get_mut(place)) {
            Some(known) => *known = ours,
            None => next.push(ours),
        }
        patch.insert("conditions".to_owned(), next.into());
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Whether a status says that this generation was in force.
pub(super) fn is_settled(status: &Value, generation: i64) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == IN_FORCE && is_true(condition, generation))
}

fn is_true(condition: &Value, generation: i64) -> bool {
    condition["status"] == State::InForce.words().0 && integer(&condition["observedGeneration"]) == Some(generation)
}

/// Whether a condition says all that it is to say.
fn says(before: &Value, desired: &Desired) -> bool {
    let (status, reason) = desired.in_force.state.words();
    let is_same = integer(&before["observedGeneration"]) == Some(desired.generation)
        && before["status"] == status
        && before["reason"] == reason
        && before["message"] == desired.in_force.message.as_str();
    is_same || (desired.in_force.state != State::Refused && is_true(before, desired.generation))
}

fn condition(in_force: &InForce, generation: i64, before: Option<&Value>, now: Timestamp) -> Value {
    let (status, reason) = in_force.state.words();
    let since = before.filter(|before| before["status"] == status).map(|before| before["lastTransitionTime"].clone());
    let since = since.filter(Value::is_string).unwrap_or_else(|| json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
    json!({
        "type": IN_FORCE,
        "status": status,
        "reason": reason,
        "message": in_force.message,
        "observedGeneration": generation,
        "lastTransitionTime": since,
    })
}

fn message(message: &Message) -> Value {
    let mut json = json!({"type": {"name": message.text, "code": message.code}, "level": message.level});
    if !message.url.is_empty() {
        json["documentationUrl"] = json!(message.url);
    }
    json
}

/// A number, which Istio's API writes as a string, too.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(generation: i64, state: State, message: &str) -> Desired {
        Desired { generation, in_force: InForce { state, message: message.to_owned() }, messages: vec![] }
    }

    fn patched(status: &mut Value, desired: &Desired) -> bool {
        let now = Timestamp::from_second(1_700_000_000 + desired.generation).unwrap();
        let Some(Value::Object(patch)) = patch(status, desired, now) else { return false };
        if status.is_null() {
            *status = json!({});
        }
        for (name, value) in patch {
            match value {
                Value::Null => drop(status.as_object_mut().unwrap().remove(&name)),
                value => status[name] = value,
            }
        }
        true
    }

    #[test]
    fn what_is_said_already_changes_nothing_and_what_others_keep_stays() {
        let other = json!({"type": "Healthy", "status": "True"});
        let mut status = json!({"conditions": [other], "addresses": [{"value": "240.240.0.1"}]});
        let pending = desired(1, State::Pending, "0 of 1");
        assert!(patched(&mut status, &pending) && !patched(&mut status, &pending));
        assert_eq!((&status["conditions"][0], &status["addresses"][0]["value"]), (&other, &json!("240.240.0.1")));
        let ours = json!({"type": IN_FORCE, "status": "False", "reason": "Pending", "message": "0 of 1", "observedGeneration": 1,
            "lastTransitionTime": "2023-11-14T22:13:21Z"});
        assert_eq!((&status["conditions"][1], &status["observedGeneration"]), (&ours, &json!(1)));
        // Still false, since when it was.
        assert!(patched(&mut status, &desired(2, State::Refused, "no")));
        assert_eq!(status["conditions"][1]["lastTransitionTime"], "2023-11-14T22:13:21Z");
        assert!(patched(&mut status, &desired(3, State::InForce, "1 of 1")));
        assert_eq!(status["conditions"][1]["lastTransitionTime"], "2023-11-14T22:13:23Z");
    }

    #[test]
    fn what_was_in_force_is_so_until_there_is_another_generation() {
        let mut status = Value::Null;
        assert!(patched(&mut status, &desired(1, State::InForce, "1 of 1")) && is_settled(&status, 1) && !is_settled(&status, 2));
        for state in [State::Pending, State::NoProxies, State::InForce] {
            assert!(!patched(&mut status, &desired(1, state, "1 of 2")), "{state:?}");
        }
        assert!(patched(&mut status, &desired(2, State::Pending, "1 of 2")));
        assert!(patched(&mut status, &desired(2, State::Refused, "no")));
    }

    #[test]
    fn messages_come_and_go() {
        let mut status = json!({"observedGeneration": "1", "conditions": 7});
        let mut said = desired(1, State::InForce, "x");
        said.messages = vec![Message { level: "WARNING", code: "WEIR0001", url: "", text: "spec.x: no".to_owned() }];
        assert!(patched(&mut status, &said) && !patched(&mut status, &said));
        let message = json!([{"type": {"name": "spec.x: no", "code": "WEIR0001"}, "level": "WARNING"}]);
        assert_eq!((&status["validationMessages"], &status["observedGeneration"]), (&message, &json!("1")));
        said.messages.clear();
        assert!(patched(&mut status, &said) && status.get("validationMessages").is_none() && !patched(&mut status, &said));
    }
}
