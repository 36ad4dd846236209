//! What the access log tells of the rule that decided.

use std::fs;

use weir_testkit::{DataPlane, Layout, Mesh, Peer, Protocol, until};

use crate::support::{HOST, ROUTES, over_each_data_plane};

over_each_data_plane!(a_line_names_the_file_and_the_line_of_its_rule);

/// Its `http` rules stand in lines 8 and 11.
const RULES: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.test, shop]
  gateways: [gw, mesh]
  http:
  - match: [{uri: {prefix: /one}, name: block}]
    name: first
    route: [{destination: {host: shop}}]
  - match: [{uri: {prefix: /two}}]
    directResponse: {status: 418}
";

async fn a_line_names_the_file_and_the_line_of_its_rule(plane: DataPlane) {
    let (layout, peer) = (Layout::new(), Peer::http("a").await);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let format = "%METADATA(ROUTE:weir:source)% %ROUTE_NAME% %REQ(:PATH)% %RESPONSE_CODE%\\n";
    let config = format!("accessLogFile: {}\naccessLogFormat: \"{format}\"\nenableTracing: false\n", log.display());
    let services = layout.service("shop", &[&peer], Protocol::Http) + "---\n" + &layout.service("plain", &[&peer], Protocol::Http);
    let mesh = Mesh::start_with(plane, layout, &config, &[("shop.yaml", &services), (ROUTES, RULES)]).await;

    let (mut outside, mut inside) = (mesh.outside(HOST), mesh.inside("shop"));
    outside.get("/one/out", &[]).await.unwrap();
    outside.get("/two/out", &[]).await.unwrap();
    outside.get("/none/out", &[]).await.unwrap();
    inside.get("/one/in", &[]).await.unwrap();
    inside.get("/two/in", &[]).await.unwrap();
    mesh.inside("plain").get("/plain/in", &[]).await.unwrap();

    let read = || fs::read_to_string(&log).unwrap_or_default();
    until("all requests are logged", async || read().lines().count() == 6).await;
    let text = read();
    let lines: Vec<&str> = text.lines().collect();
    let ends = [
        "routes.yaml:8 first.block /one/out 200",
        "routes.yaml:11 - /two/out 418",
        "routes.yaml:8 first.block /one/in 200",
        "routes.yaml:11 - /two/in 418",
    ];
    for end in ends {
        assert!(lines.iter().any(|line| line.ends_with(end)), "no line ends with {end}: {lines:#?}");
    }
    // Nobody's rule decided.
    for line in ["- - /none/out 404", "- default /plain/in 200"] {
        assert!(lines.contains(&line), "no line is {line}: {lines:#?}");
    }
}
