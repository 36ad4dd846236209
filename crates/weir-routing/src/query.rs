//! The parameters of a query, as Envoy's filters read and write them. (Routes look at them raw.)

use std::collections::BTreeMap;

/// Parameters by name, in the order of their names; those of one name in their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(pub(crate) BTreeMap<Vec<u8>, Vec<Vec<u8>>>);

impl Query {
    /// Reads the query of a path, and decodes names and values. What has no `=` has an empty value.
    pub(crate) fn parse(path: &str) -> Self {
        let mut query = Self::default();
        let Some((_, mut rest)) = path.split_once('?') else { return query };
        while !rest.is_empty() {
            let (pair, after) = rest.split_once('&').unwrap_or((rest, ""));
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.add(decode(name), decode(value));
            rest = after;
        }
        query
    }

    /// Adds a parameter behind those that have the same name.
    pub(crate) fn add(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.0.entry(name).or_default().push(value);
    }

    /// The first value of a parameter.
    pub(crate) fn first(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name)?.first().map(Vec::as_slice)
    }
}

/// Decodes `%20` and its like; what is no code stands for itself.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let code = after.first_chunk::<2>().filter(|_| *first == b'%').and_then(|[high, low]| Some(hex(*high)? << 4 | hex(*low)?));
        decoded.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|digit| digit as u8)
}

/// Encodes all but letters, digits and `-_.`, in capitals, as Envoy does.
pub(crate) fn encode(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => encoded.push(*byte),
            _ => encoded.extend([b'%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
    encoded
}

/// A path without a parameter of its query. As in Envoy what is left of the query is written anew, in the order of the names,
/// and codes that stand for what needs none are written as that. All other codes stay: without them the query would say
/// something else, or be none.
pub(crate) fn without_parameter(path: &str, name: &[u8]) -> String {
    let Some((before, query)) = path.split_once('?') else { return path.to_owned() };
    let pairs = query.split_terminator('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut kept: Vec<(Vec<u8>, &str, &str)> = pairs.map(|(name, value)| (decode(name), name, value)).collect();
    kept.retain(|(own, ..)| own != name);
    kept.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    let mut written = before.to_owned();
    for (i, (_, name, value)) in kept.into_iter().enumerate() {
        written.push(if i == 0 { '?' } else { '&' });
        written.push_str(&plain(name));
        written.push('=');
        written.push_str(&plain(value));
    }
    written
}

/// A part of a query with those codes decoded that are not needed.
fn plain(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    // A sign that begins no code would begin one together with what is decoded right behind it.
    let mut lone = None;
    while let Some(at) = rest.find('%') {
        let (before, code) = rest.split_at(at);
        written.push_str(before);
        let byte = code.as_bytes().get(1..3).and_then(|code| Some(hex(*code.first()?)? << 4 | hex(*code.last()?)?));
        let is_needless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$'()*,;:@/?".contains(byte);
        match byte {
            Some(byte) if is_needless(&byte) && lone.is_none_or(|lone| written.len() > lone + 2) => written.push(byte as char),
            Some(_) => written.push_str(code.get(..3).unwrap_or_default()),
            None => {
                lone = Some(written.len());
                written.push('%');
            }
        }
        rest = code.get(if byte.is_some() { 3 } else { 1 }..).unwrap_or_default();
    }
    written + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_read_by_name() {
        let cases: [(&str, &[(&str, &str)]); 7] = [
            ("/x", &[]),
            ("/x?", &[]),
            ("/x?b=1&a=2&b=3", &[("a", "2"), ("b", "1"), ("b", "3")]),
            ("/x?A=1&%41=2", &[("A", "1"), ("A", "2")]),
            ("/x?a=%20%zz%4&+=+", &[("+", "+"), ("a", " %zz%4")]),
            ("/x?=e&&f=g=h", &[("", "e"), ("", ""), ("f", "g=h")]),
            ("/x?a?b&", &[("a?b", "")]),
        ];
        for (path, expected) in cases {
            let query = Query::parse(path).0;
            let found = query.iter().flat_map(|(name, values)| values.iter().map(move |value| (name.as_slice(), value.as_slice())));
            let expected = expected.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{path}");
        }
    }

    #[test]
    fn little_stands_for_itself() {
        let encoded = encode(b"!*'()-_.~/:@ +,;$\"");
        assert_eq!(encoded, b"%21%2A%27%28%29-_.%7E%2F%3A%40%20%2B%2C%3B%24%22");
    }

    #[test]
    fn a_parameter_is_taken_out_and_the_rest_means_the_same() {
        let cases = [
            ("/x", "/x"),
            ("/x?t=1", "/x"),
            ("/x?t", "/x"),
            ("/x?b=%7E&t=1&a=2&%74=3", "/x?a=2&b=~"),
            ("/x?a=%26%3D%25%20%41&b&a=+", "/x?a=%26%3D%25%20A&a=+&b="),
            ("/x?a=%&b=%4&c=%zz&d=%C3%BC&&", "/x?=&a=%&b=%4&c=%zz&d=%C3%BC"),
            ("/x?a=%%30a%30%41&b=%4%31", "/x?a=%%30a0A&b=%4%31"),
        ];
        for (path, expected) in cases {
            assert_eq!(without_parameter(path, b"t"), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_of_a_query_is_what_it_was(path in "/x\\?([at]=|[a-c%0-9&=+~ ]|%[2-7][0-9a-f]){0,24}") {
            let mut expected = Query::parse(&path);
            expected.0.remove(&b"t"[..]);
            prop_assert_eq!(Query::parse(&without_parameter(&path, b"t")), expected);
        }

        #[test]
        fn what_is_encoded_is_decoded_again(text in ".*") {
            let encoded = String::from_utf8(encode(text.as_bytes())).expect("ASCII");
            prop_assert_eq!(decode(&encoded), text.as_bytes());
        }
    }
}
