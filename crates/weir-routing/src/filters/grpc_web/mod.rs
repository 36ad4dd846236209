//! gRPC calls of browsers: Envoy's gRPC-Web filter
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/grpc_web_filter>,
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>).
//!
//! A browser can neither read trailers nor, in older ones, a stream of bytes. So the trailers come as one more frame at the end
//! of the body, and all of it, either way, may be base64.

use weir_http1::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TE};
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::grpc_web::GrpcWeb;

use super::Policy;
use crate::error::CompileError;
use crate::grpc;

mod base64;

pub use base64::{InvalidBase64, TextDecoder, TextEncoder};

/// The filter. There is nothing to configure.
#[derive(Debug, Clone, Copy)]
pub struct GrpcWebFilter;

impl Policy for GrpcWebFilter {
    type Message = GrpcWeb;

    fn compile(message: &GrpcWeb) -> Result<Self, CompileError> {
        let GrpcWeb {} = message;
        Ok(Self)
    }
}

/// A call that came as gRPC-Web.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebCall {
    /// Whether the body of the request is base64.
    pub text_request: bool,
    /// Whether that of the answer is to be.
    pub text_answer: bool,
}

/// What is done with the body of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerBody {
    /// It is gRPC's, or there is none: it goes on, in base64 if that was asked for, and the trailers behind it.
    Grpc,
    /// It says why there is no answer of gRPC: it becomes the message of one ([`WebCall::explain`]).
    Explanation,
}

/// An explanation that comes in several parts is cut behind so many bytes.
pub const MAX_EXPLANATION: usize = 16_384;

const BINARY: [&str; 2] = ["application/grpc-web", "application/grpc-web+proto"];
const TEXT: [&str; 2] = ["application/grpc-web-text", "application/grpc-web-text+proto"];
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Bit 7 of a frame's first byte: it holds trailers.
const TRAILERS: u8 = 0b1000_0000;

impl WebCall {
    /// Makes a request of gRPC out of one of gRPC-Web; `None` if it is none. Its content type must be one of four, letter by
    /// letter, without parameters.
    pub fn begin(headers: &mut Headers) -> Option<Self> {
        let content_type = headers.get(CONTENT_TYPE)?;
        let text_request = is_one_of(content_type, &TEXT);
        if !text_request && !is_one_of(content_type, &BINARY) {
            return None;
        }
        let mut accepted = headers.get_all(ACCEPT).iter();
        let text_answer = accepted.next().is_some_and(|accept| is_one_of(accept, &TEXT)) && accepted.next().is_none();
        // It is the length of what the browser sent, and trailers may follow.
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert_if_absent(GRPC_ACCEPT_ENCODING, || HeaderValue::from_static("identity"));
        Some(Self { text_request, text_answer })
    }

    /// Makes the head of an answer one of gRPC-Web, whoever it came from. `is_last` says that nothing follows it.
    pub fn answer(self, status: u16, headers: &mut Headers, is_last: bool) -> AnswerBody {
        let content_type = headers.get(CONTENT_TYPE);
        let is_grpc = if is_last {
            headers.contains_key(GRPC_STATUS)
        } else {
            status == 200 && content_type.is_some_and(|content_type| grpc::is_content_type(content_type) || is_binary(content_type))
        };
        headers.remove(CONTENT_LENGTH);
        let own = if self.text_answer { TEXT[1] } else { BINARY[1] };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(own));
        if is_grpc || is_last { AnswerBody::Grpc } else { AnswerBody::Explanation }
    }

    /// Makes the body of an answer that is none of gRPC its message.
    pub fn explain(status: u16, body: &[u8], headers: &mut Headers) {
        if let Ok(message) = HeaderValue::from_bytes(&grpc::encode_message(body)) {
            headers.insert(GRPC_MESSAGE, message);
        }
        headers.insert(GRPC_STATUS, HeaderValue::from(grpc::status_of_http(status)));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }

    /// The trailers, as the last frame of the body.
    pub fn trailers(self, trailers: &Headers) -> Vec<u8> {
        let mut lines = vec![];
        for (name, value) in trailers {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.push(b':');
            lines.extend_from_slice(value.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        let length = u32::try_from(lines.len()).unwrap_or(u32::MAX).to_be_bytes();
        let frame = [&[TRAILERS][..], &length, &lines].concat();
        if self.text_answer { base64::encode(&frame) } else { frame }
    }
}

fn is_one_of(value: &HeaderValue, texts: &[&str]) -> bool {
    texts.iter().any(|text| value == text)
}

/// An answer may be gRPC-Web already; of its content type neither case nor parameters count.
fn is_binary(content_type: &HeaderValue) -> bool {
    let text = content_type.to_str().unwrap_or_default();
    let kind = text.split_once(';').map_or(text, |(kind, _)| kind).trim_end();
    BINARY.iter().any(|own| kind.eq_ignore_ascii_case(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'p> = &'p [(&'static str, &'static str)];

    fn headers(pairs: Pairs<'_>) -> Headers {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_request_is_known_by_its_content_type() {
        let (binary, text) = (Some(false), Some(true));
        let cases = [
            ("application/grpc-web", binary),
            ("application/grpc-web+proto", binary),
            ("application/grpc-web-text", text),
            ("application/grpc-web-text+proto", text),
            ("application/grpc-web+json", None),
            ("application/grpc-web; a=b", None),
            ("Application/grpc-web", None),
            ("application/grpc", None),
        ];
        for (content_type, expected) in cases {
            let before = headers(&[("content-type", content_type), ("content-length", "4")]);
            let mut after = before.clone();
            let call = WebCall::begin(&mut after);
            assert_eq!(call.map(|call| call.text_request), expected, "{content_type}");
            assert_eq!(after == before, expected.is_none(), "{content_type}");
        }
        assert_eq!(WebCall::begin(&mut Headers::new()), None);
    }

    /// As Envoy 1.40 sent them on.
    #[test]
    fn a_request_becomes_one_of_grpc() {
        let text = ("content-type", "application/grpc-web-text");
        let own = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-accept-encoding", "identity")];
        let kept = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-accept-encoding", "gzip"), ("x-grpc-web", "1")];
        let accepts = |accept| ("accept", accept);
        let cases: [(Pairs<'_>, Pairs<'_>, bool); 5] = [
            (&[text, ("content-length", "4")], &own, false),
            (&[text, ("te", "gzip"), ("grpc-accept-encoding", "gzip"), ("x-grpc-web", "1")], &kept, false),
            (&[text, accepts(TEXT[0])], &[own[0], own[1], own[2], accepts(TEXT[0])], true),
            (&[text, accepts(TEXT[1])], &[own[0], own[1], own[2], accepts(TEXT[1])], true),
            (&[text, accepts(BINARY[0])], &[own[0], own[1], own[2], accepts(BINARY[0])], false),
        ];
        for (before, after, text_answer) in cases {
            let mut request = headers(before);
            assert_eq!(WebCall::begin(&mut request), Some(WebCall { text_request: true, text_answer }), "{before:?}");
            assert_eq!(request, headers(after), "{before:?}");
        }
        let mut several = headers(&[text, accepts(TEXT[0])]);
        several.append(ACCEPT, HeaderValue::from_static("x"));
        assert_eq!(WebCall::begin(&mut several), Some(WebCall { text_request: true, text_answer: false }));
    }

    #[test]
    fn an_answer_is_grpcs_or_becomes_a_message() {
        use AnswerBody::{Explanation, Grpc};
        let status = ("grpc-status", "0");
        let cases: [(u16, Pairs<'_>, bool, AnswerBody); 8] = [
            (200, &[("content-type", "application/grpc")], false, Grpc),
            (200, &[("content-type", "application/grpc+proto")], false, Grpc),
            (200, &[("content-type", "application/grpc-Web ;a=b")], false, Grpc),
            (200, &[status], true, Grpc),
            (200, &[("content-type", "text/plain")], false, Explanation),
            (503, &[("content-type", "application/grpc")], false, Explanation),
            (503, &[("content-type", "text/plain")], true, Grpc),
            (200, &[], false, Explanation),
        ];
        for (status, before, is_last, expected) in cases {
            for (text_answer, content_type) in [(false, BINARY[1]), (true, TEXT[1])] {
                let mut answer = headers(before);
                answer.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
                let call = WebCall { text_request: false, text_answer };
                assert_eq!(call.answer(status, &mut answer, is_last), expected, "{status} {before:?}");
                assert_eq!((&answer[CONTENT_TYPE], answer.get(CONTENT_LENGTH)), (&HeaderValue::from_static(content_type), None));
            }
        }
        let mut refused = Headers::new();
        WebCall::explain(403, b"no way %", &mut refused);
        assert_eq!(refused, headers(&[("grpc-message", "no way %25"), ("grpc-status", "7"), ("content-length", "0")]));
    }

    #[test]
    fn trailers_are_the_last_frame() {
        let trailers = headers(&[("grpc-status", "0"), ("x-t", "a b")]);
        let call = |text_answer| WebCall { text_request: false, text_answer };
        assert_eq!(call(false).trailers(&trailers), b"\x80\0\0\0\x18grpc-status:0\r\nx-t:a b\r\n");
        assert_eq!(call(true).trailers(&Headers::new()), b"gAAAAAA=");
    }
}
