//! Virtual hosts that are resources of their own: asked for by the name of their route configuration.

use weir_xds::route::VirtualHost;

use super::*;
use crate::Manifest;

/// A mesh with one cluster, and route configurations whose virtual hosts come apart: of each what stays in it, and the hosts
/// with what they say.
fn divided(tables: &[(&str, &str, &[(&str, &str)])]) -> Arc<ResourceSet> {
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
