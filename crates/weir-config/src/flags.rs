//! Envoy's response flags: why an exchange went as it did.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#response-flags>

/// A set of response flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ResponseFlags(u32);

macro_rules! flags {
    ($($name:ident = $bit:expr, $short:literal, $long:literal, $doc:literal;)*) => {
        impl ResponseFlags {
            $(#[doc = $doc] pub const $name: Self = Self(1 << $bit);)*

            /// All flags with their short and long words, in the order in which Envoy prints them.
            const WORDS: &[(Self, &str, &str)] = &[$((Self::$name, $short, $long),)*];
        }
    };
}

flags! {
    // These two say what was before the others.
    DELAY_INJECTED = 12, "DI", "DelayInjected", "A fault delayed the request.";
    UPSTREAM_RETRY_LIMIT = 4, "URX", "UpstreamRetryLimitExceeded", "All retries are used up.";
    NO_HEALTHY_UPSTREAM = 0, "UH", "NoHealthyUpstream", "The cluster has no usable instance.";
    UPSTREAM_CONNECTION_FAILURE = 1, "UF", "UpstreamConnectionFailure", "No connection could be made.";
    UPSTREAM_OVERFLOW = 2, "UO", "UpstreamOverflow", "A limit of the cluster was reached.";
    NO_ROUTE = 3, "NR", "NoRouteFound", "No route or filter chain matched.";
    NO_CLUSTER = 5, "NC", "NoClusterFound", "The route's cluster does not exist.";
    DOWNSTREAM_TERMINATED = 6, "DC", "DownstreamConnectionTermination", "The client went away.";
    UPSTREAM_TERMINATED = 7, "UC", "UpstreamConnectionTermination", "The instance closed the connection.";
    UPSTREAM_RESET = 8, "UR", "UpstreamRemoteReset", "The instance reset the stream.";
    UPSTREAM_TIMEOUT = 9, "UT", "UpstreamRequestTimeout", "The answer took too long.";
    UPSTREAM_PROTOCOL_ERROR = 10, "UPE", "UpstreamProtocolError", "The instance does not speak the protocol.";
    DOWNSTREAM_PROTOCOL_ERROR = 11, "DPE", "DownstreamProtocolError", "The client does not speak the protocol.";
    FAULT_INJECTED = 13, "FI", "FaultInjected", "A fault answered the request.";
    STREAM_IDLE_TIMEOUT = 14, "SI", "StreamIdleTimeout", "Nothing was sent for too long.";
    DURATION_TIMEOUT = 15, "DT", "DurationTimeout", "The stream or connection lasted too long.";
    LOCAL_RESET = 16, "LR", "LocalReset", "The proxy itself reset the stream.";
    OVERLOADED = 17, "OM", "OverloadManagerTerminated", "The proxy is out of resources.";
    DNS_FAILURE = 18, "DF", "DnsResolutionFailed", "The host that the request names was not found.";
    RATE_LIMITED = 19, "RL", "RateLimited", "It was one too many.";
    UNAUTHORIZED = 20, "UAEX", "UnauthorizedExternalService", "An authorization service refused it.";
    RATE_LIMIT_SERVICE_ERROR = 21, "RLSE", "RateLimitServiceError", "The rate limit service failed.";
    INVALID_ENVOY_HEADERS = 22, "IH", "InvalidEnvoyRequestHeaders", "A header that Envoy reads has no valid value.";
    FAILED_LOCAL_HEALTH = 23, "LH", "FailedLocalHealthCheck", "The proxy's own workload is not healthy.";
    FROM_CACHE = 24, "RFCF", "ResponseFromCacheFilter", "A cache answered.";
    NO_FILTER_CONFIG = 25, "NFCF", "NoFilterConfigFound", "A filter's configuration has not arrived.";
    UPSTREAM_MAX_DURATION = 26, "UMSDR", "UpstreamMaxStreamDurationReached", "The stream to the instance lasted too long.";
    DROPPED = 27, "DO", "DropOverload", "The control plane has some requests dropped.";
    DOWNSTREAM_RESET = 29, "DR", "DownstreamRemoteReset", "The client reset its stream.";
    ALL_DROPPED = 28, "UDO", "UnconditionalDropOverload", "The control plane has all requests dropped.";
}

impl ResponseFlags {
    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of `flags` is among these.
    pub fn has_any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// The flag of a short word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, short, _)| *short == word).map(|(flag, ..)| *flag)
    }

    /// Appends the short words, joined by commas; nothing if there is none.
    pub fn append_short(self, out: &mut Vec<u8>) {
        self.append(out, |(_, short, _)| short);
    }

    /// Appends the long words, joined by commas; nothing if there is none.
    pub fn append_long(self, out: &mut Vec<u8>) {
        self.append(out, |(_, _, long)| long);
    }

    fn append(self, out: &mut Vec<u8>, word: impl Fn(&(Self, &'static str, &'static str)) -> &'static str) {
        let start = out.len();
        for entry in Self::WORDS.iter().filter(|(flag, ..)| self.has_any(*flag)) {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(word(entry).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ResponseFlags;

    #[test]
    fn flags_print_as_envoys() {
        let print = |flags: ResponseFlags| {
            let mut out = vec![];
            flags.append_short(&mut out);
            String::from_utf8(out).expect("ASCII")
        };
        assert_eq!(print(ResponseFlags::UPSTREAM_CONNECTION_FAILURE.and(ResponseFlags::UPSTREAM_RETRY_LIMIT)), "URX,UF");
        assert_eq!(print(ResponseFlags::DELAY_INJECTED.and(ResponseFlags::FAULT_INJECTED)), "DI,FI");
        assert_eq!(print(ResponseFlags::NO_ROUTE.and(ResponseFlags::DELAY_INJECTED)), "DI,NR");
        assert_eq!(print(ResponseFlags::default()), "");
    }
}
