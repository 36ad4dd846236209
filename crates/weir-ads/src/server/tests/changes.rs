//! A server that is told what changed, beside one that begins with the whole.

use super::*;

/// One of few names.
fn name(number: usize) -> &'static str {
    ["a", "b", "c", "d", "e", "f"][number]
}

/// What a mesh has: for each cluster its version, if there is one, and whether its instances come apart.
type Mesh = BTreeMap<&'static str, (u8, bool)>;

fn put(set: &mut ResourceSet, mesh: &Mesh, name: &'static str) {
    let Some((version, by_eds)) = mesh.get(name) else {
        set.remove(ResourceType::Cluster, name);
        return set.remove(ResourceType::Endpoint, name);
    };
    let told = Cluster { name: name.into(), alt_stat_name: version.to_string(), ..Default::default() };
    let told = Resource::new(&told);
    set.insert(ResourceType::Cluster, name, if *by_eds { told.needing_endpoints(name.into()) } else { told });
    set.insert(ResourceType::Endpoint, name, endpoints(name));
}

fn put_routes(set: &mut ResourceSet, mesh: &Mesh) {
    let names: Vec<&str> = mesh.keys().copied().collect();
    set.insert(ResourceType::Route, "80", routes(&names));
}

#[derive(Debug, Clone)]
enum Step {
    /// These clusters change, in the set that is shared or in the client's own.
    Change(Vec<(usize, Option<(u8, bool)>)>),
    /// So many messages arrive.
    Messages(usize),
    /// The stream breaks, and another server takes over.
    Reconnect,
    /// The client lets one cluster's instances go, as when it drops the cluster.
    LetGo(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let change = (0usize..6, prop::option::weighted(0.7, (0u8..3, any::<bool>())));
    prop_oneof![
        4 => prop::collection::vec(change, 1..4).prop_map(Step::Change),
        4 => (0usize..6).prop_map(Step::Messages),
        1 => Just(Step::Reconnect),
        1 => (0usize..6).prop_map(Step::LetGo),
    ]
}

/// What is kept of differences is what a look at everything finds.
pub(super) fn check_differences(server: &Server) {
    for kind in ResourceType::ALL {
        let state = &server.types[slot(kind)];
        let mut fresh = state.with_nothing_decided();
        fresh.names(kind, &server.target).iter().for_each(|(name, there)| fresh.look(kind, server.protocol, name, *there));
        assert_eq!((&state.upserts, &state.removals), (&fresh.upserts, &fresh.removals), "{kind:?}");
    }
}

/// Goes through the steps with a client whose set lies over a shared one or not; the client, and its last set.
fn run(protocol: Protocol, is_shared: bool, steps: Vec<Step>) -> (Peer, Arc<ResourceSet>) {
    let mut peer = Peer::new(protocol);
    let mut mesh = Mesh::new();
    let (mut shared, mut own) = (ResourceSet::default(), ResourceSet::default());
    put_routes(&mut own, &mesh);
    let mut target = Arc::new(own.clone());
    peer.server.set(target.clone());
    for step in steps {
        match step {
            Step::Change(changes) => {
                let mut changed = Names::default();
                for (number, value) in changes {
                    match value {
                        Some(value) => drop(mesh.insert(name(number), value)),
                        None => drop(mesh.remove(name(number))),
                    }
                    // The first ones are the client's own.
                    let set = if is_shared && number > 1 { &mut shared } else { &mut own };
                    put(set, &mesh, name(number));
                    changed.insert(ResourceType::Cluster, name(number).into());
                    changed.insert(ResourceType::Endpoint, name(number).into());
                }
                put_routes(&mut own, &mesh);
                changed.insert(ResourceType::Route, "80".into());
                let whole = if is_shared { own.moved_over(Arc::new(shared.clone())) } else { own.clone() };
                target = Arc::new(whole);
                peer.server.change(target.clone(), &changed);
            }
            Step::Messages(count) => (0..count).for_each(|_| _ = peer.step()),
            Step::Reconnect => {
                peer.server = Server::new(protocol);
                peer.server.set(target.clone());
                peer.to_client.clear();
                peer.to_server = peer.client.connect();
            }
            Step::LetGo(number) => {
                let mut wanted = peer.names(ResourceType::Cluster);
                wanted.remove(name(number));
                let request = peer.client.want(ResourceType::Endpoint, wanted);
                peer.to_server.extend(request);
            }
        }
        check_differences(&peer.server);
    }
    (peer, target)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// However a client got there, it ends with what a new one gets.
    #[test]
    fn told_of_changes_or_of_the_whole_a_client_gets_the_same(
        delta in any::<bool>(),
        is_shared in any::<bool>(),
        steps in prop::collection::vec(step(), 1..24),
    ) {
        let protocol = if delta { Protocol::Delta } else { Protocol::StateOfTheWorld };
        let (mut peer, target) = run(protocol, is_shared, steps);
        // What it let go it asks for again.
        let wanted = peer.names(ResourceType::Cluster);
        let request = peer.client.want(ResourceType::Endpoint, wanted);
        peer.to_server.extend(request);
        let settle = |peer: &mut Peer| {
            for _ in 0..3 {
                while peer.step() {}
                peer.now += PATIENCE;
            }
        };
        settle(&mut peer);
        check_differences(&peer.server);
        let mut fresh = Peer::new(protocol);
        fresh.server.set(target);
        settle(&mut fresh);
        let wanted = fresh.names(ResourceType::Cluster);
        peer.has.retain(|(kind, name), _| *kind != ResourceType::Endpoint || wanted.contains(name));
        prop_assert_eq!(peer.has, fresh.has);
        prop_assert!(peer.server.is_settled() && fresh.server.is_settled());
    }
}

/// What a change costs does not grow with what it does not change.
#[test]
fn only_what_changed_is_looked_at() {
    let names: Vec<String> = (0..2000).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let whole = mesh(&names);
    let mut peer = Peer::new(Protocol::Delta);
    peer.server.set(whole.clone());
    while peer.step() {}
    let mut set = (*whole).clone();
    let moved = ClusterLoadAssignment { cluster_name: "7".into(), endpoints: vec![Default::default()], ..Default::default() };
    set.insert(ResourceType::Endpoint, "7", Resource::new(&moved));
    assert_eq!(set.compare(&whole).of(ResourceType::Endpoint), ["7".into()]);
    peer.server.set(Arc::new(set));
    let push = peer.server.next(peer.now).expect("its instances");
    assert_eq!((push.kind, push.resources.len()), (ResourceType::Endpoint, 1));
}

/// A response of all clusters carries the one that leaves in its last version: the client has that, and not the one before.
#[test]
fn a_cluster_that_leaves_and_comes_back_is_told_as_it_is() {
    let mut peer = Peer::new(Protocol::StateOfTheWorld);
    let set = |says: &[(&str, &str)]| {
        let mut set = ResourceSet::default();
        for (name, alt) in says {
            set.insert(
                ResourceType::Cluster,
                *name,
                Resource::new(&Cluster { name: (*name).into(), alt_stat_name: (*alt).into(), ..Default::default() }),
            );
        }
        set.insert(ResourceType::Route, "80", routes(&[]));
        Arc::new(set)
    };
    peer.server.set(set(&[("f", "1")]));
    while peer.step() {}
    peer.server.set(set(&[("f", "0")]));
    peer.server.set(set(&[("a", "0")]));
    // The routes have no answer yet when the clusters go out: so the one that is gone stands among them.
    let mut changed = ResourceSet::clone(&set(&[("a", "0")]));
    changed.insert(ResourceType::Route, "80", routes(&["a"]));
    peer.server.set(Arc::new(changed));
    peer.pump();
    peer.server.set(set(&[("a", "0"), ("f", "1")]));
    while peer.step() {}
    let f: Cluster = peer.has[&(ResourceType::Cluster, "f".into())].unpack().expect("a cluster");
    assert_eq!(f.alt_stat_name, "1");
}
