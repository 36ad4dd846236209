//! What every object has: its name, age, labels and annotations.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// Kubernetes' `metadata`; of what only kubectl and the API server need, nothing is kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Its name, unique among its kind and namespace.
    pub name: String,
    /// Its namespace; `default` where none is written.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// When it was made: decides which of two conflicting resources is older.
    pub creation_timestamp: Option<Timestamp>,
    /// Counts the changes of its spec.
    pub generation: Option<i64>,
    /// The API server's version of it.
    pub resource_version: Option<String>,
    /// The API server's identity of it.
    pub uid: Option<String>,
    #[serde(rename = "managedFields")]
    _managed_fields: Option<IgnoredAny>,
    /// Who it belongs to.
    pub owner_references: Vec<OwnerReference>,
    #[serde(rename = "finalizers")]
    _finalizers: Option<IgnoredAny>,
    #[serde(rename = "selfLink")]
    _self_link: Option<IgnoredAny>,
    /// How its name begins, where the API server made it.
    pub generate_name: String,
    #[serde(rename = "deletionTimestamp")]
    _deletion_timestamp: Option<IgnoredAny>,
    #[serde(rename = "deletionGracePeriodSeconds")]
    _deletion_grace_period_seconds: Option<IgnoredAny>,
}

/// An object that another belongs to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    /// Its group and version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it is the one that made it.
    pub controller: bool,
    #[serde(rename = "uid")]
    _uid: Option<IgnoredAny>,
    #[serde(rename = "blockOwnerDeletion")]
    _block_owner_deletion: Option<IgnoredAny>,
}
