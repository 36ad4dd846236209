//! How a proxy stands with what it was sent, type by type.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use weir_ads::ResourceSet;
use weir_xds::core::Node;
use weir_xds::core::node::UserAgentVersionType;
use weir_xds::prost_types::value::Kind;
use weir_xds::resource::ResourceType;

/// How a proxy stands with one type of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// It asked for them, and was sent nothing: there was nothing to send.
    NotSent,
    /// It has not answered yet.
    Stale,
    /// It took what it was sent last.
    Synced,
    /// It refused what it was sent last, all of it or a part.
    Refused,
}

impl Sync {
    /// As Istio's tools print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSent => "NOT SENT",
            Self::Stale => "STALE",
            Self::Synced => "SYNCED",
            Self::Refused => "ERROR",
        }
    }
}

/// How a proxy stands with each type of resources that it asked for, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Types(BTreeMap<ResourceType, (Sync, SystemTime)>);

impl Types {
    /// Of one type; none if the proxy never asked for it.
    pub fn of(&self, kind: ResourceType) -> Option<(Sync, SystemTime)> {
        self.0.get(&kind).copied()
    }

    /// It asks for resources of a type.
    pub(crate) fn asked(&mut self, kind: ResourceType) {
        self.0.entry(kind).or_insert_with(|| (Sync::NotSent, SystemTime::now()));
    }

    /// It is being sent something.
    pub(crate) fn sent(&mut self, kind: ResourceType) {
        self.set(kind, Sync::Stale);
    }

    /// It has answered.
    pub(crate) fn set(&mut self, kind: ResourceType, sync: Sync) {
        self.0.insert(kind, (sync, SystemTime::now()));
    }
}

/// What a proxy should have, shared with who sends it.
#[derive(Debug, Clone, Default)]
pub struct Resources(pub Arc<ResourceSet>);

impl PartialEq for Resources {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Resources {}

/// The program that a proxy is, with its version as far as that is told.
pub(crate) fn program(node: &Node) -> String {
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => build
            .version
            .as_ref()
            .map(|version| format!("{}.{}.{}", version.major_number, version.minor_number, version.patch))
            .unwrap_or_default(),
        None => String::new(),
    };
    [node.user_agent_name.as_str(), &version].join(" ").trim().to_owned()
}

/// The cluster (of machines) that a proxy says it is in; may be empty.
pub(crate) fn cluster(node: &Node) -> String {
    match node.metadata.as_ref().and_then(|metadata| metadata.fields.get("CLUSTER_ID")?.kind.as_ref()) {
        Some(Kind::StringValue(id)) => id.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_told_by_its_program_and_version() {
        let of = |name: &str, version: Option<&str>| {
            let version = version.map(|version| UserAgentVersionType::UserAgentVersion(version.to_owned()));
            program(&Node { user_agent_name: name.to_owned(), user_agent_version_type: version, ..Default::default() })
        };
        assert_eq!([of("envoy", Some("1.40.0")), of("weir", None), of("", None)], ["envoy 1.40.0", "weir", ""]);
    }
}
