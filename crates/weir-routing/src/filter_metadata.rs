//! The metadata of a resource as filters are told it: values of all kinds, by namespace.

use std::sync::Arc;

use weir_xds::core::Metadata;
use weir_xds::prost_types::Struct;

/// What control planes write for people and logs, of each route: no filter is told it.
const NOT_FOR_FILTERS: &[&str] = &["istio", "weir"];

/// Metadata for filters. Most resources have none.
#[derive(Debug, Default, Clone)]
pub struct FilterMetadata(Box<[Namespace]>);

type Namespace = (Box<str>, Arc<Struct>);

impl FilterMetadata {
    /// Keeps what an xDS resource tells filters.
    pub fn compile(metadata: Option<&Metadata>) -> Self {
        let all = metadata.into_iter().flat_map(|metadata| &metadata.filter_metadata);
        let told = all.filter(|(namespace, _)| !NOT_FOR_FILTERS.contains(&namespace.as_str()));
        Self(told.map(|(namespace, fields)| (namespace.as_str().into(), Arc::new(fields.clone()))).collect())
    }

    /// What stands under a namespace, usually a filter's name.
    pub fn get(&self, namespace: &str) -> Option<&Arc<Struct>> {
        self.0.iter().find(|(own, _)| **own == *namespace).map(|(_, fields)| fields)
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::values::{set_metadata, text};

    use super::*;

    #[test]
    fn what_is_for_filters_is_kept_by_its_namespace() {
        let mut written = Metadata::default();
        for namespace in ["weir", "istio"] {
            set_metadata(&mut written, namespace, "key", text("value"));
        }
        assert!(FilterMetadata::compile(Some(&written)).0.is_empty());
        set_metadata(&mut written, "lua", "key", text("value"));
        let kept = FilterMetadata::compile(Some(&written));
        assert_eq!(kept.get("lua").and_then(|fields| fields.fields.get("key")), Some(&text("value")));
        assert!(kept.get("weir").is_none() && FilterMetadata::compile(None).get("lua").is_none());
    }
}
