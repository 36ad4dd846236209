//! Answers as the client orders them: a status, a delay, a redirect, headers.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use super::asked::{Asked, grouped};
use super::number;
use crate::http::{Body, Refusal, json, redirect, text};

/// The longest that an answer is held back or drawn out.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// Headers that say how the answer is sent; ordering another value would break the connection.
const FRAMING: [&str; 8] =
    ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"];

/// `/status/503`, or one of several at random: `/status/200,503`.
pub(super) fn status(codes: &str) -> Result<Response<Body>, Refusal> {
    let codes: Vec<StatusCode> = codes.split(',').map(status_code).collect::<Result<_, _>>()?;
    let code = fastrand::choice(codes).unwrap_or(StatusCode::OK);
    let mut response = text(code, if code == StatusCode::IM_A_TEAPOT { include_str!("teapot.txt") } else { "" });
    match code.as_u16() {
        301 | 302 | 303 | 305 | 307 | 308 => response.headers_mut().insert(LOCATION, HeaderValue::from_static("/get")),
        401 => response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"httpbin\"")),
        _ => None,
    };
    Ok(response)
}

/// 1xx are no answers, so they cannot be ordered.
pub(super) fn status_code(code: &str) -> Result<StatusCode, Refusal> {
    let code: u16 = number("status", code.trim())?;
    match StatusCode::from_u16(code) {
        Ok(status) if (200..=599).contains(&code) => Ok(status),
        _ => Err(Refusal::bad_request(format!("status: {code} is not between 200 and 599"))),
    }
}

/// `/delay/1.5`: the answer of `/post`, that many seconds later.
pub(super) async fn delay(seconds: &str, asked: &Asked) -> Result<Response<Body>, Refusal> {
    tokio::time::sleep(seconds_from("delay", seconds)?).await;
    Ok(json(StatusCode::OK, &asked.with_upload(false)))
}

/// Seconds, with fraction, at most [`LONGEST`].
pub(super) fn seconds_from(what: &str, text: &str) -> Result<Duration, Refusal> {
    let seconds: f64 = number(what, text)?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(Refusal::bad_request(format!("{what}: {text} is not a length of time")));
    }
    Ok(Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
}

/// `/redirect-to?url=…&status_code=307`.
pub(super) fn redirect_to(asked: &Asked) -> Result<Response<Body>, Refusal> {
    let url = asked.arg("url").ok_or_else(|| Refusal::bad_request("say where to: /redirect-to?url=…"))?;
    let location = HeaderValue::try_from(url).map_err(|_| Refusal::bad_request("url: not possible in a header"))?;
    let status = asked.arg("status_code").map_or(Ok(StatusCode::FOUND), |code| status_code(&code))?;
    Ok(redirect(if status.is_redirection() { status } else { StatusCode::FOUND }, location))
}

/// `/response-headers?name=value`: these headers, also told in the body.
pub(super) fn response_headers(asked: &Asked) -> Result<Response<Body>, Refusal> {
    let ordered = asked.query();
    let mut response = json(StatusCode::OK, &grouped(ordered.clone()));
    let mut given = hyper::HeaderMap::new();
    for (name, value) in ordered {
        let (name, value) = header(&name, value)?;
        given.append(name, value);
    }
    // Extending replaces what was there: an ordered content-type is the only one.
    response.headers_mut().extend(given);
    Ok(response)
}

fn header(name: &str, value: String) -> Result<(HeaderName, HeaderValue), Refusal> {
    let refused = || Refusal::bad_request(format!("{name:?} with this value is not possible as a header"));
    let header = HeaderName::try_from(name).map_err(|_| refused())?;
    if FRAMING.contains(&header.as_str()) {
        return Err(Refusal::bad_request(format!("{name}: it says how the answer is sent, so it cannot be ordered")));
    }
    Ok((header, HeaderValue::try_from(value).map_err(|_| refused())?))
}

/// A random (version 4) UUID of these bits.
pub(super) fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_say_that_they_are_random() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn times_are_bounded() {
        assert_eq!(seconds_from("delay", "0.25").unwrap(), Duration::from_millis(250));
        assert_eq!(seconds_from("delay", "1e300").unwrap(), LONGEST);
        for wrong in ["-1", "NaN", "soon", ""] {
            assert!(seconds_from("delay", wrong).is_err(), "{wrong}");
        }
    }
}
