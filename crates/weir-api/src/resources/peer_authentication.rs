//! PeerAuthentication: whether the workloads of a mesh take plaintext, mutual TLS, or both.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::destination_rule::MatchLabelsSelector;

/// What workloads take from their clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PeerAuthentication {
    /// The workloads; absent means all of the namespace, in the root namespace all of the mesh.
    pub selector: Option<MatchLabelsSelector>,
    /// What they take; absent is as [`MutualTlsMode::Unset`].
    pub mtls: Option<MutualTls>,
    /// The same for ports of the workload, by their numbers. Only with a selector.
    pub port_level_mtls: BTreeMap<String, MutualTls>,
    /// How much of it could be read; nothing that is written.
    #[serde(skip)]
    pub read: PolicyRead,
}

/// How much of a policy could be read. What was meant to shut plaintext out shuts it out all the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PolicyRead {
    /// All of it.
    #[default]
    Whole,
    /// For whom it is, but not what it says: it counts as [`MutualTlsMode::Strict`].
    Selector,
    /// Not even for whom it is: it counts as [`MutualTlsMode::Strict`] for all that it may be for.
    Nothing,
}

/// What is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MutualTls {
    /// Which of them.
    pub mode: MutualTlsMode,
}

/// Plaintext, mutual TLS, or both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MutualTlsMode {
    /// As the next wider policy says; both where none does.
    #[default]
    Unset,
    /// Plaintext.
    Disable,
    /// Both.
    Permissive,
    /// Mutual TLS.
    Strict,
}

impl PeerAuthentication {
    /// What stands for one that is refused: mutual TLS alone, for those whom it selects, or, if that cannot be told, for all.
    pub fn closed(selector: Result<Option<MatchLabelsSelector>, ()>) -> Self {
        let read = if selector.is_ok() { PolicyRead::Selector } else { PolicyRead::Nothing };
        let mtls = Some(MutualTls { mode: MutualTlsMode::Strict });
        Self { selector: selector.ok().flatten(), mtls, port_level_mtls: BTreeMap::new(), read }
    }

    /// Whether it is for some workloads of its namespace, and not for all.
    pub fn selects(&self) -> bool {
        self.selector.as_ref().is_some_and(|selector| !selector.match_labels.is_empty())
    }
}
