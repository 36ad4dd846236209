//! Proxies that are alike share what they get, and a change costs what it changes.

/// Every sort of object in many versions.
#[path = "../../../../weir-model/tests/changes/pool.rs"]
mod pool;
mod rebuild;

use std::collections::BTreeSet;
use std::time::Instant;

use weir_ads::Protocol;
use weir_api::resources::MeshConfig;
use weir_api::{Object, ObjectChange, Source, parse};
use weir_model::{Interception, ProxyKind};
use weir_xds::resource::ResourceType;
use weir_xds::route::RouteConfiguration;

use super::*;
use crate::shared::Options;

/// So many services.
const SERVICES: usize = 300;

fn objects(text: &str) -> Vec<Arc<Object>> {
    parse(&Source::new("mesh.yaml", text)).objects
}

fn service(number: usize, address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{number}, namespace: default}}
spec:
  hosts: [s{number}.test]
  addresses: [10.1.{}.{}]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{{address: {address}, labels: {{version: v1}}}}, {{address: 10.9.9.9, labels: {{version: v2}}}}]
",
        number / 250,
        number % 250 + 1
    )
}

fn rule(number: usize, header: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{number}, namespace: default}}
spec:
  hosts: [s{number}.test]
  http:
  - match: [{{headers: {{end-user: {{exact: {header}}}}}}}]
    route: [{{destination: {{host: s{number}.test}}}}]
  - route: [{{destination: {{host: s{number}.test}}}}]
"
    )
}

/// A mesh, and what sets it going.
struct Mesh {
    shared: Arc<Shared>,
    now: Arc<MeshSnapshot>,
    objects: Vec<Arc<Object>>,
}

impl Mesh {
    fn new() -> Self {
        let options = Options { mesh: Arc::new(MeshConfig::default()), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) };
        let shared = Arc::new(Shared::new(options));
        let now = shared.mesh.borrow().clone();
        let mut mesh = Self { shared, now, objects: vec![] };
        let text: Vec<String> = (0..SERVICES).flat_map(|number| [service(number, "10.2.0.1"), rule(number, "jason")]).collect();
        mesh.change(&text.join("---\n"));
        mesh
    }

    /// Objects that come, or take the place of those of their names.
    fn change(&mut self, text: &str) {
        let mut changes = vec![];
        for new in objects(text) {
            let old = self.objects.iter().position(|known| known.key() == new.key());
            let old = old.map(|index| self.objects.swap_remove(index));
            self.objects.push(new.clone());
            changes.push(ObjectChange { old, new: Some(new) });
        }
        self.now = Arc::new(self.now.update(&changes, None, &[]));
    }

    async fn follower(&self, address: &str, labels: &[(&str, &str)]) -> Follower {
        self.able_follower(address, labels, Abilities::default()).await
    }

    async fn able_follower(&self, address: &str, labels: &[(&str, &str)], abilities: Abilities) -> Follower {
        let mut follower = Follower {
            following: Following::new(proxy(address, labels), Some(proxy(address, labels).labels), abilities, &self.now, &self.shared),
            server: Server::new(Protocol::Delta),
        };
        follower.follow(self).await;
        follower
    }
}

fn proxy(address: &str, labels: &[(&str, &str)]) -> Proxy {
    Proxy {
        id: Proxy::make_id(ProxyKind::Sidecar, address, "a", "default", "cluster.local"),
        kind: ProxyKind::Sidecar,
        name: "a".to_owned(),
        namespace: "default".to_owned(),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        addresses: vec![address.to_owned()],
        locality: String::new(),
        interception: Interception::Redirect,
    }
}

struct Follower {
    following: Following,
    server: Server,
}

impl Follower {
    async fn follow(&mut self, mesh: &Mesh) {
        self.following.follow(&mesh.now, &mut self.server, &mesh.shared).await.expect("it can be translated");
    }

    fn shared_set(&self) -> &Arc<ResourceSet> {
        self.server.target().shared().expect("it lies over its class's")
    }
}

#[tokio::test]
async fn proxies_that_are_alike_share_one_set() {
    let mut mesh = Mesh::new();
    let (mut a, mut b) = (mesh.follower("10.5.0.1", &[("app", "a")]).await, mesh.follower("10.5.0.2", &[("app", "b")]).await);
    assert!(Arc::ptr_eq(a.following.class(), b.following.class()));
    assert!(Arc::ptr_eq(a.shared_set(), b.shared_set()));
    let before = a.shared_set().clone();
    mesh.change(&service(7, "10.2.0.2"));
    a.follow(&mesh).await;
    b.follow(&mesh).await;
    assert!(Arc::ptr_eq(a.shared_set(), b.shared_set()) && !Arc::ptr_eq(a.shared_set(), &before));
    assert_eq!(mesh.shared.classes.len(), 1);

    // A rule that looks at a label tells them apart, and only as long as there is one.
    let selective = rule(7, "jason").replace("match: [{", "match: [{sourceLabels: {app: a}, ");
    mesh.change(&selective);
    a.follow(&mesh).await;
    b.follow(&mesh).await;
    assert!(!Arc::ptr_eq(a.following.class(), b.following.class()));
    assert_eq!(mesh.shared.classes.len(), 2);
    mesh.change(&rule(7, "jason"));
    a.follow(&mesh).await;
    b.follow(&mesh).await;
    assert!(Arc::ptr_eq(a.following.class(), b.following.class()));
    assert_eq!(mesh.shared.classes.len(), 1);
}

#[tokio::test]
async fn a_change_makes_what_depends_on_it() {
    let mut mesh = Mesh::new();
    let mut a = mesh.follower("10.5.0.1", &[]).await;
    let first = a.following.class().work().await;
    assert!(first.clusters >= SERVICES && first.route_lists >= SERVICES && first.listeners == 1, "{first:?}");
    let work = async |mesh: &Mesh, a: &mut Follower| {
        let before = a.following.class().work().await;
        a.follow(mesh).await;
        let after = a.following.class().work().await;
        [
            after.clusters - before.clusters,
            after.assignments - before.assignments,
            after.route_lists - before.route_lists,
            after.listeners - before.listeners,
            after.reviews - before.reviews,
        ]
    };
    mesh.change(&service(7, "10.2.0.2"));
    assert_eq!(work(&mesh, &mut a).await, [0, 1, 0, 0, 1], "an instance is an assignment; the ServiceEntry stands elsewhere, too");
    mesh.change(&service(7, "10.2.0.234"));
    assert_eq!(work(&mesh, &mut a).await, [0, 1, 0, 0, 0], "an instance is an assignment, and nothing else is looked at");
    mesh.change(&rule(7, "other"));
    assert_eq!(work(&mesh, &mut a).await, [0, 0, 1, 0, 1], "a rule is its list of routes");
    mesh.change(&service(SERVICES, "10.2.0.1"));
    assert_eq!(work(&mesh, &mut a).await, [1, 0, 1, 1, 1], "a service is its cluster, its route, and what shares listeners");
}

#[tokio::test]
async fn a_rule_is_one_virtual_host_to_who_takes_them_one_by_one() {
    let mut mesh = Mesh::new();
    let whole = mesh.follower("10.5.0.1", &[]).await;
    let abilities = Abilities { takes_virtual_hosts: true, ..Abilities::default() };
    let mut parted = mesh.able_follower("10.5.0.2", &[], abilities).await;
    assert!(!Arc::ptr_eq(whole.following.class(), parted.following.class()));
    let changed_by = async |mesh: &mut Mesh, parted: &mut Follower, text: &str| {
        let (before, work) = (parted.server.target().clone(), parted.following.class().work().await);
        mesh.change(text);
        parted.follow(mesh).await;
        let changed = parted.server.target().compare(&before);
        let names = |kind| changed.of(kind).iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let now = parted.following.class().work().await;
        let done = (now.route_lists - work.route_lists, now.reviews - work.reviews);
        (names(ResourceType::VirtualHost), names(ResourceType::Route), done)
    };
    let one = || vec!["80/".to_owned(), "80/s7.test:80".to_owned()];
    assert_eq!(changed_by(&mut mesh, &mut parted, &rule(7, "other")).await, (one(), vec![], (1, 0)), "nothing else is looked at");
    assert_eq!(changed_by(&mut mesh, &mut parted, &rule(7, "other")).await, (vec![], vec![], (0, 0)));
    // One that leads elsewhere, or says nothing any more, is no other case to who gets it.
    let elsewhere = rule(7, "other").replace("destination: {host: s7.test}", "destination: {host: s8.test}");
    assert_eq!(changed_by(&mut mesh, &mut parted, &elsewhere).await, (one(), vec![], (1, 1)));
    let nothing = rule(7, "other").replace("hosts: [s7.test]", "hosts: [s7.test]\n  gateways: [some]");
    assert_eq!(changed_by(&mut mesh, &mut parted, &nothing).await, (one(), vec![], (1, 1)), "the service's own route");
    // A host for any name stands in the route configuration.
    let any = rule(7, "other").replace("hosts: [s7.test]", "hosts: ['*.any.test']");
    assert_eq!(changed_by(&mut mesh, &mut parted, &any).await, (vec!["80/".to_owned()], vec!["80".to_owned()], (1, 1)));
}

#[tokio::test]
async fn who_has_a_patch_for_routes_takes_them_whole() {
    let mut mesh = Mesh::new();
    let abilities = Abilities { takes_virtual_hosts: true, ..Abilities::default() };
    let mut parted = mesh.able_follower("10.5.0.1", &[], abilities).await;
    let hosts = |follower: &Follower| follower.server.target().of(ResourceType::VirtualHost).count();
    let before = hosts(&parted);
    assert!(before > 1);
    let filter = |apply_to: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {{name: f, namespace: istio-system}}, spec: {{configPatches: [\
             {{applyTo: {apply_to}, match: {{context: SIDECAR_OUTBOUND}}, patch: {{operation: MERGE, value: {{response_headers_to_remove: [x]}}}}}}]}}}}"
        )
    };
    mesh.change(&filter("VIRTUAL_HOST"));
    parted.follow(&mesh).await;
    assert_eq!(hosts(&parted), 0);
    let table = parted.server.target().get(ResourceType::Route, "80").expect("the table").body.unpack::<RouteConfiguration>().unwrap();
    assert!(table.vhds.is_none() && table.virtual_hosts.iter().all(|host| host.response_headers_to_remove == ["x"]));
    mesh.change(&filter("LISTENER"));
    parted.follow(&mesh).await;
    assert_eq!(hosts(&parted), before);
}

/// The patches of a filter, whose own listeners it may change or not.
fn patching(context: &str, timeout: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {{name: f, namespace: istio-system}}, spec: {{configPatches: [\
         {{applyTo: CLUSTER, match: {{context: {context}, cluster: {{service: s7.test}}}}, patch: {{operation: MERGE, value: \
         {{connect_timeout: {timeout}}}}}}}]}}}}"
    )
}

#[tokio::test]
async fn an_envoy_filter_makes_anew_what_it_selects_and_nothing_of_anybodys_own() {
    let mut mesh = Mesh::new();
    let mut a = mesh.follower("10.5.0.1", &[]).await;
    mesh.change(&patching("SIDECAR_OUTBOUND", "1s"));
    a.follow(&mesh).await;
    let (own, target, work) = (a.following.own_made, a.server.target().clone(), a.following.class().work().await);
    mesh.change(&patching("SIDECAR_OUTBOUND", "2s"));
    a.follow(&mesh).await;
    let now = a.following.class().work().await;
    let changed = a.server.target().compare(&target);
    let names: Vec<&str> = ResourceType::ALL.iter().flat_map(|kind| changed.of(*kind)).map(|name| &**name).collect();
    assert_eq!((names, now.patched - work.patched), (vec!["outbound|80||s7.test"], 1));
    assert_eq!((now.clusters, now.route_lists, now.listeners), (work.clusters, work.route_lists, work.listeners));
    assert_eq!(a.following.own_made, own, "what comes to its workload it does not concern");
    mesh.change(&patching("SIDECAR_INBOUND", "2s"));
    a.follow(&mesh).await;
    assert_eq!(a.following.own_made, own + 1);
}

/// Whoever a class was made for may be of another one later: those who stay get what is for them.
#[tokio::test]
async fn who_stays_in_a_class_gets_what_is_for_him_when_others_leave() {
    let mut mesh = Mesh::new();
    let mut selected = mesh.follower("10.0.0.1", &[("app", "web")]).await;
    let mut other = mesh.follower("10.0.0.2", &[("app", "b")]).await;
    assert!(Arc::ptr_eq(selected.following.class(), other.following.class()));
    mesh.change(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: default}
spec: {workloadSelector: {labels: {app: web}}, egress: [{hosts: [default/s0.test]}]}
",
    );
    // As when whoever reads the mesh brings each class to it.
    let labels = mesh.shared.classes.labels(&mesh.now);
    let before = other.following.class().clone();
    assert!(before.resources(&mesh.now, &labels).await.is_some_and(|resources| !resources.is_stale));
    selected.follow(&mesh).await;
    other.follow(&mesh).await;
    let clusters = |follower: &Follower| follower.server.target().of(ResourceType::Cluster).count();
    assert!(clusters(&selected) < 20, "{}", clusters(&selected));
    assert!(clusters(&other) >= SERVICES, "{}", clusters(&other));
    // And a class that all leave tells them so.
    drop(selected);
    let (older, labels_of_older) = (mesh.now.clone(), labels);
    mesh.change(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: wide, namespace: default}
spec: {egress: [{hosts: [default/s1.test]}]}
",
    );
    let labels = mesh.shared.classes.labels(&mesh.now);
    assert!(before.resources(&mesh.now, &labels).await.is_some_and(|resources| resources.is_stale));
    assert_eq!(other.following.newer().await.map(|mesh| mesh.version), Some(mesh.now.version));
    // Whoever brings it to an older snapshot, and comes late, takes that back from nobody.
    assert!(before.resources(&older, &labels_of_older).await.is_some_and(|resources| resources.mesh.version == mesh.now.version));
    assert_eq!(other.following.newer().await.map(|mesh| mesh.version), Some(mesh.now.version));
    other.follow(&mesh).await;
    assert!(clusters(&other) < 20, "{}", clusters(&other));
}

/// A snapshot is followed late, in which the proxy is still of a class that all have left since: it keeps what it has until it is told
/// of the newer one, and gets all of that.
#[tokio::test]
async fn who_is_late_is_not_given_what_is_left_of_a_class() {
    let mut mesh = Mesh::new();
    let mut late = mesh.follower("10.0.0.1", &[("app", "a")]).await;
    let (class, had) = (late.following.class().clone(), late.server.target().clone());
    mesh.change(&service(0, "10.2.0.7"));
    let older = mesh.now.clone();
    mesh.change(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: default}
spec: {egress: [{hosts: [default/s1.test]}]}
",
    );
    let labels = mesh.shared.classes.labels(&mesh.now);
    assert!(class.resources(&mesh.now, &labels).await.is_some_and(|resources| resources.is_stale));
    late.following.follow(&older, &mut late.server, &mesh.shared).await.expect("it can be translated");
    assert!(Arc::ptr_eq(late.server.target(), &had));
    assert_eq!(late.following.newer().await.map(|mesh| mesh.version), Some(mesh.now.version));
    late.follow(&mesh).await;
    assert!(late.server.target().of(ResourceType::Cluster).count() < 20);
}

#[tokio::test]
async fn who_missed_snapshots_gets_what_changed_in_all_of_them() {
    let mut mesh = Mesh::new();
    let (mut a, mut b) = (mesh.follower("10.5.0.1", &[]).await, mesh.follower("10.5.0.2", &[]).await);
    for number in 0..4 {
        mesh.change(&service(number, "10.2.0.2"));
        a.follow(&mesh).await;
    }
    let before = b.server.target().clone();
    b.follow(&mesh).await;
    let changed = b.server.target().compare(&before);
    let names: BTreeSet<&str> = changed.of(ResourceType::Endpoint).iter().map(|name| &**name).collect();
    assert_eq!(names, BTreeSet::from(["outbound|80||s0.test", "outbound|80||s1.test", "outbound|80||s2.test", "outbound|80||s3.test"]));
    assert!(b.server.next(Instant::now()).is_none(), "nobody asked yet");
}

/// A policy, of a kind, in a namespace, and for whom it is.
fn policy(kind: &str, namespace: &str, selector: &str, says: &str) -> String {
    format!("apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {{{selector}{says}}}\n")
}

/// What is a sidecar's own is made anew by a policy that is for its workload, or was; all others leave it alone.
#[tokio::test]
async fn a_policy_makes_anew_what_is_of_those_whom_it_selects() {
    let kinds = [
        ("AuthorizationPolicy", ["action: DENY, rules: [{}]", "rules: [{}]"]),
        (
            "RequestAuthentication",
            ["jwtRules: [{issuer: a, jwksUri: 'https://keys.test/a'}]", "jwtRules: [{issuer: b, jwksUri: 'https://keys.test/a'}]"],
        ),
        ("PeerAuthentication", ["mtls: {mode: STRICT}", "mtls: {mode: DISABLE}"]),
    ];
    for (kind, [one, other]) in kinds {
        let mut mesh = Mesh::new();
        let (mut a, mut b) = (mesh.follower("10.5.0.1", &[("app", "a")]).await, mesh.follower("10.5.0.2", &[("app", "b")]).await);
        let (for_a, for_b) = ("selector: {matchLabels: {app: a}}, ", "selector: {matchLabels: {app: b}}, ");
        for (namespace, selector, says, of_a, of_b) in [
            ("other", "", one, 0, 0),
            ("default", for_a, one, 1, 0),
            ("default", for_a, other, 1, 0),
            // From the one to the other.
            ("default", for_b, other, 1, 1),
            ("istio-system", for_b, one, 0, u8::from(kind != "PeerAuthentication")),
            ("default", "", one, 1, 1),
        ] {
            let before = [a.following.own_made, b.following.own_made];
            mesh.change(&policy(kind, namespace, selector, says));
            a.follow(&mesh).await;
            b.follow(&mesh).await;
            let made = [a.following.own_made - before[0], b.following.own_made - before[1]];
            assert_eq!(made, [of_a, usize::from(of_b)], "{kind} of {namespace}: {selector}{says}");
        }
    }
}

/// A rule that leads to a service for its own node brings that among what proxies reach: then their nodes count, and before they do not.
#[tokio::test]
async fn a_rule_that_leads_to_a_service_for_its_own_node_tells_proxies_apart_by_node() {
    let mut mesh = Mesh::new();
    let mut followers = vec![];
    for (address, node) in [("10.0.0.1", "n1"), ("10.0.0.2", "n2")] {
        followers.push(mesh.follower(address, &[("kubernetes.io/hostname", node)]).await);
    }
    mesh.change(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: default}
spec: {egress: [{hosts: [default/s0.test]}]}
---
apiVersion: v1
kind: Service
metadata: {name: near, namespace: default}
spec: {clusterIP: 10.1.0.1, internalTrafficPolicy: Local, ports: [{port: 80, name: http}]}
",
    );
    let rule = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: s0, namespace: default}
spec: {hosts: [s0.test], http: [{route: [{destination: {host: HOST}}]}]}
";
    for (host, alike) in [("s0.test", true), ("near.default.svc.cluster.local", false), ("s0.test", true)] {
        mesh.change(&rule.replace("HOST", host));
        for follower in &mut followers {
            follower.follow(&mesh).await;
        }
        let (one, other) = (&followers[0], &followers[1]);
        assert_eq!(Arc::ptr_eq(one.following.class(), other.following.class()), alike, "{host}");
        let clusters = one.server.target().of(ResourceType::Cluster);
        assert_eq!(clusters.filter(|(name, _)| name.ends_with("|near.default.svc.cluster.local")).count(), usize::from(!alike));
    }
}
