//! What a user writes of a container lies over what the template says of it: field by field, and lists that have a key by that key, as
//! Kubernetes' strategic merge does.

use serde_json::Value;

/// The key of a list's members; lists without one are replaced whole.
fn key_of(field: &str) -> Option<&'static str> {
    match field {
        "env" => Some("name"),
        "ports" => Some("containerPort"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        _ => None,
    }
}

/// Of these only one can be asked for.
const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// Lays a user's value over the template's.
pub(crate) fn lay_over(template: &mut Value, user: &Value) {
    let (Value::Object(below), Value::Object(above)) = (&mut *template, user) else {
        *template = user.clone();
        return;
    };
    if HANDLERS.iter().any(|handler| above.contains_key(*handler)) {
        HANDLERS.iter().for_each(|handler| drop(below.remove(*handler)));
    }
    for (field, value) in above.iter().filter(|(_, value)| !value.is_null()) {
        let Some(known) = below.get_mut(field) else {
            below.insert(field.clone(), value.clone());
            continue;
        };
        match (key_of(field), &mut *known, value) {
            (Some(key), Value::Array(known), Value::Array(items)) => items.iter().for_each(|item| take_in(known, item, key)),
            (_, Value::Object(_), Value::Object(_)) => lay_over(known, value),
            _ => *known = value.clone(),
        }
    }
}

/// Puts a member in the place of the one with its key, or at the end.
fn take_in(items: &mut Vec<Value>, item: &Value, key: &str) {
    match items.iter_mut().find(|known| known[key] == item[key] && !item[key].is_null()) {
        Some(known) => *known = item.clone(),
        None => items.push(item.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_user_has_the_last_word_field_by_field() {
        let mut container = json!({
            "name": "istio-proxy", "image": "weir", "args": ["proxy", "x"], "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
            "env": [{"name": "A", "valueFrom": {"fieldRef": {}}}, {"name": "B", "value": "1"}],
            "readinessProbe": {"httpGet": {"port": 15021}, "periodSeconds": 15},
        });
        let user = json!({
            "args": ["y"], "resources": {"limits": {"cpu": "3"}}, "env": [{"name": "A", "value": "2"}, {"name": "C", "value": "3"}],
            "readinessProbe": {"exec": {"command": ["true"]}}, "stdin": true, "image": null,
        });
        lay_over(&mut container, &user);
        let expected = json!({
            "name": "istio-proxy", "image": "weir", "args": ["y"], "resources": {"limits": {"cpu": "3", "memory": "1Gi"}},
            "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "1"}, {"name": "C", "value": "3"}],
            "readinessProbe": {"periodSeconds": 15, "exec": {"command": ["true"]}}, "stdin": true,
        });
        assert_eq!(container, expected);
    }
}
