//! What a change of one object costs in a small and in a large mesh: the same. Time is printed (`--nocapture`), allocations
//! are checked. `WEIR_SERVICES=1000,10000` chooses the meshes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may panic, and tells what it measured"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_api::resources::MeshConfig;
use weir_api::{Object, ObjectChange, Severity, Source, parse};
use weir_model::{DEFAULT_DOMAIN, Interception, MeshSnapshot, Proxy, ProxyKind};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// How many services the meshes have, unless `WEIR_SERVICES` says otherwise.
const SERVICES: [usize; 2] = [100, 1000];
/// A change may cost so much more in the large one: its trees are a few levels higher.
const MORE: f64 = 1.5;
/// So often each change is made.
const TIMES: u32 = 50;

fn read(document: &str) -> Arc<Object> {
    let parsed = parse(&Source::new("mesh.yaml", document));
    assert!(parsed.diagnostics.iter().all(|said| said.severity != Severity::Error), "{:?}", parsed.diagnostics);
    parsed.objects.into_iter().next().unwrap()
}

fn istio(kind: &str, name: &str, spec: &str) -> Arc<Object> {
    read(&format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n"))
}

fn service(i: usize, port: u16) -> Arc<Object> {
    let spec = format!("{{clusterIP: 10.{}.{}.{}, ports: [{{port: {port}, name: http}}]}}", i >> 16, i >> 8 & 255, i & 255);
    read(&format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s{i}, namespace: default}}\nspec: {spec}\n"))
}

fn slice(i: usize, last: usize) -> Arc<Object> {
    let address = |k: usize| format!("{{addresses: [100.{}.{}.{}]}}", i >> 8, i & 255, k);
    let addresses: Vec<String> = (0..9).chain([last]).map(address).collect();
    let head = format!("metadata: {{name: s{i}, namespace: default, labels: {{kubernetes.io/service-name: s{i}}}}}");
    let content = format!("ports: [{{name: http, port: 8080}}]\nendpoints: [{}]", addresses.join(", "));
    read(&format!("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n{head}\naddressType: IPv4\n{content}\n"))
}

fn virtual_service(i: usize, weight: u32) -> Arc<Object> {
    let to = |subset: &str, weight: u32| format!("{{destination: {{host: s{i}, subset: {subset}}}, weight: {weight}}}");
    istio(
        "VirtualService",
        &format!("s{i}"),
        &format!("{{hosts: [s{i}], http: [{{route: [{}, {}]}}]}}", to("v1", weight), to("v2", 100 - weight)),
    )
}

fn destination_rule(i: usize, version: &str) -> Arc<Object> {
    let subset = |name: &str| format!("{{name: {name}, labels: {{version: {name}}}}}");
    istio("DestinationRule", &format!("s{i}"), &format!("{{host: s{i}, subsets: [{}, {}]}}", subset("v1"), subset(version)))
}

/// A service whose instances are picked by label, and one of these.
fn selecting(i: usize, address: usize) -> [Arc<Object>; 2] {
    let ports = "ports: [{number: 80, name: http, protocol: HTTP}]";
    let entry = format!("{{hosts: [e{i}.test], {ports}, resolution: STATIC, workloadSelector: {{labels: {{app: e{i}}}}}}}");
    let workload = format!("{{address: 101.{}.{}.{address}, labels: {{app: e{i}}}}}", i >> 8, i & 255);
    [istio("ServiceEntry", &format!("e{i}"), &entry), istio("WorkloadEntry", &format!("w{i}"), &workload)]
}

/// What another tenant says of an address at which the seventh service has an instance: in the large mesh very often.
fn of_another(i: usize, version: &str) -> Arc<Object> {
    let head = format!("metadata: {{name: o{i}, namespace: other}}");
    let spec = format!("spec: {{address: 100.0.7.0, labels: {{version: {version}}}}}");
    read(&format!("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n{head}\n{spec}\n"))
}

/// A service that is given addresses, unless it has one. In meshes of up to 10,000 nobody else moves for it.
fn addressed(more: &str) -> Arc<Object> {
    let ports = "ports: [{number: 80, name: http, protocol: HTTP}]";
    istio(
        "ServiceEntry",
        "e8",
        &format!("{{hosts: [e8.test], {ports}, resolution: STATIC, workloadSelector: {{labels: {{app: e8}}}}{more}}}"),
    )
}

fn mesh(services: usize) -> MeshSnapshot {
    let of = |i: usize| {
        let [entry, workload] = selecting(i, 1);
        [service(i, 80), slice(i, 10), virtual_service(i, 90), destination_rule(i, "v2"), entry, workload, of_another(i, "v1")]
    };
    let objects: Vec<Arc<Object>> = (0..services).flat_map(of).collect();
    MeshSnapshot::new(&objects, Arc::new(MeshConfig::default()), DEFAULT_DOMAIN)
}

/// The two versions of an object that take turns.
fn changes() -> Vec<(&'static str, [Arc<Object>; 2])> {
    let entry = |address| selecting(7, address).into_iter().nth(1).unwrap();
    vec![
        ("endpoint", [slice(7, 10), slice(7, 11)]),
        ("workload", [entry(1), entry(2)]),
        ("workload of another tenant", [of_another(7, "v1"), of_another(7, "v2")]),
        ("VirtualService", [virtual_service(7, 90), virtual_service(7, 80)]),
        ("DestinationRule", [destination_rule(7, "v2"), destination_rule(7, "v3")]),
        ("Service", [service(7, 80), service(7, 81)]),
        ("ServiceEntry", [addressed(""), addressed(", addresses: [10.8.0.1]")]),
    ]
}

#[derive(Debug)]
#[expect(dead_code, reason = "the time is only printed")]
struct Cost {
    time: Duration,
    allocations: u64,
    bytes: u64,
}

/// What one change costs, with what a sidecar asks of the new mesh at once.
fn cost(mesh: &mut MeshSnapshot, versions: &[Arc<Object>; 2], sidecar: &Proxy) -> Cost {
    let turn = |mesh: &MeshSnapshot, step: usize| {
        let change = ObjectChange { old: Some(versions[step % 2].clone()), new: Some(versions[(step + 1) % 2].clone()) };
        let next = mesh.update(&[change], None, &[]);
        assert!(!next.changes.is_empty());
        next.scope(sidecar);
        next.locality_of(sidecar);
        next
    };
    mesh.scope(sidecar);
    let begin = Instant::now();
    for step in 0..TIMES {
        *mesh = turn(mesh, step as usize);
    }
    let time = begin.elapsed() / TIMES;
    let profiler = dhat::Profiler::builder().testing().build();
    *mesh = turn(&turn(mesh, 0), 1);
    let stats = dhat::HeapStats::get();
    drop(profiler);
    Cost { time, allocations: stats.total_blocks / 2, bytes: stats.total_bytes / 2 }
}

#[test]
fn a_change_of_one_object_costs_the_same_in_a_large_mesh() {
    let sidecar = Proxy {
        id: String::new(),
        kind: ProxyKind::Sidecar,
        name: "s7".to_owned(),
        namespace: "default".to_owned(),
        labels: [].into(),
        addresses: vec!["100.0.7.1".to_owned()],
        locality: String::new(),
        interception: Interception::Redirect,
    };
    let chosen = std::env::var("WEIR_SERVICES").unwrap_or_default();
    let chosen: Vec<usize> = chosen.split(',').filter_map(|count| count.parse().ok()).collect();
    let [few, many] = <[usize; 2]>::try_from(chosen).unwrap_or(SERVICES);
    let (mut small, mut large) = (mesh(few), mesh(many));
    for (what, versions) in changes() {
        let (small, large) = (cost(&mut small, &versions, &sidecar), cost(&mut large, &versions, &sidecar));
        println!("{what}: {few} services {small:?}, {many} services {large:?}");
        // What a proxy reaches is read anew where a service is another one, and so grows with what it reaches.
        let is_of_services = ["Service", "ServiceEntry"].contains(&what);
        assert!(large.allocations as f64 <= MORE * small.allocations as f64, "{what}: {small:?} {large:?}");
        if !is_of_services {
            assert!(large.bytes as f64 <= MORE * small.bytes as f64, "{what}: {small:?} {large:?}");
        }
    }
}
