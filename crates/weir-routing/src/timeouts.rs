//! How long a route's requests may take: Envoy's `timeout`, `max_stream_duration` and `max_grpc_timeout`, which depend on each
//! other and on the client's `grpc-timeout`.

use std::time::Duration;

use weir_xds::prost_types::Duration as XdsDuration;
use weir_xds::route::RouteAction;
use weir_xds::route::route_action::MaxStreamDuration;
use weir_xds::values::std_duration;

/// Envoy's timeout for routes that say nothing. (Istio's routes always say something.)
const DEFAULT: Duration = Duration::from_secs(15);

/// How long a route's requests may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    answer: Option<Duration>,
    /// What the client's `grpc-timeout` may ask for instead of that, in gRPC calls.
    grpc_answer: Option<GrpcLimit>,
    stream: Option<Duration>,
    /// What the client's `grpc-timeout` may ask for instead of that.
    grpc_stream: Option<GrpcLimit>,
    /// Whether the route says anything of its streams at all, be it nothing.
    speaks_of_streams: bool,
}

/// Bounds of what a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GrpcLimit {
    /// No more than this; zero for no bound.
    max: Duration,
    /// So much less than what was asked for: the answer is to arrive before the client gives up.
    offset: Option<Duration>,
}

impl Timeouts {
    #[allow(deprecated)] // Istio still sends `max_grpc_timeout`.
    pub(crate) fn compile(route: &RouteAction) -> Self {
        let duration = |duration: &Option<XdsDuration>| duration.as_ref().map(std_duration);
        let max = duration(&route.max_grpc_timeout);
        let grpc_answer = max.map(|max| GrpcLimit { max, offset: duration(&route.grpc_timeout_offset) });
        let Some(limits) = &route.max_stream_duration else {
            let answer = limit(duration(&route.timeout).unwrap_or(DEFAULT));
            return Self { answer, grpc_answer, stream: None, grpc_stream: None, speaks_of_streams: false };
        };
        // As soon as a route limits its streams, even by an empty message, Envoy limits the answers no longer.
        let MaxStreamDuration { max_stream_duration, grpc_timeout_header_max, grpc_timeout_header_offset } = limits;
        let max = duration(grpc_timeout_header_max);
        Self {
            answer: None,
            grpc_answer: None,
            stream: duration(max_stream_duration),
            grpc_stream: max.map(|max| GrpcLimit { max, offset: duration(grpc_timeout_header_offset) }),
            speaks_of_streams: true,
        }
    }

    /// How long the answer may take in all, retries included, if a gRPC call (`grpc`) asked for so much.
    pub fn answer(&self, grpc: bool, asked: Option<Duration>) -> Option<Duration> {
        let Some(GrpcLimit { max, offset }) = self.grpc_answer.filter(|_| grpc) else { return self.answer };
        let asked = asked.unwrap_or_default();
        // An offset never makes nothing of it, which would mean no limit.
        let asked = offset.filter(|offset| *offset < asked).map_or(asked, |offset| asked.saturating_sub(offset));
        limit(if !max.is_zero() && (asked.is_zero() || max < asked) { max } else { asked })
    }

    /// Whether a gRPC call's `grpc-timeout` tells the instance how long the answer may take.
    pub fn tells_grpc(&self) -> bool {
        self.grpc_answer.is_some()
    }

    /// Whether the client's `grpc-timeout` may limit the stream.
    pub fn limits_stream_by_grpc(&self) -> bool {
        self.grpc_stream.is_some()
    }

    /// Whether a gRPC call's `grpc-timeout` becomes what [`Self::stream`] says: Envoy writes it for routes that speak of their
    /// streams, and for no others.
    pub fn tells_grpc_of_streams(&self) -> bool {
        self.speaks_of_streams
    }

    /// How long the stream may last in all if the client asked for so much; `listener` is the listener's own limit.
    pub fn stream(&self, asked: Option<Duration>, listener: Option<Duration>) -> Option<Duration> {
        let Some((GrpcLimit { max, offset }, asked)) = self.grpc_stream.zip(asked) else {
            return self.stream.map_or(listener, limit);
        };
        let asked = if max.is_zero() { asked } else { asked.min(max) };
        Some(asked.saturating_sub(offset.unwrap_or_default()))
    }

    /// How long the answer may take where no gRPC call asks for something else.
    pub fn usual(&self) -> Option<Duration> {
        self.answer
    }
}

/// Zero means no limit.
fn limit(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

#[cfg(test)]
mod tests {
    use weir_xds::values::duration;

    use super::*;

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    fn xds(duration_in_seconds: Option<u64>) -> Option<XdsDuration> {
        duration_in_seconds.map(|seconds| duration(Duration::from_secs(seconds)))
    }

    #[test]
    #[allow(deprecated)]
    fn a_grpc_call_may_ask_for_another_timeout_within_bounds() {
        // Maximum, offset, what is asked for, the limit of the answer.
        let cases = [
            (None, None, Some(5), seconds(15)),
            (Some(0), None, Some(5), seconds(5)),
            (Some(0), None, None, None),
            (Some(3), None, Some(5), seconds(3)),
            (Some(3), None, None, seconds(3)),
            (Some(0), Some(2), Some(5), seconds(3)),
            (Some(0), Some(5), Some(5), seconds(5)),
        ];
        for (max, offset, asked, expected) in cases {
            let timeouts =
                Timeouts::compile(&RouteAction { max_grpc_timeout: xds(max), grpc_timeout_offset: xds(offset), ..Default::default() });
            assert_eq!(timeouts.answer(true, asked.and_then(seconds)), expected, "{max:?} {offset:?} {asked:?}");
            assert_eq!(timeouts.answer(false, asked.and_then(seconds)), seconds(15));
        }
    }

    #[test]
    fn a_limit_of_streams_takes_the_place_of_that_of_answers() {
        let empty = Timeouts::compile(&RouteAction { max_stream_duration: Some(MaxStreamDuration::default()), ..Default::default() });
        assert_eq!((empty.answer(true, seconds(5)), empty.stream(seconds(5), seconds(9))), (None, seconds(9)));
        let stream = |max, header_max, offset, asked: Option<u64>| {
            let limits = MaxStreamDuration {
                max_stream_duration: xds(max),
                grpc_timeout_header_max: xds(header_max),
                grpc_timeout_header_offset: xds(offset),
            };
            let timeouts = Timeouts::compile(&RouteAction { max_stream_duration: Some(limits), ..Default::default() });
            timeouts.stream(asked.and_then(seconds), seconds(9))
        };
        assert_eq!((stream(Some(4), None, None, None), stream(Some(0), None, None, None)), (seconds(4), None));
        assert_eq!((stream(Some(4), Some(3), None, Some(5)), stream(Some(4), Some(3), None, None)), (seconds(3), seconds(4)));
        assert_eq!((stream(None, Some(0), Some(2), Some(5)), stream(None, Some(0), Some(5), Some(5))), (seconds(3), seconds(0)));
    }
}
