//! A change equals a rebuild: after any changes, what a proxy gets is what a fresh start would give it, whatever it and
//! others got before.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use weir_ads::{Manifest, Resource, Version};
use weir_api::ObjectKey;
use weir_translate::{Translation, name_table, translate_exchanging_metadata};
use weir_xds::resource::{NAME_TABLE, route_configuration_of};
use weir_xds::route::{RouteConfiguration, VirtualHost};
use weir_xds::{Message, Name};

use super::*;

/// So many sequences of about twenty changes, unless `WEIR_SEQUENCES` says otherwise.
const SEQUENCES: u32 = 24;

type Set = BTreeMap<(ResourceType, String), Version>;

fn add<M: Message + Name>(set: &mut Set, kind: ResourceType, messages: &[M], name: impl Fn(&M) -> &String) {
    set.extend(messages.iter().map(|message| ((kind, name(message).clone()), Resource::new(message).version)));
}

/// What a proxy would get if all began now, and what would be said.
fn rebuilt(objects: &BTreeMap<ObjectKey, Arc<Object>>, following: &Following) -> (Set, Vec<String>) {
    let objects: Vec<Arc<Object>> = objects.values().cloned().collect();
    let mesh = MeshSnapshot::new(&objects, Arc::new(MeshConfig::default()), "cluster.local");
    let mut proxy = following.proxy.clone();
    take_labels(&mut proxy, following.came_with.as_ref(), &mesh);
    let Translation { listeners, routes, clusters, endpoints, secrets, extensions, findings } =
        translate_exchanging_metadata(&mesh, &proxy);
    let mut set = Set::new();
    add(&mut set, ResourceType::Listener, &listeners, |listener| &listener.name);
    add(&mut set, ResourceType::Route, &routes, |routes| &routes.name);
    add(&mut set, ResourceType::Cluster, &clusters, |cluster| &cluster.name);
    add(&mut set, ResourceType::Endpoint, &endpoints, |endpoints| &endpoints.cluster_name);
    add(&mut set, ResourceType::Secret, &secrets, |secret| &secret.name);
    add(&mut set, ResourceType::Extension, &extensions, |config| &config.name);
    set.insert((ResourceType::NameTable, NAME_TABLE.to_owned()), Resource::new(&name_table(&mesh, &proxy)).version);
    (set, findings.iter().map(ToString::to_string).collect())
}

/// The address of the proxy that gets route configurations whole.
const WHOLE: &str = "10.0.0.4";

fn target(server: &Server) -> Set {
    let of = |kind| server.target().of(kind).map(move |(name, resource)| ((kind, name.to_string()), resource.version));
    let mut set: Set = ResourceType::ALL.into_iter().filter(|kind| *kind != ResourceType::VirtualHost).flat_map(of).collect();
    put_together(server.target(), &mut set);
    set
}

type Part<'p> = (&'p Arc<str>, &'p Arc<Resource>);

/// Puts route configurations in the set as they would be if their virtual hosts had stayed in them, and checks that their
/// manifests are of their parts.
fn put_together(target: &ResourceSet, set: &mut Set) {
    let mut hosts: BTreeMap<String, Vec<Part<'_>>> = BTreeMap::new();
    let all = target.of(ResourceType::VirtualHost);
    for (name, resource) in all.filter(|(name, _)| !name.ends_with('/')) {
        let whole = route_configuration_of(name).expect("one of a route configuration");
        hosts.entry(whole.to_owned()).or_default().push((name, resource));
    }
    for (name, resource) in target.of(ResourceType::Route) {
        let mut config: RouteConfiguration = resource.body.unpack().unwrap();
        let parts = hosts.remove(&**name).unwrap_or_default();
        let Some(manifest) = target.get(ResourceType::VirtualHost, &Manifest::name_of(name)) else {
            assert!(config.vhds.is_none() && parts.is_empty());
            continue;
        };
        assert!(config.vhds.take().is_some() && config.metadata.take().is_some());
        let mut expected = Manifest::default();
        parts.iter().chain(&[(name, resource)]).for_each(|(name, part)| expected.add(name, &part.version.to_string()));
        assert_eq!(Manifest::read(&manifest.body), Some(expected));
        let rest = config.virtual_hosts.pop_if(|last| last.domains == ["*"] && !last.name.contains(':'));
        config.virtual_hosts.extend(parts.iter().map(|(_, host)| host.body.unpack::<VirtualHost>().unwrap()));
        config.virtual_hosts.sort_by(|a, b| a.name.cmp(&b.name));
        config.virtual_hosts.extend(rest);
        set.insert((ResourceType::Route, name.to_string()), Resource::new(&config).version);
    }
    assert!(hosts.is_empty(), "{:?} belong to nothing", hosts.keys());
}

fn proxies() -> Vec<Proxy> {
    let sidecar = |namespace: &str, address: &str, interception, labels: &[(&str, &str)]| {
        let id = Proxy::make_id(ProxyKind::Sidecar, address, "w1", namespace, "cluster.local");
        Proxy { id, name: "w1".to_owned(), namespace: namespace.to_owned(), interception, ..proxy(address, labels) }
    };
    let labels = [("istio", "ingressgateway"), ("app", "web")];
    let gateway = Proxy {
        id: "router~10.0.0.9~gw.istio-system~istio-system.svc.cluster.local".to_owned(),
        kind: ProxyKind::Router,
        ..sidecar("istio-system", "10.0.0.2", Interception::None, &labels)
    };
    vec![
        sidecar("x", "10.0.0.1", Interception::Redirect, &[("app", "web"), ("version", "v1")]),
        sidecar("x", "10.0.0.2", Interception::None, &[("app", "a"), ("version", "v2")]),
        sidecar("y", "10.0.0.3", Interception::Redirect, &[("app", "other")]),
        sidecar("x", WHOLE, Interception::Redirect, &[("app", "web"), ("version", "v1")]),
        gateway,
    ]
}

/// Objects that come, or go if they are there, and which proxies hear of it at once.
#[derive(Debug, Clone)]
struct Step {
    objects: Vec<prop::sample::Index>,
    listening: Vec<bool>,
    /// One leaves, and comes again.
    again: Option<prop::sample::Index>,
}

fn step() -> impl Strategy<Value = Step> {
    let objects = prop::collection::vec(any::<prop::sample::Index>(), 1..4);
    let listening = prop::collection::vec(any::<bool>(), proxies().len());
    (objects, listening, prop::option::weighted(0.1, any::<prop::sample::Index>())).prop_map(|(objects, listening, again)| Step {
        objects,
        listening,
        again,
    })
}

/// A mesh of the pool's objects, and the proxies that follow it.
struct Driven {
    shared: Arc<Shared>,
    objects: BTreeMap<ObjectKey, Arc<Object>>,
    mesh: Arc<MeshSnapshot>,
    followers: Vec<Follower>,
}

impl Driven {
    async fn new() -> Self {
        let options = Options { mesh: Arc::new(MeshConfig::default()), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) };
        let shared = Arc::new(Shared::new(options));
        let mesh = shared.mesh.borrow().clone();
        let mut driven = Self { shared, objects: BTreeMap::new(), mesh, followers: vec![] };
        for proxy in proxies() {
            let follower = driven.come(proxy).await;
            driven.followers.push(follower);
        }
        driven
    }

    async fn come(&self, proxy: Proxy) -> Follower {
        let abilities = Abilities {
            runs_commands: true,
            takes_virtual_hosts: proxy.addresses != [WHOLE],
            has_certificates: true,
            answers_dns: true,
            exchanges_metadata: true,
        };
        let following = Following::new(proxy.clone(), Some(proxy.labels), abilities, &self.mesh, &self.shared);
        let mut follower = Follower { following, server: Server::new(Protocol::Delta) };
        self.tell(&mut follower).await;
        follower
    }

    async fn tell(&self, follower: &mut Follower) {
        follower.following.follow(&self.mesh, &mut follower.server, &self.shared).await.expect("it can be translated");
    }

    fn change(&mut self, indices: &[prop::sample::Index]) {
        let mut before: BTreeMap<ObjectKey, Option<Arc<Object>>> = BTreeMap::new();
        for index in indices {
            let object = index.get(pool::objects());
            let known = self.objects.get(&object.key()).cloned();
            match known.as_ref().is_some_and(|known| Arc::ptr_eq(known, object)) {
                true => drop(self.objects.remove(&object.key())),
                false => drop(self.objects.insert(object.key(), object.clone())),
            }
            before.entry(object.key()).or_insert(known);
        }
        let changes: Vec<ObjectChange> =
            before.iter().filter_map(|(key, old)| ObjectChange::between(old.as_ref(), self.objects.get(key))).collect();
        self.mesh = Arc::new(self.mesh.update(&changes, None, &[]));
    }

    async fn go(&mut self, step: Step) {
        self.change(&step.objects);
        let mut followers = std::mem::take(&mut self.followers);
        if let Some(index) = step.again {
            let index = index.index(followers.len());
            let gone = followers.remove(index);
            self.shared.forget_findings(&crate::report::Source::Proxy(gone.following.proxy.id.clone()));
            followers.insert(index, self.come(proxies().remove(index)).await);
        }
        for (follower, _) in followers.iter_mut().zip(&step.listening).filter(|(_, listening)| **listening) {
            self.tell(follower).await;
            let (expected, _) = rebuilt(&self.objects, &follower.following);
            compare(&target(&follower.server), &expected, &follower.following);
        }
        self.followers = followers;
    }

    /// All hear of the newest.
    async fn settle(&mut self) {
        let mut followers = std::mem::take(&mut self.followers);
        let mut said = HashSet::new();
        for follower in &mut followers {
            self.tell(follower).await;
            let (expected, findings) = rebuilt(&self.objects, &follower.following);
            compare(&target(&follower.server), &expected, &follower.following);
            said.extend(findings);
        }
        assert_eq!(*self.shared.classes.labels(&self.mesh), Labels::of(&self.mesh));
        let told: HashSet<String> = self.shared.reporter.all().iter().map(ToString::to_string).collect();
        assert_eq!(told, said);
    }
}

fn compare(got: &Set, expected: &Set, following: &Following) {
    let differs = |key: &&(ResourceType, String)| got.get(*key) != expected.get(*key);
    let differing: Vec<_> = got.keys().chain(expected.keys()).filter(differs).collect();
    assert!(differing.is_empty(), "{}: {differing:?}", following.proxy.id);
}

fn sequences() -> u32 {
    std::env::var("WEIR_SEQUENCES").ok().and_then(|written| written.parse().ok()).unwrap_or(SEQUENCES)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: sequences(), max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn a_change_equals_a_rebuild(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut driven = Driven::new().await;
            for step in steps {
                driven.go(step).await;
            }
            driven.settle().await;
        });
    }
}
