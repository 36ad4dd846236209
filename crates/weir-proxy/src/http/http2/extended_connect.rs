//! How a client of HTTP/2 asks for another protocol on its stream, such as WebSocket (RFC 8441). From here on it is the request
//! that HTTP/1.1 has for that, so that routes, filters and instances know but one.

use http::response::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use weir_config::head::Received;

/// Makes an upgrade of a CONNECT that names a protocol; whether it could be one.
pub(super) fn take(request: &mut Received, protocol: &str) -> bool {
    // A name that no header may have is refused with the CONNECT that it is.
    let Ok(name) = HeaderValue::from_str(protocol) else { return false };
    request.method = Method::GET;
    request.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    request.headers.insert(header::UPGRADE, name);
    true
}

/// Makes the answer to a CONNECT of the answer to an upgrade; whether the instance has agreed. Where it has not, no success may be
/// told: the client would take what follows for the other protocol.
pub(super) fn settle(answer: &mut Parts) -> bool {
    let agrees = answer.status == StatusCode::SWITCHING_PROTOCOLS;
    if agrees {
        answer.status = StatusCode::OK;
        for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT, header::CONTENT_LENGTH] {
            answer.headers.remove(name);
        }
    } else if answer.status.is_success() {
        answer.status = StatusCode::BAD_GATEWAY;
    }
    agrees
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Response, Version};
    use weir_config::head::Target;

    use super::*;

    #[test]
    fn a_connect_that_names_a_protocol_is_an_upgrade() {
        let target = Target::Parts("http://a/chat".parse().expect("a URI"));
        let headers = HeaderMap::new();
        let mut request = Received { method: Method::CONNECT, target, version: Version::HTTP_2, headers, spelling: None };
        assert!(!take(&mut request, "web\nsocket"));
        assert_eq!((&request.method, request.headers.len()), (&Method::CONNECT, 0));
        assert!(take(&mut request, "websocket"));
        assert_eq!(request.method, Method::GET);
        assert_eq!(
            (&request.headers["connection"], &request.headers["upgrade"]),
            (&"Upgrade".parse().expect("fine"), &"websocket".parse().expect("fine"))
        );
    }

    #[test]
    fn only_agreement_is_success() {
        for (status, told) in [(101, 200), (200, 502), (204, 502), (403, 403), (302, 302), (503, 503)] {
            let answer = Response::builder().status(status).header("upgrade", "websocket").body(()).expect("an answer");
            let mut answer = answer.into_parts().0;
            assert_eq!((settle(&mut answer), answer.status.as_u16()), (status == 101, told), "{status}");
        }
    }
}
