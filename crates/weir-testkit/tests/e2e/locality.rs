//! Which instances are preferred by where they run.

use std::collections::BTreeSet;

use weir_testkit::{Client, DataPlane, Layout, Mesh, Peer, Protocol, service_at, until};

use crate::support::{HOST, ROUTES, client_of_gateway, gateway_routes, over_each_data_plane};

over_each_data_plane!(
    labels_say_who_answers_and_the_others_take_over,
    a_sidecar_prefers_the_region_of_its_workload,
    proxies_take_all_that_a_policy_may_say,
);

/// With two instances that are used alike, none of so many requests reaches one of them once in 2^100.
const REQUESTS: usize = 100;

/// A rule for the service `shop` that takes an instance out at its first failure.
fn rule(balancer: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop, namespace: default}}
spec:
  host: shop
  trafficPolicy:
    outlierDetection: {{consecutive5xxErrors: 1, interval: 300s, baseEjectionTime: 300s, maxEjectionPercent: 100}}
    loadBalancer: {{simple: ROUND_ROBIN, {balancer}}}
"
    )
}

async fn labels_say_who_answers_and_the_others_take_over(plane: DataPlane) {
    let (layout, one, mut two) = (Layout::new(), Peer::http("a").await, Peer::http("b").await);
    let service =
        service_at("shop", layout.http, &[&one, &two], Protocol::Http) + &rule("localityLbSetting: {failoverPriority: [version=b]}");
    let routes = gateway_routes("    - {destination: {host: shop}}\n");
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &service), (ROUTES, &routes)]).await;
    let mut client = client_of_gateway(&mesh).await;
    assert_eq!(instances(&mut client).await, ["b"]);

    two.stop().await;
    until("the others have taken over", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
    assert_eq!(instances(&mut client).await, ["a"]);
}

async fn a_sidecar_prefers_the_region_of_its_workload(plane: DataPlane) {
    let (layout, one, two) = (Layout::new(), Peer::http("a").await, Peer::http("b").await);
    let service = service_at("shop", layout.http, &[&one, &two], Protocol::Http)
        .replace("labels: {version: a}", "locality: eu/a, labels: {version: a}")
        .replace("labels: {version: b}", "locality: us/a, labels: {version: b}");
    let client = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: client, namespace: default}\nspec:\n  \
                  hosts: [client.test]\n  resolution: STATIC\n  ports: [{number: 7, name: tcp, protocol: TCP}]\n  \
                  endpoints: [{address: 127.0.0.10, locality: us/b}]\n";
    let text = service + &rule("localityLbSetting: {}") + client;
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &text)]).await;
    let mut client = mesh.inside("shop");
    until("the sidecar's route is in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.status == 200)).await;
    assert_eq!(instances(&mut client).await, ["b"]);
}

/// Policies whose form Envoy checks when it gets them.
const POLICIES: &[&str] = &[
    "outlierDetection: {outlierDetectionHttpErrorCodes: [429]}",
    "outlierDetection: {outlierDetectionHttpErrorCodes: [429, 500], splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3}",
    "loadBalancer: {warmup: {duration: 1s, aggression: 2}}",
    "loadBalancer: {simple: ROUND_ROBIN, warmupDurationSecs: 1s}",
    "loadBalancer: {zoneAwareLbSetting: {enabled: true, minClusterSize: 1}}",
    "loadBalancer: {localityLbSetting: {distribute: [{from: '*', to: {'*': 100}}]}}",
    "loadBalancer: {simple: RANDOM, localityLbSetting: {distribute: [{from: '*', to: {'*': 100}}]}}",
    "loadBalancer: {consistentHash: {useSourceIp: true}, localityLbSetting: {distribute: [{from: '*', to: {'*': 100}}]}}",
    "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}, localityLbSetting: {failoverPriority: [x]}}, outlierDetection: {}",
    "retryBudget: {percent: 50, budgetInterval: 1s}",
    "connectionPool: {http: {maxConcurrentStreams: 3, http2KeepAlive: {interval: 1s, timeout: 1s}, idleTimeout: 9s}}",
];

async fn proxies_take_all_that_a_policy_may_say(plane: DataPlane) {
    let (layout, peer) = (Layout::new(), Peer::http("a").await);
    let (mut text, mut rules) = (String::new(), String::new());
    for (i, policy) in POLICIES.iter().enumerate() {
        let name = format!("s{i}");
        text += "---\n";
        text += &service_at(&name, layout.http, &[&peer], Protocol::Http);
        text += &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{host: {name}, trafficPolicy: {{{policy}}}}}\n"
        );
        rules += &format!("  - match: [{{uri: {{exact: /{i}}}}}]\n    route: [{{destination: {{host: {name}}}}}]\n");
    }
    let routes = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: all, namespace: default}}\nspec:\n  hosts: [{HOST}]\n  \
         gateways: [gw]\n  http:\n{rules}"
    );
    let mesh = Mesh::start(plane, layout, &[("all.yaml", &text), (ROUTES, &routes)]).await;
    let mut client = mesh.outside(HOST);
    for (i, policy) in POLICIES.iter().enumerate() {
        let is_served = async || client.get(&format!("/{i}"), &[]).await.is_ok_and(|answer| answer.status == 200);
        until(policy, is_served).await;
    }
}

/// Who answers; each request must be.
async fn instances(client: &mut Client) -> Vec<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..REQUESTS {
        let answer = client.get("/", &[]).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        seen.insert(answer.instance);
    }
    seen.into_iter().collect()
}
