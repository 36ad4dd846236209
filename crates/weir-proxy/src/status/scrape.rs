//! The application's metrics, which are merged with the proxy's: the variable `ISTIO_PROMETHEUS_ANNOTATIONS`, which injection writes.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, HOST};
use http_body_util::Empty;
use serde_json::Value;

use super::application::{Application, authority};
use super::fetch::{Fetched, fetch};

/// Prometheus waits ten seconds, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(9);
/// An application with more metrics has a fault.
const LARGEST: usize = 32 << 20;

/// Where the application has its metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scraped {
    port: u16,
    path: String,
}

impl Scraped {
    /// Reads the variable; an empty one, or one that refuses, names none. Without a port it is 80, as Istio's agent has it.
    ///
    /// # Errors
    /// If it is not what injection writes; says what of it is not.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let read: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        let word = |name: &str| read[name].as_str().filter(|word| !word.is_empty());
        if word("scrape").is_none_or(|scrape| ["false", "0", "f", "F", "FALSE", "False"].contains(&scrape)) {
            return Ok(None);
        }
        let port = word("port").unwrap_or("80").parse::<u16>().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| format!("its port {} is no number from 1 to 65535", read["port"]))?;
        let path = word("path").unwrap_or("/metrics");
        Ok(Some(Self { port, path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") } }))
    }

    /// What the application has, as Prometheus reads it.
    ///
    /// # Errors
    /// If it does not answer well; in words.
    pub(super) async fn read(&self, application: &Application) -> Result<Bytes, String> {
        match tokio::time::timeout(PATIENCE, self.read_in_time(application)).await {
            Ok(read) => read,
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }

    async fn read_in_time(&self, application: &Application) -> Result<Bytes, String> {
        let stream = application.connect(self.port).await.map_err(|error| error.to_string())?;
        let host = stream.peer_addr().ok().and_then(authority).map(|host| host.to_string()).unwrap_or_default();
        // The one form that can be appended to another text.
        let request = Request::get(self.path.as_str()).header(HOST, host).header(ACCEPT, "text/plain;version=0.0.4");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        match fetch(stream, request, LARGEST).await? {
            Fetched { status, body, .. } if status.is_success() => body,
            Fetched { status, .. } => Err(format!("it answers {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_metrics_is_read_as_injection_writes_it() {
        let read = |text: &str| Scraped::parse(text).map(|found| found.map(|found| (found.port, found.path)));
        assert_eq!(read(r#"{"scrape": "true", "path": "m", "port": "9080"}"#), Ok(Some((9080, "/m".to_owned()))));
        assert_eq!(read(r#"{"scrape": "true"}"#), Ok(Some((80, "/metrics".to_owned()))));
        assert_eq!((read(""), read(r#"{"scrape": "false"}"#), read(r#"{"port": "9080"}"#)), (Ok(None), Ok(None), Ok(None)));
        assert!(read("{").is_err() && read(r#"{"scrape": "true", "port": "0"}"#).is_err());
    }
}
