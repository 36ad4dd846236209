//! gRPC calls over HTTP/1.1, whose clients see no trailers: Envoy's gRPC bridge
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/grpc_http1_bridge_filter>).
//!
//! What the trailers of an answer say stands in its head, and a call that has failed is a 503. Clients that know nothing of gRPC may
//! send and get messages without frames.

use bytes::Bytes;
use weir_http1::header::{CONTENT_LENGTH, CONTENT_TYPE};
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::grpc_http1_bridge::Config;

use super::Policy;
use crate::error::CompileError;
use crate::grpc::{self, Status};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a request with a message and no frame says that it is, letter by letter.
const MESSAGE: &str = "application/x-protobuf";
/// How long what stands before a message is: a byte that says whether it is compressed, and its length.
const FRAME: usize = 5;

/// Which requests become calls.
#[derive(Debug, Clone, Copy)]
pub struct BridgePolicy {
    /// Whether those with a message and no frame do.
    frames_messages: bool,
    /// Whether what they ask behind a `?` is left out.
    cuts_queries: bool,
}

/// A call whose client sees no trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridged {
    /// Its message is without a frame, and that of the answer is to be.
    pub unframed: bool,
}

impl Policy for BridgePolicy {
    type Message = Config;

    fn compile(message: &Config) -> Result<Self, CompileError> {
        let Config { upgrade_protobuf_to_grpc, ignore_query_parameters } = message;
        Ok(Self { frames_messages: *upgrade_protobuf_to_grpc, cuts_queries: *ignore_query_parameters })
    }
}

impl BridgePolicy {
    /// Makes a call of a request over HTTP/1, if it is or becomes one.
    pub fn begin(self, path: &mut String, headers: &mut Headers) -> Option<Bridged> {
        let content_type = headers.get(CONTENT_TYPE)?;
        let unframed = self.frames_messages && content_type == MESSAGE;
        if !unframed && !grpc::is_content_type(content_type) {
            return None;
        }
        if unframed {
            // It is the length without the frame.
            headers.remove(CONTENT_LENGTH);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        }
        if let Some(query) = path.find('?').filter(|_| self.cuts_queries) {
            path.truncate(query);
        }
        Some(Bridged { unframed })
    }
}

/// Puts a frame before a message.
pub fn frame(message: &[u8]) -> Bytes {
    // Nobody holds back more than four bytes can say.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

impl Bridged {
    /// Puts what the trailers of an answer say into its head; its status then, and its body. Envoy lets an answer without trailers
    /// pass as it is, and takes the first frame away without looking at it.
    pub fn answer(self, status: u16, headers: &mut Headers, body: Bytes, trailers: &Headers) -> (u16, Bytes) {
        let said = trailers.get(GRPC_STATUS);
        let has_failed = said.is_some_and(|said| Status::of_header(said.as_bytes()) != Some(Status::Code(0)));
        for name in [GRPC_STATUS, GRPC_MESSAGE] {
            if let Some(value) = trailers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let body = if self.unframed { body.slice(FRAME.min(body.len())..) } else { body };
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        (if has_failed { 503 } else { status }, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'p> = &'p [(&'static str, &'static str)];

    fn headers(pairs: Pairs<'_>) -> Headers {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_call_is_known_by_its_content_type_and_a_message_only_where_that_is_asked_for() {
        let (call, message) = (Some(Bridged { unframed: false }), Some(Bridged { unframed: true }));
        let cases = [
            ("application/grpc", true, call),
            ("application/grpc+proto", false, call),
            ("application/x-protobuf", true, message),
            ("application/x-protobuf", false, None),
            ("application/x-protobuf; a=b", true, None),
            ("Application/X-Protobuf", true, None),
            ("application/protobuf", true, None),
            ("text/plain", true, None),
        ];
        for (content_type, upgrade_protobuf_to_grpc, expected) in cases {
            let policy = BridgePolicy::compile(&Config { upgrade_protobuf_to_grpc, ignore_query_parameters: true }).expect("valid");
            let came = || headers(&[("content-type", content_type), ("content-length", "2")]);
            let (mut path, mut said) = ("/a?b?c".to_owned(), came());
            assert_eq!(policy.begin(&mut path, &mut said), expected, "{content_type}");
            assert_eq!(path, if expected.is_some() { "/a" } else { "/a?b?c" }, "{content_type}");
            let told = if expected == message { headers(&[("content-type", "application/grpc")]) } else { came() };
            assert_eq!(said, told, "{content_type}");
        }
    }

    #[test]
    fn a_query_stays_and_a_message_is_none_where_nobody_says_so() {
        let policy = BridgePolicy::compile(&Config::default()).expect("valid");
        let mut path = "/a?b".to_owned();
        assert_eq!(policy.begin(&mut path, &mut headers(&[("content-type", "application/grpc")])), Some(Bridged { unframed: false }));
        assert_eq!(path, "/a?b");
        assert_eq!(policy.begin(&mut path, &mut Headers::new()), None);
    }

    #[test]
    fn what_trailers_say_stands_in_the_head() {
        let cases: [(Pairs<'_>, u16, u16, Pairs<'_>); 5] = [
            (&[("grpc-status", "0")], 200, 200, &[("grpc-status", "0")]),
            (&[("grpc-status", "7"), ("grpc-message", "no"), ("x", "y")], 200, 503, &[("grpc-status", "7"), ("grpc-message", "no")]),
            (&[("grpc-status", "x")], 200, 503, &[("grpc-status", "x")]),
            (&[("x", "y")], 404, 404, &[("grpc-status", "3")]),
            (&[("grpc-status", "0")], 404, 404, &[("grpc-status", "0")]),
        ];
        for (trailers, status, expected, told) in cases {
            for (unframed, body) in [(false, &b"\0\0\0\0\x02hi"[..]), (true, b"hi")] {
                let mut head = headers(&[("grpc-status", "3"), ("content-length", "99")]);
                let bridged = Bridged { unframed };
                let answered = bridged.answer(status, &mut head, frame(b"hi"), &headers(trailers));
                assert_eq!(answered, (expected, Bytes::from(body)), "{trailers:?}");
                let mut wanted = headers(told);
                wanted.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
                let sorted = |headers: &Headers| {
                    let mut all: Vec<_> = headers.iter().map(|(name, value)| format!("{}: {value:?}", name.as_str())).collect();
                    all.sort();
                    all
                };
                assert_eq!(sorted(&head), sorted(&wanted), "{trailers:?}");
            }
        }
        let bridged = Bridged { unframed: true };
        assert_eq!(bridged.answer(200, &mut Headers::new(), Bytes::from("\0\0"), &Headers::new()).1, "");
    }
}
