//! Which workload an instance is, as the control plane tells it for metrics.

use weir_xds::core::Metadata;
use weir_xds::values::metadata_text;

/// What Istio tells of an instance: `name;namespace;canonical name;canonical revision;cluster`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Workload {
    /// The workload's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its canonical service.
    pub app: String,
    /// Its canonical revision.
    pub version: String,
    /// The cluster that it runs in.
    pub cluster: String,
}

impl Workload {
    /// What an endpoint's metadata says.
    pub fn parse(metadata: Option<&Metadata>) -> Self {
        let text = metadata.and_then(|metadata| metadata_text(metadata, "istio", "workload")).unwrap_or_default();
        let mut parts = text.split(';').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Self { name: next(), namespace: next(), app: next(), version: next(), cluster: next() }
    }
}
