//! An object as the API server sent it: any JSON at all. It is read later, alone, so that none can break a list or a watch, and what does
//! not count of it is dropped before it waits for that.

use std::borrow::Cow;
use std::fmt;

use kube::Resource;
use kube::core::{ApiResource, ObjectMeta};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use weir_api::Kind;

use super::strip::{strip, strip_data};

/// An object as it came.
#[derive(Clone)]
pub(super) struct Received {
    /// As much of its metadata as the client asks for.
    meta: ObjectMeta,
    /// All of it.
    pub json: Value,
}

impl Received {
    /// One that came as this.
    pub fn new(json: Value) -> Self {
        let text = |key: &str| json.get("metadata")?.get(key)?.as_str().map(str::to_owned);
        let (name, namespace, resource_version) = (text("name"), text("namespace"), text("resourceVersion"));
        Self { meta: ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() }, json }
    }

    /// Drops what of an object of this kind does not count.
    pub fn stripped(self, kind: Kind) -> Self {
        Self { json: strip(kind, self.json), ..self }
    }

    /// Its namespace and name; the former is empty where there is none.
    pub fn name(&self) -> (&str, &str) {
        (self.meta.namespace.as_deref().unwrap_or_default(), self.meta.name.as_deref().unwrap_or_default())
    }
}

/// Only which one it is: it may be a Secret.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, name) = self.name();
        f.debug_struct("Received").field("namespace", &namespace).field("name", &name).finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for Received {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut json = Value::deserialize(deserializer)?;
        // The rest of a page waits meanwhile.
        strip_data(&mut json);
        Ok(Self::new(json))
    }
}

impl Resource for Received {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_in_an_object_stands_in_no_log() {
        let secret = json!({"metadata": {"name": "a", "namespace": "b", "labels": 7}, "data": {"tls.key": "c2VjcmV0"}});
        let received: Received = serde_json::from_value(secret).unwrap();
        assert_eq!(format!("{received:?}"), r#"Received { namespace: "b", name: "a", .. }"#);
    }

    #[test]
    fn what_does_not_count_of_a_secret_is_never_kept() {
        let large = json!({"metadata": {"name": "a"}, "type": "Opaque", "data": {"tls.key": "eA==", "archive": "x".repeat(1 << 20)}});
        let received: Received = serde_json::from_value(large).unwrap();
        assert_eq!(received.json["data"], json!({"tls.key": "eA=="}));
    }
}
