//! Keys of Secrets: for whom configuration names them, if its account may read them itself.

use serde_json::json;
use weir_testkit::Authority;
use weir_xds::resource::ResourceType;

use super::remote::{Remote, Says, node};
use super::{TLS, secret, secret_of, start};

const GATEWAY: &str = "/apis/networking.istio.io/v1/namespaces/shop/gateways/edge";

/// What a gateway may ask for besides its own.
const NAMES: [&str; 9] = [
    "kubernetes://web",
    "kubernetes://web-cacert",
    "kubernetes://bank",
    "kubernetes://money/bank",
    "kubernetes://../money/bank",
    "kubernetes-gateway://money/bank",
    "money/bank",
    "bank",
    "file-cert:/etc/ssl/private/a~/etc/ssl/private/b",
];

#[tokio::test]
async fn keys_are_for_accounts_that_may_list_the_secrets_of_their_namespace_and_for_what_they_are_configured_for() {
    let Some((cluster, _pilot, roots)) = start().await else { return };
    cluster.run_account("shop", "poor", &json!({"istio": "edge"}), "10.244.1.5").await;
    cluster.allow_secrets("shop", "edge", true).await;
    cluster.allow_secrets("money", "bank", true).await;
    let authority = Authority::new();
    for (namespace, name) in [("shop", "web"), ("money", "bank")] {
        let made = authority.certify(&[name]);
        let texts = [("tls.crt", made.pem()), ("tls.key", made.key_pem()), ("ca.crt", authority.pem())];
        let texts = texts.each_ref().map(|(key, text)| (*key, text.as_str()));
        cluster.apply(&secret(namespace, name), secret_of("kubernetes.io/tls", name, &texts)).await;
    }
    let server = |index: usize, credential: &str| {
        let port = json!({"number": 443, "name": format!("https-{index}"), "protocol": "HTTPS"});
        json!({"port": port, "hosts": [format!("{index}.example.com")], "tls": {"mode": "MUTUAL", "credentialName": credential}})
    };
    let credentials = ["web", "money/bank", "kubernetes://money/bank", "kubernetes-gateway://money/bank", "../money/bank"];
    let servers: Vec<_> = credentials.iter().enumerate().map(|(index, name)| server(index, name)).collect();
    let spec = json!({"selector": {"istio": "edge"}, "servers": servers});
    let gateway = json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "edge"}, "spec": spec});
    cluster.apply(GATEWAY, gateway).await;

    let says = async |name: &str, address: &str| {
        let token = cluster.token("shop", name, &["istio-ca"], true).await;
        Says { token: Some(token), node: node("router", "shop", name, address), metadata: vec![] }
    };
    let mut edge = Remote::connect(TLS, &roots, &says("edge", "10.244.1.3").await, &NAMES).await;
    let mut poor = Remote::connect(TLS, &roots, &says("poor", "10.244.1.5").await, &NAMES).await;
    let all = ["kubernetes://web", "kubernetes://web-cacert"];
    edge.until("who may list Secrets has the key", |told| told.names(ResourceType::Secret) == all.into()).await;
    poor.until("others have the authorities", |told| told.names(ResourceType::Secret) == all[1..].iter().copied().collect()).await;

    // What changes of it comes at once, and nothing else with it.
    let other = authority.certify(&["web"]);
    let texts = [("tls.crt", other.pem()), ("tls.key", other.key_pem()), ("ca.crt", authority.pem())];
    let texts = texts.each_ref().map(|(key, text)| (*key, text.as_str()));
    cluster.apply(&secret("shop", "web"), secret_of("kubernetes.io/tls", "web", &texts)).await;
    edge.until("the new key", |told| told.holds("kubernetes://web", &other.key_pem())).await;
    assert_eq!(edge.names(ResourceType::Secret), all.into());

    // That one is not allowed is known for a minute; another Pod's account is asked for at once.
    cluster.run_account("shop", "late", &json!({"istio": "edge"}), "10.244.1.6").await;
    cluster.allow_secrets("shop", "late", true).await;
    let mut late = Remote::connect(TLS, &roots, &says("late", "10.244.1.6").await, &NAMES).await;
    late.until("one whose Role has just come", |told| told.names(ResourceType::Secret) == all.into()).await;
    cluster
        .apply("/api/v1/namespaces/shop/services/barrier", {
            let port = json!({"name": "http", "port": 80});
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "barrier"}, "spec": {"ports": [port]}})
        })
        .await;
    let barrier = "outbound|80||barrier.shop.svc.cluster.local";
    poor.until("news come to it", |told| told.names(ResourceType::Cluster).contains(barrier)).await;
    assert_eq!(poor.names(ResourceType::Secret), all[1..].iter().copied().collect());
}
