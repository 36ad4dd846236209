//! Which control plane namespaces ask for, and which one the pods in them have got their sidecars of: the two differ until pods start anew.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use weir_inject::decision::DEFAULT;
use weir_inject::names::{NAMESPACE_INJECTION, REVISION, TAG};

use super::api::word;

/// A namespace in which something follows, or should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Following {
    /// The namespace.
    pub namespace: String,
    /// The label by which it asks for a sidecar; without one, each pod speaks for itself.
    pub asks: Option<String>,
    /// The revision that this means; none if no control plane answers to it.
    pub revision: Option<String>,
    /// The names of the pods with sidecars, by the revision that these are of.
    pub pods: BTreeMap<String, Vec<String>>,
}

impl Following {
    /// The pods that have another revision's sidecar than their namespace asks for.
    pub fn behind(&self) -> impl Iterator<Item = (&str, &[String])> {
        let asked = self.asks.as_ref().map(|_| self.revision.as_deref());
        let others = self.pods.iter().filter(move |(revision, _)| asked.is_some_and(|asked| asked != Some(revision.as_str())));
        others.map(|(revision, pods)| (revision.as_str(), pods.as_slice()))
    }
}

/// The names by which control planes are asked for: those of revisions, and tags, each with the revision that it means.
pub fn names(injectors: &[Value]) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for injector in injectors {
        let labels = &injector["metadata"]["labels"];
        let Some(revision) = labels[REVISION].as_str() else { continue };
        names.insert(labels[TAG].as_str().unwrap_or(revision).to_owned(), revision.to_owned());
    }
    names
}

/// Who follows whom: of namespaces, and the metadata of pods.
pub fn following(namespaces: &[Value], injectors: &[Value], pods: &[Value]) -> Vec<Following> {
    let names = names(injectors);
    let mut all: BTreeMap<&str, Following> = BTreeMap::new();
    for namespace in namespaces {
        let metadata = &namespace["metadata"];
        let Some((asks, name)) = asks(&metadata["labels"]) else { continue };
        let (namespace, revision) = (word(&metadata["name"]), name.and_then(|name| names.get(name).cloned()));
        let row = Following { namespace: namespace.to_owned(), asks: Some(asks), revision, pods: BTreeMap::new() };
        all.insert(namespace, row);
    }
    for pod in pods {
        let metadata = &pod["metadata"];
        let Some(revision) = metadata["annotations"][REVISION].as_str() else { continue };
        let namespace = word(&metadata["namespace"]);
        let new = || Following { namespace: namespace.to_owned(), asks: None, revision: None, pods: BTreeMap::new() };
        let row = all.entry(namespace).or_insert_with(new);
        row.pods.entry(revision.to_owned()).or_default().push(word(&metadata["name"]).to_owned());
    }
    all.into_values().collect()
}

/// The label by which a namespace asks, and the name that it asks for; the older label beats the newer one.
fn asks(labels: &Value) -> Option<(String, Option<&str>)> {
    match (labels[NAMESPACE_INJECTION].as_str(), labels[REVISION].as_str()) {
        (Some("enabled"), _) => Some((format!("{NAMESPACE_INJECTION}=enabled"), Some(DEFAULT))),
        (Some(other), _) => Some((format!("{NAMESPACE_INJECTION}={other}"), None)),
        (None, Some(name)) => Some((format!("{REVISION}={name}"), Some(name))),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_behind_until_they_have_what_their_namespace_asks_for() {
        let namespace = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
        let injector = |labels: Value| json!({"metadata": {"labels": labels}});
        let pod = |namespace: &str, name: &str, revision: &str| json!({"metadata": {"namespace": namespace, "name": name, "annotations": {"istio.io/rev": revision}}});
        let namespaces = [
            namespace("shop", json!({"istio.io/rev": "prod"})),
            namespace("old", json!({"istio-injection": "enabled", "istio.io/rev": "prod"})),
            namespace("off", json!({"istio-injection": "disabled"})),
            namespace("lost", json!({"istio.io/rev": "gone"})),
            namespace("plain", json!({})),
        ];
        let injectors = [
            injector(json!({"istio.io/rev": "default"})),
            injector(json!({"istio.io/rev": "canary"})),
            injector(json!({"istio.io/rev": "canary", "istio.io/tag": "prod"})),
        ];
        let pods = [
            pod("shop", "a", "default"),
            pod("shop", "b", "canary"),
            pod("old", "c", "default"),
            pod("off", "d", "default"),
            pod("alone", "e", "canary"),
            json!({"metadata": {"namespace": "plain", "name": "f"}}),
        ];
        let all = following(&namespaces, &injectors, &pods);
        let short = |row: &Following| {
            let behind: Vec<String> = row.behind().map(|(revision, pods)| format!("{revision} {}", pods.join(" "))).collect();
            format!("{} {:?} {behind:?}", row.namespace, row.revision.as_deref().unwrap_or("-"))
        };
        let wanted =
            [r#"alone "-" []"#, r#"lost "-" []"#, r#"off "-" ["default d"]"#, r#"old "default" []"#, r#"shop "canary" ["default a"]"#];
        assert_eq!(all.iter().map(short).collect::<Vec<_>>(), wanted);
    }
}
