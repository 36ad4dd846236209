//! What the kernel redirects to a sidecar: the chains of each port of its workload, and of what nobody declares.

use serde_json::{Value, json};
use weir_model::{Interception, Proxy};
use weir_translate::{Translation, translate};

use crate::support::{cluster, findings, json_of, mesh, mesh_with, sidecar};

const SERVICE: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: app}
spec:
  hosts: [app.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: 8080}
  - {number: 81, name: tcp, protocol: TCP}
  - {number: 82, name: any}
  endpoints: [{address: 10.0.0.1}]
";

fn made(more: &str) -> Translation {
    let proxy = Proxy { interception: Interception::Redirect, ..sidecar("10.0.0.1", &[("app", "app")]) };
    translate(&mesh(&[("mesh.yaml", &format!("{SERVICE}---\n{more}"))]), &proxy)
}

fn policy(spec: &str) -> String {
    format!("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p}}\nspec: {{{spec}}}\n")
}

fn listener(made: &Translation) -> Value {
    made.listeners.iter().map(json_of).find(|listener| listener["name"] == "virtualInbound").unwrap()
}

/// Each chain: for which port it is, its name, and how connections begin.
fn chains(made: &Translation) -> Vec<String> {
    let of = |chain: &Value| {
        let condition = &chain["filter_chain_match"];
        let (port, begins) = (condition["destination_port"].as_u64().unwrap_or_default(), condition["transport_protocol"].as_str());
        let ends = if chain["transport_socket"].is_null() { "" } else { " mTLS" };
        format!("{port} {} {}{ends}", chain["name"].as_str().unwrap(), begins.unwrap_or("any"))
    };
    listener(made)["filter_chains"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn each_port_has_the_chains_of_its_protocol_and_what_nobody_declares_passes() {
    let strict = made(&policy("mtls: {mode: STRICT}"));
    assert_eq!(
        chains(&strict),
        [
            "15006 virtualInbound-blackhole any",
            "0 virtualInbound-catchall-http tls mTLS",
            "0 virtualInbound tls mTLS",
            "81 0.0.0.0_81 tls mTLS",
            "82 0.0.0.0_82 tls mTLS",
            "82 0.0.0.0_82 tls mTLS",
            "8080 0.0.0.0_8080 tls mTLS",
        ]
    );
    let plain = made(&policy("mtls: {mode: DISABLE}"));
    assert_eq!(
        chains(&plain),
        [
            "15006 virtualInbound-blackhole any",
            "0 virtualInbound-catchall-http raw_buffer",
            "0 virtualInbound raw_buffer",
            "0 virtualInbound tls",
            "81 0.0.0.0_81 any",
            "82 0.0.0.0_82 raw_buffer",
            "82 0.0.0.0_82 raw_buffer",
            "82 0.0.0.0_82 tls",
            "8080 0.0.0.0_8080 any",
        ]
    );
    assert_eq!(findings(&strict), Vec::<String>::new());
}

#[test]
fn a_port_that_only_a_policy_names_has_chains_of_its_own() {
    let spec = "selector: {matchLabels: {app: app}}, mtls: {mode: DISABLE}, portLevelMtls: {9000: {mode: STRICT}, 81: {mode: STRICT}}";
    let chains = chains(&made(&policy(spec)));
    let of = |port: &str| chains.iter().filter(|chain| chain.starts_with(port)).cloned().collect::<Vec<_>>();
    assert_eq!(of("9000 "), ["9000 virtualInbound-catchall-http tls mTLS", "9000 virtualInbound tls mTLS"]);
    assert_eq!(of("81 "), ["81 0.0.0.0_81 tls mTLS"]);
}

#[test]
fn what_is_declared_is_not_found_out_and_goes_where_it_went() {
    let made = made("");
    let listener = listener(&made);
    let filters: Vec<(&str, &Value)> = listener["listener_filters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|filter| (filter["name"].as_str().unwrap().rsplit('.').next().unwrap(), &filter["filter_disabled"]))
        .collect();
    let port = |port: u32| json!({"destination_port_range": {"start": port, "end": port + 1}});
    let sniffs = json!({"or_match": {"rules": [port(15006), port(81), port(8080)]}});
    assert_eq!(filters, [("original_dst", &Value::Null), ("tls_inspector", &port(15006)), ("http_inspector", &sniffs)]);
    let cluster = made.clusters.iter().map(json_of).find(|cluster| cluster["name"] == "inbound|8080||").unwrap();
    assert_eq!(
        (&cluster["type"], &cluster["upstream_bind_config"]["source_address"]["address"]),
        (&json!("ORIGINAL_DST"), &json!("127.0.0.6"))
    );
}

#[test]
fn a_sidecar_that_names_ports_names_all_of_them() {
    let own = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec: {ingress: [{port: {number: 9090, name: tcp, protocol: TCP}, \
               defaultEndpoint: '127.0.0.1:90'}, {port: {number: 9091, name: tcp, protocol: TCP}, captureMode: NONE, defaultEndpoint: '127.0.0.1:91'}]}\n";
    let made = made(own);
    let ports = chains(&made)
        .iter()
        .filter(|chain| chain.contains("0.0.0.0_"))
        .map(|chain| chain.split(' ').next().unwrap().to_owned())
        .collect::<Vec<_>>();
    assert_eq!(ports, ["9090", "9090", "9090"]);
    assert!(made.listeners.iter().any(|listener| listener.name == "10.0.0.1_9091"));
}

#[test]
fn a_workload_is_found_where_the_mesh_says() {
    let made = |config: &str| {
        let proxy = Proxy { interception: Interception::Redirect, ..sidecar("10.0.0.1", &[("app", "app")]) };
        let made = translate(&mesh_with(config, &[("mesh.yaml", SERVICE)]), &proxy);
        json_of(cluster(&made, "inbound|8080||"))
    };
    let where_clients_went = made("inboundTrafficPolicy: {mode: PASSTHROUGH}\n");
    assert_eq!((&where_clients_went["type"], &where_clients_went["load_assignment"]), (&json!("ORIGINAL_DST"), &Value::Null));
    let here = made("inboundTrafficPolicy: {mode: LOCALHOST}\n");
    let address = &here["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"];
    assert_eq!(address, &json!({"address": "127.0.0.1", "port_value": 8080}));
    assert_eq!(here["upstream_bind_config"], Value::Null);
}

#[test]
fn a_workload_with_an_address_of_ipv6_is_served_there_too() {
    let of = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        let proxy = Proxy { addresses, interception: Interception::Redirect, ..sidecar("10.0.0.1", &[]) };
        let made = translate(&mesh(&[("mesh.yaml", SERVICE)]), &proxy);
        let places = made.listeners.iter().map(json_of).map(|listener| {
            let more = &listener["additional_addresses"][0]["address"]["socket_address"]["address"];
            format!("{} {}", listener["name"].as_str().unwrap(), more.as_str().unwrap_or("alone"))
        });
        let source = |name: &str| {
            let cluster = made.clusters.iter().map(json_of).find(|cluster| cluster["name"] == name).unwrap();
            cluster["upstream_bind_config"]["extra_source_addresses"][0]["address"]["address"].clone()
        };
        (places.collect::<Vec<_>>(), ["inbound|8080||", "InboundPassthroughCluster"].map(source))
    };
    let names = ["virtualOutbound", "0.0.0.0_80", "0.0.0.0_81", "0.0.0.0_82", "virtualInbound"];
    let (mut both, sources) = of(&["10.0.0.1", "fd00::1"]);
    assert_eq!(sources, [json!("::6"), json!("::6")]);
    both.sort();
    let mut wanted: Vec<String> = names.iter().map(|name| format!("{name} ::")).collect();
    wanted.sort();
    assert_eq!(both, wanted);
    let (one, sources) = of(&["10.0.0.1"]);
    assert_eq!(sources, [Value::Null, Value::Null]);
    assert!(one.len() == names.len() && one.iter().all(|place| place.ends_with(" alone")), "{one:?}");
}

/// As istiod of 1.31 has it: the mark is that of istio-iptables, and what is sent by the workload is redirected as ever.
#[test]
fn what_keeps_its_clients_address_is_taken_by_transparent_listeners() {
    let made = |interception| {
        let proxy = Proxy { interception, ..sidecar("10.0.0.1", &[("app", "app")]) };
        let made = translate(&mesh(&[("mesh.yaml", SERVICE)]), &proxy);
        let listener = |name: &str| made.listeners.iter().map(json_of).find(|listener| listener["name"] == name).unwrap();
        let names = |listener: &Value| {
            let filters = listener["listener_filters"].as_array().unwrap().iter();
            filters.map(|filter| filter["name"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let (inbound, outbound) = (listener("virtualInbound"), listener("virtualOutbound"));
        (
            inbound["transparent"].clone(),
            outbound["transparent"].clone(),
            names(&inbound),
            inbound["listener_filters"][1]["typed_config"]["mark"].clone(),
        )
    };
    let (inbound, outbound, filters, mark) = made(Interception::Tproxy);
    assert_eq!((inbound, outbound, mark), (json!(true), json!(true), json!(1337)));
    assert_eq!(filters, ["original_dst", "original_src", "tls_inspector", "http_inspector"]);
    let (inbound, outbound, filters, _) = made(Interception::Redirect);
    assert_eq!((inbound, outbound), (Value::Null, Value::Null));
    assert_eq!(filters, ["original_dst", "tls_inspector", "http_inspector"]);
}
