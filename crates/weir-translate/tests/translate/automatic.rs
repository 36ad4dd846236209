//! Addresses that services are given: who gets to know them, and what is made of them.

use std::collections::BTreeMap;

use weir_model::{Interception, MeshSnapshot, Proxy};
use weir_translate::{Class, ClassKey, Labels, Translation, name_table, translate, translate_answering_dns};
use weir_xds::Any;
use weir_xds::listener::Listener;
use weir_xds::resource::{NAME_TABLE, ResourceType};

use crate::support::{json_of, mesh, sidecar};

const MESH: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: first, namespace: default}
spec:
  hosts: [first.test]
  ports: [{number: 5432, name: tcp, protocol: TCP}, {number: 80, name: http, protocol: HTTP}, {number: 9000, name: any}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: second, namespace: default}
spec:
  hosts: [second.test]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: default}
spec:
  hosts: ['*.wild.test']
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DYNAMIC_DNS
";

fn captured(addresses: &[&str]) -> Proxy {
    let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
    Proxy { addresses, interception: Interception::Redirect, ..sidecar("10.9.0.1", &[]) }
}

/// The addresses that a host of the mesh is given.
fn given(mesh: &MeshSnapshot, host: &str) -> [String; 2] {
    mesh.services.choose(host, "default").unwrap().automatic.unwrap().all().map(|address| address.to_string())
}

/// The listeners of what a workload sends, with their further addresses.
fn outbound(listeners: &[Listener]) -> Vec<String> {
    let of = |listener: &Listener| {
        let json = json_of(listener);
        let more = json["additional_addresses"].as_array().cloned().unwrap_or_default();
        let address = |more: &serde_json::Value| format!(" {}", more["address"]["socket_address"]["address"].as_str().unwrap());
        format!("{}{}", listener.name, more.iter().map(address).collect::<String>())
    };
    let mut all: Vec<String> = listeners.iter().map(of).filter(|name| !name.starts_with("virtual")).collect();
    all.sort();
    all
}

#[test]
fn services_are_told_apart_by_the_addresses_that_they_are_given() {
    let mesh = mesh(&[("mesh.yaml", MESH)]);
    let ([first, first6], [second, second6], [wild, wild6]) =
        (given(&mesh, "first.test"), given(&mesh, "second.test"), given(&mesh, "*.wild.test"));
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    let of = |addresses: &[&str]| outbound(&translate_answering_dns(&mesh, &captured(addresses)).listeners);
    let ipv4 = [format!("{first}_5432"), format!("{first}_9000"), format!("{second}_5432"), format!("{wild}_443"), "0.0.0.0_80".into()];
    assert_eq!(of(&["10.9.0.1"]), sorted(ipv4.to_vec()));
    let ipv6 =
        [format!("{first6}_5432"), format!("{first6}_9000"), format!("{second6}_5432"), format!("{wild6}_443"), "0.0.0.0_80 ::".into()];
    assert_eq!(of(&["fd00::1"]), sorted(ipv6.to_vec()));
    let both = [
        format!("{first}_5432 {first6}"),
        format!("{first}_9000 {first6}"),
        format!("{second}_5432 {second6}"),
        format!("{wild}_443 {wild6}"),
        "0.0.0.0_80 ::".into(),
    ];
    assert_eq!(of(&["10.9.0.1", "fd00::1"]), sorted(both.to_vec()));
}

#[test]
fn who_is_not_told_or_not_captured_knows_none() {
    let mesh = mesh(&[("mesh.yaml", MESH)]);
    let knows = |made: &Translation| {
        let of = |text: String| text.contains("240.240.") || text.contains("2001:2::");
        made.listeners.iter().any(|listener| of(json_of(listener).to_string()))
            || made.routes.iter().any(|route| of(json_of(route).to_string()))
    };
    let uncaptured = Proxy { interception: Interception::None, ..captured(&["10.9.0.1"]) };
    assert!(knows(&translate_answering_dns(&mesh, &captured(&["10.9.0.1"]))));
    assert!(!knows(&translate(&mesh, &captured(&["10.9.0.1"]))));
    assert!(!knows(&translate_answering_dns(&mesh, &uncaptured)) && name_table(&mesh, &uncaptured).table.is_empty());
}

#[test]
fn names_and_virtual_hosts_have_them() {
    let mesh = mesh(&[("mesh.yaml", MESH)]);
    let table = |addresses: &[&str]| -> BTreeMap<String, Vec<String>> {
        name_table(&mesh, &captured(addresses)).table.into_iter().map(|(host, info)| (host, info.ips)).collect()
    };
    let hosts = ["first.test", "second.test", "*.wild.test"];
    let expected = |which: std::ops::Range<usize>| hosts.map(|host| (host.to_owned(), given(&mesh, host)[which.clone()].to_vec())).into();
    assert_eq!(table(&["10.9.0.1"]), expected(0..1));
    assert_eq!(table(&["fd00::1"]), expected(1..2));
    assert_eq!(table(&["10.9.0.1", "fd00::1"]), expected(0..2));
    let made = translate_answering_dns(&mesh, &captured(&["10.9.0.1", "fd00::1"]));
    let route = made.routes.iter().find(|route| route.name == "80").unwrap();
    let host = route.virtual_hosts.iter().find(|host| host.name == "first.test:80").unwrap();
    let [ipv4, ipv6] = given(&mesh, "first.test");
    assert_eq!(host.domains, ["first.test".to_owned(), "first.test.".to_owned(), ipv4, format!("[{ipv6}]")]);
}

/// What an address of all names that a wildcard stands for is for, the name that a client says decides.
#[test]
fn a_wildcard_is_found_by_server_name_also_at_its_own_address() {
    let mesh = mesh(&[("mesh.yaml", MESH)]);
    let made = translate_answering_dns(&mesh, &captured(&["10.9.0.1"]));
    let name = format!("{}_443", given(&mesh, "*.wild.test")[0]);
    let listener = made.listeners.iter().find(|listener| listener.name == name).map(json_of).unwrap();
    assert_eq!(listener["filter_chains"][0]["filter_chain_match"]["server_names"], serde_json::json!(["*.wild.test"]));
}

#[test]
fn by_its_class_a_proxy_that_answers_dns_gets_what_it_gets_alone() {
    let mesh = mesh(&[("mesh.yaml", MESH)]);
    for addresses in [&["10.9.0.1"][..], &["fd00::1"], &["10.9.0.1", "fd00::1"], &["fd00::1", "10.9.0.1"]] {
        let proxy = captured(addresses);
        let alone = translate_answering_dns(&mesh, &proxy);
        let update = Class::new(ClassKey::of(&mesh, &Labels::of(&mesh), &proxy).answering_dns(true)).refresh(&mesh, &proxy);
        let of = |kind: ResourceType| -> BTreeMap<String, Any> {
            update.upserts.iter().filter(|made| made.kind == kind).map(|made| (made.name.to_string(), made.body.clone())).collect()
        };
        let inbound = |listener: &&Listener| listener.name != "virtualInbound";
        let listeners = alone.listeners.iter().filter(inbound).map(|made| (made.name.clone(), Any::pack(made))).collect();
        assert_eq!(of(ResourceType::Listener), listeners, "{addresses:?}");
        assert_eq!(of(ResourceType::Route), alone.routes.iter().map(|made| (made.name.clone(), Any::pack(made))).collect());
        assert_eq!(of(ResourceType::NameTable), [(NAME_TABLE.to_owned(), Any::pack(&name_table(&mesh, &proxy)))].into());
    }
}

#[test]
fn names_are_put_together_when_a_service_changes_and_not_for_a_rule() {
    let before = mesh(&[("mesh.yaml", MESH)]);
    let proxy = captured(&["10.9.0.1"]);
    let mut class = Class::new(ClassKey::of(&before, &Labels::of(&before), &proxy).answering_dns(true));
    class.refresh(&before, &proxy);
    let with = |mesh: &MeshSnapshot, text: &str| {
        let object = weir_api::parse(&weir_api::Source::new("more.yaml", text)).objects.remove(0);
        mesh.update(&[weir_api::ObjectChange::added(object)], None, &[])
    };
    let head = |kind: &str| format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: more, namespace: default}}\n");
    let rule = format!("{}spec: {{host: first.test, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}\n", head("DestinationRule"));
    let ruled = with(&before, &rule);
    let has_names = |made: &[std::sync::Arc<weir_translate::Encoded>]| made.iter().any(|made| made.kind == ResourceType::NameTable);
    assert!(!has_names(&class.refresh(&ruled, &proxy).upserts));
    assert_eq!(class.work().name_tables, 1);
    let entry = "spec: {hosts: [more.test], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}\n";
    let more = with(&ruled, &(head("ServiceEntry") + entry));
    assert!(has_names(&class.refresh(&more, &proxy).upserts));
    assert_eq!(class.work().name_tables, 2);
}

#[test]
fn a_host_for_which_no_address_is_left_is_named() {
    let entry = |name: &str, more: &str| {
        let ports = "ports: [{number: 80, name: http, protocol: HTTP}]";
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{hosts: [{name}.test], resolution: DNS, {ports}{more}}}\n"
        )
    };
    let mut written: Vec<String> = vec![];
    let (last, proxy) = loop {
        let taken = format!(", addresses: [{}]", written.join(", "));
        let mesh = mesh(&[("mesh.yaml", &(entry("wanting", "") + &entry("taking", &taken)))]);
        match mesh.services.choose("wanting.test", "default").unwrap().automatic {
            Some(automatic) => written.push(automatic.ipv4.to_string()),
            None => break (mesh, captured(&["10.9.0.1"])),
        }
    };
    assert_eq!(written.len(), 64);
    let key = ClassKey::of(&last, &Labels::of(&last), &proxy).answering_dns(true);
    let said: Vec<String> = Class::new(key).refresh(&last, &proxy).findings.unwrap().iter().map(ToString::to_string).collect();
    assert!(said.len() == 1 && said[0].contains("no address is left for wanting.test"), "{said:?}");
}

#[test]
fn a_service_has_a_listener_at_each_address_that_is_written() {
    let mesh = mesh(&[(
        "mesh.yaml",
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: several, namespace: default}
spec:
  hosts: [several.test]
  addresses: [10.1.0.1, 10.2.0.0/16, 'fd01::1']
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: v1
kind: Service
metadata: {name: both, namespace: default}
spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd96::1'], ports: [{name: tcp, port: 5433}]}
",
    )]);
    let of = |addresses: &[&str]| outbound(&translate(&mesh, &captured(addresses)).listeners);
    assert_eq!(of(&["10.9.0.1"]), ["0.0.0.0_5432", "10.1.0.1_5432", "10.96.0.1_5433", "fd01::1_5432"]);
    assert_eq!(of(&["10.9.0.1", "fd00::1"]), ["0.0.0.0_5432 ::", "10.1.0.1_5432", "10.96.0.1_5433 fd96::1", "fd01::1_5432"]);
    let made = translate(&mesh, &captured(&["10.9.0.1"]));
    let shared = made.listeners.iter().find(|listener| listener.name == "0.0.0.0_5432").map(json_of).unwrap();
    assert_eq!(shared["filter_chains"][0]["filter_chain_match"]["prefix_ranges"][0]["address_prefix"], "10.2.0.0");
}

/// Envoy refuses the second of two listeners at one address, and all that comes with it.
#[test]
fn an_address_of_either_family_is_had_by_whoever_was_there_first() {
    const SERVICES: &str = "apiVersion: v1
kind: Service
metadata: {name: db, namespace: default, creationTimestamp: '2020-01-01T00:00:00Z'}
spec:
  clusterIPs: ['fd00::10', 10.96.0.10]
  ports: [{port: 5432, name: tcp}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: later, namespace: other, creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  hosts: [later.test]
  addresses: [10.96.0.10]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  resolution: DNS
";
    let both = captured(&["10.9.0.1", "fd00::1"]);
    let listeners = outbound(&translate(&mesh(&[("mesh.yaml", SERVICES)]), &both).listeners);
    let here: Vec<&String> = listeners.iter().filter(|listener| listener.contains("10.96.0.10")).collect();
    assert!(matches!(here.as_slice(), [only] if only.contains("fd00::10")), "{listeners:?}");
}
