//! A real client against the server, message by message: order, make before break, refusal, reconnection.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use weir_xds::Any;
use weir_xds::cluster::Cluster;
use weir_xds::core::Node;
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::route::RouteConfiguration;

mod changes;
mod virtual_hosts;

use super::*;
use crate::client::Client;
use crate::resources::Resource;
use crate::stream::Response;

fn cluster(name: &str, alt: &str) -> Resource {
    let cluster = Cluster { name: name.into(), alt_stat_name: alt.into(), ..Default::default() };
    Resource::new(&cluster).needing_endpoints(name.into())
}

fn endpoints(name: &str) -> Resource {
    Resource::new(&ClusterLoadAssignment { cluster_name: name.into(), ..Default::default() })
}

/// A route configuration that leads to clusters: its virtual hosts are named after them.
fn routes(clusters: &[&str]) -> Resource {
    let host = |name: &&str| weir_xds::route::VirtualHost { name: (*name).into(), ..Default::default() };
    Resource::new(&RouteConfiguration { name: "80".into(), virtual_hosts: clusters.iter().map(host).collect(), ..Default::default() })
}

/// A mesh with one route configuration that leads to all of its clusters.
fn mesh(clusters: &[&str]) -> Arc<ResourceSet> {
    let mut set = ResourceSet::default();
    for name in clusters {
        set.insert(ResourceType::Cluster, *name, cluster(name, ""));
        set.insert(ResourceType::Endpoint, *name, endpoints(name));
    }
    set.insert(ResourceType::Route, "80", routes(clusters));
    Arc::new(set)
}

/// A client, what it has, and the messages under way.
struct Peer {
    client: Client,
    server: Server,
    has: BTreeMap<(ResourceType, Arc<str>), Any>,
    to_server: Vec<Request>,
    to_client: Vec<Response>,
    /// The types of the responses that arrived, in order.
    log: Vec<&'static str>,
    /// What it was told that there is none of any more.
    gone: BTreeSet<Arc<str>>,
    /// What the client refuses.
    refuses: BTreeSet<(ResourceType, &'static str)>,
    now: Instant,
}

impl Peer {
    fn new(protocol: Protocol) -> Self {
        let mut client = Client::new(protocol, Node::default());
        client.want_all(ResourceType::Cluster);
        client.want(ResourceType::Route, BTreeSet::from(["80".into()]));
        let to_server = client.connect();
        let server = Server::new(protocol);
        Self {
            client,
            server,
            has: BTreeMap::new(),
            to_server,
            to_client: vec![],
            log: vec![],
            gone: BTreeSet::new(),
            refuses: BTreeSet::new(),
            now: Instant::now(),
        }
    }

    fn pump(&mut self) {
        while let Some(push) = self.server.next(self.now) {
            self.to_client.push(push.into());
        }
    }

    /// Delivers one message; false if none is under way.
    fn step(&mut self) -> bool {
        self.pump();
        if !self.to_server.is_empty() {
            let request = self.to_server.remove(0);
            self.server.receive(&request);
            return true;
        }
        if self.to_client.is_empty() {
            return false;
        }
        let response = self.to_client.remove(0);
        let update = self.client.receive(response).expect("a type that was asked for");
        self.log.push(update.kind.name());
        for name in &update.removals {
            self.has.remove(&(update.kind, name.clone()));
            self.gone.insert(name.clone());
        }
        let refuses = |name: &str| self.refuses.iter().any(|refused| *refused == (update.kind, name));
        let (refused, accepted): (Vec<_>, Vec<_>) = update.upserts.iter().partition(|(name, _)| refuses(name));
        for (name, body) in accepted {
            self.has.insert((update.kind, name.clone()), body.clone());
        }
        let refused: Vec<_> = refused.into_iter().map(|(name, _)| (name.clone(), "no".to_owned())).collect();
        self.to_server.push(self.client.answer(&update, &refused));
        if update.kind == ResourceType::Cluster {
            let clusters = self.names(ResourceType::Cluster);
            self.to_server.extend(self.client.want(ResourceType::Endpoint, clusters));
        }
        true
    }

    fn settle(&mut self) {
        while self.step() {
            self.check();
        }
    }

    fn names(&self, kind: ResourceType) -> BTreeSet<Arc<str>> {
        self.has.keys().filter(|(k, _)| *k == kind).map(|(_, name)| name.clone()).collect()
    }

    /// Whatever the client has routes to, it has the cluster and the instances of.
    fn check(&self) {
        let Some(routes) = self.has.get(&(ResourceType::Route, "80".into())) else { return };
        let routes: RouteConfiguration = routes.unpack().expect("routes");
        for host in routes.virtual_hosts {
            let name: Arc<str> = host.name.into();
            assert!(self.has.contains_key(&(ResourceType::Cluster, name.clone())), "a route to {name} without its cluster");
            assert!(self.has.contains_key(&(ResourceType::Endpoint, name.clone())), "a route to {name} without its instances");
        }
    }
}

#[test]
fn a_cluster_that_changes_is_followed_by_its_instances() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let mut peer = Peer::new(protocol);
        peer.server.set(mesh(&["a", "b"]));
        peer.settle();
        peer.log.clear();
        let mut changed = ResourceSet::clone(&mesh(&["a", "b"]));
        changed.insert(ResourceType::Cluster, "a", cluster("a", "another"));
        peer.server.set(Arc::new(changed));
        peer.settle();
        assert_eq!(peer.log, ["cluster", "endpoints"], "{protocol:?}");
        assert!(peer.server.is_settled());
    }
}

#[test]
fn clusters_come_first_and_go_last() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let mut peer = Peer::new(protocol);
        peer.server.set(mesh(&["a", "b"]));
        peer.settle();
        assert_eq!(peer.log, ["cluster", "endpoints", "route configuration"], "{protocol:?}");

        peer.log.clear();
        peer.server.set(mesh(&["b", "c"]));
        peer.settle();
        assert_eq!(peer.log, ["cluster", "endpoints", "route configuration", "cluster"], "{protocol:?}");
        assert_eq!(peer.names(ResourceType::Cluster), BTreeSet::from(["b".into(), "c".into()]));
        assert!(peer.server.is_settled());
    }
}

#[test]
fn what_did_not_change_is_not_sent() {
    let mut peer = Peer::new(Protocol::Delta);
    peer.server.set(mesh(&["a", "b"]));
    peer.settle();
    peer.server.set(mesh(&["a", "b"]));
    assert_eq!(peer.server.next(peer.now), None);

    let mut set = (*mesh(&["a", "b"])).clone();
    set.insert(ResourceType::Cluster, "b", cluster("b", "changed"));
    peer.server.set(Arc::new(set));
    let Some(Response::Delta(response)) = peer.server.next(peer.now).map(Response::from) else { panic!("a response") };
    assert_eq!(response.resources.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_new_stream_is_sent_only_what_the_client_lacks() {
    let mut peer = Peer::new(Protocol::Delta);
    peer.server.set(mesh(&["a", "b"]));
    peer.settle();
    peer.log.clear();
    peer.server = Server::new(Protocol::Delta);
    peer.server.set(mesh(&["b"]));
    peer.to_server = peer.client.connect();
    peer.settle();
    assert_eq!(peer.log, ["route configuration", "cluster"]);
    assert_eq!(peer.names(ResourceType::Cluster), BTreeSet::from(["b".into()]));
}

#[test]
fn what_was_refused_is_not_sent_again() {
    let mut peer = Peer::new(Protocol::Delta);
    let mut set = ResourceSet::default();
    set.insert(ResourceType::Cluster, "a", cluster("a", ""));
    peer.server.set(Arc::new(set));
    let first = peer.to_server.remove(0);
    assert_eq!(peer.server.receive(&first), Event::Subscribed(ResourceType::Cluster));
    let push = peer.server.next(peer.now).expect("clusters");
    let update = peer.client.receive(push.into()).expect("clusters");
    let answer = peer.client.answer(&update, &[("a".into(), "no such type".into())]);
    assert_eq!(peer.server.receive(&answer), Event::Refused(ResourceType::Cluster, "a: no such type".into()));
    assert_eq!(peer.server.next(peer.now), None);
}

/// Envoy takes nothing of a response that holds a certificate that it refuses, and says nothing of its name.
#[test]
fn certificates_that_were_refused_together_are_sent_one_by_one() {
    let mut set = ResourceSet::default();
    for name in ["bad", "good", "well"] {
        let secret = weir_xds::tls::Secret { name: name.into(), ..Default::default() };
        set.insert(ResourceType::Secret, name, Resource::new(&secret));
    }
    let mut server = Server::new(Protocol::Delta);
    server.set(Arc::new(set));
    let request = |nonce: &str, names: &[&str], refused: bool| {
        Request::Delta(weir_xds::discovery::DeltaDiscoveryRequest {
            type_url: ResourceType::Secret.type_url(),
            response_nonce: nonce.to_owned(),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            error_detail: refused.then(|| weir_xds::Status { message: "the key does not fit".to_owned(), ..Default::default() }),
            ..Default::default()
        })
    };
    server.receive(&request("", &["bad", "good", "well"], false));
    let (mut sent, mut accepted) = (vec![], BTreeSet::new());
    while let Some(push) = server.next(Instant::now()) {
        let names: Vec<String> = push.resources.iter().map(|(name, _)| name.to_string()).collect();
        let refused = names.contains(&"bad".to_owned());
        server.receive(&request(&push.nonce.to_string(), &[], refused));
        if !refused {
            accepted.extend(names.clone());
        }
        sent.push(names);
        assert!(sent.len() < 10, "{sent:?}");
    }
    assert_eq!(sent, [vec!["bad", "good", "well"], vec!["bad"], vec!["good"], vec!["well"]]);
    assert_eq!(accepted, ["good", "well"].map(str::to_owned).into());
    assert!(server.is_refused(ResourceType::Secret) && server.is_settled());
}

#[test]
fn what_was_refused_and_is_gone_is_told_to_a_new_stream() {
    let mut peer = Peer::new(Protocol::Delta);
    peer.refuses.insert((ResourceType::Cluster, "a"));
    peer.server.set(mesh(&["a"]));
    while peer.step() {}
    peer.server = Server::new(Protocol::Delta);
    peer.server.set(mesh(&[]));
    peer.to_server = peer.client.connect();
    while peer.step() {}
    assert_eq!(peer.gone, BTreeSet::from(["a".into()]));
}

#[test]
fn no_cluster_is_taken_away_while_the_routes_elsewhere_are_refused() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let mut peer = Peer::new(protocol);
        peer.server.set(mesh(&["a"]));
        peer.settle();
        peer.refuses.insert((ResourceType::Route, "80"));
        peer.server.set(mesh(&["b"]));
        peer.settle();
        assert_eq!(peer.names(ResourceType::Cluster), BTreeSet::from(["a".into(), "b".into()]), "{protocol:?}");
        assert!(peer.server.is_settled(), "nothing is waited for");
        if protocol == Protocol::Delta {
            // The next server does not take it away either.
            peer.server = Server::new(protocol);
            peer.server.set(mesh(&["b"]));
            peer.to_server = peer.client.connect();
            peer.settle();
            peer.now += PATIENCE;
            peer.settle();
            assert!(peer.names(ResourceType::Cluster).contains("a"));
        }
        peer.refuses.clear();
        peer.server.set(mesh(&["c"]));
        peer.settle();
        assert_eq!(peer.names(ResourceType::Cluster), BTreeSet::from(["c".into()]), "{protocol:?}");
    }
}

#[test]
fn routes_that_were_refused_at_once_keep_no_cluster() {
    let mut peer = Peer::new(Protocol::Delta);
    peer.refuses.insert((ResourceType::Route, "80"));
    peer.server.set(mesh(&["a"]));
    peer.settle();
    peer.server.set(mesh(&["b"]));
    peer.settle();
    assert_eq!(peer.names(ResourceType::Cluster), BTreeSet::from(["b".into()]));
    peer.server = Server::new(Protocol::Delta);
    peer.server.set(mesh(&["c"]));
    peer.to_server = peer.client.connect();
    peer.settle();
    peer.now += PATIENCE;
    peer.settle();
    assert_eq!(peer.names(ResourceType::Cluster), BTreeSet::from(["c".into()]));
}

#[test]
fn a_name_that_there_is_not_is_said_so() {
    let mut server = Server::new(Protocol::Delta);
    server.set(mesh(&["a"]));
    let mut client = Client::new(Protocol::Delta, Node::default());
    client.want(ResourceType::Route, BTreeSet::from(["nowhere".into()]));
    for request in client.connect() {
        server.receive(&request);
    }
    let Some(Response::Delta(response)) = server.next(Instant::now()).map(Response::from) else { panic!("an answer") };
    assert_eq!(response.removed_resources, ["nowhere"]);
}

#[test]
fn routes_do_not_wait_for_ever_for_a_client_that_asks_for_no_instances() {
    let mut server = Server::new(Protocol::Delta);
    server.set(mesh(&["a"]));
    let mut client = Client::new(Protocol::Delta, Node::default());
    client.want_all(ResourceType::Cluster);
    client.want(ResourceType::Route, BTreeSet::from(["80".into()]));
    for request in client.connect() {
        server.receive(&request);
    }
    let now = Instant::now();
    let update = client.receive(server.next(now).expect("clusters").into()).expect("clusters");
    server.receive(&client.answer(&update, &[]));
    assert_eq!(server.next(now), None);
    let deadline = server.deadline(now).expect("a deadline");
    assert_eq!(server.deadline(deadline), None);
    assert!(server.next(deadline).is_some_and(|push| push.kind == ResourceType::Route));
}

/// Takes what is under way, while nothing is checked: the client has routes to what it refused.
fn exchange(peer: &mut Peer) -> Vec<&'static str> {
    peer.log.clear();
    while peer.step() {}
    std::mem::take(&mut peer.log)
}

#[test]
fn a_refused_cluster_makes_routes_wait_once_and_others_are_still_waited_for() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let mut peer = Peer::new(protocol);
        peer.refuses.insert((ResourceType::Cluster, "b"));
        peer.server.set(mesh(&["a", "b"]));
        assert_eq!(exchange(&mut peer), ["cluster", "endpoints"], "{protocol:?}");
        assert!(peer.server.deadline(peer.now).is_some());
        peer.now += PATIENCE;
        assert_eq!(exchange(&mut peer), ["route configuration"], "{protocol:?}");
        assert_eq!(peer.server.deadline(peer.now), None);
        // Another one comes: the routes to it wait for it, and for nothing else.
        peer.now += PATIENCE;
        peer.server.set(mesh(&["a", "b", "c"]));
        assert_eq!(exchange(&mut peer), ["cluster", "endpoints", "route configuration"], "{protocol:?}");
        // And when it is mended it is waited for again.
        peer.refuses.clear();
        let mut mended = ResourceSet::clone(&mesh(&["b", "c"]));
        mended.insert(ResourceType::Cluster, "b", cluster("b", "mended"));
        peer.server.set(Arc::new(mended));
        assert_eq!(exchange(&mut peer), ["cluster", "endpoints", "route configuration", "cluster"], "{protocol:?}");
        peer.check();
    }
}

proptest! {
    /// Whatever changes come, and however the messages interleave, no route is ever without its cluster.
    #[test]
    fn no_route_is_ever_without_its_cluster(
        delta in any::<bool>(),
        changes in prop::collection::vec((prop::sample::subsequence(vec!["a", "b", "c", "d"], 0..4), 0usize..6), 1..12),
    ) {
        let mut peer = Peer::new(if delta { Protocol::Delta } else { Protocol::StateOfTheWorld });
        let mut last = vec![];
        for (clusters, steps) in changes {
            peer.server.set(mesh(&clusters));
            last = clusters;
            for _ in 0..steps {
                peer.step();
                peer.check();
            }
        }
        peer.settle();
        let expected: BTreeSet<Arc<str>> = last.into_iter().map(Arc::from).collect();
        prop_assert_eq!(peer.names(ResourceType::Cluster), expected);
        prop_assert!(peer.server.is_settled());
    }
}

#[test]
fn who_asked_for_nothing_for_a_while_asks_for_what_it_says() {
    let mut peer = Peer::new(Protocol::Delta);
    for clusters in [&[][..], &["b", "d"], &[], &["d"]] {
        peer.server.set(mesh(clusters));
        peer.settle();
        assert!(peer.server.is_settled(), "{clusters:?}");
    }
}
