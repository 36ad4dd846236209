//! Names as Kubernetes has them: what stands in a certificate or in the id of a proxy must be one, or it could say something else.

/// Whether a text is a label of DNS (RFC 1123): the name of a namespace.
pub fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<&u8>| byte.is_some_and(is_word);
    text.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|byte| is_word(byte) || *byte == b'-')
}

/// Whether a text is labels of DNS with dots between them: the name of a service account or of a workload.
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        let long = "a".repeat(64);
        for (text, label, subdomain) in [
            ("shop", true, true),
            ("shop-1", true, true),
            ("a.b", false, true),
            ("", false, false),
            ("a.", false, false),
            ("-a", false, false),
            ("A", false, false),
            ("a/b", false, false),
            ("a~b", false, false),
            ("ü", false, false),
            (long.as_str(), false, false),
        ] {
            assert_eq!((is_label(text), is_subdomain(text)), (label, subdomain), "{text}");
        }
    }
}
