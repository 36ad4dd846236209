//! Istio's name discovery (NDS): which addresses a sidecar answers to questions of DNS.

use std::collections::BTreeMap;

use prost::Name;

/// The names of the mesh, as far as a proxy may know them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NameTable {
    /// What there is to know of each host, which may be a wildcard.
    #[prost(btree_map = "string, message", tag = "1")]
    pub table: BTreeMap<String, NameInfo>,
}

/// A host.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NameInfo {
    /// Its addresses.
    #[prost(string, repeated, tag = "1")]
    pub ips: Vec<String>,
    /// Where it is registered, such as `Kubernetes`.
    #[prost(string, tag = "2")]
    pub registry: String,
    /// Its first label, where its platform has short names.
    #[prost(string, tag = "3")]
    pub shortname: String,
    /// Its namespace, likewise.
    #[prost(string, tag = "4")]
    pub namespace: String,
}

impl Name for NameTable {
    const NAME: &'static str = "NameTable";
    const PACKAGE: &'static str = "istio.networking.nds.v1";

    fn full_name() -> String {
        "istio.networking.nds.v1.NameTable".to_owned()
    }

    fn type_url() -> String {
        "type.googleapis.com/istio.networking.nds.v1.NameTable".to_owned()
    }
}

compiled_once!(NameTable);
