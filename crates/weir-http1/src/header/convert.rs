//! From the map of the library for HTTP/2, and to it: the one pass that finds the numbers of the names.

use super::{HeaderName, HeaderValue, Headers};

/// Takes over a map.
pub fn from_map(map: http::HeaderMap) -> Headers {
    let mut headers = Headers::with_capacity(map.len() + ROOM);
    let mut last = None;
    for (name, value) in map {
        // Further values of a field come without its name.
        if let Some(name) = name {
            last = HeaderName::from_bytes(name.as_str().as_bytes()).ok();
        }
        if let Some(name) = &last {
            headers.push(name.clone(), HeaderValue::of_library(value));
        }
    }
    headers
}

/// What a proxy adds.
const ROOM: usize = 8;

/// Makes a map of fields.
pub fn to_map(headers: &Headers) -> http::HeaderMap {
    let mut map = http::HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        // What is a name here is one there.
        if let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) {
            map.append(name, value.to_library());
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::known::NAMES;

    #[test]
    fn fields_are_the_same_on_both_sides() {
        let mut headers: Headers = NAMES.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect();
        for value in ["2", "3"] {
            headers.append("x-own", HeaderValue::from_static(value));
            headers.append("set-cookie", HeaderValue::from_static(value));
        }
        let map = to_map(&headers);
        assert_eq!((map.len(), map.get_all("x-own").iter().count()), (headers.len(), 2));
        assert_eq!(from_map(map), headers);
    }
}
