//! Probes of applications, asked through the sidecar: the kubelet's call would come without a certificate, and by TCP everything that is
//! captured answers. So the kubelet asks the proxy's status port, and the proxy asks the application, as `ISTIO_KUBE_APP_PROBERS` says.
//!
//! Facts: pkg/kube/inject/app_probe.go of Istio.

use serde_json::{Map, Value, json};

use crate::names;
use crate::pod::list_in;

/// The variable in which the proxy finds what to ask.
pub(crate) const VARIABLE: &str = "ISTIO_KUBE_APP_PROBERS";

/// Where a container has what may be asked, and the end of its path at the status port.
const PROBES: [(&str, &str); 3] = [("readinessProbe", "readyz"), ("livenessProbe", "livez"), ("startupProbe", "startupz")];
const HOOKS: [(&str, &str); 2] = [("preStop", "prestopz"), ("postStart", "poststartz")];

/// Rewrites the probes of all containers that are not ours. Returns what the proxy is to ask, by path; reports what stays as it is.
pub(crate) fn rewrite(pod: &mut Value, status_port: u16, reports: &mut Vec<String>) -> Map<String, Value> {
    let mut asked = Map::new();
    for field in ["initContainers", "containers"] {
        if pod["spec"][field].is_array() {
            for container in list_in(&mut pod["spec"], field) {
                rewrite_container(container, status_port, &mut asked, reports);
            }
        }
    }
    asked
}

fn rewrite_container(container: &mut Value, status_port: u16, asked: &mut Map<String, Value>, reports: &mut Vec<String>) {
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    if [names::PROXY, names::INIT, names::AGENT].contains(&name.as_str()) {
        return;
    }
    let ports = container["ports"].as_array().cloned().unwrap_or_default();
    let mut rewrite = |probe: &mut Value, what: &str, path: String| {
        if !probe.is_object() {
            return;
        }
        match original(probe, &ports, status_port) {
            Ok(Some(question)) => {
                ask_instead(probe, &path, status_port);
                asked.insert(path, question);
            }
            Ok(None) => {}
            Err(problem) => reports.push(format!("{what} of container {name} stays as it is: {problem}")),
        }
    };
    for (field, end) in PROBES {
        if let Some(probe) = container.get_mut(field) {
            rewrite(probe, field, format!("/app-health/{name}/{end}"));
        }
    }
    for (field, end) in HOOKS {
        if let Some(hook) = container.get_mut("lifecycle").and_then(|lifecycle| lifecycle.get_mut(field)) {
            rewrite(hook, field, format!("/app-lifecycle/{name}/{end}"));
        }
    }
}

/// What a probe asks, with the port as a number; nothing if it asks nobody by the network, or the status port already.
fn original(probe: &Value, ports: &[Value], status_port: u16) -> Result<Option<Value>, String> {
    let Some(kind) = ["httpGet", "tcpSocket", "grpc"].into_iter().find(|kind| probe[*kind].is_object()) else { return Ok(None) };
    let mut action = probe[kind].clone();
    if action["host"].as_str().is_some_and(|host| !host.is_empty()) {
        return Err(format!("it asks another host, {}", action["host"]));
    }
    let port = match &action["port"] {
        Value::String(name) => number_of(name, ports).ok_or_else(|| format!("its port {name:?} is none of that container's"))?,
        number => number.as_u64().unwrap_or_default(),
    };
    if port == u64::from(status_port) {
        return Ok(None);
    }
    action["port"] = port.into();
    let mut question = json!({ kind: action });
    if let Some(seconds) = probe["timeoutSeconds"].as_u64().filter(|seconds| *seconds > 0) {
        question["timeoutSeconds"] = seconds.into();
    }
    Ok(Some(question))
}

fn number_of(name: &str, ports: &[Value]) -> Option<u64> {
    let number = || name.parse::<u16>().ok().map(u64::from);
    ports.iter().find(|port| port["name"] == name).and_then(|port| port["containerPort"].as_u64()).or_else(number)
}

/// The kubelet asks the status port by HTTP. Headers stay, as Istio leaves them.
fn ask_instead(probe: &mut Value, path: &str, status_port: u16) {
    let Value::Object(fields) = probe else { return };
    fields.remove("tcpSocket");
    fields.remove("grpc");
    let action = fields.entry("httpGet").or_insert_with(|| json!({}));
    action["path"] = path.into();
    action["port"] = status_port.into();
    if action["scheme"] == "HTTPS" {
        action["scheme"] = "HTTP".into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_probe_goes_by_the_status_port() {
        let mut pod = json!({"spec": {
        "initContainers": [{"name": "setup", "restartPolicy": "Always", "startupProbe": {"grpc": {"port": 7070, "service": "s"}}}],
        "containers": [
            {"name": "app", "ports": [{"name": "web", "containerPort": 8443}],
             "readinessProbe": {"httpGet": {"path": "/r", "port": "web", "scheme": "HTTPS",
                                            "httpHeaders": [{"name": "Host", "value": "a.test"}]},
                                "timeoutSeconds": 5, "periodSeconds": 2},
             "livenessProbe": {"tcpSocket": {"port": 9090}},
             "startupProbe": {"exec": {"command": ["true"]}},
             "lifecycle": {"preStop": {"httpGet": {"path": "/stop", "port": 8080}}, "postStart": {"sleep": {"seconds": 1}}}},
            {"name": "other", "readinessProbe": {"httpGet": {"port": "nobody"}}, "livenessProbe": {"httpGet": {"port": 15020}},
             "startupProbe": {"tcpSocket": {"host": "db", "port": 1}}},
            {"name": "istio-proxy", "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}}},
        ]}});
        let before = pod.clone();
        let mut reports = vec![];
        let asked = rewrite(&mut pod, 15020, &mut reports);
        let headers = json!([{"name": "Host", "value": "a.test"}]);
        let expected = json!({
            "/app-health/setup/startupz": {"grpc": {"port": 7070, "service": "s"}},
            "/app-health/app/readyz": {"httpGet": {"path": "/r", "port": 8443, "scheme": "HTTPS", "httpHeaders": headers}, "timeoutSeconds": 5},
            "/app-health/app/livez": {"tcpSocket": {"port": 9090}},
            "/app-lifecycle/app/prestopz": {"httpGet": {"path": "/stop", "port": 8080}},
        });
        assert_eq!(Value::Object(asked), expected);
        let app = &pod["spec"]["containers"][0];
        let ready = json!({"httpGet": {"path": "/app-health/app/readyz", "port": 15020, "scheme": "HTTP", "httpHeaders": headers},
                           "timeoutSeconds": 5, "periodSeconds": 2});
        assert_eq!(app["readinessProbe"], ready);
        assert_eq!(app["livenessProbe"], json!({"httpGet": {"path": "/app-health/app/livez", "port": 15020}}));
        assert_eq!(app["startupProbe"], before["spec"]["containers"][0]["startupProbe"]);
        assert_eq!(app["lifecycle"]["preStop"], json!({"httpGet": {"path": "/app-lifecycle/app/prestopz", "port": 15020}}));
        assert_eq!(app["lifecycle"]["postStart"], json!({"sleep": {"seconds": 1}}));
        assert_eq!(pod["spec"]["containers"].as_array().unwrap()[1..], before["spec"]["containers"].as_array().unwrap()[1..]);
        let said = [
            "readinessProbe of container other stays as it is: its port \"nobody\" is none of that container's",
            "startupProbe of container other stays as it is: it asks another host, \"db\"",
        ];
        assert_eq!(reports, said);
        // What is rewritten is rewritten once.
        assert!(rewrite(&mut pod, 15020, &mut vec![]).is_empty());
    }
}
