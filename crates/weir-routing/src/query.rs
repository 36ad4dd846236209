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

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_again(text in ".*") {
            let encoded = String::from_utf8(encode(text.as_bytes())).expect("ASCII");
            prop_assert_eq!(decode(&encoded), text.as_bytes());
        }
    }
}
