//! Faults on purpose: Envoy's fault filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter>).
//!
//! A route's policy takes the place of the filter's. A delay comes first, then an abort; each is for its own share of requests.
//! The keys of a runtime are of no meaning where there is none, and neither are statistics for each calling cluster, which are
//! not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weir_http1::Headers;
use weir_xds::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use weir_xds::envoy::extensions::filters::common::fault::v3::fault_rate_limit::{FixedLimit, HeaderLimit, LimitType};
use weir_xds::envoy::extensions::filters::common::fault::v3::{FaultDelay, FaultRateLimit};
use weir_xds::fault::fault_abort::ErrorType;
use weir_xds::fault::{FaultAbort, HttpFault};
use weir_xds::values::std_duration;

use super::counters::counters;
use super::{Policy, Share};
use crate::condition::HeaderCondition;
use crate::error::CompileError;
use crate::request::RequestHead;

const DELAY: &str = "x-envoy-fault-delay-request";
const DELAY_PERCENTAGE: &str = "x-envoy-fault-delay-request-percentage";
const ABORT_HTTP: &str = "x-envoy-fault-abort-request";
const ABORT_GRPC: &str = "x-envoy-fault-abort-grpc-request";
const ABORT_PERCENTAGE: &str = "x-envoy-fault-abort-request-percentage";
const THROTTLE: &str = "x-envoy-fault-throughput-response";
const THROTTLE_PERCENTAGE: &str = "x-envoy-fault-throughput-response-percentage";
const CALLING_NODE: &str = "x-envoy-downstream-service-node";

/// What is done to some requests.
#[derive(Debug, Clone)]
pub struct FaultPolicy {
    delay: Option<Injected<Delay>>,
    abort: Option<Injected<AbortWith>>,
    throttle: Option<Injected<Throttle>>,
    body: Box<[u8]>,
    headers: Box<[HeaderCondition]>,
    cluster: Option<Box<str>>,
    nodes: Box<[Box<str>]>,
    /// How many requests may have a fault at once; those beyond have none.
    pub max_active: Option<u32>,
    /// Those that have one now, for all who hold this policy. A filter counts in its own, whatever a route says.
    pub active: Arc<ActiveFaults>,
    /// What was done. A filter counts in its own, whatever a route says.
    pub counted: Arc<FaultCounters>,
}

counters! {
    /// Faults, and those that were one too many.
    FaultCounters: delays_injected aborts_injected response_rl_injected faults_overflow
}

/// The requests that have a fault now, counted for all threads without a lock.
#[derive(Debug, Default)]
pub struct ActiveFaults(AtomicU32);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct ActiveFault(Arc<ActiveFaults>);

impl Drop for ActiveFault {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A fault, and for which share of requests it is.
#[derive(Debug, Clone, Copy)]
struct Injected<T> {
    what: T,
    share: Share,
}

#[derive(Debug, Clone, Copy)]
enum Delay {
    Fixed(Duration),
    /// As long as a header of the request says.
    Asked,
}

#[derive(Debug, Clone, Copy)]
enum AbortWith {
    Fixed(Abort),
    /// What a header of the request says.
    Asked,
}

/// How fast the body of an answer passes.
#[derive(Debug, Clone, Copy)]
enum Throttle {
    /// So many KiB a second.
    Fixed(u64),
    /// As fast as a header of the request says.
    Asked,
}

/// The answer to a request that is not sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// An HTTP status.
    Http(u16),
    /// A gRPC status; to a request that is no gRPC call, 200.
    Grpc(u32),
}

impl Policy for FaultPolicy {
    type Message = HttpFault;

    fn compile(message: &HttpFault) -> Result<Self, CompileError> {
        let HttpFault {
            delay,
            abort,
            upstream_cluster,
            headers,
            downstream_nodes,
            max_active_faults,
            response_rate_limit,
            delay_percent_runtime: _,
            abort_percent_runtime: _,
            delay_duration_runtime: _,
            abort_http_status_runtime: _,
            max_active_faults_runtime: _,
            response_rate_limit_percent_runtime: _,
            abort_grpc_status_runtime: _,
            disable_downstream_cluster_stats: _,
            // For logs, which know no dynamic metadata.
            filter_metadata: _,
        } = message;
        let condition = |(i, header)| HeaderCondition::compile(header).map_err(|error| error.within(&format!("headers[{i}]")));
        Ok(Self {
            delay: delay.as_ref().map(Injected::delay).transpose().map_err(|error| error.within("delay"))?,
            abort: abort.as_ref().map(Injected::abort).transpose().map_err(|error| error.within("abort"))?,
            throttle: response_rate_limit
                .as_ref()
                .map(Injected::throttle)
                .transpose()
                .map_err(|error| error.within("response_rate_limit"))?,
            body: match abort.as_ref().map(|abort| abort.response_body.as_str()) {
                None | Some("") => b"fault filter abort".as_slice().into(),
                Some(body) => body.as_bytes().into(),
            },
            headers: headers.iter().enumerate().map(condition).collect::<Result<_, _>>()?,
            cluster: (!upstream_cluster.is_empty()).then(|| upstream_cluster.as_str().into()),
            nodes: downstream_nodes.iter().map(|node| node.as_str().into()).collect(),
            max_active: *max_active_faults,
            active: Arc::default(),
            counted: Arc::default(),
        })
    }
}

impl Injected<Delay> {
    fn delay(message: &FaultDelay) -> Result<Self, CompileError> {
        let FaultDelay { percentage, fault_delay_secifier } = message;
        let what = match fault_delay_secifier {
            Some(FaultDelaySecifier::FixedDelay(delay)) if std_duration(delay).is_zero() => {
                return Err(CompileError::new("fixed_delay", "must be longer than nothing"));
            }
            Some(FaultDelaySecifier::FixedDelay(delay)) => Delay::Fixed(std_duration(delay)),
            Some(FaultDelaySecifier::HeaderDelay(_)) => Delay::Asked,
            None => return Err(CompileError::missing("fixed_delay")),
        };
        Ok(Self { what, share: percentage.as_ref().map_or(Share::NONE, Share::of) })
    }
}

impl Injected<Throttle> {
    fn throttle(message: &FaultRateLimit) -> Result<Self, CompileError> {
        let FaultRateLimit { percentage, limit_type } = message;
        let what = match limit_type {
            Some(LimitType::FixedLimit(FixedLimit { limit_kbps: 0 })) => {
                return Err(CompileError::new("fixed_limit.limit_kbps", "must not be zero"));
            }
            Some(LimitType::FixedLimit(FixedLimit { limit_kbps })) => Throttle::Fixed(*limit_kbps),
            Some(LimitType::HeaderLimit(HeaderLimit {})) => Throttle::Asked,
            None => return Err(CompileError::missing("fixed_limit")),
        };
        Ok(Self { what, share: percentage.as_ref().map_or(Share::NONE, Share::of) })
    }
}

impl Injected<AbortWith> {
    fn abort(message: &FaultAbort) -> Result<Self, CompileError> {
        let FaultAbort { percentage, error_type, response_body: _ } = message;
        let what = match error_type {
            Some(ErrorType::HttpStatus(status)) => {
                let status = u16::try_from(*status).ok().filter(|status| is_http_status(*status));
                AbortWith::Fixed(Abort::Http(status.ok_or_else(|| CompileError::new("http_status", "is no status from 200 to 599"))?))
            }
            Some(ErrorType::GrpcStatus(status)) => AbortWith::Fixed(Abort::Grpc(*status)),
            Some(ErrorType::HeaderAbort(_)) => AbortWith::Asked,
            None => return Err(CompileError::missing("http_status")),
        };
        Ok(Self { what, share: percentage.as_ref().map_or(Share::NONE, Share::of) })
    }
}

fn is_http_status(status: u16) -> bool {
    (200..600).contains(&status)
}

impl FaultPolicy {
    /// Whether a request that goes to this cluster may have a fault at all.
    pub fn applies(&self, head: &RequestHead<'_>, cluster: Option<&str>) -> bool {
        let node = || head.headers.get(CALLING_NODE).map(weir_http1::HeaderValue::as_bytes);
        self.max_active != Some(0)
            && self.cluster.as_deref().is_none_or(|wanted| cluster == Some(wanted))
            && (self.nodes.is_empty() || node().is_some_and(|node| self.nodes.iter().any(|own| own.as_bytes() == node)))
            && self.headers.iter().all(|header| header.holds(head))
    }

    /// Counts one more request that has a fault; none if no more may have one.
    pub fn enter(&self, active: &Arc<ActiveFaults>) -> Option<ActiveFault> {
        let next = |now: u32| now.checked_add(1).filter(|then| self.max_active.is_none_or(|most| *then <= most));
        active.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(ActiveFault(active.clone()))
    }

    /// How long the request that a random number stands for is held back. What is shorter than a millisecond is nothing.
    pub fn delay(&self, headers: &Headers, random: u32) -> Option<Duration> {
        let Injected { what, share } = self.delay?;
        let delay = match what {
            Delay::Fixed(delay) => share.takes(random).then_some(delay),
            Delay::Asked => {
                let milliseconds = number(headers, DELAY).filter(|asked| i64::try_from(*asked).is_ok());
                milliseconds.filter(|_| asked_share(share, headers, DELAY_PERCENTAGE).takes(random)).map(Duration::from_millis)
            }
        };
        delay.filter(|delay| delay.as_millis() > 0)
    }

    /// The answer that the request that a random number stands for gets instead of being sent on.
    pub fn abort(&self, headers: &Headers, random: u32) -> Option<Abort> {
        let Injected { what, share } = self.abort?;
        match what {
            AbortWith::Fixed(abort) => share.takes(random).then_some(abort),
            AbortWith::Asked => asked_share(share, headers, ABORT_PERCENTAGE).takes(random).then(|| asked_abort(headers))?,
        }
    }

    /// How many KiB of the answer's body pass in a second, of the answer to the request that a random number stands for.
    pub fn throttle(&self, headers: &Headers, random: u32) -> Option<u64> {
        let Injected { what, share } = self.throttle?;
        match what {
            Throttle::Fixed(limit) => share.takes(random).then_some(limit),
            Throttle::Asked => {
                let asked = number(headers, THROTTLE).filter(|asked| *asked > 0);
                asked.filter(|_| asked_share(share, headers, THROTTLE_PERCENTAGE).takes(random))
            }
        }
    }

    /// Whether it has no fault for anybody: Istio puts such a filter into every chain, for routes that have one.
    pub fn is_empty(&self) -> bool {
        self.delay.is_none() && self.abort.is_none() && self.throttle.is_none()
    }

    /// The body of that answer.
    pub fn abort_body(&self) -> &[u8] {
        &self.body
    }
}

/// A request may ask for a lesser share than is configured.
fn asked_share(share: Share, headers: &Headers, name: &str) -> Share {
    number(headers, name).and_then(|asked| u32::try_from(asked).ok()).map_or(share, |asked| share.at_most(asked))
}

/// An HTTP status comes before one of gRPC.
fn asked_abort(headers: &Headers) -> Option<Abort> {
    let http = number(headers, ABORT_HTTP).and_then(|asked| u16::try_from(asked).ok()).filter(|status| is_http_status(*status));
    let grpc = || number(headers, ABORT_GRPC).and_then(|asked| u32::try_from(asked).ok());
    http.map(Abort::Http).or_else(|| grpc().map(Abort::Grpc))
}

/// The number in a header; of several with this name the first counts.
fn number(headers: &Headers, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use weir_http1::{HeaderName, HeaderValue};
    use weir_xds::envoy::extensions::filters::common::fault::v3::fault_delay::HeaderDelay;
    use weir_xds::fault::fault_abort::HeaderAbort;
    use weir_xds::route::HeaderMatcher;
    use weir_xds::types::{FractionalPercent, fractional_percent::DenominatorType};
    use weir_xds::values::duration;

    use super::*;

    const ALWAYS: FractionalPercent = FractionalPercent { numerator: 100, denominator: DenominatorType::Hundred as i32 };

    fn compile(fault: HttpFault) -> FaultPolicy {
        FaultPolicy::compile(&fault).expect("valid")
    }

    fn delay(specifier: FaultDelaySecifier, percentage: FractionalPercent) -> HttpFault {
        let delay = FaultDelay { percentage: Some(percentage), fault_delay_secifier: Some(specifier) };
        HttpFault { delay: Some(delay), ..Default::default() }
    }

    fn abort(error: ErrorType) -> HttpFault {
        let abort = FaultAbort { percentage: Some(ALWAYS), error_type: Some(error), ..Default::default() };
        HttpFault { abort: Some(abort), ..Default::default() }
    }

    type Pairs = &'static [(&'static str, &'static str)];

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_share_may_be_as_small_as_one_in_a_million() {
        let rarely = FractionalPercent { numerator: 1, denominator: DenominatorType::Million.into() };
        let fixed = FaultDelaySecifier::FixedDelay(duration(Duration::from_secs(5)));
        let mut fault = delay(fixed, rarely);
        fault.abort = Some(FaultAbort { error_type: Some(ErrorType::HttpStatus(503)), ..Default::default() });
        let fault = compile(fault);
        let none = Headers::new();
        // No percentage is never.
        assert_eq!(fault.abort(&none, 0), None);
        let five = Some(Duration::from_secs(5));
        assert_eq!([0, 1, 1_000_000].map(|random| fault.delay(&none, random)), [five, None, five]);
    }

    #[test]
    fn answers_pass_as_fast_as_is_said_or_asked_for() {
        let limit = |limit_type| {
            let limit = FaultRateLimit { percentage: Some(ALWAYS), limit_type: Some(limit_type) };
            HttpFault { response_rate_limit: Some(limit), ..Default::default() }
        };
        let fixed = compile(limit(LimitType::FixedLimit(FixedLimit { limit_kbps: 7 })));
        assert_eq!(fixed.throttle(&headers(&[(THROTTLE, "9")]), 0), Some(7));
        assert!(!fixed.is_empty());
        let asked = compile(limit(LimitType::HeaderLimit(HeaderLimit {})));
        let cases: [(Pairs, Option<u64>); 5] = [
            (&[(THROTTLE, "9")], Some(9)),
            (&[(THROTTLE, "0")], None),
            (&[(THROTTLE, "fast")], None),
            (&[(THROTTLE, "9"), (THROTTLE_PERCENTAGE, "0")], None),
            (&[], None),
        ];
        for (said, expected) in cases {
            assert_eq!(asked.throttle(&headers(said), 0), expected, "{said:?}");
        }
        let nothing = limit(LimitType::FixedLimit(FixedLimit { limit_kbps: 0 }));
        assert_eq!(FaultPolicy::compile(&nothing).expect_err("no limit").path, "response_rate_limit.fixed_limit.limit_kbps");
    }

    #[test]
    fn threads_together_have_no_more_faults_at_once_than_they_may() {
        let filter = compile(HttpFault { max_active_faults: Some(3), ..Default::default() });
        let held: Vec<ActiveFault> = std::thread::scope(|scope| {
            let enter = || (0..100).filter_map(|_| filter.enter(&filter.clone().active)).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(enter)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(held.len(), 3);
        // A route's policy has a limit of its own, and counts with the filter.
        let route = compile(HttpFault { max_active_faults: Some(4), ..Default::default() });
        let fourth = route.enter(&filter.active);
        assert!(fourth.is_some() && route.enter(&filter.active).is_none());
        drop((held, fourth));
        assert!(filter.enter(&filter.active).is_some());
    }

    #[test]
    fn a_request_may_ask_for_its_abort() {
        let fault = compile(abort(ErrorType::HeaderAbort(HeaderAbort {})));
        let cases: [(Pairs, Option<Abort>); 11] = [
            (&[], None),
            (&[(ABORT_HTTP, "418")], Some(Abort::Http(418))),
            (&[(ABORT_HTTP, "+418")], Some(Abort::Http(418))),
            (&[(ABORT_HTTP, "199")], None),
            (&[(ABORT_HTTP, "600")], None),
            (&[(ABORT_HTTP, "4x")], None),
            (&[(ABORT_GRPC, "5")], Some(Abort::Grpc(5))),
            (&[(ABORT_GRPC, "99999999")], Some(Abort::Grpc(99_999_999))),
            (&[(ABORT_HTTP, "418"), (ABORT_GRPC, "5")], Some(Abort::Http(418))),
            (&[(ABORT_HTTP, "418"), (ABORT_PERCENTAGE, "0")], None),
            (&[(ABORT_HTTP, "418"), (ABORT_PERCENTAGE, "x")], Some(Abort::Http(418))),
        ];
        for (request, expected) in cases {
            assert_eq!(fault.abort(&headers(request), 0), expected, "{request:?}");
        }
    }

    #[test]
    fn a_request_may_ask_for_its_delay() {
        let fault = compile(delay(FaultDelaySecifier::HeaderDelay(HeaderDelay {}), ALWAYS));
        let cases = [
            ("300", Some(300)),
            ("0", None),
            ("-1", None),
            ("1s", None),
            ("18446744073709551615", None),
            ("9223372036854775807", Some(i64::MAX as u64)),
        ];
        for (asked, expected) in cases {
            assert_eq!(fault.delay(&headers(&[(DELAY, asked)]), 0), expected.map(Duration::from_millis), "{asked}");
        }
        assert_eq!(fault.delay(&headers(&[(DELAY, "300"), (DELAY_PERCENTAGE, "10")]), 100_000), None);
        // What Envoy counts in milliseconds is none if it is less than one.
        let short = FaultDelaySecifier::FixedDelay(duration(Duration::from_micros(999)));
        assert_eq!(compile(delay(short, ALWAYS)).delay(&Headers::new(), 0), None);
    }

    #[test]
    fn a_fault_is_for_requests_that_meet_all_conditions() {
        let of = |change: fn(&mut HttpFault)| {
            let mut fault = abort(ErrorType::HttpStatus(503));
            change(&mut fault);
            compile(fault)
        };
        let by_cluster = of(|fault| fault.upstream_cluster = "a".into());
        let by_node = of(|fault| fault.downstream_nodes = vec!["n1".into(), "n2".into()]);
        let by_header = of(|fault| fault.headers = vec![HeaderMatcher { name: "x-fault".into(), ..Default::default() }]);
        let none_at_once = of(|fault| fault.max_active_faults = Some(0));
        let cases = [
            (&by_cluster, Some("a"), headers(&[]), true),
            (&by_cluster, Some("b"), headers(&[]), false),
            (&by_cluster, None, headers(&[]), false),
            (&by_node, None, headers(&[(CALLING_NODE, "n2")]), true),
            (&by_node, None, headers(&[(CALLING_NODE, "n3")]), false),
            (&by_node, None, headers(&[]), false),
            (&by_header, None, headers(&[("x-fault", "")]), true),
            (&by_header, None, headers(&[]), false),
            (&none_at_once, None, headers(&[]), false),
        ];
        for (fault, cluster, headers, expected) in cases {
            let head = RequestHead { method: "GET", scheme: "http", authority: "a", path: "/", headers: &headers, random: 0 };
            assert_eq!(fault.applies(&head, cluster), expected, "{cluster:?} {headers:?}");
        }
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        let fixed = |nanos| FaultDelaySecifier::FixedDelay(duration(Duration::from_nanos(nanos)));
        let cases = [
            (HttpFault::default(), None),
            (abort(ErrorType::HttpStatus(199)), Some("abort.http_status")),
            (abort(ErrorType::HttpStatus(600)), Some("abort.http_status")),
            (abort(ErrorType::GrpcStatus(70_000)), None),
            (HttpFault { abort: Some(FaultAbort::default()), ..Default::default() }, Some("abort.http_status")),
            (HttpFault { delay: Some(FaultDelay::default()), ..Default::default() }, Some("delay.fixed_delay")),
            (delay(fixed(0), ALWAYS), Some("delay.fixed_delay")),
            (delay(fixed(1), ALWAYS), None),
            (HttpFault { response_rate_limit: Some(Default::default()), ..Default::default() }, Some("response_rate_limit.fixed_limit")),
        ];
        for (fault, field) in cases {
            let refused = FaultPolicy::compile(&fault).err().map(|error| error.path);
            assert_eq!(refused.as_deref(), field, "{fault:?}");
        }
    }

    #[test]
    fn an_abort_has_a_body() {
        let mut fault = abort(ErrorType::HttpStatus(503));
        assert_eq!(compile(fault.clone()).abort_body(), b"fault filter abort");
        fault.abort.as_mut().expect("there").response_body = "mine".into();
        assert_eq!(compile(fault).abort_body(), b"mine");
    }
}
