//! Reading what a request says about itself: query strings, forms, cookies.

use hyper::HeaderMap;
use hyper::header::COOKIE;

/// The pairs of a query string or of a form, decoded, in their order. Never fails: what cannot be decoded stays as it is.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(decode_pair).collect()
}

fn decode_pair((name, value): (&str, &str)) -> (String, String) {
    (percent_decode(&name.replace('+', " ")), percent_decode(&value.replace('+', " ")))
}

/// The request's cookies, decoded, in their order.
pub(crate) fn cookies(headers: &HeaderMap) -> Vec<(String, String)> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .map(|(name, value)| (name.to_owned(), percent_decode(value)))
        .collect()
}

/// `%41` becomes `A`. A lone `%` stays; what is not UTF-8 afterwards is replaced by the replacement character.
fn percent_decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if let (b'%', [high, low, tail @ ..]) = (*byte, after)
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            decoded.push(high << 4 | low);
            rest = tail;
        } else {
            decoded.push(*byte);
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Everything but letters, digits, `-`, `_` and `.` as `%XX`: safe in a cookie, a path or a query.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn pairs_are_decoded_in_order() {
        assert_eq!(pairs("a=1&b=two+words&a=%C3%A9&flag"), owned(&[("a", "1"), ("b", "two words"), ("a", "é"), ("flag", "")]));
        assert_eq!(pairs(""), owned(&[]));
    }

    #[test]
    fn what_is_not_an_escape_stays() {
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%4"), "%zz%4");
        assert_eq!(percent_decode("%+1"), "%+1");
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        let text = "Jason & Ärger; \"100%\"";
        assert_eq!(percent_decode(&percent_encode(text)), text);
    }

    #[test]
    fn cookies_of_all_lines() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; user=J%20R".parse().unwrap());
        headers.append(COOKIE, "b=2".parse().unwrap());
        assert_eq!(cookies(&headers), owned(&[("a", "1"), ("user", "J R"), ("b", "2")]));
    }
}
