//! The texts that an xDS resource brings along, for access logs and for people.

use weir_xds::core::Metadata as XdsMetadata;
use weir_xds::values::metadata_text;

/// Ends a part. Texts with it are left out: there are none that people read.
const END: char = '\0';

/// Texts of a resource's metadata, by namespace and key.
///
/// There is one for each route, and it is only read when an access log names one of its keys, or a person asks. So it is one
/// text: namespace, key, text, and so on.
#[derive(Debug, Default, Clone)]
pub struct Metadata(Box<str>);

impl Metadata {
    /// Keeps the texts of an xDS resource's metadata.
    pub fn compile(metadata: Option<&XdsMetadata>) -> Self {
        let mut all = String::new();
        for (metadata, namespace) in
            metadata.into_iter().flat_map(|metadata| metadata.filter_metadata.keys().map(move |key| (metadata, key)))
        {
            for key in metadata.filter_metadata[namespace].fields.keys() {
                let parts = metadata_text(metadata, namespace, key).map(|text| [namespace.as_str(), key.as_str(), text]);
                for part in parts.filter(|parts| !parts.iter().any(|part| part.contains(END))).into_iter().flatten() {
                    all.push_str(part);
                    all.push(END);
                }
            }
        }
        Self(all.into())
    }

    /// The text of a namespace and key.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        let mut parts = self.0.split(END);
        loop {
            let (own_namespace, own_key, text) = (parts.next()?, parts.next()?, parts.next()?);
            if (own_namespace, own_key) == (namespace, key) {
                return Some(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::values::{set_metadata, text};

    use super::*;

    #[test]
    fn texts_are_found_by_namespace_and_key() {
        let mut written = XdsMetadata::default();
        for (namespace, key, value) in
            [("istio", "config", "/apis/a"), ("weir", "source", "a.yaml:12"), ("weir", "bad", "a\0b"), ("w", "", "")]
        {
            set_metadata(&mut written, namespace, key, text(value));
        }
        let metadata = Metadata::compile(Some(&written));
        let cases = [
            ("weir", "source", Some("a.yaml:12")),
            ("istio", "config", Some("/apis/a")),
            ("w", "", Some("")),
            ("weir", "bad", None),
            ("istio", "source", None),
            ("source", "a.yaml:12", None),
        ];
        for (namespace, key, expected) in cases {
            assert_eq!(metadata.get(namespace, key), expected, "{namespace} {key}");
        }
        assert_eq!(Metadata::default().get("weir", "source"), None);
    }
}
