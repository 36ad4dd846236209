//! Where a message ends (RFC 9112, 6), decided from its head and from nothing else.
//!
//! | the head says | request | answer |
//! |---|---|---|
//! | neither length nor coding | no body (6.3, 7) | to the end of the connection (6.3, 8) |
//! | one length, of digits alone | so many bytes (6.3, 6) | so many bytes |
//! | a length twice, be it the same; a list; a sign; more than 64 bits | fault (6.3, 5; Envoy refuses equal ones, too) | fault |
//! | one coding, `chunked` | chunks (6.3, 4) | chunks |
//! | any other coding, also before or after `chunked`, also twice | fault: nobody here takes it off (6.1) | fault (Envoy: 502) |
//! | a coding and a length | fault: smuggling (6.3, 3; Envoy without `allow_chunked_length`) | fault |
//! | a coding in HTTP/1.0 | fault (6.1) | chunks, as Envoy reads it |
//! | an answer to HEAD, or 304 | | no body, whatever is said (6.3, 1), unless it is said twice |
//! | 1xx, 204 | | no body; a coding, or a length but 0, is a fault: it announces what cannot be |

use http::{Method, StatusCode, Version};

use crate::Fault;
use crate::header::{CONTENT_LENGTH, HeaderValue, Headers, NameSet, TRANSFER_ENCODING};

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// There is none.
    None,
    /// So many bytes.
    Exact(u64),
    /// In chunks, the last of which is empty.
    Chunked,
    /// To the end of the connection.
    UntilClose,
}

impl Length {
    /// In bytes, where the head says it.
    pub fn exact(self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Exact(length) => Some(length),
            Self::Chunked | Self::UntilClose => None,
        }
    }
}

/// Where a request ends.
///
/// # Errors
/// If that is in doubt.
pub fn of_request(version: Version, headers: &Headers) -> Result<Length, Fault> {
    match said(headers)? {
        Said::Nothing => Ok(Length::None),
        Said::Length(0) => Ok(Length::None),
        Said::Length(length) => Ok(Length::Exact(length)),
        Said::Chunked if version < Version::HTTP_11 => Err(Fault::Length),
        Said::Chunked => Ok(Length::Chunked),
    }
}

/// Where the answer to a request of `method` ends.
///
/// # Errors
/// If that is in doubt.
pub fn of_answer(method: &Method, status: StatusCode, headers: &Headers) -> Result<Length, Fault> {
    let said = said(headers)?;
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        return if matches!(said, Said::Nothing | Said::Length(0)) { Ok(Length::None) } else { Err(Fault::Length) };
    }
    if *method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        return Ok(Length::None);
    }
    Ok(match said {
        Said::Nothing => Length::UntilClose,
        Said::Length(0) => Length::None,
        Said::Length(length) => Length::Exact(length),
        Said::Chunked => Length::Chunked,
    })
}

/// What a head says of the length of its body.
enum Said {
    Nothing,
    Length(u64),
    Chunked,
}

fn said(headers: &Headers) -> Result<Said, Fault> {
    let repeated = headers.repeated();
    if !repeated.is_empty() {
        // The first of them that is said twice decides which fault it is.
        let mut seen = NameSet::default();
        for name in headers.keys() {
            match *name {
                CONTENT_LENGTH if seen.contains(name) => return Err(Fault::Length),
                TRANSFER_ENCODING if seen.contains(name) => return Err(Fault::Coding),
                _ => seen.insert(name),
            }
        }
    }
    match (headers.get(CONTENT_LENGTH), headers.get(TRANSFER_ENCODING)) {
        (None, None) => Ok(Said::Nothing),
        (Some(length), None) => number(length).map(Said::Length).ok_or(Fault::Length),
        // Whatever the coding is, as Envoy has it.
        (Some(_), Some(_)) => Err(Fault::Length),
        (None, Some(coding)) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Said::Chunked),
        (None, Some(_)) => Err(Fault::Coding),
    }
}

/// A number of digits alone.
fn number(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then_some(u64::from(digit & 0xf))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const LENGTH: (&str, &str) = ("content-length", "5");
    const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");

    #[test]
    fn both_sides_read_a_head_alike_where_they_may() {
        type Case = (&'static [(&'static str, &'static str)], Result<Length, Fault>);
        let cases: &[Case] = &[
            (&[LENGTH], Ok(Length::Exact(5))),
            (&[("content-length", "0")], Ok(Length::None)),
            (&[("content-length", "18446744073709551615")], Ok(Length::Exact(u64::MAX))),
            (&[CHUNKED], Ok(Length::Chunked)),
            (&[("transfer-encoding", "Chunked")], Ok(Length::Chunked)),
            (&[LENGTH, LENGTH], Err(Fault::Length)),
            (&[("content-length", "5, 5")], Err(Fault::Length)),
            (&[("content-length", "+5")], Err(Fault::Length)),
            (&[("content-length", "-1")], Err(Fault::Length)),
            (&[("content-length", "0x5")], Err(Fault::Length)),
            (&[("content-length", "5 5")], Err(Fault::Length)),
            (&[("content-length", "")], Err(Fault::Length)),
            (&[("content-length", "18446744073709551616")], Err(Fault::Length)),
            (&[LENGTH, CHUNKED], Err(Fault::Length)),
            (&[LENGTH, ("transfer-encoding", "gzip")], Err(Fault::Length)),
            (&[("transfer-encoding", "gzip, chunked")], Err(Fault::Coding)),
            (&[("transfer-encoding", "chunked, gzip")], Err(Fault::Coding)),
            (&[("transfer-encoding", "chunked,")], Err(Fault::Coding)),
            (&[("transfer-encoding", "")], Err(Fault::Coding)),
            (&[("transfer-encoding", "identity")], Err(Fault::Coding)),
            (&[CHUNKED, CHUNKED], Err(Fault::Coding)),
        ];
        for (pairs, expected) in cases {
            let headers = headers(pairs);
            assert_eq!(of_request(Version::HTTP_11, &headers), *expected, "{pairs:?}");
            assert_eq!(of_answer(&Method::GET, StatusCode::OK, &headers), *expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_sides_differ_where_nothing_is_said() {
        assert_eq!(of_request(Version::HTTP_11, &headers(&[])), Ok(Length::None));
        assert_eq!(of_answer(&Method::GET, StatusCode::OK, &headers(&[])), Ok(Length::UntilClose));
        assert_eq!(of_request(Version::HTTP_10, &headers(&[CHUNKED])), Err(Fault::Length));
    }

    #[test]
    fn answers_that_can_have_no_body_have_none() {
        for (pairs, empty) in [(vec![], true), (vec![("content-length", "0")], true), (vec![LENGTH], false), (vec![CHUNKED], false)] {
            let headers = headers(&pairs);
            for status in [100, 103, 204] {
                let status = StatusCode::from_u16(status).expect("a status");
                let expected = if empty { Ok(Length::None) } else { Err(Fault::Length) };
                assert_eq!(of_answer(&Method::GET, status, &headers), expected, "{status} {pairs:?}");
            }
            assert_eq!(of_answer(&Method::GET, StatusCode::NOT_MODIFIED, &headers), Ok(Length::None), "{pairs:?}");
            assert_eq!(of_answer(&Method::HEAD, StatusCode::OK, &headers), Ok(Length::None), "{pairs:?}");
        }
        assert_eq!(of_answer(&Method::HEAD, StatusCode::OK, &headers(&[LENGTH, LENGTH])), Err(Fault::Length));
    }
}
