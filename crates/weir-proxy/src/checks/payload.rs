//! What a check looks for in an answer.

use bytes::Bytes;

/// Whether all parts stand in the text, in this order; anything may stand between them.
pub fn contains(parts: &[Bytes], text: &[u8]) -> bool {
    let mut rest = text;
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let Some(at) = rest.windows(part.len()).position(|window| window == part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_in_their_order() {
        let parts = |parts: &[&'static str]| parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect::<Vec<_>>();
        for (wanted, text, found) in [
            (parts(&["a", "b"]), "xaxbx", true),
            (parts(&["b", "a"]), "xaxbx", false),
            (parts(&["aa", "a"]), "aa", false),
            (parts(&[]), "", true),
        ] {
            assert_eq!(contains(&wanted, text.as_bytes()), found, "{wanted:?} {text}");
        }
    }
}
