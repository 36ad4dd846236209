//! How HTTP says what gRPC says: statuses, messages, content types
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use weir_http1::HeaderValue;

/// The status that an answer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// A number; gRPC knows those up to [`Status::LAST_KNOWN`], others mean something to their applications only.
    Code(u32),
    /// No number.
    Invalid,
}

impl Status {
    /// The greatest status of gRPC's own.
    pub const LAST_KNOWN: u32 = 16;

    /// What a `grpc-status` says; none where it is empty.
    pub fn of_header(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).unwrap_or("?");
        (!text.is_empty()).then(|| text.parse().map_or(Self::Invalid, Self::Code))
    }

    /// The status as a label of statistics: as Istio does, -1 stands for whatever gRPC does not know, so that who answers cannot
    /// make more series.
    pub fn label(self) -> i8 {
        match self {
            Self::Code(code) if code <= Self::LAST_KNOWN => i8::try_from(code).unwrap_or(-1),
            Self::Code(_) | Self::Invalid => -1,
        }
    }
}

/// The gRPC status that stands for an HTTP status
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
pub fn status_of_http(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// A `grpc-message`: what is not printable ASCII, and the percent sign itself, is encoded.
pub fn encode_message(message: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(message.len());
    for byte in message {
        match byte {
            b' '..=b'~' if *byte != b'%' => encoded.push(*byte),
            _ => encoded.extend(format!("%{byte:02X}").into_bytes()),
        }
    }
    encoded
}

/// Whether a content type is gRPC's: `application/grpc`, with a format or parameters behind it.
pub fn is_content_type(content_type: &HeaderValue) -> bool {
    let rest = content_type.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_printable() {
        assert_eq!(encode_message("no way %\né".as_bytes()), b"no way %25%0A%C3%A9");
    }

    #[test]
    fn statuses_that_grpc_does_not_know_are_one_label() {
        let label = |text: &str| Status::of_header(text.as_bytes()).map(Status::label);
        let cases =
            [("0", Some(0)), ("16", Some(16)), ("17", Some(-1)), ("4294967296", Some(-1)), ("-1", Some(-1)), ("abc", Some(-1)), ("", None)];
        for (text, expected) in cases {
            assert_eq!(label(text), expected, "{text}");
        }
        assert_eq!(Status::of_header(b"99"), Some(Status::Code(99)));
    }

    #[test]
    fn content_types_are_told_apart() {
        let cases = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;a=b", true),
            ("application/grpc-web", false),
            ("application/grp", false),
            ("text/plain", false),
        ];
        for (content_type, expected) in cases {
            assert_eq!(is_content_type(&HeaderValue::from_static(content_type)), expected, "{content_type}");
        }
    }
}
