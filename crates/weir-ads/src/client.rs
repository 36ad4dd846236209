//! The client's side of a stream: what it asks for, what it has, and how it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use weir_xds::Any;
use weir_xds::core::Node;
use weir_xds::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource as WireResource};
use weir_xds::resource::{NAME_TABLE, ResourceType, route_configuration_of};

use crate::resources::{SLOTS, slot};
use crate::stream::{HEALTH, Protocol, Request, Response};

/// gRPC's code for a refusal.
const INVALID_ARGUMENT: i32 = 3;
/// gRPC's code for what is broken.
const INTERNAL: i32 = 13;
/// Stands behind the version of what is in force though something newer has come, which was refused.
const NOT_NEWEST: &str = "?";

/// What a response of the server's changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Which type of resources.
    pub kind: ResourceType,
    /// New or changed resources, by name.
    pub upserts: Vec<(Arc<str>, Any)>,
    /// Names of resources that there are no more.
    pub removals: Vec<Arc<str>>,
    nonce: String,
    versions: Vec<String>,
}

impl Update {
    /// The version of each of [`upserts`](Self::upserts), as the server tells it.
    pub fn versions(&self) -> &[String] {
        &self.versions
    }

    /// A change that no server has to be answered about.
    pub fn of(kind: ResourceType, upserts: Vec<(Arc<str>, Any)>, removals: Vec<Arc<str>>) -> Self {
        let versions = vec![String::new(); upserts.len()];
        Self { kind, upserts, removals, nonce: String::new(), versions }
    }
}

/// A client's state. It outlives its streams: what it has is kept while no server can be reached, and told to
/// the next one.
#[derive(Debug)]
pub struct Client {
    protocol: Protocol,
    node: Node,
    types: [TypeState; SLOTS],
    /// Whether the stream has carried a request yet: only the first one introduces the client.
    introduced: bool,
}

#[derive(Debug, Default)]
struct TypeState {
    all: bool,
    names: BTreeSet<Arc<str>>,
    /// What was accepted, and its version.
    has: BTreeMap<Arc<str>, String>,
    /// What was refused, and its version: when the server no longer sends it, that is told as well.
    refused: BTreeMap<Arc<str>, String>,
    /// The state-of-the-world protocol's version of all that was accepted, and its last nonce.
    version: String,
    nonce: String,
}

impl TypeState {
    fn is_wanted(&self) -> bool {
        self.all || !self.names.is_empty()
    }

    fn wants(&self, kind: ResourceType, name: &str) -> bool {
        self.all || is_among(&self.names, kind, name)
    }

    /// What a server is told that does not know this client. What was refused is told under a version that no server gives, for
    /// by now the server may have something else for it, or nothing: empty where nothing was accepted before.
    fn versions(&self) -> BTreeMap<String, String> {
        let refused = self.refused.keys().map(|name| (name.to_string(), String::new()));
        let has = self.has.iter().map(|(name, version)| {
            let mark = if self.refused.contains_key(name) { NOT_NEWEST } else { "" };
            (name.to_string(), format!("{version}{mark}"))
        });
        refused.chain(has).collect()
    }
}

/// Whether a name is asked for by these: a virtual host is by the name of its route configuration.
pub fn is_among(names: &BTreeSet<Arc<str>>, kind: ResourceType, name: &str) -> bool {
    let by_route_configuration = || route_configuration_of(name).is_some_and(|whole| names.contains(whole));
    names.contains(name) || (kind == ResourceType::VirtualHost && by_route_configuration())
}

impl Client {
    /// A client that introduces itself as `node`.
    pub fn new(protocol: Protocol, node: Node) -> Self {
        Self { protocol, node, types: Default::default(), introduced: false }
    }

    /// Which protocol it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Asks for all resources of a type. To be told once, before the first [`Self::connect`].
    pub fn want_all(&mut self, kind: ResourceType) {
        self.types[slot(kind)].all = true;
    }

    /// The first requests of a new stream: for all that is wanted, telling what it has.
    pub fn connect(&mut self) -> Vec<Request> {
        self.introduced = false;
        let kinds = ResourceType::ALL.into_iter().filter(|kind| self.types[slot(*kind)].is_wanted());
        kinds.collect::<Vec<_>>().into_iter().map(|kind| self.first_request(kind)).collect()
    }

    fn first_request(&mut self, kind: ResourceType) -> Request {
        let node = self.node();
        let state = &mut self.types[slot(kind)];
        state.nonce.clear();
        let names = state.names.iter().map(ToString::to_string);
        match self.protocol {
            Protocol::Delta => Request::Delta(DeltaDiscoveryRequest {
                node,
                type_url: kind.type_url(),
                resource_names_subscribe: if state.all { vec!["*".to_owned()] } else { names.collect() },
                initial_resource_versions: state.versions(),
                ..Default::default()
            }),
            Protocol::StateOfTheWorld => Request::State(DiscoveryRequest {
                node,
                type_url: kind.type_url(),
                version_info: state.version.clone(),
                resource_names: names.collect(),
                ..Default::default()
            }),
        }
    }

    /// Only the first request of a stream carries it.
    fn node(&mut self) -> Option<Node> {
        (!std::mem::replace(&mut self.introduced, true)).then(|| self.node.clone())
    }

    /// Asks for just these names of a type. The request to send, if that is a change.
    pub fn want(&mut self, kind: ResourceType, names: BTreeSet<Arc<str>>) -> Option<Request> {
        let state = &mut self.types[slot(kind)];
        if state.names == names {
            return None;
        }
        let new: Vec<String> = names.difference(&state.names).map(ToString::to_string).collect();
        let gone: Vec<String> = state.names.difference(&names).map(ToString::to_string).collect();
        state.has.retain(|name, _| is_among(&names, kind, name));
        state.refused.retain(|name, _| is_among(&names, kind, name));
        state.names = names;
        let all: Vec<String> = state.names.iter().map(ToString::to_string).collect();
        let (version_info, response_nonce) = (state.version.clone(), state.nonce.clone());
        let (type_url, node) = (kind.type_url(), self.node());
        Some(match self.protocol {
            Protocol::Delta => Request::Delta(DeltaDiscoveryRequest {
                node,
                type_url,
                resource_names_subscribe: new,
                resource_names_unsubscribe: gone,
                ..Default::default()
            }),
            Protocol::StateOfTheWorld => {
                Request::State(DiscoveryRequest { node, type_url, version_info, response_nonce, resource_names: all, ..Default::default() })
            }
        })
    }

    /// Tells how the workload is: why it is not well, or that it is.
    pub fn health(&mut self, health: &Result<(), String>) -> Request {
        let status = |message: &String| weir_xds::Status { code: INTERNAL, message: message.clone(), ..Default::default() };
        let (node, type_url, error_detail) = (self.node(), HEALTH.to_owned(), health.as_ref().err().map(status));
        match self.protocol {
            Protocol::Delta => Request::Delta(DeltaDiscoveryRequest { node, type_url, error_detail, ..Default::default() }),
            Protocol::StateOfTheWorld => Request::State(DiscoveryRequest { node, type_url, error_detail, ..Default::default() }),
        }
    }

    /// Takes a response of the server's; `None` for a type that was never asked for.
    pub fn receive(&mut self, response: Response) -> Option<Update> {
        match response {
            Response::Delta(response) => self.receive_delta(response),
            Response::State(response) => self.receive_state(response),
        }
    }

    fn receive_delta(&mut self, response: DeltaDiscoveryResponse) -> Option<Update> {
        let kind = ResourceType::from_type_url(&response.type_url)?;
        let state = &self.types[slot(kind)];
        let resources = response.resources.into_iter().filter_map(|resource| Some((resource.name, resource.version, resource.resource?)));
        let wanted = resources.filter(|(name, ..)| state.wants(kind, name));
        let (upserts, versions) = wanted.map(|(name, version, body)| ((name.as_str().into(), body), version)).unzip();
        let removals = response.removed_resources.iter().map(|name| name.as_str().into()).collect();
        Some(Update { kind, upserts, removals, nonce: response.nonce, versions })
    }

    fn receive_state(&mut self, response: DiscoveryResponse) -> Option<Update> {
        let kind = ResourceType::from_type_url(&response.type_url)?;
        let state = &self.types[slot(kind)];
        let named = response.resources.into_iter().filter_map(|body| {
            let body = unwrap(body)?;
            // A name table has no name in it.
            let name = if kind == ResourceType::NameTable { NAME_TABLE.to_owned() } else { Named::decode(body.value.clone()).ok()?.name };
            Some((Arc::from(name), body))
        });
        let upserts: Vec<(Arc<str>, Any)> = named.filter(|(name, _)| state.all || state.names.contains(name)).collect();
        let whole = matches!(kind, ResourceType::Cluster | ResourceType::Listener);
        let sent: BTreeSet<&Arc<str>> = upserts.iter().map(|(name, _)| name).collect();
        let known: BTreeSet<&Arc<str>> = state.has.keys().chain(state.refused.keys()).collect();
        let removals = known.into_iter().filter(|name| whole && !sent.contains(name)).cloned().collect();
        let versions = vec![response.version_info; upserts.len().max(1)];
        Some(Update { kind, upserts, removals, nonce: response.nonce, versions })
    }

    /// The answer to an update: which of its resources were refused, and why. All others count as accepted.
    pub fn answer(&mut self, update: &Update, refused: &[(Arc<str>, String)]) -> Request {
        let node = self.node();
        let state = &mut self.types[slot(update.kind)];
        for name in &update.removals {
            state.has.remove(name);
            state.refused.remove(name);
        }
        let bad: BTreeSet<&Arc<str>> = refused.iter().map(|(name, _)| name).collect();
        for ((name, _), version) in update.upserts.iter().zip(&update.versions) {
            if bad.contains(name) {
                state.refused.insert(name.clone(), version.clone());
            } else {
                state.refused.remove(name);
                state.has.insert(name.clone(), version.clone());
            }
        }
        state.nonce.clone_from(&update.nonce);
        if let Some(version) = update.versions.first().filter(|_| refused.is_empty()) {
            state.version.clone_from(version);
        }
        let reasons: Vec<String> = refused.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
        let error_detail =
            (!refused.is_empty()).then(|| weir_xds::Status { code: INVALID_ARGUMENT, message: reasons.join("; "), ..Default::default() });
        let (type_url, response_nonce) = (update.kind.type_url(), update.nonce.clone());
        match self.protocol {
            Protocol::Delta => Request::Delta(DeltaDiscoveryRequest { node, type_url, response_nonce, error_detail, ..Default::default() }),
            Protocol::StateOfTheWorld => Request::State(DiscoveryRequest {
                node,
                type_url,
                version_info: state.version.clone(),
                response_nonce,
                error_detail,
                resource_names: state.names.iter().map(ToString::to_string).collect(),
                ..Default::default()
            }),
        }
    }

    /// What was refused has been accepted after all.
    pub fn accepted_late(&mut self, kind: ResourceType, name: &str) {
        let state = &mut self.types[slot(kind)];
        if let Some((name, version)) = state.refused.remove_entry(name) {
            state.has.insert(name, version);
        }
    }
}

/// The name of any resource: all types have it as their first field.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// A resource may come in a wrapper that tells its name and version.
fn unwrap(body: Any) -> Option<Any> {
    if body.is::<WireResource>() { body.unpack::<WireResource>().ok()?.resource } else { Some(body) }
}

#[cfg(test)]
mod tests {
    use weir_xds::cluster::Cluster;

    use super::*;

    #[test]
    fn what_was_refused_is_told_as_gone_when_the_server_no_longer_sends_it() {
        let mut client = Client::new(Protocol::StateOfTheWorld, Node::default());
        client.want_all(ResourceType::Cluster);
        let sends = |names: &[&str]| {
            let clusters = names.iter().map(|name| Any::pack(&Cluster { name: (*name).to_owned(), ..Default::default() }));
            let type_url = ResourceType::Cluster.type_url();
            Response::State(DiscoveryResponse { type_url, resources: clusters.collect(), ..Default::default() })
        };
        let first = client.receive(sends(&["good", "bad"])).expect("asked for");
        client.answer(&first, &[("bad".into(), "wrong".to_owned())]);
        let second = client.receive(sends(&["good"])).expect("asked for");
        assert_eq!(second.removals, ["bad".into()]);
        client.answer(&second, &[]);
        assert_eq!(client.receive(sends(&["good"])).expect("asked for").removals, Vec::<Arc<str>>::new());
    }

    #[test]
    fn what_was_refused_is_told_to_the_next_server_until_it_is_accepted() {
        let mut client = Client::new(Protocol::Delta, Node::default());
        client.want_all(ResourceType::Cluster);
        let take = |client: &mut Client, version: &str, refused: &[&str]| {
            let sent = |name: &str| WireResource {
                name: name.to_owned(),
                version: version.to_owned(),
                resource: Some(Any::pack(&Cluster::default())),
                ..Default::default()
            };
            let type_url = ResourceType::Cluster.type_url();
            let response = DeltaDiscoveryResponse { type_url, resources: vec![sent("a"), sent("b")], ..Default::default() };
            let update = client.receive(Response::Delta(response)).expect("asked for");
            let refused: Vec<_> = refused.iter().map(|name| (Arc::from(*name), "no".to_owned())).collect();
            client.answer(&update, &refused);
        };
        let told = |client: &mut Client| {
            let Some(Request::Delta(first)) = client.connect().pop() else { panic!("a first request") };
            let mut told: Vec<_> = first.initial_resource_versions.into_iter().collect();
            told.sort();
            told
        };
        let of = |a: &str, b: &str| vec![("a".to_owned(), a.to_owned()), ("b".to_owned(), b.to_owned())];
        take(&mut client, "1", &["b"]);
        assert_eq!(told(&mut client), of("1", ""));
        take(&mut client, "2", &["a", "b"]);
        assert_eq!(told(&mut client), of("1?", ""));
        client.accepted_late(ResourceType::Cluster, "b");
        assert_eq!(told(&mut client), of("1?", "2"));
        take(&mut client, "3", &[]);
        assert_eq!(told(&mut client), of("3", "3"));
    }
}
