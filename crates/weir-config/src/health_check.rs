//! What a cluster's `health_checks` says (`envoy.config.core.v3.HealthCheck`), compiled.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::{Method as HttpMethod, Uri};
use weir_http1::header::{HOST, USER_AGENT};
use weir_http1::{HeaderValue, Headers};
use weir_routing::CompileError;
use weir_routing::header_changes::{Action, HeaderChanges, NewValue, Target};
use weir_xds::cluster::Cluster as XdsCluster;
use weir_xds::core::health_check::custom_health_check::ConfigType;
use weir_xds::core::health_check::{CustomHealthCheck, GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck};
use weir_xds::core::{HealthCheck, RequestMethod};
use weir_xds::health::{EXEC, ExecCommand, Probe};
use weir_xds::types::{CodecClientType, Int64Range};
use weir_xds::values::std_duration;

use super::payload;
use super::transport::Criteria;

/// Envoy's pause between checks of a cluster that nobody uses, where none is given.
const NO_TRAFFIC: Duration = Duration::from_secs(60);
/// So much of an answer is looked at for `receive`, where nothing is said.
const ANSWER_LOOKED_AT: usize = 1024;
/// The shortest pause: no configuration makes checks follow each other without one.
const SHORTEST: Duration = Duration::from_millis(1);

/// How Envoy's checks introduce themselves.
const AGENT: HeaderValue = HeaderValue::from_static("Envoy/HC");

/// How and how often instances are checked.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheckPolicy {
    /// How long a check may take.
    pub timeout: Duration,
    /// How much time passes between checks.
    pub pauses: Pauses,
    /// After so many failures in a row an instance is unhealthy.
    pub unhealthy_threshold: u32,
    /// After so many successes in a row it is healthy again.
    pub healthy_threshold: u32,
    /// Whether a connection serves for more than one check.
    pub reuse_connection: bool,
    /// What is asked of a transport that checks take, if it is not the endpoint's own.
    pub transport: Option<Criteria>,
    /// What is offered by ALPN; where nothing is said, that follows from what is spoken.
    pub alpn: Vec<Vec<u8>>,
    /// What is asked.
    pub method: Method,
    /// Set if it is the probe of the proxy's own workload: its results are told to the control plane, and the thresholds are
    /// Kubernetes'.
    pub probe: Option<Probe>,
}

/// How much time passes between checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Pauses {
    /// After a success.
    pub healthy: Duration,
    /// After a success of an instance that is not healthy yet.
    pub healthy_edge: Duration,
    /// After a failure.
    pub unhealthy: Duration,
    /// After a failure of an instance that is not unhealthy yet.
    pub unhealthy_edge: Duration,
    /// While nobody has used the cluster yet.
    pub no_traffic: Duration,
    /// The same, of an instance that is healthy.
    pub no_traffic_healthy: Duration,
    /// By chance, at most so much before the first check.
    pub initial_jitter: Duration,
    /// By chance, at most so much more.
    pub jitter: Duration,
    /// By chance, at most so many percent more.
    pub jitter_percent: u32,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// A request.
    Http(Box<HttpMethodPolicy>),
    /// A connection, and perhaps some bytes.
    Tcp(TcpMethodPolicy),
    /// gRPC's health protocol.
    Grpc(GrpcMethodPolicy),
    /// A command.
    Exec(Vec<String>),
}

/// A check by a request.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpMethodPolicy {
    /// Its method.
    pub method: HttpMethod,
    /// Its path and query.
    pub path: Uri,
    /// Its authority, if it is not that of the instance or the cluster's name.
    pub host: Option<HeaderValue>,
    /// Its other headers.
    pub headers: Headers,
    /// Its body.
    pub send: Bytes,
    /// What the body of the answer must contain.
    pub receive: Vec<Bytes>,
    /// So many bytes of it are looked at.
    pub looked_at: usize,
    /// The statuses of a healthy instance.
    pub expected: Vec<Range<i64>>,
    /// The statuses that need not mean that an instance is unhealthy.
    pub retriable: Vec<Range<i64>>,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
}

/// A check by a connection.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpMethodPolicy {
    /// What is sent.
    pub send: Bytes,
    /// What must come; if nothing, it is enough to be connected.
    pub receive: Vec<Bytes>,
}

/// A check by gRPC's health protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct GrpcMethodPolicy {
    /// The service that is asked about; the server as a whole, if it is empty.
    pub service: String,
    /// The authority, if it is not that of the instance or the cluster's name.
    pub authority: Option<HeaderValue>,
    /// Headers.
    pub metadata: Headers,
}

impl HealthCheckPolicy {
    /// Compiles a cluster's `health_checks`.
    ///
    /// # Errors
    /// If one is not valid, or asks for what is not carried out.
    pub fn of_cluster(cluster: &XdsCluster) -> Result<Option<Self>, CompileError> {
        match cluster.health_checks.as_slice() {
            [] => Ok(None),
            [check] => {
                let policy = Self::compile(check).map_err(|error| error.within("health_checks[0]"))?;
                Ok(Some(Self { probe: Probe::read(cluster.metadata.as_ref()), ..policy }))
            }
            // So does Envoy.
            _ => Err(CompileError::new("health_checks", "has more than one check, which is not supported")),
        }
    }

    fn compile(check: &HealthCheck) -> Result<Self, CompileError> {
        #[allow(deprecated)] // Fields that Envoy still reads are decided about, too.
        let HealthCheck {
            timeout: _,
            interval: _,
            initial_jitter: _,
            interval_jitter: _,
            interval_jitter_percent: _,
            unhealthy_threshold: _,
            healthy_threshold: _,
            reuse_connection: _,
            no_traffic_interval: _,
            no_traffic_healthy_interval: _,
            unhealthy_interval: _,
            unhealthy_edge_interval: _,
            healthy_edge_interval: _,
            health_checker: _,
            // Reported.
            alt_port: _,
            event_log_path: _,
            event_logger: _,
            event_service: _,
            always_log_health_check_failures: _,
            always_log_health_check_success: _,
            tls_options: _,
            transport_socket_match_criteria: _,
        } = check;
        let needed = |value: &Option<_>, name| match value.as_ref().map(std_duration) {
            Some(duration) if !duration.is_zero() => Ok(duration),
            _ => Err(CompileError::new(name, "must be more than nothing")),
        };
        let threshold = |value: Option<u32>, name| value.filter(|value| *value > 0).ok_or_else(|| CompileError::missing(name));
        Ok(Self {
            timeout: needed(&check.timeout, "timeout")?,
            pauses: Pauses::compile(check, needed(&check.interval, "interval")?),
            unhealthy_threshold: threshold(check.unhealthy_threshold, "unhealthy_threshold")?,
            healthy_threshold: threshold(check.healthy_threshold, "healthy_threshold")?,
            reuse_connection: check.reuse_connection.unwrap_or(true),
            transport: check.transport_socket_match_criteria.as_ref().map(|criteria| Criteria::written(Some(criteria))),
            alpn: check.tls_options.iter().flat_map(|options| &options.alpn_protocols).map(|name| name.clone().into_bytes()).collect(),
            method: match &check.health_checker {
                Some(HealthChecker::HttpHealthCheck(http)) => {
                    Method::Http(Box::new(HttpMethodPolicy::compile(http).map_err(|error| error.within("http_health_check"))?))
                }
                Some(HealthChecker::TcpHealthCheck(tcp)) => {
                    Method::Tcp(TcpMethodPolicy::compile(tcp).map_err(|error| error.within("tcp_health_check"))?)
                }
                Some(HealthChecker::GrpcHealthCheck(grpc)) => {
                    Method::Grpc(GrpcMethodPolicy::compile(grpc).map_err(|error| error.within("grpc_health_check"))?)
                }
                Some(HealthChecker::CustomHealthCheck(custom)) => Method::Exec(command(custom)?),
                None => return Err(CompileError::missing("http_health_check")),
            },
            probe: None,
        })
    }

    /// Whether it runs commands.
    pub fn runs_commands(&self) -> bool {
        matches!(self.method, Method::Exec(_))
    }
}

/// The command of a custom check, if it is ours.
fn command(custom: &CustomHealthCheck) -> Result<Vec<String>, CompileError> {
    let ours = (custom.name == EXEC).then_some(custom.config_type.as_ref()).flatten();
    let command = ours.and_then(|ConfigType::TypedConfig(config)| ExecCommand::unpack(config));
    command.map(|exec| exec.command).ok_or_else(|| CompileError::unsupported("custom_health_check"))
}

impl Pauses {
    fn compile(check: &HealthCheck, interval: Duration) -> Self {
        let or = |value: &Option<_>, usual| value.as_ref().map(std_duration).filter(|value| !value.is_zero()).unwrap_or(usual);
        let unhealthy = or(&check.unhealthy_interval, interval);
        let no_traffic = or(&check.no_traffic_interval, NO_TRAFFIC);
        Self {
            healthy: interval,
            healthy_edge: or(&check.healthy_edge_interval, interval),
            unhealthy,
            unhealthy_edge: or(&check.unhealthy_edge_interval, unhealthy),
            no_traffic,
            no_traffic_healthy: or(&check.no_traffic_healthy_interval, no_traffic),
            initial_jitter: or(&check.initial_jitter, Duration::ZERO),
            jitter: or(&check.interval_jitter, Duration::ZERO),
            jitter_percent: check.interval_jitter_percent,
        }
    }
}

impl Pauses {
    /// How long to wait after a result. `used` says whether the cluster has ever been used; `chance` gives a number below
    /// its argument.
    pub fn after(&self, success: bool, is_pending: bool, used: bool, chance: impl FnMut(u64) -> u64) -> Duration {
        let base = match (used, success, is_pending) {
            (false, true, false) => self.no_traffic_healthy,
            (false, ..) => self.no_traffic,
            (true, true, false) => self.healthy,
            (true, true, true) => self.healthy_edge,
            (true, false, false) => self.unhealthy,
            (true, false, true) => self.unhealthy_edge,
        };
        self.jittered(base, self.jitter, chance)
    }

    /// How long to wait before the first check.
    pub fn before_first(&self, chance: impl FnMut(u64) -> u64) -> Duration {
        if self.initial_jitter.is_zero() { Duration::ZERO } else { self.jittered(Duration::ZERO, self.initial_jitter, chance) }
    }

    fn jittered(&self, base: Duration, jitter: Duration, mut chance: impl FnMut(u64) -> u64) -> Duration {
        let mut up_to = |limit: u128| match u64::try_from(limit).unwrap_or(u64::MAX) {
            0 => Duration::ZERO,
            limit => Duration::from_millis(chance(limit)),
        };
        let share = up_to(base.as_millis() * u128::from(self.jitter_percent) / 100);
        (base + share + up_to(jitter.as_millis())).max(SHORTEST)
    }
}

impl HttpMethodPolicy {
    fn compile(check: &HttpHealthCheck) -> Result<Self, CompileError> {
        let HttpHealthCheck {
            host: _,
            path: _,
            send: _,
            receive: _,
            response_buffer_size: _,
            request_headers_to_add: _,
            request_headers_to_remove: _,
            expected_statuses: _,
            retriable_statuses: _,
            codec_client_type: _,
            method: _,
            // An instance of another service would count as healthy.
            service_name_matcher,
        } = check;
        if service_name_matcher.is_some() {
            return Err(CompileError::unsupported("service_name_matcher"));
        }
        let (headers, host) = headers(&HeaderChanges::compile(&check.request_headers_to_add, &check.request_headers_to_remove)?)?;
        let looked_at = match check.response_buffer_size {
            None => ANSWER_LOOKED_AT,
            Some(0) => usize::MAX,
            Some(size) => usize::try_from(size).unwrap_or(usize::MAX),
        };
        Ok(Self {
            method: method(check)?,
            path: check.path.parse().map_err(|_| CompileError::new("path", format!("`{}` is no path", check.path)))?,
            host: host.or(value("host", &check.host)?),
            headers,
            send: check.send.as_ref().map(payload::compile).transpose().map_err(|error| error.within("send"))?.unwrap_or_default(),
            receive: payload::compile_all(&check.receive).map_err(|error| error.within("receive"))?,
            looked_at,
            expected: if check.expected_statuses.is_empty() { one_range(200..201) } else { ranges(&check.expected_statuses) },
            retriable: ranges(&check.retriable_statuses),
            http2: match check.codec_client_type() {
                CodecClientType::Http1 => false,
                CodecClientType::Http2 => true,
                CodecClientType::Http3 => return Err(CompileError::unsupported("codec_client_type")),
            },
        })
    }
}

fn method(check: &HttpHealthCheck) -> Result<HttpMethod, CompileError> {
    Ok(match check.method() {
        RequestMethod::MethodUnspecified | RequestMethod::Get => HttpMethod::GET,
        RequestMethod::Head => HttpMethod::HEAD,
        RequestMethod::Post => HttpMethod::POST,
        RequestMethod::Put => HttpMethod::PUT,
        RequestMethod::Delete => HttpMethod::DELETE,
        RequestMethod::Options => HttpMethod::OPTIONS,
        RequestMethod::Trace => HttpMethod::TRACE,
        RequestMethod::Patch => HttpMethod::PATCH,
        RequestMethod::Connect => return Err(CompileError::unsupported("method")),
    })
}

fn one_range(range: Range<i64>) -> Vec<Range<i64>> {
    vec![range]
}

fn ranges(ranges: &[Int64Range]) -> Vec<Range<i64>> {
    ranges.iter().map(|range| range.start..range.end).collect()
}

impl TcpMethodPolicy {
    fn compile(check: &TcpHealthCheck) -> Result<Self, CompileError> {
        let TcpHealthCheck { send, receive, proxy_protocol_config } = check;
        if proxy_protocol_config.is_some() {
            return Err(CompileError::unsupported("proxy_protocol_config"));
        }
        let send = send.as_ref().map(payload::compile).transpose().map_err(|error| error.within("send"))?;
        let receive = payload::compile_all(receive).map_err(|error| error.within("receive"))?;
        Ok(Self { send: send.unwrap_or_default(), receive })
    }
}

impl GrpcMethodPolicy {
    fn compile(check: &GrpcHealthCheck) -> Result<Self, CompileError> {
        let GrpcHealthCheck { service_name, authority, initial_metadata } = check;
        let (metadata, host) = headers(&HeaderChanges::compile(initial_metadata, &[])?)?;
        Ok(Self { service: service_name.clone(), authority: host.or(value("authority", authority)?), metadata })
    }
}

/// A value of a header, if there is one.
fn value(name: &str, text: &str) -> Result<Option<HeaderValue>, CompileError> {
    let value = (!text.is_empty()).then(|| HeaderValue::from_str(text)).transpose();
    value.map_err(|_| CompileError::new(name, format!("`{text}` is no value of a header")))
}

/// The headers of every check, made once, and the authority if they change it.
fn headers(changes: &HeaderChanges) -> Result<(Headers, Option<HeaderValue>), CompileError> {
    let mut headers = Headers::from_iter([(USER_AGENT, AGENT)]);
    changes.remove.iter().for_each(|name| drop(headers.remove(name)));
    let mut authority = None;
    for change in &changes.write {
        let NewValue::Fixed(value) = &change.value else {
            return Err(CompileError::unsupported("request_headers_to_add: an operator in a value"));
        };
        match &change.target {
            Target::Authority => authority = Some(value.clone()),
            Target::Header(name) if *name == HOST => authority = Some(value.clone()),
            Target::Header(name) => match change.action {
                Action::Append => drop(headers.append(name, value.clone())),
                Action::AddIfAbsent if headers.contains_key(name) => {}
                Action::SetIfPresent if !headers.contains_key(name) => {}
                Action::Set | Action::AddIfAbsent | Action::SetIfPresent => drop(headers.insert(name, value.clone())),
            },
        }
    }
    Ok((headers, authority))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compile(mut check: serde_json::Value) -> Result<HealthCheckPolicy, String> {
        let usual = [("timeout", json!("1s")), ("interval", json!("5s")), ("unhealthyThreshold", json!(2)), ("healthyThreshold", json!(3))];
        for (name, value) in usual {
            check.as_object_mut().unwrap().entry(name).or_insert(value);
        }
        let cluster: XdsCluster = weir_xds::json::from_value(json!({ "name": "a", "healthChecks": [check] })).unwrap();
        HealthCheckPolicy::of_cluster(&cluster).map(Option::unwrap).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_as_in_envoy() {
        let policy = compile(json!({"tcpHealthCheck": {}, "unhealthyInterval": "7s"})).unwrap();
        let seconds = [
            policy.pauses.healthy,
            policy.pauses.healthy_edge,
            policy.pauses.unhealthy,
            policy.pauses.unhealthy_edge,
            policy.pauses.no_traffic,
            policy.pauses.no_traffic_healthy,
        ];
        assert_eq!(seconds.map(|pause| pause.as_secs()), [5, 5, 7, 7, 60, 60]);
        assert!(policy.reuse_connection);
    }

    #[test]
    fn requests_are_made_once() {
        let http = json!({
            "path": "/healthz?full", "host": "a.example", "method": "HEAD",
            "requestHeadersToAdd": [{"header": {"key": "x-check", "value": "yes"}}], "requestHeadersToRemove": ["user-agent"],
        });
        let Method::Http(http) = compile(json!({ "httpHealthCheck": http })).unwrap().method else { panic!("it is HTTP") };
        assert_eq!(
            (http.path.to_string().as_str(), http.method, http.host.unwrap()),
            ("/healthz?full", HttpMethod::HEAD, "a.example".parse().unwrap())
        );
        assert_eq!(http.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-check"]);
        assert_eq!(http.expected, one_range(200..201));
    }

    #[test]
    fn what_cannot_be_checked_is_refused_with_its_field() {
        for (check, path) in [
            (json!({}), "health_checks[0].http_health_check: is missing"),
            (json!({"tcpHealthCheck": {}, "timeout": "0s"}), "health_checks[0].timeout: must be more than nothing"),
            (json!({"tcpHealthCheck": {"send": {"text": "xy"}}}), "health_checks[0].tcp_health_check.send.text: `xy` is not hexadecimal"),
            (
                json!({"httpHealthCheck": {"path": "/", "codecClientType": "HTTP3"}}),
                "health_checks[0].http_health_check.codec_client_type: is not supported",
            ),
            (json!({"customHealthCheck": {"name": "redis"}}), "health_checks[0].custom_health_check: is not supported"),
        ] {
            assert_eq!(compile(check).unwrap_err(), path);
        }
    }
}
