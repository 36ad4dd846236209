//! Which exchanges are logged, or which answers are changed: Envoy's `AccessLogFilter`, compiled.

use std::time::Duration;

use weir_routing::condition::HeaderCondition;
use weir_routing::{CompileError, RequestHead, grpc};
use weir_xds::accesslog::access_log_filter::FilterSpecifier;
use weir_xds::accesslog::comparison_filter::Op;
use weir_xds::accesslog::{AccessLogFilter, ComparisonFilter, GrpcStatusFilter};

use crate::flags::ResponseFlags;

/// What a filter looks at of an exchange.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The status of the answer; 0 if there is none.
    pub code: u16,
    /// How long it took.
    pub duration: Duration,
    /// Why it went as it did.
    pub flags: ResponseFlags,
    /// The request.
    pub request: RequestHead<'a>,
    /// The gRPC status, where the answer has one.
    pub grpc_status: Option<u32>,
    /// Whether a filter has found it to be a health check.
    pub is_health_check: bool,
    /// A random number below a million.
    pub chance: u32,
}

/// Which exchanges are meant.
#[derive(Debug, Clone)]
pub enum LogFilter {
    /// All.
    All,
    /// Those with any of these flags; with any flag at all if none is named.
    Flags(ResponseFlags),
    /// Those whose status compares so.
    Status(Comparison),
    /// Those whose milliseconds compare so.
    Duration(Comparison),
    /// Those that are no health checks.
    NotHealthCheck,
    /// Those whose request is so.
    Header(Box<HeaderCondition>),
    /// Those with one of these gRPC statuses, or, if so said, with none of them.
    GrpcStatus(Vec<u32>, bool),
    /// So many in a million.
    Chance(u32),
    /// Those that all of these mean.
    And(Vec<LogFilter>),
    /// Those that any of these means.
    Or(Vec<LogFilter>),
}

/// How a number must compare.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    op: Op,
    value: u32,
}

impl Comparison {
    fn compile(comparison: Option<&ComparisonFilter>) -> Result<Self, CompileError> {
        let comparison = comparison.ok_or_else(|| CompileError::missing("comparison"))?;
        let value = comparison.value.as_ref().ok_or_else(|| CompileError::missing("comparison.value"))?;
        Ok(Self { op: comparison.op(), value: value.default_value })
    }

    fn holds(self, number: u128) -> bool {
        let value = u128::from(self.value);
        match self.op {
            Op::Eq => number == value,
            Op::Ge => number >= value,
            Op::Le => number <= value,
            Op::Ne => number != value,
        }
    }
}

impl LogFilter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// If it is not valid, or of a kind that is not carried out.
    pub fn compile(filter: Option<&AccessLogFilter>) -> Result<Self, CompileError> {
        let Some(filter) = filter else { return Ok(Self::All) };
        Self::of(filter).map_err(|error| error.within("filter"))
    }

    fn of(filter: &AccessLogFilter) -> Result<Self, CompileError> {
        let all = |filters: &[AccessLogFilter]| filters.iter().map(Self::of).collect::<Result<Vec<_>, _>>();
        match filter.filter_specifier.as_ref().ok_or_else(|| CompileError::missing("filter_specifier"))? {
            FilterSpecifier::ResponseFlagFilter(named) => flags(&named.flags).map(Self::Flags),
            FilterSpecifier::StatusCodeFilter(status) => Comparison::compile(status.comparison.as_ref()).map(Self::Status),
            FilterSpecifier::DurationFilter(duration) => Comparison::compile(duration.comparison.as_ref()).map(Self::Duration),
            FilterSpecifier::NotHealthCheckFilter(_) => Ok(Self::NotHealthCheck),
            FilterSpecifier::HeaderFilter(header) => {
                let header = header.header.as_ref().ok_or_else(|| CompileError::missing("header_filter.header"))?;
                HeaderCondition::compile(header).map(Box::new).map(Self::Header)
            }
            FilterSpecifier::GrpcStatusFilter(statuses) => Ok(Self::grpc(statuses)),
            FilterSpecifier::RuntimeFilter(runtime) => {
                let share = runtime.percent_sampled.as_ref().map_or(0, |share| million(share.numerator, share.denominator));
                Ok(Self::Chance(share))
            }
            FilterSpecifier::AndFilter(and) => all(&and.filters).map(Self::And),
            FilterSpecifier::OrFilter(or) => all(&or.filters).map(Self::Or),
            FilterSpecifier::TraceableFilter(_) => Err(CompileError::unsupported("traceable_filter")),
            FilterSpecifier::ExtensionFilter(_) => Err(CompileError::unsupported("extension_filter")),
            FilterSpecifier::MetadataFilter(_) => Err(CompileError::unsupported("metadata_filter")),
            FilterSpecifier::LogTypeFilter(_) => Err(CompileError::unsupported("log_type_filter")),
        }
    }

    fn grpc(filter: &GrpcStatusFilter) -> Self {
        Self::GrpcStatus(filter.statuses.iter().filter_map(|status| u32::try_from(*status).ok()).collect(), filter.exclude)
    }

    /// Whether an exchange is meant.
    pub fn takes(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Flags(wanted) if wanted.is_empty() => !facts.flags.is_empty(),
            Self::Flags(wanted) => facts.flags.has_any(*wanted),
            Self::Status(comparison) => comparison.holds(facts.code.into()),
            Self::Duration(comparison) => comparison.holds(facts.duration.as_millis()),
            Self::NotHealthCheck => !facts.is_health_check,
            Self::Header(condition) => condition.holds(&facts.request),
            Self::GrpcStatus(statuses, exclude) => {
                let status = facts.grpc_status.unwrap_or_else(|| grpc::status_of_http(facts.code));
                statuses.contains(&status) != *exclude
            }
            Self::Chance(share) => facts.chance < *share,
            Self::And(filters) => filters.iter().all(|filter| filter.takes(facts)),
            Self::Or(filters) => filters.iter().any(|filter| filter.takes(facts)),
        }
    }
}

fn flags(words: &[String]) -> Result<ResponseFlags, CompileError> {
    let known = words.iter().map(|word| {
        ResponseFlags::from_word(word).ok_or_else(|| CompileError::new("response_flag_filter", format!("`{word}` is not known")))
    });
    known.collect::<Result<Vec<_>, _>>().map(|flags| flags.into_iter().fold(ResponseFlags::default(), ResponseFlags::and))
}

fn million(numerator: u32, denominator: i32) -> u32 {
    numerator.saturating_mul(match denominator {
        1 => 100,
        2 => 1,
        _ => 10_000,
    })
}

#[cfg(test)]
mod tests {
    use weir_http1::Headers;
    use weir_xds::json;

    use super::*;

    fn takes(filter: serde_json::Value, code: u16, path: &str) -> bool {
        let filter: AccessLogFilter = json::from_value(filter).expect("a filter");
        let headers = Headers::new();
        let request = RequestHead { method: "GET", scheme: "http", authority: "a", path, headers: &headers, random: 0 };
        let facts = Facts {
            code,
            duration: Duration::from_millis(30),
            flags: ResponseFlags::NO_ROUTE,
            request,
            grpc_status: None,
            is_health_check: path == "/health",
            chance: 600_000,
        };
        LogFilter::compile(Some(&filter)).expect("valid").takes(&facts)
    }

    #[test]
    fn filters_take_what_they_name() {
        use serde_json::json;
        let status = |op: &str, value: u32| json!({"statusCodeFilter": {"comparison": {"op": op, "value": {"defaultValue": value, "runtimeKey": "k"}}}});
        let path = json!({"headerFilter": {"header": {"name": ":path", "stringMatch": {"prefix": "/a"}}}});
        for (filter, code, expected) in [
            (status("GE", 500), 503, true),
            (status("GE", 500), 404, false),
            (status("LE", 404), 404, true),
            (status("NE", 200), 200, false),
            (path.clone(), 200, true),
            (json!({"responseFlagFilter": {"flags": ["NR"]}}), 404, true),
            (json!({"responseFlagFilter": {"flags": ["UH"]}}), 404, false),
            (json!({"durationFilter": {"comparison": {"op": "GE", "value": {"defaultValue": 40, "runtimeKey": "k"}}}}), 200, false),
            (json!({"grpcStatusFilter": {"statuses": ["UNAVAILABLE"]}}), 503, true),
            (json!({"grpcStatusFilter": {"statuses": ["UNAVAILABLE"], "exclude": true}}), 503, false),
            (json!({"runtimeFilter": {"runtimeKey": "k", "percentSampled": {"numerator": 50}}}), 200, false),
            (json!({"runtimeFilter": {"runtimeKey": "k", "percentSampled": {"numerator": 70}}}), 200, true),
            (json!({"notHealthCheckFilter": {}}), 200, true),
            (json!({"andFilter": {"filters": [path.clone(), status("EQ", 200)]}}), 404, false),
            (json!({"orFilter": {"filters": [path, status("EQ", 200)]}}), 404, true),
        ] {
            assert_eq!(takes(filter.clone(), code, "/a"), expected, "{filter} {code}");
        }
        assert!(!takes(json!({"notHealthCheckFilter": {}}), 200, "/health"));
    }
}
