//! An instance that registers itself: a sidecar whose node names a WorkloadGroup gets a WorkloadEntry, as in Istio
//! (<https://istio.io/latest/docs/setup/install/virtual-machine/>; facts: pilot/pkg/autoregistration). The entry is an
//! object like any other, but stands in no file.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use weir_api::resources::WorkloadEntry;
use weir_api::{Object, Source, Spec, parse};
use weir_model::Proxy;
use weir_model::workload_group::GROUP_ANNOTATION;
use weir_xds::core::{Locality, Node};
use weir_xds::prost_types::value::Kind;

use crate::node::{self, AUTO_REGISTER_GROUP};

/// Where the entries come from, as other objects come from files.
pub(crate) const SOURCE: &str = "autoregistered";
/// Names the network in a node's metadata.
const NETWORK: &str = "NETWORK";

type Labels = BTreeMap<String, String>;

/// What an instance says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    /// The group's namespace, and so the entry's.
    pub namespace: String,
    /// The group's name.
    pub group: String,
    address: String,
    labels: Labels,
    network: String,
    locality: String,
    since: Timestamp,
}

impl Registration {
    /// What a node says, if it names a group.
    pub fn read(node: &Node, proxy: &Proxy) -> Option<Self> {
        let word = |name: &str| match node.metadata.as_ref()?.fields.get(name)?.kind.as_ref()? {
            Kind::StringValue(word) if !word.is_empty() => Some(word.clone()),
            _ => None,
        };
        Some(Self {
            namespace: proxy.namespace.clone(),
            group: word(AUTO_REGISTER_GROUP)?,
            address: proxy.addresses.first()?.clone(),
            labels: proxy.labels.clone(),
            network: word(NETWORK).unwrap_or_default(),
            locality: node.locality.as_ref().map(written).unwrap_or_default(),
            since: Timestamp::now(),
        })
    }

    /// Whether it is the same instance: of one group, at one address.
    pub fn is_same_instance(&self, other: &Self) -> bool {
        (&self.namespace, &self.group, &self.address, &self.network) == (&other.namespace, &other.group, &other.address, &other.network)
    }

    /// Whether an instance of another group is at the address of another.
    pub fn is_in_the_way_of(&self, other: &Self) -> bool {
        self.address == other.address && (&self.namespace, &self.group) != (&other.namespace, &other.group)
    }

    /// Whether the same instance would make the same entry.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.labels, &self.locality) == (&other.labels, &other.locality)
    }

    /// The namespace and name of its entry.
    pub fn key(&self) -> (String, String) {
        (self.namespace.clone(), node::name_of_instance(&self.group, &self.address, &self.network))
    }

    /// Its entry: what the group's template says, and over it what the instance says itself.
    ///
    /// # Errors
    /// What of that no entry can have.
    pub fn entry(&self, group: &Object) -> Result<Arc<Object>, String> {
        let Spec::WorkloadGroup(spec) = &group.spec else { return Err(format!("{} is no group", group.name())) };
        let template = spec.template.clone().unwrap_or_default();
        let metadata = spec.metadata.clone().unwrap_or_default();
        let mut labels = template.labels.clone();
        labels.extend(metadata.labels);
        labels.extend(self.labels.clone());
        let mut annotations = metadata.annotations;
        annotations.insert(GROUP_ANNOTATION.to_owned(), self.group.clone());
        let own = |own: &str, other: String| if own.is_empty() { other } else { own.to_owned() };
        let entry = WorkloadEntry {
            address: self.address.clone(),
            network: own(&self.network, template.network),
            locality: own(&self.locality, template.locality),
            labels: labels.clone(),
            ..template
        };
        let (namespace, name) = self.key();
        let document = json!({
            "apiVersion": group.api_version,
            "kind": "WorkloadEntry",
            "metadata": {
                "name": name, "namespace": namespace, "labels": labels, "annotations": annotations,
                "creationTimestamp": self.since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            },
            "spec": content(&entry),
        });
        let parsed = parse(&Source::new(SOURCE, document.to_string()));
        let wrong = || parsed.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        parsed.objects.into_iter().next().ok_or_else(wrong)
    }
}

/// `region/zone/subzone`, as far as it is known.
fn written(locality: &Locality) -> String {
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let known = parts.iter().take_while(|part| !part.is_empty()).map(|part| part.as_str());
    known.collect::<Vec<_>>().join("/")
}

/// An entry's content; what says nothing is left away.
fn content(entry: &WorkloadEntry) -> Map<String, Value> {
    let fields = [
        ("address", json!(entry.address), entry.address.is_empty()),
        ("ports", json!(entry.ports), entry.ports.is_empty()),
        ("labels", json!(entry.labels), entry.labels.is_empty()),
        ("network", json!(entry.network), entry.network.is_empty()),
        ("locality", json!(entry.locality), entry.locality.is_empty()),
        ("weight", json!(entry.weight), entry.weight == 0),
        ("serviceAccount", json!(entry.service_account), entry.service_account.is_empty()),
    ];
    fields.into_iter().filter(|(_, _, empty)| !empty).map(|(name, value, _)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use weir_model::{Interception, ProxyKind};

    use super::*;

    fn registration(address: &str, network: &str) -> Registration {
        let proxy = Proxy {
            id: String::new(),
            kind: ProxyKind::Sidecar,
            name: "vm".to_owned(),
            namespace: "shop".to_owned(),
            labels: [("version".to_owned(), "v2".to_owned())].into(),
            addresses: vec![address.to_owned()],
            locality: String::new(),
            interception: Interception::None,
        };
        let metadata = weir_xds::values::structure(json!({"AUTO_REGISTER_GROUP": "reviews", "NETWORK": network}).as_object().unwrap());
        let locality = Some(Locality { region: "eu".to_owned(), zone: "a".to_owned(), ..Default::default() });
        Registration::read(&Node { metadata: Some(metadata), locality, ..Default::default() }, &proxy).unwrap()
    }

    #[test]
    fn an_entry_has_a_name_of_its_group_and_address() {
        for (address, network, name) in
            [("10.0.0.1", "", "reviews-10.0.0.1"), ("fd00::1", "", "reviews-fd00--1"), ("10.0.0.1", "vms", "reviews-10.0.0.1-vms")]
        {
            assert_eq!(registration(address, network).key(), ("shop".to_owned(), name.to_owned()));
        }
    }

    #[test]
    fn an_entry_is_the_template_and_what_the_instance_says() {
        let group = "apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: reviews, namespace: shop}
spec:
  metadata: {labels: {app: reviews, version: v1}, annotations: {a: b}}
  template: {ports: {http: 8080}, serviceAccount: reviews, network: net, weight: 3, labels: {app: x, tier: back}}
";
        let group = parse(&Source::new("x.yaml", group)).objects.remove(0);
        let entry = registration("10.0.0.1", "").entry(&group).unwrap();
        assert_eq!(entry.meta.annotations.get(GROUP_ANNOTATION).map(String::as_str), Some("reviews"));
        assert_eq!(entry.source.path, SOURCE);
        let Spec::WorkloadEntry(spec) = &entry.spec else { panic!("it is a WorkloadEntry") };
        let labels = |labels: &Labels| labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
        assert_eq!(labels(&spec.labels), "app=reviews,tier=back,version=v2");
        assert_eq!(labels(&entry.meta.labels), labels(&spec.labels));
        assert_eq!((spec.address.as_str(), spec.network.as_str(), spec.locality.as_str(), spec.weight), ("10.0.0.1", "net", "eu/a", 3));
        assert_eq!((spec.ports.get("http"), spec.service_account.as_str()), (Some(&8080), "reviews"));
    }
}
