//! What somebody may try who has a service account, or none: he gets no certificate but his own, and follows as nobody else.

use serde_json::json;
use weir_testkit::until;

use super::remote::{Remote, Says, certify, dial, node};
use super::{TLS, start};

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

/// The claims of a token changed, under its old signature.
fn forged(token: &str, from: &str, to: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let parts: Vec<&str> = token.split('.').collect();
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    assert!(claims.contains(from), "{claims}");
    format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.replace(from, to)), parts[2])
}

#[tokio::test]
async fn a_service_account_gets_nothing_of_anothers_by_any_message() {
    let Some((cluster, pilot, roots)) = start().await else { return };
    let token = async |namespace: &str, name: &str| cluster.token(namespace, name, &["istio-ca"], true).await;
    let (cart, till) = (token("shop", "cart").await, token("shop", "till").await);
    let unbound = cluster.token("shop", "cart", &["istio-ca"], false).await;
    let own = node("sidecar", "shop", "cart", "10.244.1.1");
    let says = |token: &str, node: &str| Says { token: Some(token.to_owned()), node: node.to_owned(), metadata: vec![] };

    // What is his own, he gets: by Istio's agents, who name no node, and by Weir's proxies.
    for (token, node, name) in [(&cart, None, Some(CART)), (&cart, Some(own.as_str()), None), (&unbound, Some(own.as_str()), None)] {
        assert_eq!(certify(&dial(TLS, &roots, Some(token)), node, name).await.as_deref(), Ok(CART));
    }
    let agent = [("SERVICE_ACCOUNT", "cart"), ("NAMESPACE", "shop"), ("INSTANCE_IPS", "10.244.1.1")];
    let agent = agent.map(|(name, value)| (name, value.to_owned())).to_vec();
    for served in [says(&cart, &own), Says { metadata: agent, ..says(&cart, &own) }, says(&unbound, &own)] {
        assert!(Remote::is_served(TLS, &roots, &served).await, "{served:?}");
    }
    // A proxy may be faster than its node's word of its Pod's address.
    cluster.run_account("shop", "fast", &json!({}), "10.244.1.9").await;
    let fast = token("shop", "fast").await;
    assert!(Remote::is_served(TLS, &roots, &says(&fast, &node("sidecar", "shop", "fast", "10.244.1.9"))).await);

    // Of a Pod, and of an account, that are no more.
    for name in ["gone", "fired"] {
        cluster.run_account("shop", name, &json!({}), "10.244.1.10").await;
    }
    let (gone, fired) = (token("shop", "gone").await, cluster.token("shop", "fired", &["istio-ca"], false).await);
    cluster.delete("/api/v1/namespaces/shop/pods/gone?gracePeriodSeconds=0").await;
    cluster.delete("/api/v1/namespaces/shop/pods/fired?gracePeriodSeconds=0").await;
    cluster.delete("/api/v1/namespaces/shop/serviceaccounts/fired").await;
    until("the account is gone", async || !cluster.exists("/api/v1/namespaces/shop/serviceaccounts/fired").await).await;

    let for_vault = cluster.token("shop", "cart", &["vault"], true).await;
    let for_api = cluster.token("shop", "cart", &["https://kubernetes.default.svc"], true).await;
    let of_another = forged(&cart, "system:serviceaccount:shop:cart", "system:serviceaccount:money:bank");
    let longer = forged(&cart, "\"exp\":1", "\"exp\":2");
    for (attempt, token, expected) in [
        ("no token", None, "neither a certificate of the mesh nor a token"),
        ("an empty token", Some(""), "neither a certificate of the mesh nor a token|none of a service account|signs no tokens"),
        ("nonsense", Some("a.b.c"), "signs no tokens"),
        ("of another audience", Some(for_vault.as_str()), "is not for \"istio-ca\""),
        ("for the API server", Some(for_api.as_str()), "is not for \"istio-ca\""),
        ("of another account", Some(of_another.as_str()), "does not accept the token"),
        ("made to last", Some(longer.as_str()), "does not accept the token"),
        ("of a Pod that is gone", Some(gone.as_str()), "does not accept the token"),
        ("of an account that is gone", Some(fired.as_str()), "does not accept the token"),
    ] {
        let refused = certify(&dial(TLS, &roots, token), None, None).await.unwrap_err();
        assert!(expected.split('|').any(|expected| refused.contains(expected)), "{attempt}: {refused}");
        let says = Says { token: token.map(str::to_owned), node: own.clone(), metadata: vec![] };
        assert!(!Remote::is_served(TLS, &roots, &says).await, "{attempt}");
    }
    for (attempt, node, name, expected) in [
        ("another's name", None, Some("spiffe://cluster.local/ns/money/sa/bank"), "asks for a certificate of another"),
        ("a name of another trust domain", None, Some("spiffe://other/ns/shop/sa/cart"), "asks for a certificate of another"),
        ("another's node", Some(node("sidecar", "shop", "till", "10.244.1.2")), None, "is not the workload that the token is for"),
        ("a node of another namespace", Some(node("sidecar", "money", "bank", "10.244.1.4")), None, "is not of ns/shop/sa/cart"),
        ("a node that is none", Some("cart".to_owned()), None, "is none of a mesh"),
    ] {
        let refused = certify(&dial(TLS, &roots, Some(&cart)), node.as_deref(), name).await.unwrap_err();
        assert!(refused.contains(expected), "{attempt}: {refused}");
    }
    let with = |name, value: &str| Says { metadata: vec![(name, value.to_owned())], ..says(&cart, &own) };
    for (attempt, says) in [
        ("the node of another account", says(&cart, &node("sidecar", "shop", "till", "10.244.1.2"))),
        ("the node of another account, by a token for no Pod", says(&unbound, &node("sidecar", "shop", "till", "10.244.1.2"))),
        ("another's node by his address", says(&cart, &node("sidecar", "shop", "cart", "10.244.1.2"))),
        ("his node by another's token", says(&till, &own)),
        ("a node of another namespace", says(&cart, &node("sidecar", "money", "cart", "10.244.1.1"))),
        ("a gateway's node", says(&cart, &node("router", "shop", "edge", "10.244.1.3"))),
        ("no Pod's node", says(&cart, &node("router", "shop", "none", "10.244.1.1"))),
        ("another namespace in the metadata", with("NAMESPACE", "money")),
        ("another account in the metadata", with("SERVICE_ACCOUNT", "bank")),
        ("another's addresses in the metadata", with("INSTANCE_IPS", "10.244.1.1,10.244.1.4")),
        ("a group to register in", with("AUTO_REGISTER_GROUP", "tills")),
    ] {
        assert!(!Remote::is_served(TLS, &roots, &says).await, "{attempt}");
    }
    assert!(Remote::is_served(TLS, &roots, &says(&cart, &own)).await);
    let said = pilot.said();
    let secrets: Vec<&str> = [&cart, &till, &unbound, &gone].into_iter().filter_map(|token| token.rsplit('.').next()).collect();
    assert!(secrets.iter().all(|signature| !said.contains(signature)), "no token stands in a log");
}

#[tokio::test]
async fn while_the_api_server_is_away_who_is_there_stays_and_nobody_new_is_let_in() {
    let Some((mut cluster, _pilot, roots)) = start().await else { return };
    let (cart, till) = (cluster.token("shop", "cart", &["istio-ca"], true).await, cluster.token("shop", "till", &["istio-ca"], true).await);
    let of = |token: &str, name: &str, address: &str| Says {
        token: Some(token.to_owned()),
        node: node("sidecar", "shop", name, address),
        metadata: vec![],
    };
    let clusters = |remote: &Remote| !remote.names(weir_xds::resource::ResourceType::Cluster).is_empty();
    let mut there = Remote::connect(TLS, &roots, &of(&cart, "cart", "10.244.1.1"), &[]).await;
    there.until("it follows", clusters).await;
    cluster.kill_api_server().await;
    let refused = certify(&dial(TLS, &roots, Some(&till)), None, None).await.unwrap_err();
    assert!(refused.contains("cannot be asked"), "{refused}");
    assert!(!Remote::is_served(TLS, &roots, &of(&till, "till", "10.244.1.2")).await);
    cluster.start_api_server().await;
    until("who tries again is let in", async || Remote::is_served(TLS, &roots, &of(&till, "till", "10.244.1.2")).await).await;
    let port = json!({"name": "http", "port": 80});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "new"}, "spec": {"ports": [port]}});
    cluster.apply("/api/v1/namespaces/shop/services/new", service).await;
    let new = "outbound|80||new.shop.svc.cluster.local";
    there.until("who was there follows", |remote| remote.names(weir_xds::resource::ResourceType::Cluster).contains(new)).await;
}
