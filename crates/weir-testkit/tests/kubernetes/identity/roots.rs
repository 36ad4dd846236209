//! The mesh's root: made once, kept in a Secret, told to every namespace, and changed with everybody's knowledge.

use std::time::Instant;

use serde_json::{Value, json};
use weir_testkit::{Cluster, Process, until};

use super::remote::{certify, dial};
use super::{OTHER_TLS, TLS, config_map, pilot, roots, secret, secret_of, start};

/// An authority of a test's own: the files of a Secret `cacerts`.
struct Given {
    certificate: String,
    key: String,
}

impl Given {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "given");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        Self { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    fn secret(&self, roots: &str) -> Value {
        let texts = [
            ("ca-cert.pem", self.certificate.as_str()),
            ("ca-key.pem", &self.key),
            ("cert-chain.pem", &self.certificate),
            ("root-cert.pem", roots),
        ];
        secret_of("Opaque", "cacerts", &texts)
    }
}

async fn until_told(cluster: &Cluster, namespace: &str, expected: &str) {
    until(&format!("{namespace} is told the roots"), async || same(&roots(cluster, namespace).await, expected)).await;
}

/// Whether two texts hold the same certificates.
fn same(one: &str, other: &str) -> bool {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    bare(one) == bare(other)
}

async fn log_says(process: &Process, words: &str) {
    until(&format!("it says {words:?}"), async || process.said().contains(words)).await;
}

#[tokio::test]
async fn a_root_is_made_once_told_everywhere_and_changed_in_two_steps() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.make_namespace("shop").await;
    // Two that start at once end with one root.
    let (mut first, mut second) = tokio::join!(pilot(&cluster, "first", TLS), pilot(&cluster, "second", OTHER_TLS));
    until("the roots are told", async || !roots(&cluster, "shop").await.is_empty()).await;
    let own = roots(&cluster, "shop").await;
    let kept = cluster.ask("GET", &secret("istio-system", "istio-ca-secret"), None).await.unwrap();
    assert_eq!(kept["type"], "istio.io/ca-root");
    cluster.run_account("shop", "cart", &json!({}), "10.244.1.1").await;
    let token = cluster.token("shop", "cart", &["istio-ca"], true).await;
    for server in [TLS, OTHER_TLS] {
        let mut certified = None;
        until("both certify by it", async || {
            certified = certify(&dial(server, &own, Some(&token)), None, None).await.ok();
            certified.is_some()
        })
        .await;
        assert_eq!(certified.as_deref(), Some("spiffe://cluster.local/ns/shop/sa/cart"));
    }

    // It is repaired, and a new namespace has it within a second on a machine that is not busy.
    for namespace in ["istio-system", "kube-system", "default"] {
        until_told(&cluster, namespace, &own).await;
    }
    cluster.delete(&config_map("shop")).await;
    until_told(&cluster, "shop", &own).await;
    cluster.merge(&config_map("default"), json!({"data": {"root-cert.pem": "stranger"}})).await;
    until_told(&cluster, "default", &own).await;
    let begin = Instant::now();
    cluster.make_namespace("new").await;
    until_told(&cluster, "new", &own).await;
    eprintln!("a new namespace is told the roots after {:?}", begin.elapsed());
    for namespace in ["kube-public", "kube-node-lease"] {
        assert!(!cluster.exists(&config_map(namespace)).await, "{namespace}");
    }
    let told = cluster.ask("GET", &config_map("new"), None).await.unwrap();
    assert_eq!(told["metadata"]["labels"]["istio.io/config"], "true");

    // What is right is not written again, by either of them.
    let version = |told: &Value| told["metadata"]["resourceVersion"].clone();
    cluster.make_namespace("later").await;
    until_told(&cluster, "later", &own).await;
    assert_eq!(version(&cluster.ask("GET", &config_map("new"), None).await.unwrap()), version(&told));

    // Another root: the new one beside the old, then alone. Who trusts what he was told reaches the pilot all the time.
    let given = Given::new();
    let both = own.clone() + &given.certificate;
    cluster.apply(&secret("istio-system", "cacerts"), given.secret(&both)).await;
    until_told(&cluster, "shop", &both).await;
    certify(&dial(TLS, &both, Some(&token)), None, None).await.unwrap();
    cluster.apply(&secret("istio-system", "cacerts"), given.secret(&given.certificate)).await;
    until_told(&cluster, "shop", &given.certificate).await;
    until("it is certified by the new root", async || certify(&dial(TLS, &given.certificate, Some(&token)), None, None).await.is_ok())
        .await;
    // What cannot be used is said, and the last one goes on.
    cluster.merge(&secret("istio-system", "cacerts"), json!({"data": {"ca-key.pem": super::base64("nonsense")}})).await;
    log_says(&first, "cacerts/ca-key.pem").await;
    certify(&dial(TLS, &given.certificate, Some(&token)), None, None).await.unwrap();

    // A root that is lost is not replaced.
    for name in ["cacerts", "istio-ca-secret"] {
        cluster.delete(&secret("istio-system", name)).await;
    }
    log_says(&first, "is gone from istio-system").await;
    certify(&dial(TLS, &given.certificate, Some(&token)), None, None).await.unwrap();
    for process in [&mut first, &mut second] {
        process.signal("TERM").await;
        process.ended().await;
    }
    let mut third = pilot(&cluster, "third", TLS).await;
    third.ended().await;
    assert!(third.said().contains("the mesh's root is lost") && third.said().contains("istio-ca-secret"), "{}", third.said());
    assert!(!cluster.exists(&secret("istio-system", "istio-ca-secret")).await);
}

#[tokio::test]
async fn who_tries_something_with_a_root_that_nobody_keeps_takes_nobodys_trust_away() {
    let Some((cluster, _first, own)) = start().await else { return };
    let arguments = ["--xds", "127.0.0.1:15110", "--admin", "127.0.0.1:15100", "--ephemeral-root"];
    let second = cluster.run_pilot("second", &arguments).await;
    log_says(&second, "are left as they are").await;
    cluster.make_namespace("late").await;
    until("the new namespace is told", async || !roots(&cluster, "late").await.is_empty()).await;
    until_told(&cluster, "late", &own).await;
    assert!(same(&roots(&cluster, "shop").await, &own));
}
