//! Policies that do not parse: they let nobody in.

use std::fs;
use std::path::Path;

use weir_ads::{Client, Protocol, stream};
use weir_registry::files::Folder;
use weir_xds::core::Node;
use weir_xds::json::{Names, to_value};
use weir_xds::listener::Listener;
use weir_xds::resource::ResourceType;

use crate::{counted, log, pilot};

/// A workload with a port for everybody.
const MESH: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: cart}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop, labels: {app: cart}}
spec: {address: 10.0.0.1, labels: {app: cart}}
";

fn policy(kind: &str, spec: &str) -> String {
    format!("apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: who, namespace: shop}}\nspec: {spec}\n")
}

fn put(folder: &Path, text: &str) {
    fs::write(folder.join("policy.yaml"), text).unwrap();
}

/// The inbound listeners of the workload's sidecar, as JSON.
async fn inbound(folder: &Folder) -> (weir_pilot::Pilot, String) {
    let pilot = pilot(folder.catalog());
    let node = Node { id: "sidecar~10.0.0.1~cart.shop~shop.svc.cluster.local".to_owned(), ..Node::default() };
    let mut client = Client::new(Protocol::Delta, node);
    client.want_all(ResourceType::Listener);
    let (mut ours, server) = stream::pair(Protocol::Delta);
    pilot.streams().send(server).await.unwrap();
    for request in client.connect() {
        ours.requests.send(request).await.unwrap();
    }
    let update = client.receive(ours.responses.recv().await.unwrap()).unwrap();
    let all = update.upserts.iter().filter_map(|(_, body)| body.unpack::<Listener>().ok());
    let all: Vec<Listener> = all.filter(|listener| listener.name == "virtualInbound").collect();
    assert_eq!(all.len(), 1, "the sidecar has its inbound listener");
    (pilot, to_value(&all[0], Names::Camel).unwrap().to_string())
}

/// What lets nobody in: rules that deny everybody, or a provider of tokens that has no key.
const DENIES: &str = "\"action\":\"DENY\"";
const NO_TOKEN: &str = "\"a-refused-policy\"";

/// What is put into the folder, what the log names, and what the listener says.
type Attempt = (&'static str, fn(&Path), &'static str, &'static str);

const ATTEMPTS: [Attempt; 8] = [
    ("a value that is none", |at| put(at, &policy("AuthorizationPolicy", "{action: PERHAPS}")), "AuthorizationPolicy shop/who", DENIES),
    ("a field that is unknown", |at| put(at, &policy("AuthorizationPolicy", "{rule: []}")), "AuthorizationPolicy shop/who", DENIES),
    ("a kind that is misspelt", |at| put(at, &policy("AuthorisationPolicy", "{rules: []}")), "AuthorizationPolicy shop/who", DENIES),
    ("text that is no YAML", |at| put(at, &policy("AuthorizationPolicy", "[")), "policy.yaml", DENIES),
    (
        "a file that is no text",
        |at| fs::write(at.join("policy.yaml"), [policy("AuthorizationPolicy", "{}").as_bytes(), b"# \xff"].concat()).unwrap(),
        "policy.yaml",
        DENIES,
    ),
    (
        "a file that cannot be opened",
        |at| std::os::unix::fs::symlink("policy.yaml", at.join("policy.yaml")).unwrap(),
        "policy.yaml",
        DENIES,
    ),
    (
        "tokens of which nobody knows who may have signed them",
        |at| put(at, &policy("RequestAuthentication", "{jwtRules: 1}")),
        "RequestAuthentication shop/who",
        NO_TOKEN,
    ),
    ("tokens in what is no YAML", |at| put(at, &policy("RequestAuthentication", "[")), "policy.yaml", NO_TOKEN),
];

#[tokio::test]
async fn a_policy_that_does_not_parse_lets_nobody_in_and_is_counted_and_named() {
    let _alone = log::alone().await;
    for (attempt, write, named, says) in ATTEMPTS {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mesh.yaml"), MESH).unwrap();
        let mut folder = Folder::new(dir.path());
        folder.refresh();
        let (open, before) = inbound(&folder).await;
        counted(&open, "weir_refused_policies", 0);
        assert!(!before.contains(DENIES) && !before.contains(NO_TOKEN), "{before}");
        write(dir.path());
        let mut folder = Folder::new(dir.path());
        folder.refresh();
        log::forget();
        let (closed, now) = inbound(&folder).await;
        counted(&closed, "weir_refused_policies", 1);
        let line = log::line_about("lets nobody in").await;
        assert!(line.contains(named), "{attempt}: {line}");
        assert!(now.contains(says), "{attempt}: {now}");
    }
}

#[tokio::test]
async fn a_policy_about_plaintext_that_does_not_parse_shuts_it_out() {
    let _alone = log::alone().await;
    for spec in ["{mtls: {mode: MUTUAL}}", "["] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mesh.yaml"), MESH).unwrap();
        put(dir.path(), &policy("PeerAuthentication", spec));
        let mut folder = Folder::new(dir.path());
        folder.refresh();
        let kinds: Vec<bool> = folder.catalog().objects().filter(|object| object.stands_in()).map(|object| object.stands_in()).collect();
        assert_eq!(kinds, [true], "{spec}");
        let (pilot, _) = inbound(&folder).await;
        counted(&pilot, "weir_refused_policies", 1);
        let mesh = pilot.mesh().borrow().clone();
        let tls = mesh.peer_authentications.of_namespace("shop").of_workload(&Default::default());
        assert_eq!(tls.elsewhere(), weir_model::MutualTls::Strict, "{spec}");
    }
}
