//! How HTTP says what gRPC says: statuses, messages, content types
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use http::HeaderValue;

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
