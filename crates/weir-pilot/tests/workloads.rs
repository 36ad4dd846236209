//! Instances that register themselves, and tell whether they are well: what the pilot makes of it, told over a stream.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use tokio::sync::watch;
use weir_ads::{Client, ClientStream, Protocol, Request, stream};
use weir_api::{Source, parse};
use weir_model::{Interception, MeshSnapshot, Proxy, ProxyKind};
use weir_pilot::{Options, Pilot, node};
use weir_registry::Catalog;
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::resource::ResourceType;

const SERVICE: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: shop}}
";
const GROUP: &str = "---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: shop}
spec:
  metadata: {labels: {app: shop}}
  template: {ports: {http: 8080}}
";
const PROBE: &str = "  probe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 5}\n";
const ENTRY: &str = "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: one}
spec: {address: 10.0.0.1, labels: {app: shop}}
";

struct Mesh {
    pilot: Pilot,
    catalog: watch::Sender<Arc<Catalog>>,
    now: watch::Receiver<Arc<MeshSnapshot>>,
}

fn catalog(texts: &[&str]) -> Arc<Catalog> {
    let parsed = parse(&Source::new("mesh.yaml", texts.concat()));
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    Arc::new(Catalog::of(parsed.objects))
}

impl Mesh {
    fn start(texts: &[&str]) -> Self {
        let (catalog, watched) = watch::channel(catalog(texts));
        let options = Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) };
        let pilot = Pilot::start(watched, options);
        Self { now: pilot.mesh(), pilot, catalog }
    }

    /// A sidecar comes; `group` is where it registers itself.
    async fn sidecar(&self, address: &str, group: Option<&str>, protocol: Protocol) -> Sidecar {
        self.named("vm", address, group, protocol).await
    }

    async fn named(&self, name: &str, address: &str, group: Option<&str>, protocol: Protocol) -> Sidecar {
        let proxy = Proxy {
            id: Proxy::make_id(ProxyKind::Sidecar, address, name, "default", "cluster.local"),
            kind: ProxyKind::Sidecar,
            name: name.to_owned(),
            namespace: "default".to_owned(),
            labels: Default::default(),
            addresses: vec![address.to_owned()],
            locality: String::new(),
            interception: Interception::None,
        };
        let mut node = node::introduce(&proxy);
        group.into_iter().for_each(|group| node::register_in(&mut node, group));
        let mut client = Client::new(protocol, node);
        client.want_all(ResourceType::Cluster);
        Sidecar { stream: self.connect(&mut client).await, client }
    }

    async fn connect(&self, client: &mut Client) -> ClientStream {
        let (stream, server) = stream::pair(client.protocol());
        self.pilot.streams().send(server).await.unwrap();
        let requests: Vec<Request> = client.connect();
        for request in requests {
            stream.requests.send(request).await.unwrap();
        }
        stream
    }

    /// Waits until the service has just these instances that take requests.
    async fn has(&mut self, instances: &[&str]) {
        let mesh = self.now.wait_for(|mesh| of_shop(mesh) == instances);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), mesh).await.map(|mesh| mesh.map(|_| ()));
        assert!(waited.is_ok(), "{instances:?} are wanted, there are {:?}", of_shop(&self.pilot.mesh().borrow()));
    }
}

fn of_shop(mesh: &MeshSnapshot) -> Vec<String> {
    let service = mesh.services.all().find(|service| &*service.hostname == "shop.test").unwrap();
    let healthy = mesh.services.endpoints(service).iter().filter(|endpoint| endpoint.is_healthy()).cloned().collect::<Vec<_>>();
    healthy.iter().map(|endpoint| format!("{}:{}", endpoint.address, endpoint.port)).collect()
}

struct Sidecar {
    stream: ClientStream,
    client: Client,
}

impl Sidecar {
    /// Tells how its workload is.
    async fn tell(&mut self, health: Result<(), &str>) {
        let request = self.client.health(&health.map_err(str::to_owned));
        self.stream.requests.send(request).await.unwrap();
    }

    /// Waits until it is told of the cluster by which it probes.
    async fn is_to_probe(&mut self) {
        loop {
            let response = self.stream.responses.recv().await.unwrap();
            let update = self.client.receive(response).unwrap();
            let answer = self.client.answer(&update, &[]);
            self.stream.requests.send(answer).await.unwrap();
            if update.upserts.iter().any(|(name, _)| &**name == "WorkloadProbe") {
                return;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_registers_itself_is_there_until_it_has_been_gone_for_a_while() {
    let mut mesh = Mesh::start(&[SERVICE, GROUP]);
    let one = mesh.sidecar("10.0.0.1", Some("shop"), Protocol::Delta).await;
    mesh.has(&["10.0.0.1:8080"]).await;
    let two = mesh.sidecar("fd00::2", Some("shop"), Protocol::StateOfTheWorld).await;
    mesh.has(&["10.0.0.1:8080", "fd00::2:8080"]).await;
    let entries = || {
        let catalog = mesh.pilot.catalog().borrow().clone();
        catalog.objects().filter(|object| object.source.path == "autoregistered").map(|object| object.meta.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(entries(), ["shop-10.0.0.1", "shop-fd00--2"]);

    let began = tokio::time::Instant::now();
    drop(one);
    mesh.has(&["fd00::2:8080"]).await;
    assert!(began.elapsed().as_secs() == 10, "{:?}", began.elapsed());

    // Who comes back in time was never gone.
    drop(two);
    tokio::time::advance(std::time::Duration::from_secs(9)).await;
    let _two = mesh.sidecar("fd00::2", Some("shop"), Protocol::Delta).await;
    let gone = tokio::time::timeout(std::time::Duration::from_secs(30), mesh.has(&[]));
    assert!(gone.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn entries_go_with_their_group_and_a_missing_group_is_refused() {
    let mut mesh = Mesh::start(&[SERVICE, GROUP]);
    let mut lost = mesh.sidecar("10.0.0.9", Some("shops"), Protocol::Delta).await;
    assert_eq!(lost.stream.responses.recv().await, None, "the stream is closed");
    let _one = mesh.sidecar("10.0.0.1", Some("shop"), Protocol::Delta).await;
    mesh.has(&["10.0.0.1:8080"]).await;
    mesh.catalog.send_replace(catalog(&[SERVICE]));
    mesh.has(&[]).await;
    mesh.catalog.send_replace(catalog(&[SERVICE, &GROUP.replace("8080", "9090")]));
    mesh.has(&["10.0.0.1:9090"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_is_probed_takes_requests_while_its_sidecar_says_so() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let mut mesh = Mesh::start(&[SERVICE, GROUP, PROBE, ENTRY]);
        mesh.has(&[]).await;
        let mut sidecar = mesh.sidecar("10.0.0.1", None, protocol).await;
        sidecar.is_to_probe().await;
        sidecar.tell(Ok(())).await;
        mesh.has(&["10.0.0.1:80"]).await;
        sidecar.tell(Err("it answers 503")).await;
        mesh.has(&[]).await;
        sidecar.tell(Ok(())).await;
        mesh.has(&["10.0.0.1:80"]).await;
        // The same instance under another name: what its sidecar told holds for it, too.
        let renamed = ENTRY.replace("name: one", "name: two").replace("10.0.0.1,", "10.0.0.1, ports: {http: 81},");
        mesh.catalog.send_replace(catalog(&[SERVICE, GROUP, PROBE, &renamed]));
        mesh.has(&["10.0.0.1:81"]).await;
        // Nobody probes any more.
        sidecar.tell(Err("it answers 503")).await;
        mesh.has(&[]).await;
        mesh.catalog.send_replace(catalog(&[SERVICE, GROUP, ENTRY]));
        mesh.has(&["10.0.0.1:80"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_registers_itself_is_probed_as_its_group_says() {
    let mut mesh = Mesh::start(&[SERVICE, GROUP, PROBE]);
    let mut sidecar = mesh.sidecar("10.0.0.1", Some("shop"), Protocol::Delta).await;
    sidecar.is_to_probe().await;
    mesh.has(&[]).await;
    sidecar.tell(Ok(())).await;
    mesh.has(&["10.0.0.1:8080"]).await;
    // The word of another sidecar does not count.
    let mut other = mesh.sidecar("10.0.0.2", None, Protocol::Delta).await;
    other.tell(Err("no")).await;
    sidecar.tell(Ok(())).await;
    mesh.has(&["10.0.0.1:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn health_and_registration_change_the_instances_of_one_service_alone() {
    const OTHER: &str = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: other}\nspec: {hosts: [other.test], \
        resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {app: other}}}\n";
    let mut mesh = Mesh::start(&[SERVICE, GROUP, PROBE, ENTRY, OTHER]);
    let first = mesh.now.borrow().clone();
    let changed = |mesh: &Mesh| {
        let now = mesh.now.borrow().clone();
        assert!(now.changes.only_endpoints(), "{:?}", now.changes);
        let service = |mesh: &MeshSnapshot| mesh.services.of_host("shop.test").unwrap().values().next().unwrap().clone();
        assert!(Arc::ptr_eq(&service(&now), &service(&first)));
        let hosts = now.changes.endpoints.iter().map(|(host, _)| host.to_string());
        (hosts.collect::<Vec<_>>(), now.changes.workloads.len())
    };
    let mut sidecar = mesh.sidecar("10.0.0.1", None, Protocol::Delta).await;
    sidecar.is_to_probe().await;
    sidecar.tell(Ok(())).await;
    mesh.has(&["10.0.0.1:80"]).await;
    assert_eq!(changed(&mesh), (vec!["shop.test".to_owned()], 1));
    let mut other = mesh.sidecar("10.0.0.2", Some("shop"), Protocol::Delta).await;
    other.is_to_probe().await;
    assert_eq!(changed(&mesh), (vec!["shop.test".to_owned()], 1));
    assert_eq!(mesh.now.borrow().changes_since(first.version).endpoints.len(), 1);
}

/// What nobody sees yet may be seen after the next change: it is not forgotten because it changed nothing.
#[tokio::test]
async fn instances_that_are_written_before_their_service_are_there_with_it() {
    let slice = "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.9]}]
";
    let service = "---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{name: http, port: 80}]}
";
    // The same objects each time: what is written anew is another object, and changes something.
    let written = parse(&Source::new("mesh.yaml", format!("{slice}{service}"))).objects;
    let mut mesh = Mesh::start(&[]);
    let mut objects = mesh.pilot.catalog();
    for count in [1, 2] {
        mesh.catalog.send_replace(Arc::new(Catalog::of(written[..count].to_vec())));
        objects.changed().await.unwrap();
    }
    let key = ("shop.default.svc.cluster.local".into(), "default".into());
    let has_instance =
        |mesh: &Arc<MeshSnapshot>| mesh.services.all().any(|service| service.key() == key && mesh.services.endpoints(service).len() == 1);
    let seen = tokio::time::timeout(std::time::Duration::from_secs(20), mesh.now.wait_for(has_instance)).await;
    assert!(seen.is_ok_and(|seen| seen.is_ok()), "the service has no instance");
}

/// Waits until all is done that follows from what was told.
async fn rest() {
    // Time passes only when there is nothing else to do.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}

/// It came back before its first stream was seen to have died; what that told last does not count.
#[tokio::test(start_paused = true)]
async fn of_two_streams_of_one_sidecar_the_newest_tells_how_its_workload_is() {
    let mut mesh = Mesh::start(&[SERVICE, GROUP, PROBE, ENTRY]);
    let mut first = mesh.sidecar("10.0.0.1", None, Protocol::Delta).await;
    first.is_to_probe().await;
    first.tell(Ok(())).await;
    mesh.has(&["10.0.0.1:80"]).await;
    let mut second = mesh.sidecar("10.0.0.1", None, Protocol::Delta).await;
    second.is_to_probe().await;
    rest().await;
    let version = mesh.now.borrow().version;
    second.tell(Err("it answers 503")).await;
    rest().await;
    assert_eq!((of_shop(&mesh.now.borrow()), mesh.now.borrow().version), (vec![], version + 1));
    // What it still had to say is of no use either.
    first.tell(Ok(())).await;
    rest().await;
    assert_eq!((of_shop(&mesh.now.borrow()), mesh.now.borrow().version), (vec![], version + 1));
    drop(first);
    second.tell(Ok(())).await;
    mesh.has(&["10.0.0.1:80"]).await;
}

/// They may see different things; each tells what is new to itself, and not what it told before.
#[tokio::test(start_paused = true)]
async fn two_sidecars_beside_one_workload_do_not_repeat_themselves() {
    let mesh = Mesh::start(&[SERVICE, GROUP, PROBE, ENTRY]);
    let mut sidecars = vec![];
    for name in ["one", "two"] {
        let mut sidecar = mesh.named(name, "10.0.0.1", None, Protocol::Delta).await;
        sidecar.is_to_probe().await;
        sidecars.push(sidecar);
    }
    rest().await;
    let version = mesh.now.borrow().version;
    sidecars[0].tell(Ok(())).await;
    rest().await;
    sidecars[1].tell(Err("it answers 503")).await;
    rest().await;
    assert_eq!((of_shop(&mesh.now.borrow()), mesh.now.borrow().version), (vec![], version + 2));
}

#[tokio::test(start_paused = true)]
async fn a_written_workload_is_not_well_when_its_sidecar_has_been_gone_for_a_while() {
    let mut mesh = Mesh::start(&[SERVICE, GROUP, PROBE, ENTRY]);
    let mut sidecar = mesh.sidecar("10.0.0.1", None, Protocol::Delta).await;
    sidecar.is_to_probe().await;
    sidecar.tell(Ok(())).await;
    mesh.has(&["10.0.0.1:80"]).await;
    drop(sidecar);
    // It is back in time, and goes again before it has anything to tell: the time begins anew.
    tokio::time::sleep(std::time::Duration::from_secs(9)).await;
    let mut sidecar = mesh.sidecar("10.0.0.1", None, Protocol::Delta).await;
    sidecar.is_to_probe().await;
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    assert_eq!(of_shop(&mesh.now.borrow()), ["10.0.0.1:80"]);
    let gone = tokio::time::Instant::now();
    drop(sidecar);
    mesh.has(&[]).await;
    assert_eq!(gone.elapsed().as_secs(), 10);
    // Who comes back later tells anew.
    let mut sidecar = mesh.sidecar("10.0.0.1", None, Protocol::Delta).await;
    sidecar.is_to_probe().await;
    sidecar.tell(Ok(())).await;
    mesh.has(&["10.0.0.1:80"]).await;
}

impl Sidecar {
    /// Takes all that comes in this time. How many instances of the service it is told of, each time that it is told.
    async fn instances_within(&mut self, seconds: u64) -> Vec<usize> {
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(seconds);
        let mut told = vec![];
        while let Ok(response) = tokio::time::timeout_at(end, self.stream.responses.recv()).await {
            let update = self.client.receive(response.unwrap()).unwrap();
            let answer = self.client.answer(&update, &[]);
            self.stream.requests.send(answer).await.unwrap();
            let assignments = update.upserts.iter().filter_map(|(_, body)| body.unpack::<ClusterLoadAssignment>().ok());
            told.extend(
                assignments.map(|assignment| assignment.endpoints.iter().map(|locality| locality.lb_endpoints.len()).sum::<usize>()),
            );
        }
        told
    }
}

/// The sidecars by which the new pilot knows of workloads come back one by one.
#[tokio::test(start_paused = true)]
async fn a_pilot_that_was_started_anew_takes_no_instance_away_before_its_sidecar_could_come_back() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let texts = [SERVICE, GROUP, PROBE, ENTRY];
        let mesh = Mesh::start(&texts);
        let mut follower = mesh.sidecar("10.0.0.9", None, protocol).await;
        let ask = follower.client.want(ResourceType::Endpoint, ["outbound|80||shop.test".into()].into());
        follower.stream.requests.send(ask.unwrap()).await.unwrap();
        let mut sidecars = vec![];
        for (address, group) in [("10.0.0.1", None), ("10.0.0.2", Some("shop")), ("10.0.0.3", Some("shop"))] {
            let mut sidecar = mesh.sidecar(address, group, Protocol::Delta).await;
            sidecar.is_to_probe().await;
            sidecar.tell(Ok(())).await;
            sidecars.push(sidecar);
        }
        assert_eq!(follower.instances_within(5).await.last(), Some(&3));

        drop((mesh, sidecars));
        let mesh = Mesh::start(&texts);
        follower.stream = mesh.connect(&mut follower.client).await;
        assert!(follower.instances_within(3).await.is_empty());
        let mut sidecars = vec![];
        for (address, group) in [("10.0.0.1", None), ("10.0.0.2", Some("shop"))] {
            let mut sidecar = mesh.sidecar(address, group, Protocol::Delta).await;
            sidecar.tell(Ok(())).await;
            sidecars.push(sidecar);
        }
        assert!(follower.instances_within(6).await.is_empty());
        // One has not come back.
        assert_eq!(follower.instances_within(2).await.last(), Some(&2));
        // Who has nothing yet gets what there is, at once.
        let mesh = Mesh::start(&texts);
        let Sidecar { stream: mut new, .. } = mesh.sidecar("10.0.0.9", None, protocol).await;
        assert!(tokio::time::timeout(std::time::Duration::from_secs(1), new.responses.recv()).await.is_ok());
    }
}
