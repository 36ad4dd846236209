//! What of the application is asked for the kubelet: the variable `ISTIO_KUBE_APP_PROBERS`, which injection writes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// What Kubernetes takes where a probe says nothing of it.
const USUAL_TIMEOUT: Duration = Duration::from_secs(1);
/// No probe waits longer, whatever it says.
const LONGEST: Duration = Duration::from_secs(600);

/// The probes, by the path at which the kubelet asks for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probers(BTreeMap<String, Prober>);

/// What is asked, and how long an answer may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prober {
    pub port: u16,
    pub question: Question,
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// A request, with TLS or without; the path begins with a slash.
    Http { path: String, tls: bool },
    /// Whether a connection can be made.
    Tcp,
    /// gRPC's health protocol, about a service.
    Grpc { service: String },
}

/// Why what is to be asked cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongProbers {
    /// It is no JSON object.
    #[error("it is no JSON object of probes: {0}")]
    Json(String),
    /// A path that nobody asks for.
    #[error("{0:?} is no path below /app-health/ or /app-lifecycle/")]
    Path(String),
    /// A probe that asks nothing.
    #[error("{0}: {1}")]
    Probe(String, &'static str),
}

impl Probers {
    /// Reads the variable; an empty one has none.
    ///
    /// # Errors
    /// If it is not what injection writes.
    pub fn parse(text: &str) -> Result<Self, WrongProbers> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|error| WrongProbers::Json(error.to_string()))?;
        let mut probers = BTreeMap::new();
        for (path, value) in read {
            let known = ["/app-health/", "/app-lifecycle/"].iter().any(|start| path.starts_with(start));
            if !known {
                return Err(WrongProbers::Path(path));
            }
            match prober(&value) {
                Ok(prober) => drop(probers.insert(path, prober)),
                Err(problem) => return Err(WrongProbers::Probe(path, problem)),
            }
        }
        Ok(Self(probers))
    }

    pub(super) fn get(&self, path: &str) -> Option<&Prober> {
        self.0.get(path)
    }
}

fn prober(value: &Value) -> Result<Prober, &'static str> {
    let kind = |name: &str| value.get(name).filter(|action| action.is_object());
    let (action, question) = if let Some(action) = kind("httpGet") {
        let path = action["path"].as_str().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        (action, Question::Http { path, tls: action["scheme"] == "HTTPS" })
    } else if let Some(action) = kind("tcpSocket") {
        (action, Question::Tcp)
    } else if let Some(action) = kind("grpc") {
        (action, Question::Grpc { service: action["service"].as_str().unwrap_or_default().to_owned() })
    } else {
        return Err("it has neither httpGet nor tcpSocket nor grpc");
    };
    let port = action["port"].as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    let port = port.ok_or("its port is no number from 1 to 65535")?;
    let timeout = value["timeoutSeconds"].as_u64().filter(|seconds| *seconds > 0).map_or(USUAL_TIMEOUT, Duration::from_secs);
    Ok(Prober { port, question, timeout: timeout.min(LONGEST) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_read_as_injection_writes_them() {
        let text = r#"{"/app-health/a/readyz": {"httpGet": {"path": "r", "port": 80, "scheme": "HTTPS"}, "timeoutSeconds": 5},
                       "/app-health/a/livez": {"tcpSocket": {"port": 81}}, "/app-lifecycle/a/prestopz": {"grpc": {"port": 82, "service": "s"}}}"#;
        let probers = Probers::parse(text).unwrap();
        let expected = [
            ("/app-health/a/readyz", 80, Question::Http { path: "/r".to_owned(), tls: true }, 5),
            ("/app-health/a/livez", 81, Question::Tcp, 1),
            ("/app-lifecycle/a/prestopz", 82, Question::Grpc { service: "s".to_owned() }, 1),
        ];
        for (path, port, question, seconds) in expected {
            assert_eq!(probers.get(path), Some(&Prober { port, question, timeout: Duration::from_secs(seconds) }));
        }
        assert_eq!(Probers::parse(""), Ok(Probers::default()));
    }

    #[test]
    fn what_is_no_probe_is_told() {
        for (text, said) in [
            ("[]", "no JSON object"),
            (r#"{"/stats": {"tcpSocket": {"port": 1}}}"#, "\"/stats\" is no path"),
            (r#"{"/app-health/a/readyz": {"exec": {}}}"#, "/app-health/a/readyz: it has neither"),
            (r#"{"/app-health/a/readyz": {"tcpSocket": {"port": "http"}}}"#, "its port is no number"),
            (r#"{"/app-health/a/readyz": {"tcpSocket": {"port": 70000}}}"#, "its port is no number"),
        ] {
            let error = Probers::parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
