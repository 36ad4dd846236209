//! Virtual hosts that are resources of their own: asked for by the name of their route configuration.

use weir_xds::route::VirtualHost;

use super::changes::check_differences;
use super::*;
use crate::{Manifest, is_among};

/// A route configuration: its name, what stays in it, and its virtual hosts with what they say.
type Table<'t> = (&'t str, &'t str, &'t [(&'t str, &'t str)]);

/// A mesh with one cluster, and route configurations whose virtual hosts come apart.
fn divided(tables: &[Table<'_>]) -> Arc<ResourceSet> {
    let mut set = ResourceSet::default();
    set.insert(ResourceType::Cluster, "a", cluster("a", ""));
    set.insert(ResourceType::Endpoint, "a", endpoints("a"));
    for (name, rest, hosts) in tables {
        let mut manifest = Manifest::default();
        let mut put = |set: &mut ResourceSet, kind, name: &str, resource: Resource| {
            manifest.add(name, &resource.version.to_string());
            set.insert(kind, name, resource);
        };
        let rest = RouteConfiguration { name: (*name).into(), vhost_header: (*rest).into(), ..Default::default() };
        put(&mut set, ResourceType::Route, name, Resource::new(&rest));
        for (host, says) in *hosts {
            let told = VirtualHost { name: (*host).into(), domains: vec![(*says).into()], ..Default::default() };
            put(&mut set, ResourceType::VirtualHost, &format!("{name}/{host}"), Resource::new(&told));
        }
        set.insert(ResourceType::VirtualHost, Manifest::name_of(name), Resource::packed(manifest.pack(name)));
    }
    Arc::new(set)
}

/// A client that asks for these tables, and for their virtual hosts.
fn peer(tables: &[&str]) -> Peer {
    let mut peer = Peer::new(Protocol::Delta);
    let names: BTreeSet<Arc<str>> = tables.iter().map(|name| (*name).into()).collect();
    peer.client.want(ResourceType::Route, names.clone());
    peer.client.want(ResourceType::VirtualHost, names);
    peer.to_server = peer.client.connect();
    peer
}

/// The next response, with what is in it and what it says is gone.
fn next(peer: &mut Peer) -> Option<(ResourceType, Vec<String>, Vec<String>)> {
    let push = peer.server.next(peer.now)?;
    let told = (
        push.kind,
        push.resources.iter().map(|(name, _)| name.to_string()).collect(),
        push.removals.iter().map(ToString::to_string).collect(),
    );
    let update = peer.client.receive(push.into()).expect("a type that was asked for");
    peer.server.receive(&peer.client.answer(&update, &[]));
    Some(told)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

const HOST: ResourceType = ResourceType::VirtualHost;

#[test]
fn they_come_after_what_they_lead_to_and_after_their_table() {
    let mut peer = peer(&["80"]);
    peer.server.set(divided(&[("80", "", &[("b", "1"), ("c", "1")]), ("81", "", &[("d", "1")]), ("80/x", "", &[("e", "1")])]));
    peer.settle();
    assert_eq!(peer.log, ["cluster", "endpoints", "route configuration", "virtual host"]);
    assert_eq!(peer.names(HOST), ["80/", "80/b", "80/c"].map(Into::into).into());
    assert!(peer.server.is_settled());
}

#[test]
fn a_change_is_sent_alone_and_what_is_gone_is_told_with_it() {
    let mut peer = peer(&["80"]);
    peer.server.set(divided(&[("80", "", &[("b", "1"), ("c", "1"), ("d", "1")])]));
    peer.settle();
    peer.server.set(divided(&[("80", "", &[("b", "1"), ("c", "2"), ("d", "1")])]));
    assert_eq!(next(&mut peer), Some((HOST, names(&["80/", "80/c"]), vec![])));
    peer.server.set(divided(&[("80", "", &[("b", "1"), ("c", "3")])]));
    assert_eq!(next(&mut peer), Some((HOST, names(&["80/", "80/c"]), names(&["80/d"]))));
    // What stays in the table goes first, and what they are together is told with whatever else is.
    peer.server.set(divided(&[("80", "x-other", &[("b", "1"), ("c", "4")])]));
    assert_eq!(next(&mut peer), Some((ResourceType::Route, names(&["80"]), vec![])));
    assert_eq!(next(&mut peer), Some((HOST, names(&["80/", "80/c"]), vec![])));
    assert_eq!(next(&mut peer), None);
    assert!(peer.server.is_settled());
}

#[test]
fn they_wait_for_a_table_that_cannot_be_sent_yet() {
    let mut peer = peer(&["80"]);
    peer.server.set(divided(&[("80", "", &[("b", "1")])]));
    peer.settle();
    peer.server.set(divided(&[("80", "x-1", &[("b", "1")])]));
    let unanswered = peer.server.next(peer.now).expect("the table");
    assert_eq!(peer.server.next(peer.now).map(|push| push.kind), Some(HOST));
    peer.server.set(divided(&[("80", "x-2", &[("b", "2")])]));
    assert_eq!(peer.server.next(peer.now), None);
    let update = peer.client.receive(unanswered.into()).expect("it was asked for");
    peer.server.receive(&peer.client.answer(&update, &[]));
    assert_eq!(peer.server.next(peer.now).map(|push| push.kind), Some(ResourceType::Route));
}

#[test]
fn who_asks_no_more_for_a_table_hears_no_more_of_its_hosts() {
    let mut peer = peer(&["80", "81"]);
    let set = |says: &str| divided(&[("80", "", &[("b", says)]), ("81", "", &[("c", says)])]);
    peer.server.set(set("1"));
    peer.settle();
    let let_go = peer.client.want(HOST, BTreeSet::from(["81".into()])).expect("a change");
    peer.server.receive(&let_go);
    peer.server.set(set("2"));
    assert_eq!(next(&mut peer), Some((HOST, names(&["81/", "81/c"]), vec![])));
    assert_eq!(next(&mut peer), None);
    // And again: all of them, though nothing changed.
    let again = peer.client.want(HOST, BTreeSet::from(["80".into(), "81".into()])).expect("a change");
    peer.server.receive(&again);
    assert_eq!(next(&mut peer), Some((HOST, names(&["80/", "80/b"]), vec![])));
    assert_eq!(next(&mut peer), None);
}

#[test]
fn a_table_that_goes_takes_its_hosts_with_it() {
    let mut peer = peer(&["80"]);
    peer.server.set(divided(&[("80", "", &[("b", "1")])]));
    peer.settle();
    peer.server.set(divided(&[]));
    peer.settle();
    assert!(peer.names(HOST).is_empty() && peer.names(ResourceType::Route).is_empty());
}

#[test]
fn a_new_stream_brings_what_changed_meanwhile() {
    let mut peer = peer(&["80"]);
    peer.server.set(divided(&[("80", "", &[("b", "1"), ("c", "1"), ("d", "1")])]));
    peer.settle();
    peer.server = Server::new(Protocol::Delta);
    peer.server.set(divided(&[("80", "", &[("b", "1"), ("c", "2")])]));
    for request in peer.client.connect() {
        peer.server.receive(&request);
    }
    assert_eq!(next(&mut peer), Some((HOST, names(&["80/", "80/c"]), names(&["80/d"]))));
    assert_eq!(next(&mut peer), None);
}

#[test]
fn one_that_is_under_way_to_who_asks_again_is_told_to_be_gone() {
    let mut peer = peer(&["80"]);
    peer.server.set(divided(&[("80", "", &[])]));
    peer.settle();
    peer.server.set(divided(&[("80", "", &[("b", "1")])]));
    let under_way = peer.server.next(peer.now).expect("the host");
    for tables in [BTreeSet::new(), BTreeSet::from(["80".into()])] {
        let request = peer.client.want(HOST, tables).expect("a change");
        peer.server.receive(&request);
    }
    peer.server.set(divided(&[("80", "", &[])]));
    let update = peer.client.receive(under_way.into()).expect("it asks for it");
    assert_eq!(update.upserts.len(), 2);
    peer.server.receive(&peer.client.answer(&update, &[]));
    assert_eq!(next(&mut peer), Some((HOST, names(&["80/"]), names(&["80/b"]))));
    assert_eq!(next(&mut peer), None);
}

#[test]
fn one_that_is_under_way_to_who_asks_for_a_table_of_that_name_is_told_to_be_gone() {
    let mut peer = peer(&["80"]);
    peer.server.set(divided(&[("80", "", &[])]));
    peer.settle();
    peer.server.set(divided(&[("80", "", &[("a", "1")])]));
    let under_way = peer.server.next(peer.now).expect("the host");
    peer.server.set(divided(&[("80", "", &[])]));
    for tables in [BTreeSet::new(), BTreeSet::from(["80/a".into()])] {
        let request = peer.client.want(HOST, tables).expect("a change");
        peer.server.receive(&request);
    }
    let update = peer.client.receive(under_way.into()).expect("it asks for it");
    assert_eq!(update.upserts.len(), 1);
    peer.server.receive(&peer.client.answer(&update, &[]));
    assert_eq!(next(&mut peer), Some((HOST, vec![], names(&["80/a"]))));
}

#[test]
fn one_that_is_refused_is_not_sent_again_until_it_changes() {
    let mut peer = peer(&["80"]);
    peer.server.set(divided(&[("80", "", &[("b", "1")])]));
    peer.settle();
    peer.server.set(divided(&[("80", "", &[("b", "2")])]));
    let update = peer.client.receive(peer.server.next(peer.now).expect("the host").into()).expect("it was asked for");
    let event = peer.server.receive(&peer.client.answer(&update, &[("80/b".into(), "no".into())]));
    assert_eq!(event, Event::Refused(HOST, "80/b: no".into()));
    assert_eq!(next(&mut peer), None);
    peer.server.set(divided(&[("80", "", &[("b", "3")])]));
    assert_eq!(next(&mut peer), Some((HOST, names(&["80/", "80/b"]), vec![])));
}

#[test]
fn one_that_was_let_go_before_its_refusal_came_is_not_refused_for_ever() {
    let mut peer = peer(&["80"]);
    peer.server.set(divided(&[("80", "", &[("b", "1")])]));
    peer.settle();
    peer.server.set(divided(&[("80", "", &[("b", "2")])]));
    let update = peer.client.receive(peer.server.next(peer.now).expect("the host").into()).expect("it was asked for");
    let let_go = peer.client.want(HOST, BTreeSet::new()).expect("it is let go");
    peer.server.receive(&let_go);
    peer.server.receive(&peer.client.answer(&update, &[("80/b".into(), "no".into())]));
    assert!(!peer.server.is_refused(HOST), "clusters would be kept for it");
}

#[test]
fn the_other_protocol_has_no_words_for_them() {
    let mut server = Server::new(Protocol::StateOfTheWorld);
    server.set(divided(&[("80", "", &[("b", "1")])]));
    let mut client = Client::new(Protocol::StateOfTheWorld, Node::default());
    client.want(HOST, BTreeSet::from(["80".into()]));
    for request in client.connect() {
        assert_eq!(server.receive(&request), Event::Passed);
    }
    assert_eq!(server.next(Instant::now()), None);
}

#[derive(Debug, Clone)]
enum Step {
    /// These virtual hosts change, or go.
    Change(Vec<(usize, Option<u8>)>),
    /// The client asks for these tables, and no others.
    Ask(Vec<&'static str>),
    /// So many messages arrive.
    Messages(usize),
    /// The stream breaks, and another server takes over.
    Reconnect,
}

/// The virtual hosts that there may be. What would be a host of one table is the name of another.
const HOSTS: [(&str, &str); 6] = [("80", "a"), ("80", "b"), ("80", "c"), ("81", "a"), ("81", "b"), ("80/a", "b")];
const TABLES: [&str; 3] = ["80", "81", "80/a"];

fn step() -> impl Strategy<Value = Step> {
    let change = (0..HOSTS.len(), prop::option::weighted(0.7, 0u8..3));
    prop_oneof![
        4 => prop::collection::vec(change, 1..4).prop_map(Step::Change),
        2 => prop::sample::subsequence(TABLES.to_vec(), 0..=3).prop_map(Step::Ask),
        4 => (0usize..6).prop_map(Step::Messages),
        1 => Just(Step::Reconnect),
    ]
}

fn mesh_of(says: &BTreeMap<(&'static str, &'static str), String>, is_shared: bool) -> Arc<ResourceSet> {
    let hosts =
        TABLES.map(|table| says.iter().filter(|((of, _), _)| *of == table).map(|((_, host), says)| (*host, says.as_str())).collect());
    let [first, second, third]: [Vec<(&str, &str)>; 3] = hosts;
    let set = divided(&[(TABLES[0], "", &first), (TABLES[1], "", &second), (TABLES[2], "", &third)]);
    if is_shared { Arc::new(ResourceSet::over(set)) } else { set }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Whatever changes, and whatever a client asks for meanwhile, it ends with the virtual hosts of its tables.
    #[test]
    fn a_client_ends_with_the_hosts_of_what_it_asks_for(is_shared in any::<bool>(), steps in prop::collection::vec(step(), 1..24)) {
        let (mut peer, mut says, mut wanted) = (peer(&["80"]), BTreeMap::new(), BTreeSet::from(["80".into()]));
        peer.server.set(mesh_of(&says, is_shared));
        for step in steps {
            match step {
                Step::Change(changes) => {
                    for (host, now) in changes {
                        match now {
                            Some(now) => drop(says.insert(HOSTS[host], now.to_string())),
                            None => drop(says.remove(&HOSTS[host])),
                        }
                    }
                    peer.server.set(mesh_of(&says, is_shared));
                }
                Step::Ask(tables) => {
                    wanted = tables.into_iter().map(Into::into).collect();
                    peer.has.retain(|(kind, name), _| *kind != HOST || is_among(&wanted, HOST, name));
                    let request = peer.client.want(HOST, wanted.clone());
                    peer.to_server.extend(request);
                }
                Step::Messages(count) => (0..count).for_each(|_| _ = peer.step()),
                Step::Reconnect => {
                    peer.server = Server::new(Protocol::Delta);
                    peer.server.set(mesh_of(&says, is_shared));
                    peer.to_client.clear();
                    peer.to_server = peer.client.connect();
                }
            }
            check_differences(&peer.server);
        }
        for _ in 0..3 {
            while peer.step() {}
            peer.now += PATIENCE;
        }
        let target = peer.server.target().clone();
        let expected: BTreeMap<_, _> = target.of(HOST).filter(|(name, _)| is_among(&wanted, HOST, name)).map(|(name, host)| (name, &host.body)).collect();
        let has: BTreeMap<_, _> = peer.has.iter().filter(|((kind, _), _)| *kind == HOST).map(|((_, name), body)| (name, body)).collect();
        prop_assert_eq!(has, expected);
        prop_assert!(peer.server.is_settled());
    }
}
