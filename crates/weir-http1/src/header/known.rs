//! The names that have a number.

use super::HeaderName;

/// How many there may be: a set of them is so many bits.
pub(super) const MOST: usize = 128;

/// Lists the known names, each as a constant and in its place.
macro_rules! known {
    ($($constant:ident $text:literal)+) => {
        /// Their texts, in lower case. A name's number is its place here.
        pub(super) const NAMES: &[&str] = &[$($text),+];

        /// The same as they are written before a value.
        pub(super) static WRITTEN: [Written; NAMES.len()] = [$(Written::of(concat!($text, ": "))),+];

        $(#[doc = concat!("`", $text, "`")]
        pub const $constant: HeaderName = HeaderName::from_static($text);)+
    };
}

known! {
    ACCEPT "accept"
    ACCEPT_ENCODING "accept-encoding"
    ACCEPT_LANGUAGE "accept-language"
    ACCEPT_RANGES "accept-ranges"
    ACCESS_CONTROL_ALLOW_CREDENTIALS "access-control-allow-credentials"
    ACCESS_CONTROL_ALLOW_HEADERS "access-control-allow-headers"
    ACCESS_CONTROL_ALLOW_METHODS "access-control-allow-methods"
    ACCESS_CONTROL_ALLOW_ORIGIN "access-control-allow-origin"
    ACCESS_CONTROL_ALLOW_PRIVATE_NETWORK "access-control-allow-private-network"
    ACCESS_CONTROL_EXPOSE_HEADERS "access-control-expose-headers"
    ACCESS_CONTROL_MAX_AGE "access-control-max-age"
    ACCESS_CONTROL_REQUEST_HEADERS "access-control-request-headers"
    ACCESS_CONTROL_REQUEST_METHOD "access-control-request-method"
    ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK "access-control-request-private-network"
    AGE "age"
    ALLOW "allow"
    AUTHORIZATION "authorization"
    CACHE_CONTROL "cache-control"
    CDN_LOOP "cdn-loop"
    CONNECTION "connection"
    CONTENT_DISPOSITION "content-disposition"
    CONTENT_ENCODING "content-encoding"
    CONTENT_LENGTH "content-length"
    CONTENT_RANGE "content-range"
    CONTENT_SECURITY_POLICY "content-security-policy"
    CONTENT_TYPE "content-type"
    COOKIE "cookie"
    DATE "date"
    ETAG "etag"
    EXPECT "expect"
    EXPIRES "expires"
    FORWARDED "forwarded"
    GRPC_ACCEPT_ENCODING "grpc-accept-encoding"
    GRPC_ENCODING "grpc-encoding"
    GRPC_MESSAGE "grpc-message"
    GRPC_STATUS "grpc-status"
    GRPC_STATUS_DETAILS_BIN "grpc-status-details-bin"
    GRPC_TIMEOUT "grpc-timeout"
    HOST "host"
    HTTP2_SETTINGS "http2-settings"
    IF_MATCH "if-match"
    IF_MODIFIED_SINCE "if-modified-since"
    IF_NONE_MATCH "if-none-match"
    IF_RANGE "if-range"
    IF_UNMODIFIED_SINCE "if-unmodified-since"
    KEEP_ALIVE "keep-alive"
    LAST_MODIFIED "last-modified"
    LOCATION "location"
    MAX_FORWARDS "max-forwards"
    ORIGIN "origin"
    PRAGMA "pragma"
    PRIORITY "priority"
    PROXY_AUTHENTICATE "proxy-authenticate"
    PROXY_AUTHORIZATION "proxy-authorization"
    PROXY_CONNECTION "proxy-connection"
    PROXY_STATUS "proxy-status"
    RANGE "range"
    REFERER "referer"
    RETRY_AFTER "retry-after"
    SEC_WEBSOCKET_ACCEPT "sec-websocket-accept"
    SEC_WEBSOCKET_EXTENSIONS "sec-websocket-extensions"
    SEC_WEBSOCKET_KEY "sec-websocket-key"
    SEC_WEBSOCKET_PROTOCOL "sec-websocket-protocol"
    SEC_WEBSOCKET_VERSION "sec-websocket-version"
    SERVER "server"
    SET_COOKIE "set-cookie"
    STRICT_TRANSPORT_SECURITY "strict-transport-security"
    TE "te"
    TRACEPARENT "traceparent"
    TRACESTATE "tracestate"
    TRAILER "trailer"
    TRANSFER_ENCODING "transfer-encoding"
    UPGRADE "upgrade"
    UPGRADE_INSECURE_REQUESTS "upgrade-insecure-requests"
    USER_AGENT "user-agent"
    VARY "vary"
    VIA "via"
    WWW_AUTHENTICATE "www-authenticate"
    X_CLIENT_TRACE_ID "x-client-trace-id"
    X_CONTENT_TYPE_OPTIONS "x-content-type-options"
    X_ENVOY_ATTEMPT_COUNT "x-envoy-attempt-count"
    X_ENVOY_DECORATOR_OPERATION "x-envoy-decorator-operation"
    X_ENVOY_DEGRADED "x-envoy-degraded"
    X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER "x-envoy-downstream-service-cluster"
    X_ENVOY_DOWNSTREAM_SERVICE_NODE "x-envoy-downstream-service-node"
    X_ENVOY_DROP_OVERLOAD "x-envoy-drop-overload"
    X_ENVOY_EXPECTED_RQ_TIMEOUT_MS "x-envoy-expected-rq-timeout-ms"
    X_ENVOY_EXTERNAL_ADDRESS "x-envoy-external-address"
    X_ENVOY_FORCE_TRACE "x-envoy-force-trace"
    X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT "x-envoy-hedge-on-per-try-timeout"
    X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL "x-envoy-immediate-health-check-fail"
    X_ENVOY_INTERNAL "x-envoy-internal"
    X_ENVOY_IP_TAGS "x-envoy-ip-tags"
    X_ENVOY_IS_TIMEOUT_RETRY "x-envoy-is-timeout-retry"
    X_ENVOY_MAX_RETRIES "x-envoy-max-retries"
    X_ENVOY_ORIGINAL_HOST "x-envoy-original-host"
    X_ENVOY_ORIGINAL_PATH "x-envoy-original-path"
    X_ENVOY_ORIGINAL_URL "x-envoy-original-url"
    X_ENVOY_OVERLOADED "x-envoy-overloaded"
    X_ENVOY_PEER_METADATA "x-envoy-peer-metadata"
    X_ENVOY_PEER_METADATA_ID "x-envoy-peer-metadata-id"
    X_ENVOY_RATELIMITED "x-envoy-ratelimited"
    X_ENVOY_RETRIABLE_HEADER_NAMES "x-envoy-retriable-header-names"
    X_ENVOY_RETRIABLE_STATUS_CODES "x-envoy-retriable-status-codes"
    X_ENVOY_RETRY_GRPC_ON "x-envoy-retry-grpc-on"
    X_ENVOY_RETRY_ON "x-envoy-retry-on"
    X_ENVOY_UNCONDITIONAL_DROP_OVERLOAD "x-envoy-unconditional-drop-overload"
    X_ENVOY_UPSTREAM_ALT_STAT_NAME "x-envoy-upstream-alt-stat-name"
    X_ENVOY_UPSTREAM_CANARY "x-envoy-upstream-canary"
    X_ENVOY_UPSTREAM_HEALTHCHECKED_CLUSTER "x-envoy-upstream-healthchecked-cluster"
    X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS "x-envoy-upstream-rq-per-try-timeout-ms"
    X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE "x-envoy-upstream-rq-timeout-alt-response"
    X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS "x-envoy-upstream-rq-timeout-ms"
    X_ENVOY_UPSTREAM_SERVICE_TIME "x-envoy-upstream-service-time"
    X_FORWARDED_CLIENT_CERT "x-forwarded-client-cert"
    X_FORWARDED_FOR "x-forwarded-for"
    X_FORWARDED_HOST "x-forwarded-host"
    X_FORWARDED_PORT "x-forwarded-port"
    X_FORWARDED_PROTO "x-forwarded-proto"
    X_RATELIMIT_LIMIT "x-ratelimit-limit"
    X_RATELIMIT_REMAINING "x-ratelimit-remaining"
    X_RATELIMIT_RESET "x-ratelimit-reset"
    X_REAL_IP "x-real-ip"
    X_REQUEST_ID "x-request-id"
}

/// A text that is written often: to copy as many bytes of each, and to cut off those that are too many, costs less than to ask how many
/// there are. The longest are left as they are.
pub(super) struct Written {
    text: &'static str,
    begin: [u8; ALWAYS],
}

/// So many bytes are always copied.
const ALWAYS: usize = 32;

impl Written {
    const fn of(text: &'static str) -> Self {
        let (mut begin, mut at) = ([0; ALWAYS], 0);
        while at < ALWAYS && at < text.len() {
            begin[at] = text.as_bytes()[at];
            at += 1;
        }
        Self { text, begin }
    }

    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.text.len() > ALWAYS {
            return out.extend_from_slice(self.text.as_bytes());
        }
        let end = out.len() + self.text.len();
        out.extend_from_slice(&self.begin);
        out.truncate(end);
    }
}

/// No name's number.
const NONE: u8 = u8::MAX;
const SLOTS: usize = 1024;
/// Spreads the names over the slots: found by trying, so that hardly any two of them share one.
const SPREAD: u64 = 0x8ea7_df80_90ec_d543;
/// Where to look for a name: its number, or that of one with the same hash, which the next slots follow.
static TABLE: [u8; SLOTS] = table();
/// The ends of each.
static ENDS: [Ends; NAMES.len()] = ends();
const _: () = assert!(NAMES.len() <= MOST);

const fn table() -> [u8; SLOTS] {
    let mut table = [NONE; SLOTS];
    let mut number = 0;
    while number < NAMES.len() {
        let mut at = Ends::of(NAMES[number].as_bytes()).slot();
        while table[at] != NONE {
            at = (at + 1) % SLOTS;
        }
        table[at] = number as u8;
        number += 1;
    }
    table
}

const fn ends() -> [Ends; NAMES.len()] {
    let mut ends = [Ends { length: 0, first: 0, last: 0 }; NAMES.len()];
    let mut number = 0;
    while number < NAMES.len() {
        ends[number] = Ends::of(NAMES[number].as_bytes());
        number += 1;
    }
    ends
}

/// The length of a name, its first eight bytes and its last ones; of a short one four, or as many as there are.
#[derive(Clone, Copy)]
struct Ends {
    length: usize,
    first: u64,
    last: u64,
}

/// So many bytes are all in the ends.
const WHOLE: usize = 16;

impl Ends {
    const fn of(name: &[u8]) -> Self {
        let (first, last) = match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (name.first_chunk(), name.last_chunk(), name) {
                (Some(first), Some(last), _) => (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64),
                (_, _, [first, .., before, last]) => (*first as u64, u16::from_le_bytes([*before, *last]) as u64),
                (_, _, [first, last]) => (*first as u64, *last as u64),
                (_, _, [only]) => (*only as u64, 0),
                _ => (0, 0),
            },
        };
        Self { length: name.len(), first, last }
    }

    /// Where the search for a name with these ends begins, in whatever case it is spelled.
    const fn slot(&self) -> usize {
        const FOLD: u64 = u64::from_ne_bytes([b' '; 8]);
        let folded = (self.first | FOLD) ^ (self.last | FOLD).rotate_left(13);
        (folded.wrapping_add(self.length as u64).wrapping_mul(SPREAD) >> (u64::BITS - SLOTS.ilog2())) as usize
    }

    /// Whether a name with other ends may be this known one.
    fn are_like(&self, other: &Self) -> bool {
        self.length == other.length && same_eight(self.first, other.first) && same_eight(self.last, other.last)
    }
}

/// The number of a name, in whatever case it is spelled.
#[inline]
pub(super) fn number_of(name: &[u8]) -> Option<u8> {
    let ends = Ends::of(name);
    let mut at = ends.slot();
    loop {
        let number = *TABLE.get(at)?;
        // An empty slot's number is that of no name.
        if ENDS.get(usize::from(number))?.are_like(&ends) && (name.len() <= WHOLE || is_spelled(number, name)) {
            return Some(number);
        }
        at = (at + 1) % SLOTS;
    }
}

/// The same for a name in lower case, when this is compiled.
pub(super) const fn number_of_constant(name: &[u8]) -> Option<u8> {
    let mut number = 0;
    while number < NAMES.len() {
        let known = NAMES[number].as_bytes();
        let mut at = 0;
        while at < known.len() && known.len() == name.len() && known[at] == name[at] {
            at += 1;
        }
        if at == known.len() && known.len() == name.len() {
            return Some(number as u8);
        }
        number += 1;
    }
    None
}

/// Whether a name is as long as a known one, and the same but for its case and its last bytes.
fn is_spelled(known: u8, name: &[u8]) -> bool {
    let known = NAMES.get(usize::from(known)).map_or(&[][..], |known| known.as_bytes());
    let (known, name) = (known.as_chunks().0.iter(), name.as_chunks().0.iter());
    known.zip(name).all(|(known, name)| same_eight(u64::from_le_bytes(*known), u64::from_le_bytes(*name)))
}

/// Whether eight bytes are the same but for the case of letters. Of the bytes of known names only letters have the bit 0x40.
fn same_eight(known: u64, name: u64) -> bool {
    (known ^ name) & !(known >> 1 & 0x2020_2020_2020_2020) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_known_name_is_found_in_any_case_and_nothing_else() {
        assert!(NAMES.is_sorted(), "so that one is easily found by people");
        for (number, name) in NAMES.iter().enumerate() {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'), "{name}");
            let number = Some(number as u8);
            assert_eq!(number_of(name.as_bytes()), number, "{name}");
            assert_eq!(number_of(name.to_ascii_uppercase().as_bytes()), number, "{name}");
            assert_eq!(number_of_constant(name.as_bytes()), number, "{name}");
            for at in 0..name.len() {
                for other in 0..=u8::MAX {
                    let mut bytes = name.as_bytes().to_vec();
                    bytes[at] = other;
                    let known = NAMES.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(&bytes));
                    assert_eq!(number_of(&bytes).map(usize::from), known, "{name} with {other} at {at}");
                }
            }
        }
        for name in ["", "x", "x-own", "hos", "hostt", "content_length"] {
            assert_eq!((number_of(name.as_bytes()), number_of_constant(name.as_bytes())), (None, None), "{name}");
        }
    }

    #[test]
    fn each_known_name_is_written_whole() {
        assert!(NAMES.iter().any(|name| name.len() + 2 < ALWAYS) && NAMES.iter().any(|name| name.len() > ALWAYS));
        for (name, written) in NAMES.iter().zip(&WRITTEN) {
            let mut out = b"x".to_vec();
            written.write(&mut out);
            assert_eq!(out, format!("x{name}: ").into_bytes());
        }
    }

    #[test]
    fn few_names_share_a_slot() {
        let longest = NAMES.iter().enumerate().map(|(number, name)| {
            let at = TABLE.iter().position(|known| usize::from(*known) == number).expect("it is there");
            (at + SLOTS - Ends::of(name.as_bytes()).slot()) % SLOTS
        });
        assert!(longest.max() <= Some(3));
    }
}
