//! One place for Prometheus to ask: the proxy's status port, where its metrics and the application's are merged. What the application's
//! annotations say goes into `ISTIO_PROMETHEUS_ANNOTATIONS`, and they lead to the proxy.
//!
//! Facts: `applyPrometheusMerge` in pkg/kube/inject/webhook.go of Istio.

use serde_json::{Map, Value};

use crate::names::RESERVED_PORTS;

/// The variable in which the proxy finds where the application has its metrics.
pub(crate) const VARIABLE: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";

/// Moves the annotations. Returns where the application has its metrics, if it says so.
///
/// # Errors
/// If that is none of its own ports.
pub(crate) fn merge(annotations: &mut Map<String, Value>, status_port: u16) -> Result<Option<Value>, String> {
    let said = |name: &str| {
        let found = annotations.iter().find(|(known, _)| plain(known) == name);
        found.and_then(|(known, value)| Some((known.clone(), value.as_str()?.to_owned())))
    };
    let (scrape, path, port) = (said("prometheus_io_scrape"), said("prometheus_io_path"), said("prometheus_io_port"));
    let refuses = scrape.as_ref().is_some_and(|(_, value)| crate::lists::boolean(value) == Ok(false));
    if refuses || port.as_ref().is_some_and(|(_, value)| *value == status_port.to_string()) {
        return Ok(None);
    }
    if let Some((name, value)) = &port {
        check(name, value, status_port)?;
    }
    let named = [("scrape", scrape), ("path", path), ("port", port)];
    let moved: Map<String, Value> = named.into_iter().filter_map(|(name, said)| Some((name.to_owned(), said?.1.into()))).collect();
    annotations.retain(|name, _| !["prometheus_io_scrape", "prometheus_io_path", "prometheus_io_port"].contains(&plain(name).as_str()));
    for (name, value) in [("port", status_port.to_string()), ("path", "/stats/prometheus".to_owned()), ("scrape", "true".to_owned())] {
        annotations.insert(format!("prometheus.io/{name}"), value.into());
    }
    Ok((!moved.is_empty()).then_some(Value::Object(moved)))
}

/// A port of the application, and not one of the sidecar's.
fn check(name: &str, value: &str, status_port: u16) -> Result<(), String> {
    let wrong = |problem: &str| Err(format!("annotation {name}: the value {value:?} cannot be used: {problem}"));
    let Some(port) = value.parse::<u16>().ok().filter(|port| *port != 0) else { return wrong("write a port of the application") };
    match RESERVED_PORTS.iter().find(|(reserved, _)| *reserved == port) {
        Some((_, what)) => wrong(&format!("that port of the sidecar is for {what}: write one of the application's")),
        None if port == status_port => wrong("that is the sidecar's status port: write one of the application's"),
        None => Ok(()),
    }
}

/// A name as Prometheus spells it in labels, so that `prometheus.io/port` is found in each of its spellings.
fn plain(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(annotations: Value) -> (Result<Option<Value>, String>, Value) {
        let Value::Object(mut annotations) = annotations else { panic!("a map") };
        (merge(&mut annotations, 15020), Value::Object(annotations))
    }

    #[test]
    fn prometheus_asks_the_proxy_which_asks_the_application() {
        let ours = json!({"prometheus.io/port": "15020", "prometheus.io/path": "/stats/prometheus", "prometheus.io/scrape": "true"});
        let theirs = json!({"prometheus.io/scrape": "true", "prometheus_io_path": "/m", "prometheus.io/port": "9080"});
        let (asked, annotations) = merged(theirs);
        assert_eq!(asked, Ok(Some(json!({"scrape": "true", "path": "/m", "port": "9080"}))));
        assert_eq!(annotations, ours);
        assert_eq!(merged(json!({})), (Ok(None), ours.clone()));
        assert_eq!(merged(ours.clone()), (Ok(None), ours), "what is ours already stays");
        let no = json!({"prometheus.io/scrape": "false", "prometheus.io/port": "9080"});
        assert_eq!(merged(no.clone()), (Ok(None), no));
    }

    #[test]
    fn the_sidecars_own_ports_are_no_applications() {
        for port in ["15090", "15000", "0", "x", "70000"] {
            let refused = merged(json!({"prometheus.io/port": port})).0.unwrap_err();
            assert!(refused.starts_with("annotation prometheus.io/port: the value"), "{refused}");
        }
    }
}
