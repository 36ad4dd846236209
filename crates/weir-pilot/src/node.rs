//! How a proxy introduces itself: Istio's conventions for the id and the metadata of an xDS node.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_ads::Protocol;
use weir_model::{Interception, Proxy, canonical, topology};
use weir_xds::core::node::UserAgentVersionType;
use weir_xds::core::{Locality, Node};
use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{Struct, Value};
use weir_xds::values::text;

/// How Weir's proxies call themselves.
pub const AGENT: &str = "weir";

/// The client feature of a proxy that gets virtual hosts as resources of their own, all that there are. Only the delta protocol
/// has words for it.
pub const VHDS: &str = "weir.vhds";

/// The client feature of a proxy of Weir's that has a way to certificates of the mesh.
const CERTIFIED: &str = "weir.certificates";

/// The client feature of a proxy that has the filter by which workloads tell each other of themselves: others refuse it.
const METADATA_EXCHANGE: &str = "weir.metadata-exchange";

/// The client feature of what stands beside a proxy, asks for the names of the mesh on its behalf, and is not the proxy itself.
const COMPANION: &str = "weir.companion";

/// What a proxy can do that not all can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// It checks its workload by a command.
    pub runs_commands: bool,
    /// It takes virtual hosts one by one.
    pub takes_virtual_hosts: bool,
    /// It gets certificates of the mesh: it is Weir's and says so, or has an agent of Istio's beside it, which tells its version and its
    /// ProxyConfig.
    pub has_certificates: bool,
    /// It answers questions of DNS for its workload.
    pub answers_dns: bool,
    /// It tells others of its workload, and hears them.
    pub exchanges_metadata: bool,
}

impl Abilities {
    /// Those of a proxy, by what it says of itself.
    pub fn of(node: &Node, protocol: Protocol) -> Self {
        let can = |wanted: &str| node.client_features.iter().any(|feature| feature == wanted);
        let is_own = node.user_agent_name == AGENT;
        // A version alone is told by many a bootstrap that nobody gives certificates; its ProxyConfig only an agent tells.
        let tells = |metadata: &Struct| [ISTIO_VERSION, PROXY_CONFIG].iter().all(|name| metadata.fields.contains_key(*name));
        let has_agent = node.metadata.as_ref().is_some_and(tells);
        // A bootstrap that was written for an agent makes no proxy of ours have one.
        let has_certificates = if is_own { can(CERTIFIED) } else { has_agent };
        let answers_dns = node.metadata.as_ref().is_some_and(captures_dns);
        Self {
            runs_commands: is_own,
            takes_virtual_hosts: can(VHDS) && protocol == Protocol::Delta,
            has_certificates,
            answers_dns,
            exchanges_metadata: is_own && can(METADATA_EXCHANGE),
        }
    }
}

const NAMESPACE: &str = "NAMESPACE";
const LABELS: &str = "LABELS";
const INSTANCE_IPS: &str = "INSTANCE_IPS";
/// Names the WorkloadGroup of an instance that registers itself.
pub(crate) const AUTO_REGISTER_GROUP: &str = "AUTO_REGISTER_GROUP";
/// A name in Kubernetes is not longer.
const MAX_NAME: usize = 253;
const SERVICE_ACCOUNT: &str = "SERVICE_ACCOUNT";
const INTERCEPTION_MODE: &str = "INTERCEPTION_MODE";
const DNS_CAPTURE: &str = "DNS_CAPTURE";
const NETWORK: &str = "NETWORK";
const NODE_NAME: &str = "NODE_NAME";
const PROXY_CONFIG: &str = "PROXY_CONFIG";
const ISTIO_VERSION: &str = "ISTIO_VERSION";
/// The version of Istio whose resources ours follow.
const FOLLOWED_VERSION: &str = "1.31.0";

/// What a proxy says of itself.
pub fn introduce(proxy: &Proxy) -> Node {
    let labels = Struct { fields: proxy.labels.iter().map(|(name, value)| (name.clone(), text(value))).collect() };
    let fields = [
        (NAMESPACE, text(&proxy.namespace)),
        (LABELS, Value { kind: Some(Kind::StructValue(labels)) }),
        (INSTANCE_IPS, text(proxy.addresses.join(","))),
        (INTERCEPTION_MODE, text(proxy.interception.name())),
    ];
    let metadata = Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() };
    Node {
        id: proxy.id.clone(),
        // What Envoy calls the service cluster, and tells instances and clients: they know the workload by this name.
        cluster: proxy.name.clone(),
        metadata: Some(metadata),
        locality: locality(&proxy.locality),
        user_agent_name: AGENT.to_owned(),
        client_features: [VHDS, METADATA_EXCHANGE].map(str::to_owned).to_vec(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(env!("CARGO_PKG_VERSION").to_owned())),
        ..Default::default()
    }
}

/// What a stock Envoy says of itself that has an agent beside it, which gives it certificates of the mesh.
pub fn introduce_with_agent(proxy: &Proxy) -> Node {
    let mut node = Node { user_agent_name: String::new(), client_features: vec![], user_agent_version_type: None, ..introduce(proxy) };
    let fields = &mut node.metadata.get_or_insert_default().fields;
    fields.insert(ISTIO_VERSION.to_owned(), text(FOLLOWED_VERSION));
    fields.insert(PROXY_CONFIG.to_owned(), Value { kind: Some(Kind::StructValue(Struct::default())) });
    node
}

/// Says that the proxy is Weir's, and what it can do, whoever wrote the node.
pub fn claim(node: &mut Node) {
    AGENT.clone_into(&mut node.user_agent_name);
    for own in [VHDS, METADATA_EXCHANGE] {
        if !node.client_features.iter().any(|feature| feature == own) {
            node.client_features.push(own.to_owned());
        }
    }
}

/// Says that the proxy has a way to certificates of the mesh.
pub fn promise_certificates(node: &mut Node) {
    node.client_features.push(CERTIFIED.to_owned());
}

/// Says which workload the proxy stands beside, as far as the environment that injection has given it does: a pod is one of many that a
/// deployment has.
pub fn describe_workload(node: &mut Node, environment: impl Fn(&str) -> Option<String>) {
    let fields = &mut node.metadata.get_or_insert_default().fields;
    for name in ["WORKLOAD_NAME", "OWNER", "CLUSTER_ID"] {
        if let Some(said) = environment(&format!("ISTIO_META_{name}")).filter(|said| !said.is_empty()) {
            fields.entry(name.to_owned()).or_insert_with(|| text(said));
        }
    }
}

/// Says that the proxy answers questions of DNS for its workload.
pub fn promise_dns(node: &mut Node) {
    node.metadata.get_or_insert_default().fields.insert(DNS_CAPTURE.to_owned(), text("true"));
}

/// Says that this is not the proxy, but who asks for the names of the mesh on its behalf: of a stream of that, nothing is told as of the proxy's.
pub fn accompany(node: &mut Node) {
    node.client_features.push(COMPANION.to_owned());
}

/// Whether that is said.
pub(crate) fn is_companion(node: &Node) -> bool {
    node.client_features.iter().any(|feature| feature == COMPANION)
}

/// Whether that is said: Istio's agents write it as a word. Who says it is told the addresses that services are given, too: what Istio's
/// `DNS_AUTO_ALLOCATE` asks for, it gives to all of them by now.
fn captures_dns(metadata: &Struct) -> bool {
    match metadata.fields.get(DNS_CAPTURE).and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(written)) => written == "true",
        Some(Kind::BoolValue(said)) => *said,
        _ => false,
    }
}

/// The service account that a proxy says it has, if it says any.
pub(crate) fn service_account(node: &Node) -> Option<&str> {
    match &node.metadata.as_ref()?.fields.get(SERVICE_ACCOUNT)?.kind {
        Some(Kind::StringValue(account)) if !account.is_empty() => Some(account),
        _ => None,
    }
}

/// Says that the proxy's instance registers itself in a WorkloadGroup of its namespace.
pub fn register_in(node: &mut Node, group: &str) {
    node.metadata.get_or_insert_default().fields.insert(AUTO_REGISTER_GROUP.to_owned(), text(group));
}

/// The name of the WorkloadEntry that an instance of a group gets which registers itself, and so of its proxy.
pub fn name_of_instance(group: &str, address: &str, network: &str) -> String {
    let network = if network.is_empty() { String::new() } else { format!("-{network}") };
    let name = format!("{group}-{}{network}", address.replace(':', "-"));
    // As Istio does, the end of a long name counts: the address makes it unique.
    let begin = name.char_indices().map(|(at, _)| at).find(|at| name.len() - at <= MAX_NAME).unwrap_or_default();
    name.get(begin..).unwrap_or_default().to_owned()
}

/// How long the proxy lets connections go on whose listener is gone, where Istio's agent has written its ProxyConfig down.
pub fn drain_duration(node: &Node) -> Option<Duration> {
    let Some(Kind::StructValue(config)) = &node.metadata.as_ref()?.fields.get(PROXY_CONFIG)?.kind else { return None };
    let Some(Kind::StringValue(written)) = &config.fields.get("drainDuration")?.kind else { return None };
    let seconds = written.strip_suffix('s')?.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads what a proxy says of itself.
///
/// # Errors
/// If its id is not one of a mesh's proxies, or it claims another namespace than that of its id; says what it should be.
pub fn recognize(node: &Node) -> Result<Proxy, String> {
    let wrong =
        || format!("the node id {:?} is none of a mesh: it should be sidecar|router~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN", node.id);
    let (kind, address, name, namespace) = Proxy::parse_id(&node.id).ok_or_else(wrong)?;
    let field = |name: &str| node.metadata.as_ref()?.fields.get(name)?.kind.as_ref();
    let word = |name: &str| match field(name) {
        Some(Kind::StringValue(text)) if !text.is_empty() => Some(text.as_str()),
        _ => None,
    };
    let mut labels = labels(field(LABELS));
    topology::add_labels(&mut labels, "", word(NETWORK).unwrap_or_default(), word(NODE_NAME).unwrap_or_default());
    if let Some(claimed) = word(NAMESPACE).filter(|claimed| *claimed != namespace) {
        return Err(format!("the node {:?} claims the namespace {claimed:?}, which is not its own", node.id));
    }
    let addresses = word(INSTANCE_IPS).map(|list| list.split(',').map(|address| canonical(address.trim())).collect());
    Ok(Proxy {
        id: node.id.clone(),
        kind,
        name,
        namespace,
        labels,
        addresses: addresses.unwrap_or_else(|| vec![canonical(&address)]),
        locality: node.locality.as_ref().map(written).unwrap_or_default(),
        interception: Interception::of_name(word(INTERCEPTION_MODE)),
    })
}

fn locality(written: &str) -> Option<Locality> {
    let [region, zone, sub_zone] = topology::parts(written).map(str::to_owned);
    (!region.is_empty()).then_some(Locality { region, zone, sub_zone })
}

/// `region/zone/subzone`, as far as it is known.
fn written(locality: &Locality) -> String {
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let known: Vec<&str> = parts.into_iter().map(String::as_str).take_while(|part| !part.is_empty()).collect();
    known.join("/")
}

fn labels(value: Option<&Kind>) -> BTreeMap<String, String> {
    let Some(Kind::StructValue(labels)) = value else { return BTreeMap::new() };
    let read = |(name, value): (&String, &Value)| match &value.kind {
        Some(Kind::StringValue(text)) => Some((name.clone(), text.clone())),
        _ => None,
    };
    labels.fields.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use weir_model::ProxyKind;

    use super::*;

    #[test]
    fn a_proxy_is_recognized_as_it_introduced_itself() {
        let proxy = Proxy {
            id: Proxy::make_id(ProxyKind::Router, "0.0.0.0", "istio-ingressgateway", "istio-system", "cluster.local"),
            kind: ProxyKind::Router,
            name: "istio-ingressgateway".to_owned(),
            namespace: "istio-system".to_owned(),
            labels: [("istio".to_owned(), "ingressgateway".to_owned())].into(),
            addresses: vec!["0.0.0.0".to_owned(), "10.0.0.1".to_owned()],
            locality: "eu/a/1".to_owned(),
            interception: Interception::None,
        };
        assert_eq!(recognize(&introduce(&proxy)), Ok(proxy));
    }

    #[test]
    fn a_proxy_has_certificates_if_it_says_so_or_has_an_agent() {
        let id = "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local".to_owned();
        let plain = introduce(&recognize(&Node { id, ..Default::default() }).unwrap());
        let of = |node: &Node| Abilities::of(node, Protocol::Delta).has_certificates;
        let mut promised = plain.clone();
        promise_certificates(&mut promised);
        let mut with_agent = introduce_with_agent(&recognize(&plain).unwrap());
        assert_eq!([of(&plain), of(&promised), of(&with_agent), of(&Node::default())], [false, true, true, false]);
        let versioned = Struct { fields: [(ISTIO_VERSION.to_owned(), text("1.30.0"))].into() };
        assert!(!of(&Node { metadata: Some(versioned), ..Default::default() }), "whose bootstrap only tells a version");
        claim(&mut with_agent);
        assert!(!of(&with_agent), "the bootstrap of an Envoy with an agent, given to a proxy of ours");
    }

    #[test]
    fn the_environment_says_which_workload_a_pod_is_of() {
        let mut node = Node::default();
        let environment = |name: &str| match name {
            "ISTIO_META_WORKLOAD_NAME" => Some("web".to_owned()),
            "ISTIO_META_OWNER" => Some(String::new()),
            _ => None,
        };
        describe_workload(&mut node, environment);
        describe_workload(&mut node, |_| Some("other".to_owned()));
        let fields = node.metadata.unwrap_or_default().fields;
        assert_eq!(fields.get("WORKLOAD_NAME"), Some(&text("web")), "what it says already stays");
        assert_eq!(fields.get("OWNER"), Some(&text("other")));
    }

    #[test]
    fn only_proxies_of_ours_that_say_so_exchange_metadata() {
        let id = "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local".to_owned();
        let own = introduce(&recognize(&Node { id, ..Default::default() }).unwrap());
        let of = |node: &Node| Abilities::of(node, Protocol::Delta).exchanges_metadata;
        let mut with_agent = introduce_with_agent(&recognize(&own).unwrap());
        // One of ours of a time when there was no such filter, and an Envoy that was given the features of ours.
        let before = Node { client_features: vec![VHDS.to_owned()], ..own.clone() };
        let other = Node { user_agent_name: "envoy".to_owned(), ..own.clone() };
        assert_eq!([of(&own), of(&before), of(&other), of(&with_agent)], [true, false, false, false]);
        claim(&mut with_agent);
        assert!(of(&with_agent));
    }

    #[test]
    fn a_node_says_whether_it_answers_dns() {
        let mut node =
            introduce(&recognize(&Node { id: "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local".into(), ..Default::default() }).unwrap());
        let of = |node: &Node| Abilities::of(node, Protocol::Delta).answers_dns;
        assert!(!of(&node));
        promise_dns(&mut node);
        assert!(of(&node));
    }

    #[test]
    fn a_node_says_where_it_runs_as_far_as_it_knows() {
        let metadata = Struct { fields: [(NETWORK.to_owned(), text("net")), (NODE_NAME.to_owned(), text("n1"))].into() };
        let at = |region: &str, zone: &str, sub_zone: &str| Node {
            id: "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local".to_owned(),
            metadata: Some(metadata.clone()),
            locality: Some(Locality { region: region.to_owned(), zone: zone.to_owned(), sub_zone: sub_zone.to_owned() }),
            ..Default::default()
        };
        for (node, expected) in
            [(at("eu", "a", "1"), "eu/a/1"), (at("eu", "a", ""), "eu/a"), (at("eu", "", ""), "eu"), (at("", "", ""), "")]
        {
            assert_eq!(recognize(&node).unwrap().locality, expected);
        }
        let labels = recognize(&at("", "", "")).unwrap().labels;
        assert_eq!(labels.get(topology::NETWORK).zip(labels.get(topology::NODE)), Some((&"net".to_owned(), &"n1".to_owned())));
    }

    #[test]
    fn the_drain_duration_is_that_of_the_nodes_proxy_config() {
        let of = |written: &str| {
            let config = Struct { fields: [("drainDuration".to_owned(), text(written))].into() };
            let config = Value { kind: Some(Kind::StructValue(config)) };
            let metadata = Struct { fields: [(PROXY_CONFIG.to_owned(), config)].into() };
            drain_duration(&Node { metadata: Some(metadata), ..Default::default() })
        };
        assert_eq!([of("45s"), of("0.5s")], [Some(Duration::from_secs(45)), Some(Duration::from_millis(500))]);
        assert_eq!([of("-1s"), of("soon"), drain_duration(&Node::default())], [None; 3]);
    }

    #[test]
    fn an_address_that_is_written_in_two_ways_is_one() {
        let of = |id: &str, metadata: Option<Struct>| recognize(&Node { id: id.to_owned(), metadata, ..Default::default() }).unwrap();
        let id = "sidecar~FD00:0::1~a.shop~shop.svc.cluster.local";
        assert_eq!((of(id, None).addresses, of(id, None).id), (vec!["fd00::1".to_owned()], id.to_owned()));
        let several = Struct { fields: [(INSTANCE_IPS.to_owned(), text("::ffff:10.0.0.1, FD00::2"))].into() };
        assert_eq!(of(id, Some(several)).addresses, ["10.0.0.1", "fd00::2"]);
    }

    #[test]
    fn a_node_of_another_kind_is_told_what_it_should_be() {
        let error = recognize(&Node { id: "envoy-1".to_owned(), ..Default::default() }).unwrap_err();
        assert!(error.contains("sidecar|router~IP~NAME.NAMESPACE"), "{error}");
    }

    #[test]
    fn a_node_is_of_the_namespace_of_its_id() {
        let claims = |namespace: &str| {
            let metadata = Struct { fields: [(NAMESPACE.to_owned(), text(namespace))].into() };
            let id = "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local".to_owned();
            recognize(&Node { id, metadata: Some(metadata), ..Default::default() }).map(|proxy| proxy.namespace)
        };
        assert_eq!([claims("shop"), claims("")], ["shop", "shop"].map(|known| Ok(known.to_owned())));
        assert!(claims("istio-system").unwrap_err().contains("claims the namespace \"istio-system\""));
    }
}
