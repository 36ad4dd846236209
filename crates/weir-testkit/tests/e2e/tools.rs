//! The commands that ask a running mesh: they say the same over both data planes.

use std::time::{Duration, Instant};

use weir_testkit::{DataPlane, Layout, Mesh, Peer, Protocol};

use crate::support::{ROUTES, all_to, client_of_gateway, over_each_data_plane};

over_each_data_plane!(
    all_proxies_are_synced_and_have_what_they_were_sent,
    a_proxys_configuration_is_shown_as_tables,
    what_is_written_is_waited_for,
);

const SHOP: &str = "shop.yaml";

async fn mesh(plane: DataPlane) -> (Mesh, Peer) {
    let (layout, peer) = (Layout::new(), Peer::http("v1").await);
    let service = layout.service("shop", &[&peer], Protocol::Http);
    let mesh = Mesh::start(plane, layout, &[(SHOP, &service), (ROUTES, &all_to("v1"))]).await;
    client_of_gateway(&mesh).await;
    (mesh, peer)
}

/// What a command says that must succeed.
async fn ask(mesh: &Mesh, arguments: &[&str]) -> String {
    let (code, said) = mesh.ask(arguments).await;
    assert_eq!(code, 0, "{arguments:?}: {said}");
    said
}

/// The proxies' names, the gateway's first.
async fn names(mesh: &Mesh) -> [String; 2] {
    let status = ask(mesh, &["proxy-status"]).await;
    let names: Vec<&str> = status.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let named = |end: &str| names.iter().find(|name| name.ends_with(end)).copied().unwrap_or_default().to_owned();
    assert_eq!(names.len(), 2, "{status}");
    [named(".istio-system"), named(".default")]
}

async fn all_proxies_are_synced_and_have_what_they_were_sent(plane: DataPlane) {
    let (mesh, _peer) = mesh(plane).await;
    let applied = ["wait", "--for", "applied", "-f", SHOP];
    ask(&mesh, &applied).await;
    let status = ask(&mesh, &["proxy-status"]).await;
    // Envoy takes routes whole.
    let types = if plane == DataPlane::Weir { 5 } else { 4 };
    for proxy in status.lines().skip(1) {
        assert_eq!(proxy.matches("SYNCED").count(), types, "{status}");
        assert!(proxy.contains(if plane == DataPlane::Weir { "weir " } else { "envoy " }), "{status}");
    }
    let [gateway, _] = names(&mesh).await;
    let admin = mesh.gateway_admin().to_string();
    let compared = ask(&mesh, &["proxy-status", &gateway, "--proxy-admin", &admin]).await;
    assert_eq!(compared, "Clusters Match\nListeners Match\nRoutes Match\nEndpoints Match\nSecrets Match\n");
    let (code, said) = mesh.ask(&["proxy-status", "nobody"]).await;
    assert_eq!(code, 2);
    assert!(said.contains("there is no such proxy") && said.contains(&gateway), "{said}");
}

async fn a_proxys_configuration_is_shown_as_tables(plane: DataPlane) {
    let (mesh, peer) = mesh(plane).await;
    let [gateway, client] = names(&mesh).await;
    let clusters = ask(&mesh, &["proxy-config", "clusters", &client, "--fqdn", "shop", "--subset", "v1"]).await;
    let row: Vec<&str> = clusters.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[2], row[3], row[4], row[5]), ("shop.default.svc.cluster.local", "v1", "outbound", "EDS", "shop.default"));
    assert_eq!(clusters.lines().count(), 2, "{clusters}");
    let routes = ask(&mesh, &["proxy-config", "routes", &gateway, "--fqdn", "shop.test"]).await;
    assert!(routes.lines().nth(1).unwrap().ends_with("shop.default"), "{routes}");
    let listeners = ask(&mesh, &["proxy-config", "listeners", &gateway, "--port", &mesh.gateway().port().to_string()]).await;
    assert!(listeners.lines().nth(1).unwrap().contains("Route: http."), "{listeners}");
    let endpoints = ask(&mesh, &["proxy-config", "endpoints", &gateway, "--address", &peer.address().ip().to_string()]).await;
    assert!(endpoints.contains(&format!("{} ", peer.address())) && endpoints.contains("HEALTHY"), "{endpoints}");
    let all: serde_json::Value = serde_json::from_str(&ask(&mesh, &["pc", "all", &gateway, "-o", "json"]).await).unwrap();
    assert!(all["configs"].is_array());
}

async fn what_is_written_is_waited_for(plane: DataPlane) {
    let (mesh, _peer) = mesh(plane).await;
    for header in 0..5 {
        let rule = all_to("v1") + &format!("    headers: {{response: {{set: {{x-version: '{header}'}}}}}}\n");
        mesh.write(ROUTES, &rule);
        ask(&mesh, &["wait", "--for", "applied", "-f", ROUTES, "--timeout", "20s"]).await;
        let answer = client_of_gateway(&mesh).await.get("/", &[]).await.unwrap();
        assert_eq!(answer.headers["x-version"], header.to_string(), "it is in force at once");
    }
    let other = std::env::temp_dir().join(format!("weir-wait-{}-{plane:?}.yaml", std::process::id()));
    std::fs::write(&other, all_to("v1").replace("name: shop,", "name: another,")).unwrap();
    let begun = Instant::now();
    let (code, said) = mesh.ask(&["wait", "--for", "applied", "-f", &other.display().to_string(), "--timeout", "300ms"]).await;
    std::fs::remove_file(&other).unwrap();
    assert_eq!((code, begun.elapsed() >= Duration::from_millis(300)), (1, true), "{said}");
    assert!(said.contains("VirtualService default/another is not in the mesh"), "{said}");
    assert_eq!(mesh.ask(&["wait", "--for", "applied", "-f", "nowhere"]).await.0, 2);
}
