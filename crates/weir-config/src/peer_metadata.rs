//! What workloads tell each other of themselves beside requests and answers: Istio's exchange of metadata, by the headers
//! `x-envoy-peer-metadata` (a `google.protobuf.Struct`, in base64) and `x-envoy-peer-metadata-id` (the id of the proxy).
//!
//! Facts: `MXMethod` in source/extensions/filters/http/peer_metadata, and extensions/common/metadata_object of istio/proxy.
//!
//! Whoever sends a header chooses what it says. So it is bounded, it is read only of who has shown a certificate of the mesh, it may say
//! nothing else than that certificate does, and of its values only what can stand in a log or a label as it is.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use weir_routing::template::PeerField;
use weir_xds::core::Node;
use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{Struct, Value};
use weir_xds::values::{decode_struct, encode_struct, text};

use super::workload::Workload;

/// Longer headers are not read. What Istio's proxies send has some hundred bytes, and where they tell of all labels a few thousand.
const LONGEST: usize = 8 << 10;
/// Longer values are left out: no name in Kubernetes is longer.
const LONGEST_VALUE: usize = 253;

/// Some write the padding, and some do not.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

const NAME: &str = "NAME";
const NAMESPACE: &str = "NAMESPACE";
const CLUSTER: &str = "CLUSTER_ID";
const WORKLOAD: &str = "WORKLOAD_NAME";
const OWNER: &str = "OWNER";
const LABELS: &str = "LABELS";
const SERVICE_LABEL: &str = "service.istio.io/canonical-name";
const REVISION_LABEL: &str = "service.istio.io/canonical-revision";
const APP_LABEL: &str = "app";
const VERSION_LABEL: &str = "version";

/// What kinds of workloads own instances.
const KINDS: [&str; 4] = ["deployment", "pod", "job", "cronjob"];

/// What is told of a workload. What is empty is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerMetadata {
    /// Who it is, as metrics name it.
    pub workload: Workload,
    /// The instance, as its pod is called.
    pub instance: String,
    /// What it is: `deployment`, `pod`, `job`, `cronjob`.
    pub kind: &'static str,
    /// Its label `app`.
    pub app: String,
    /// Its label `version`.
    pub version: String,
}

impl PeerMetadata {
    /// What a proxy tells of the workload that it stands beside: what its node says, and else what is known of it.
    pub fn of_node(node: &Node, workload: &Workload) -> Self {
        let nothing = Struct::default();
        let fields = node.metadata.as_ref().unwrap_or(&nothing);
        let told = Self::of_fields(fields);
        let or = |first: String, second: &str| if first.is_empty() { second.to_owned() } else { first };
        let known = workload;
        let workload = Workload {
            name: or(told.workload.name, &known.name),
            // Nobody is believed who tells of another one than its certificate does, which goes by this one.
            namespace: known.namespace.clone(),
            // What is known was read of the same labels, and of more of them.
            app: or(known.app.clone(), &told.workload.app),
            version: or(known.version.clone(), &told.workload.version),
            cluster: or(told.workload.cluster, &known.cluster),
        };
        Self { instance: or(told.instance, &known.name), workload, ..told }
    }

    /// Reads the header of a workload whose certificate says that it is of this namespace. None if it is too long, malformed, or tells of
    /// another namespace.
    pub fn read(header: &[u8], namespace: &str) -> Option<Self> {
        if header.len() > LONGEST {
            return None;
        }
        let bytes = BASE64.decode(header).ok()?;
        let fields = decode_struct(&bytes).ok()?;
        let mut told = Self::of_fields(&fields);
        let claimed = fields.fields.get(NAMESPACE).and_then(word).unwrap_or_default();
        if !claimed.is_empty() && claimed != namespace {
            return None;
        }
        namespace.clone_into(&mut told.workload.namespace);
        Some(told)
    }

    fn of_fields(fields: &Struct) -> Self {
        let field = |name: &str| value(fields, name);
        let label = |name: &str| match fields.fields.get(LABELS).and_then(|labels| labels.kind.as_ref()) {
            Some(Kind::StructValue(labels)) => value(labels, name),
            _ => String::new(),
        };
        let (app, version) = (label(APP_LABEL), label(VERSION_LABEL));
        let name = field(WORKLOAD);
        let owner = fields.fields.get(OWNER).and_then(word).unwrap_or_default();
        let or = |first: String, second: &String| if first.is_empty() { second.clone() } else { first };
        Self {
            instance: field(NAME),
            kind: kind(owner, &name),
            workload: Workload {
                name,
                namespace: field(NAMESPACE),
                app: or(label(SERVICE_LABEL), &app),
                version: or(label(REVISION_LABEL), &version),
                cluster: field(CLUSTER),
            },
            app,
            version,
        }
    }

    /// The value of the header.
    pub fn write(&self) -> String {
        let Workload { name, namespace, app, version, cluster } = &self.workload;
        let owner = match self.kind {
            "" => String::new(),
            kind => format!("kubernetes://apis/apps/v1/namespaces/{namespace}/{kind}s/{name}"),
        };
        let labels = structure(&[(SERVICE_LABEL, app), (REVISION_LABEL, version), (APP_LABEL, &self.app), (VERSION_LABEL, &self.version)]);
        let mut all = structure(&[(NAME, &self.instance), (NAMESPACE, namespace), (CLUSTER, cluster), (WORKLOAD, name), (OWNER, &owner)]);
        all.fields.insert(LABELS.to_owned(), Value { kind: Some(Kind::StructValue(labels)) });
        BASE64.encode(encode_struct(&all))
    }

    /// One of the things that are told, as logs ask for it.
    pub fn field(&self, field: PeerField) -> &str {
        match field {
            PeerField::Kind => self.kind,
            PeerField::Workload => &self.workload.name,
            PeerField::Instance => &self.instance,
            PeerField::Cluster => &self.workload.cluster,
            PeerField::Namespace => &self.workload.namespace,
            PeerField::Service => &self.workload.app,
            PeerField::Revision => &self.workload.version,
            PeerField::App => &self.app,
            PeerField::Version => &self.version,
        }
    }
}

fn structure(fields: &[(&str, &String)]) -> Struct {
    let known = fields.iter().filter(|(_, value)| !value.is_empty());
    Struct { fields: known.map(|(name, value)| ((*name).to_owned(), text(value.as_str()))).collect() }
}

fn value(fields: &Struct, name: &str) -> String {
    fields.fields.get(name).and_then(word).unwrap_or_default().to_owned()
}

/// A value that is a text, short, and of characters that mean nothing to who reads logs and labels.
fn word(value: &Value) -> Option<&str> {
    let Some(Kind::StringValue(text)) = &value.kind else { return None };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@~+".contains(&byte);
    (text.len() <= LONGEST_VALUE && text.bytes().all(is_plain)).then_some(text)
}

/// What owns an instance: the last part but one of `kubernetes://apis/apps/v1/namespaces/NAMESPACE/deployments/WORKLOAD`.
fn kind(owner: &str, workload: &str) -> &'static str {
    let kind = owner.strip_suffix(workload).and_then(|rest| rest.strip_suffix("s/")).and_then(|rest| rest.rsplit('/').next());
    KINDS.into_iter().find(|known| Some(*known) == kind).unwrap_or_default()
}

/// The namespace of a workload by its SPIFFE identity, `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`; none of any other URI.
pub fn namespace_of(uri: &str) -> Option<&str> {
    let mut parts = uri.strip_prefix("spiffe://")?.split('/');
    match [parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some(domain), Some("ns"), Some(namespace), Some("sa"), Some(account), None] => {
            (![domain, namespace, account].contains(&"")).then_some(namespace)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use weir_xds::values::structure as of_json;

    use super::*;

    fn header(fields: &Json) -> String {
        BASE64.encode(encode_struct(&of_json(fields.as_object().expect("an object"))))
    }

    fn read(fields: &Json) -> Option<PeerMetadata> {
        PeerMetadata::read(header(fields).as_bytes(), "shop")
    }

    fn web() -> PeerMetadata {
        let word = str::to_owned;
        PeerMetadata {
            workload: Workload {
                name: word("web"),
                namespace: word("shop"),
                app: word("front"),
                version: word("v2"),
                cluster: word("east"),
            },
            instance: word("web-7d4b-x1"),
            kind: "deployment",
            app: word("web-app"),
            version: word("2"),
        }
    }

    #[test]
    fn what_is_told_is_read_again() {
        assert_eq!(PeerMetadata::read(web().write().as_bytes(), "shop"), Some(web()));
        assert_eq!(PeerMetadata::read(web().write().trim_end_matches('=').as_bytes(), "shop"), Some(web()));
        let nothing =
            PeerMetadata { workload: Workload { namespace: "shop".to_owned(), ..Workload::default() }, ..PeerMetadata::default() };
        assert_eq!(PeerMetadata::read(PeerMetadata::default().write().as_bytes(), "shop"), Some(nothing));
        assert_eq!(web().write(), web().write());
    }

    #[test]
    fn it_is_what_istios_proxies_send() {
        let labels = json!({
            "service.istio.io/canonical-name": "front", "service.istio.io/canonical-revision": "v2", "app": "web-app", "version": "2",
            "team": "blue",
        });
        let owner = "kubernetes://apis/apps/v1/namespaces/shop/deployments/web";
        let sent = json!({
            "NAME": "web-7d4b-x1", "NAMESPACE": "shop", "CLUSTER_ID": "east", "WORKLOAD_NAME": "web", "OWNER": owner, "LABELS": labels,
            "MESH_ID": "m", "APP_CONTAINERS": "web", "PLATFORM_METADATA": {"a": 1},
        });
        assert_eq!(read(&sent), Some(web()));
    }

    #[test]
    fn nobody_tells_of_another_namespace_than_its_certificate_does() {
        assert!(read(&json!({"NAMESPACE": "other", "WORKLOAD_NAME": "web"})).is_none());
        let told = read(&json!({"WORKLOAD_NAME": "web"})).expect("it says nothing of a namespace");
        assert_eq!((&*told.workload.name, &*told.workload.namespace), ("web", "shop"));
        // What is no name contradicts nothing, and is not taken over.
        assert_eq!(read(&json!({"NAMESPACE": "a b"})).expect("read").workload.namespace, "shop");
    }

    #[test]
    fn what_could_be_read_as_something_else_is_left_out() {
        let long = "x".repeat(LONGEST_VALUE + 1);
        let values = ["a\nb", "a b", "a\"", "a,workload=b", "a=b", "a\\", "\u{1b}[0m", "é", &long];
        for value in values {
            let labels = json!({"app": value, "version": value, "service.istio.io/canonical-name": value});
            let told = read(&json!({"WORKLOAD_NAME": value, "CLUSTER_ID": value, "NAME": value, "LABELS": labels})).expect("well formed");
            let expected = Workload { namespace: "shop".to_owned(), ..Workload::default() };
            assert_eq!(told, PeerMetadata { workload: expected, ..PeerMetadata::default() }, "{value:?}");
        }
        let no_text = read(&json!({"WORKLOAD_NAME": 1, "LABELS": "none", "CLUSTER_ID": null})).expect("well formed");
        assert_eq!(no_text.workload.name, "");
    }

    #[test]
    fn what_is_malformed_or_too_large_is_not_read() {
        let labels: serde_json::Map<String, Json> = (0..2000).map(|number| (format!("label-{number}"), json!("x".repeat(40)))).collect();
        let large = header(&json!({"WORKLOAD_NAME": "web", "LABELS": labels}));
        assert!(large.len() > 100_000);
        let deep = (0..200).fold(json!("x"), |inner, _| json!([inner]));
        let deep = header(&json!({"WORKLOAD_NAME": "web", "LABELS": {"app": deep}}));
        for bad in ["", "!", "AAAA", "/w==", "Cg", &large, &deep] {
            let told = PeerMetadata::read(bad.as_bytes(), "shop").map(|told| told.workload.name);
            assert!(told.as_deref().is_none_or(str::is_empty), "{bad:.40}");
        }
        assert!(PeerMetadata::read(large.as_bytes(), "shop").is_none() && PeerMetadata::read(deep.as_bytes(), "shop").is_none());
    }

    #[test]
    fn owners_say_what_a_workload_is() {
        let table = [
            ("kubernetes://apis/apps/v1/namespaces/shop/deployments/web", "deployment"),
            ("kubernetes://apis/batch/v1/namespaces/shop/cronjobs/web", "cronjob"),
            ("kubernetes://apis/batch/v1/namespaces/shop/jobs/web", "job"),
            ("kubernetes://apis/v1/namespaces/shop/pods/web", "pod"),
            ("kubernetes://apis/apps/v1/namespaces/shop/replicasets/web", ""),
            ("kubernetes://apis/apps/v1/namespaces/shop/deployments/other", ""),
            ("web", ""),
            ("", ""),
        ];
        for (owner, expected) in table {
            assert_eq!(kind(owner, "web"), expected, "{owner}");
        }
    }

    #[test]
    fn a_proxy_tells_what_its_node_says_and_else_what_is_known_of_it() {
        let known = Workload { name: "pod".to_owned(), namespace: "shop".to_owned(), app: "a".to_owned(), ..Workload::default() };
        let told = PeerMetadata::of_node(&Node::default(), &known);
        assert_eq!((&told.workload, &*told.instance, told.kind), (&known, "pod", ""));
        let fields = json!({
            "NAME": "pod-1", "NAMESPACE": "other", "WORKLOAD_NAME": "web", "CLUSTER_ID": "east", "LABELS": {"app": "b", "version": "2"},
            "OWNER": "kubernetes://apis/apps/v1/namespaces/shop/deployments/web",
        });
        let node = Node { metadata: Some(of_json(fields.as_object().expect("an object"))), ..Node::default() };
        let told = PeerMetadata::of_node(&node, &known);
        let expected = ["web", "shop", "a", "2", "east"];
        let Workload { name, namespace, app, version, cluster } = &told.workload;
        assert_eq!([name, namespace, app, version, cluster], expected);
        assert_eq!((&*told.instance, told.kind, &*told.app, &*told.version), ("pod-1", "deployment", "b", "2"));
    }

    #[test]
    fn identities_tell_the_namespace() {
        let table = [
            ("spiffe://td/ns/shop/sa/web", Some("shop")),
            ("spiffe://td/ns/shop/sa/web/more", None),
            ("spiffe://td/ns/shop/sa/", None),
            ("spiffe://td/ns//sa/web", None),
            ("spiffe:///ns/shop/sa/web", None),
            ("spiffe://td/sa/shop/ns/web", None),
            ("https://td/ns/shop/sa/web", None),
            ("", None),
        ];
        for (uri, expected) in table {
            assert_eq!(namespace_of(uri), expected, "{uri}");
        }
    }
}
