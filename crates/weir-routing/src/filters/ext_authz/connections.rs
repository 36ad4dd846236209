//! Connections that a service decides about: Envoy's network filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/ext_authz_filter>).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_xds::auth::attribute_context::{Peer, TlsSession};
use weir_xds::auth::{AttributeContext, CheckRequest, CheckResponse};
use weir_xds::network_ext_authz::ExtAuthz;

use super::TIMEOUT;
use super::question::{Party, peer};
use crate::dynamic_metadata::DynamicMetadata;
use crate::error::CompileError;
use crate::filters::service::{GrpcService, check_version, limit};
use crate::metadata_match::MetadataMatch;

/// No connection waits longer, whatever is configured: its client may have gone long ago, and it holds what others need.
const LONGEST: Duration = Duration::from_secs(60);

/// How connections are decided about.
#[derive(Debug)]
pub struct ConnectionAuthz {
    /// Names it in statistics.
    pub stat_prefix: Box<str>,
    /// Who decides.
    pub service: GrpcService,
    /// How long that may take.
    pub timeout: Option<Duration>,
    /// Whether connections pass where the service fails.
    pub allows_failure: bool,
    /// Whether those pass too that the service refuses.
    pub shadow: bool,
    /// Those alone are decided about for which filters before have left this behind.
    enabled_metadata: Option<MetadataMatch>,
    peer_certificate: bool,
    tls_session: bool,
    counted: [AtomicU64; NAMES.len()],
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each is Envoy's statistic of that name.
pub enum Count {
    Total,
    Ok,
    Denied,
    Error,
    FailureModeAllowed,
    Disabled,
    CxClosed,
}

/// All of them, with the ends of their names.
pub const NAMES: [(&str, Count); 7] = [
    ("total", Count::Total),
    ("ok", Count::Ok),
    ("denied", Count::Denied),
    ("error", Count::Error),
    ("failure_mode_allowed", Count::FailureModeAllowed),
    ("disabled", Count::Disabled),
    ("cx_closed", Count::CxClosed),
];

/// What is known of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The client.
    pub source: Party<'a>,
    /// Whom it connected to.
    pub destination: Party<'a>,
    /// Its certificate, as a text that may stand in a URL.
    pub certificate: Option<&'a str>,
    /// The name that it asked for in its handshake.
    pub server_name: Option<&'a str>,
}

impl ConnectionAuthz {
    /// Compiles the filter.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn compile(filter: &ExtAuthz) -> Result<Self, CompileError> {
        let ExtAuthz {
            stat_prefix,
            grpc_service,
            failure_mode_allow,
            include_peer_certificate,
            transport_api_version: _,
            filter_enabled_metadata,
            // Reported: the service is told no labels, and no metadata.
            bootstrap_metadata_labels_key: _,
            metadata_context_namespaces: _,
            typed_metadata_context_namespaces: _,
            include_tls_session,
            // Reported: who is refused is told nothing.
            send_tls_alert_on_denial: _,
            shadow_mode,
        } = filter;
        if stat_prefix.is_empty() {
            return Err(CompileError::missing("stat_prefix"));
        }
        check_version(filter.transport_api_version())?;
        let service = grpc_service.as_ref().ok_or_else(|| CompileError::missing("grpc_service"))?;
        let (service, timeout) = GrpcService::compile(service).map_err(|error| error.within("grpc_service"))?;
        let marked = filter_enabled_metadata.as_ref().map(MetadataMatch::compile).transpose();
        Ok(Self {
            stat_prefix: stat_prefix.as_str().into(),
            service,
            timeout: Some(limit(timeout, TIMEOUT).map_or(LONGEST, |timeout| timeout.min(LONGEST))),
            allows_failure: *failure_mode_allow,
            shadow: *shadow_mode,
            enabled_metadata: marked.map_err(|error| error.within("filter_enabled_metadata"))?,
            peer_certificate: *include_peer_certificate,
            tls_session: *include_tls_session,
            counted: Default::default(),
        })
    }

    /// Whether a connection is decided about, for which filters before have left this behind. One that is not is counted.
    pub fn is_about(&self, metadata: &DynamicMetadata) -> bool {
        let is_about = self.enabled_metadata.as_ref().is_none_or(|marked| marked.holds(metadata));
        if !is_about {
            self.count(Count::Disabled);
        }
        is_about
    }

    /// What the service is asked.
    pub fn ask(&self, asked: &Asked<'_>) -> CheckRequest {
        let certificate = asked.certificate.filter(|_| self.peer_certificate).unwrap_or_default().to_owned();
        let session = || TlsSession { sni: asked.server_name.unwrap_or_default().to_owned() };
        let attributes = AttributeContext {
            source: Some(Peer { certificate, ..peer(&asked.source) }),
            destination: Some(peer(&asked.destination)),
            tls_session: self.tls_session.then(session),
            ..Default::default()
        };
        CheckRequest { attributes: Some(attributes) }
    }

    /// Whether a connection passes by the service's answer, which is none where it has failed; and counts that. Otherwise why not, as
    /// logs have it.
    ///
    /// # Errors
    /// If it does not pass.
    pub fn heard(&self, answer: Option<&CheckResponse>) -> Result<(), &'static str> {
        self.count(Count::Total);
        // A status that is not there is 0.
        let is_allowed = answer.map(|answer| answer.status.as_ref().is_none_or(|status| status.code == 0));
        let passes = match is_allowed {
            Some(true) => {
                self.count(Count::Ok);
                return Ok(());
            }
            Some(false) => {
                self.count(Count::Denied);
                self.shadow
            }
            None => {
                self.count(Count::Error);
                if self.allows_failure {
                    self.count(Count::FailureModeAllowed);
                }
                self.allows_failure || self.shadow
            }
        };
        if passes {
            return Ok(());
        }
        self.count(Count::CxClosed);
        Err(if is_allowed.is_some() { "ext_authz_denied" } else { "ext_authz_error" })
    }

    fn count(&self, count: Count) {
        if let Some(counter) = self.counted.get(count as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many there were.
    pub fn get(&self, count: Count) -> u64 {
        self.counted.get(count as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use weir_xds::json::from_value;

    use super::*;

    fn filter(more: Json) -> ExtAuthz {
        let mut filter = json!({"statPrefix": "tcp", "grpcService": {"envoyGrpc": {"clusterName": "auth"}}});
        filter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        from_value(filter).unwrap()
    }

    #[test]
    fn what_nobody_could_be_asked_by_is_refused() {
        for (message, field) in [
            (ExtAuthz { stat_prefix: String::new(), ..filter(json!({})) }, "stat_prefix"),
            (ExtAuthz { grpc_service: None, ..filter(json!({})) }, "grpc_service"),
            (filter(json!({"grpcService": {"envoyGrpc": {}}})), "grpc_service.envoy_grpc.cluster_name"),
            (filter(json!({"filterEnabledMetadata": {"filter": "a"}})), "filter_enabled_metadata.path"),
            (filter(json!({"transportApiVersion": "V2"})), "transport_api_version"),
        ] {
            assert_eq!(ConnectionAuthz::compile(&message).map(drop).unwrap_err().path, field);
        }
    }

    #[test]
    fn nobody_waits_for_ever() {
        for (timeout, expected) in [("0s", 60_000), ("600s", 60_000), ("0.300s", 300)] {
            let more = json!({"grpcService": {"envoyGrpc": {"clusterName": "auth"}, "timeout": timeout}});
            assert_eq!(ConnectionAuthz::compile(&filter(more)).unwrap().timeout, Some(Duration::from_millis(expected)), "{timeout}");
        }
    }

    #[test]
    fn only_a_good_answer_lets_a_connection_pass() {
        let answer = |code: Option<i32>| {
            let status = code.map(|code| json!({"code": code}));
            from_value::<CheckResponse>(status.map_or_else(|| json!({}), |status| json!({"status": status}))).unwrap()
        };
        let (good, silent, bad) = (answer(Some(0)), answer(None), answer(Some(7)));
        let denied = Err("ext_authz_denied");
        for (more, answer, expected, counted) in [
            (json!({}), Some(&good), Ok(()), "total ok"),
            (json!({}), Some(&silent), Ok(()), "total ok"),
            (json!({}), Some(&bad), denied, "total denied cx_closed"),
            (json!({"failureModeAllow": true}), Some(&bad), denied, "total denied cx_closed"),
            (json!({"shadowMode": true}), Some(&bad), Ok(()), "total denied"),
            (json!({}), None, Err("ext_authz_error"), "total error cx_closed"),
            (json!({"failureModeAllow": true}), None, Ok(()), "total error failure_mode_allowed"),
        ] {
            let authz = ConnectionAuthz::compile(&filter(more.clone())).unwrap();
            assert_eq!(authz.heard(answer), expected, "{more}");
            let found: Vec<&str> = NAMES.iter().filter(|(_, count)| authz.get(*count) == 1).map(|(name, _)| *name).collect();
            assert_eq!(found.join(" "), counted, "{more}");
        }
    }
}
