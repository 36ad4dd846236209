use serde_json::{Value, json};
use weir_xds::cluster::Cluster as XdsCluster;
use weir_xds::json::from_value;

use weir_xds::route::RouteConfiguration;

use super::*;

mod extensions;

const TCP: &str = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

fn state() -> State {
    State::new("test".into(), 1, Arc::new(Sockets::new(1)))
}

fn put<M: Message + Name + Default>(state: &mut State, kind: ResourceType, name: &str, body: Value) -> Result<(), ResourceRefusal> {
    let body = Any::pack(&from_value::<M>(body).expect("valid"));
    let update = Update::of(kind, vec![(name.into(), body)], vec![]);
    state.take(&update).pop().map_or(Ok(()), |(_, refusal)| Err(refusal))
}

/// Takes a cluster away.
fn remove(state: &mut State, cluster: &str) {
    state.take(&Update::of(ResourceType::Cluster, vec![], vec![cluster.into()]));
}

/// An EDS cluster whose instances are not known yet.
fn waiting_cluster(state: &mut State, name: &str) {
    put::<XdsCluster>(state, ResourceType::Cluster, name, json!({"name": name, "type": "EDS"})).expect("accepted");
}

fn static_cluster(name: &str, instances: std::ops::Range<u8>) -> Value {
    let address = |i: u8| json!({"endpoint": {"address": {"socketAddress": {"address": format!("10.0.0.{i}"), "portValue": 80}}}});
    json!({"name": name, "type": "STATIC", "loadAssignment": {"clusterName": name, "endpoints": [{"lbEndpoints": instances.map(address).collect::<Vec<_>>()}]}})
}

fn routes(state: &mut State, version: u32) {
    routes_to(state, "c", version);
}

fn routes_to(state: &mut State, cluster: &str, version: u32) {
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": cluster}, "name": version.to_string()}]);
    let config = json!({"name": "r", "virtualHosts": [{"name": "h", "domains": ["*"], "routes": routes}]});
    put::<RouteConfiguration>(state, ResourceType::Route, "r", config).expect("accepted");
}

fn listener(port: u16) -> Value {
    let filter = json!({"name": "tcp", "typedConfig": {"@type": TCP, "statPrefix": "p", "cluster": "c"}});
    json!({
        "name": "l",
        "address": {"socketAddress": {"address": "127.0.0.1", "portValue": port}},
        "filterChains": [{"filters": [filter]}],
    })
}

fn put_listener(state: &mut State, listener: Value) -> Result<(), ResourceRefusal> {
    put::<XdsListener>(state, ResourceType::Listener, "l", listener)
}

#[test]
fn patience_does_not_begin_anew_at_each_push() {
    let mut state = state();
    waiting_cluster(&mut state, "c");
    let start = Instant::now();
    for second in 0..5 {
        routes(&mut state, second);
        state.build(start + Duration::from_secs(second.into()));
        assert!(state.published.routes.is_empty(), "{second}");
    }
    state.build(start + PATIENCE);
    let table = state.published.routes.get("r").expect("in force");
    assert!(Arc::ptr_eq(table, &state.routes["r"].newest));
    assert!(state.is_settled());
}

#[test]
fn only_an_address_that_may_open_later_is_worth_trying_again() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = holder.local_addr().expect("an address").port();
    let mut state = state();
    let refusal = put_listener(&mut state, listener(port)).expect_err("taken");
    assert!(refusal.may_pass(), "{refusal:?}");
    let mut wrong = listener(port);
    wrong["filterChains"] = json!([]);
    let refusal = put_listener(&mut state, wrong).expect_err("wrong");
    assert!(!refusal.may_pass(), "{refusal:?}");
    // No address of this machine yet.
    let mut elsewhere = listener(port);
    elsewhere["address"]["socketAddress"]["address"] = "192.0.2.1".into();
    let refusal = put_listener(&mut state, elsewhere).expect_err("not ours");
    assert!(refusal.may_pass(), "{refusal:?}");
    drop(holder);
    let body = Any::pack(&from_value::<XdsListener>(listener(port)).expect("valid"));
    assert_eq!(state.retry_listener(&"l".into(), &body), Ok(()));
}

#[tokio::test]
async fn what_did_not_change_is_the_same_object() {
    let mut state = state();
    let now = Instant::now();
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", static_cluster("c", 1..3)).expect("accepted");
    routes(&mut state, 1);
    let before = state.build(now).expect("something is new");
    assert!(state.build(now).is_none());
    // The same again is no news.
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", static_cluster("c", 1..3)).expect("accepted");
    routes(&mut state, 1);
    assert!(state.build(now).is_none());
    routes(&mut state, 2);
    let after = state.build(now).expect("new routes");
    assert!(!Arc::ptr_eq(&before.routes, &after.routes));
    assert!(Arc::ptr_eq(&before.clusters, &after.clusters) && Arc::ptr_eq(&before.listeners, &after.listeners));
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", static_cluster("c", 1..4)).expect("accepted");
    let more = state.build(now).expect("another instance");
    assert!(Arc::ptr_eq(&after.routes, &more.routes));
    let hosts = |config: &ProxySnapshot| config.clusters["c"].hosts.list.iter().map(|known| known.host.clone()).collect::<Vec<_>>();
    assert!(hosts(&after).iter().zip(hosts(&more)).all(|(one, two)| Arc::ptr_eq(one, &two)));
}

#[tokio::test]
async fn a_name_that_resolves_as_before_is_no_news() {
    let mut state = state();
    let mut cluster = static_cluster("c", 1..2);
    cluster["type"] = "STRICT_DNS".into();
    cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"]["address"] = "a.test".into();
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", cluster).expect("accepted");
    let (now, address) = (Instant::now(), vec![IpAddr::from([10, 0, 0, 1])]);
    state.build(now);
    assert!(!state.clusters["c"].ready);
    state.resolved("a.test", address.clone());
    assert_eq!(state.build(now).expect("known now").clusters["c"].hosts.list.len(), 1);
    state.resolved("a.test", address.clone());
    state.resolved("b.test", address);
    assert!(state.build(now).is_none());
    assert_eq!(state.addresses.keys().collect::<Vec<_>>(), ["a.test"]);
    remove(&mut state, "c");
    state.forget_unwanted();
    assert!(state.addresses.is_empty());
}

#[tokio::test]
async fn a_listener_that_moves_serves_its_old_address_until_the_new_one_is_in_force() {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
    let mut state = state();
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", static_cluster("c", 1..2)).expect("accepted");
    let (first, second) = (free(), free());
    put_listener(&mut state, listener(first)).expect("accepted");
    state.build(Instant::now());
    let open = |state: &State| state.open_listeners().iter().map(|(_, _, address)| address.port()).collect::<Vec<_>>();
    assert_eq!(open(&state), [first]);
    // The cluster behind it is not ready any more.
    waiting_cluster(&mut state, "c");
    put_listener(&mut state, listener(second)).expect("accepted");
    state.build(Instant::now());
    let config = state.published.clone();
    let served = |config: &ProxySnapshot| config.listeners[0].sockets.as_ref().expect("a socket").wanted.port();
    assert_eq!((open(&state), served(&config)), (vec![first], first));
    // And back again: the address is our own.
    put_listener(&mut state, listener(first)).expect("still ours");
    put_listener(&mut state, listener(second)).expect("accepted");
    let assigned = json!({"clusterName": "c"});
    put::<ClusterLoadAssignment>(&mut state, ResourceType::Endpoint, "c", assigned).expect("accepted");
    let config = state.build(Instant::now()).expect("in force");
    assert_eq!((open(&state), served(&config)), (vec![second], second));
}

#[test]
fn what_nothing_names_any_more_is_forgotten() {
    let mut state = state();
    waiting_cluster(&mut state, "c");
    put::<ClusterLoadAssignment>(&mut state, ResourceType::Endpoint, "c", json!({"clusterName": "c"})).expect("accepted");
    routes(&mut state, 1);
    state.secrets.certificate("s");
    remove(&mut state, "c");
    state.forget_unwanted();
    assert!(state.assignments.is_empty() && state.routes.is_empty());
    for kind in [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Route] {
        assert_eq!(state.received.of(kind), vec![], "{}", kind.name());
    }
    assert!(!state.secrets.knows("s"));
}

#[test]
fn many_clusters_get_their_instances_in_one_walk() {
    const MANY: usize = 3000;
    let mut state = state();
    let names: Vec<Arc<str>> = (0..MANY).map(|i| format!("c{i}").into()).collect();
    let clusters = names.iter().map(|name| {
        let cluster = from_value::<XdsCluster>(json!({"name": &**name, "type": "EDS"})).expect("valid");
        (name.clone(), Any::pack(&cluster))
    });
    let started = Instant::now();
    assert!(state.take(&Update::of(ResourceType::Cluster, clusters.collect(), vec![])).is_empty());
    let assigned =
        names.iter().map(|name| (name.clone(), Any::pack(&ClusterLoadAssignment { cluster_name: name.to_string(), ..Default::default() })));
    assert!(state.take(&Update::of(ResourceType::Endpoint, assigned.collect(), vec![])).is_empty());
    assert!(state.clusters.values().all(|state| state.ready));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

/// Whether a cluster is in force.
fn has(state: &State, cluster: &str) -> bool {
    state.published.clusters.contains_key(cluster)
}

#[tokio::test]
async fn a_cluster_that_is_taken_away_stays_until_the_table_in_force_leads_elsewhere() {
    let mut state = state();
    let start = Instant::now();
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "a", static_cluster("a", 1..2)).expect("accepted");
    routes_to(&mut state, "a", 1);
    state.build(start);
    // The server takes the acceptance of the new table for the switch to it.
    waiting_cluster(&mut state, "b");
    routes_to(&mut state, "b", 2);
    remove(&mut state, "a");
    state.build(start);
    state.wants_differ = false;
    assert!(has(&state, "a"), "the table in force leads to it");
    put::<ClusterLoadAssignment>(&mut state, ResourceType::Endpoint, "b", json!({"clusterName": "b"})).expect("accepted");
    state.build(start).expect("the new table is in force");
    assert!(!has(&state, "a") && has(&state, "b"));
    assert!(state.wants_differ, "what the cluster needed is not wanted any more");
    // What a table in force leads to that is not to be replaced goes at once, as in Envoy.
    remove(&mut state, "b");
    state.build(start);
    assert!(!has(&state, "b"));
}

#[tokio::test]
async fn a_cluster_that_is_taken_away_stays_no_longer_than_the_new_table_waits_and_may_come_back() {
    let mut state = state();
    let start = Instant::now();
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "a", static_cluster("a", 1..2)).expect("accepted");
    routes_to(&mut state, "a", 1);
    state.build(start);
    waiting_cluster(&mut state, "b");
    routes_to(&mut state, "b", 2);
    remove(&mut state, "a");
    state.build(start);
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "a", static_cluster("a", 1..2)).expect("accepted");
    state.build(start + PATIENCE);
    assert!(has(&state, "a"), "it is there again");
    waiting_cluster(&mut state, "d");
    routes_to(&mut state, "d", 3);
    remove(&mut state, "b");
    let later = start + PATIENCE;
    state.build(later);
    assert!(has(&state, "b"));
    state.build(later + PATIENCE);
    assert!(!has(&state, "b"));
}

#[tokio::test]
async fn a_cluster_that_is_taken_away_stays_while_the_listener_in_force_leads_to_it() {
    let mut state = state();
    let now = Instant::now();
    let to = |cluster: &str| {
        let mut listener = listener(0);
        listener["filterChains"][0]["filters"][0]["typedConfig"]["cluster"] = cluster.into();
        listener
    };
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "a", static_cluster("a", 1..2)).expect("accepted");
    put_listener(&mut state, to("a")).expect("accepted");
    state.build(now);
    waiting_cluster(&mut state, "b");
    put_listener(&mut state, to("b")).expect("accepted");
    remove(&mut state, "a");
    state.build(now);
    assert!(has(&state, "a"));
    put::<ClusterLoadAssignment>(&mut state, ResourceType::Endpoint, "b", json!({"clusterName": "b"})).expect("accepted");
    state.build(now);
    assert!(!has(&state, "a"));
}

/// A cluster whose instances are the addresses of a name.
fn dns_cluster(name: &str, host: &str) -> Value {
    let mut cluster = static_cluster(name, 1..2);
    cluster["type"] = "STRICT_DNS".into();
    cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"]["address"] = host.into();
    cluster
}

/// The addresses of a cluster's instances, as the workers have them.
fn instances(state: &State, cluster: &str) -> Vec<String> {
    state.published.clusters[cluster].hosts.list.iter().map(|known| known.host.address.to_string()).collect()
}

#[tokio::test]
async fn a_cluster_that_changes_serves_as_it_was_until_its_names_are_resolved() {
    let mut state = state();
    let now = Instant::now();
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", static_cluster("c", 1..2)).expect("accepted");
    let before = state.build(now).expect("new").clusters["c"].clone();
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", dns_cluster("c", "a.test")).expect("accepted");
    assert!(state.build(now).is_none() && !state.is_settled());
    state.resolved("a.test", vec![IpAddr::from([10, 0, 0, 9])]);
    state.build(now).expect("resolved");
    assert_eq!(instances(&state, "c"), ["10.0.0.9:80"]);
    assert!(state.is_settled() && Arc::ptr_eq(&before.stats, &state.published.clusters["c"].stats));
    // Also one that has no address in the end.
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", dns_cluster("c", "b.test")).expect("accepted");
    state.build(now);
    assert_eq!(instances(&state, "c"), ["10.0.0.9:80"]);
    state.resolved("b.test", vec![]);
    state.build(now);
    assert!(instances(&state, "c").is_empty());
}

/// An EDS cluster that is spoken to by TLS, with an authority that comes as a secret.
fn secure_cluster(name: &str, secret: &str) -> Value {
    let validation = json!({"name": secret, "sdsConfig": {"ads": {}}});
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "commonTlsContext": {"validationContextSdsSecretConfig": validation},
    });
    json!({"name": name, "type": "EDS", "transportSocket": {"name": "tls", "typedConfig": tls}})
}

fn assign(state: &mut State, cluster: &str, instance: u8) {
    let endpoints = static_cluster(cluster, instance..instance + 1)["loadAssignment"].clone();
    put::<ClusterLoadAssignment>(state, ResourceType::Endpoint, cluster, endpoints).expect("accepted");
}

#[tokio::test]
async fn a_cluster_that_changes_serves_as_it_was_until_its_secrets_are_there() {
    let mut state = state();
    let start = Instant::now();
    waiting_cluster(&mut state, "c");
    assign(&mut state, "c", 1);
    state.build(start);
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", secure_cluster("c", "s")).expect("accepted");
    let is_secure = |state: &State| state.published.clusters["c"].policy.transports.tls().next().is_some();
    assert!(state.build(start).is_none());
    // Meanwhile its instances are those that there are.
    assign(&mut state, "c", 2);
    state.build(start).expect("another instance");
    assert_eq!((is_secure(&state), instances(&state, "c")), (false, vec!["10.0.0.2:80".to_owned()]));
    let authority = rcgen::generate_simple_self_signed(vec!["ca.test".to_owned()]).expect("a certificate").cert.pem();
    let secret = json!({"name": "s", "validationContext": {"trustedCa": {"inlineString": authority}}});
    put::<Secret>(&mut state, ResourceType::Secret, "s", secret).expect("accepted");
    state.build(start).expect("its secret is there");
    assert_eq!((is_secure(&state), instances(&state, "c")), (true, vec!["10.0.0.2:80".to_owned()]));
}

#[tokio::test]
async fn a_new_cluster_does_not_wait_for_a_secret_that_its_server_does_not_have() {
    let mut state = state();
    for name in ["new", "known"] {
        waiting_cluster(&mut state, name);
        assign(&mut state, name, 1);
        state.build(Instant::now());
    }
    state.take(&Update::of(ResourceType::Cluster, vec![], vec!["new".into()]));
    state.build(Instant::now());
    for name in ["new", "known"] {
        put::<XdsCluster>(&mut state, ResourceType::Cluster, name, secure_cluster(name, "s")).expect("accepted");
        assign(&mut state, name, 1);
    }
    let are_ready = |state: &State| ["new", "known"].map(|name| state.clusters[name].ready);
    assert_eq!(are_ready(&state), [false, false]);
    state.take(&Update::of(ResourceType::Secret, vec![], vec!["s".into()]));
    // What serves already goes on as it is, for a while.
    assert_eq!(are_ready(&state), [true, false]);
}

#[test]
fn of_many_certificates_the_one_that_has_changed_is_loaded_alone() {
    const CERTIFICATES: usize = 100;
    let secret = |number: usize| {
        let name = format!("c{number}");
        let made = rcgen::generate_simple_self_signed(vec![format!("{name}.test")]).expect("a certificate");
        let chain = json!({"inlineString": made.cert.pem()});
        let certificate = json!({"certificateChain": chain, "privateKey": {"inlineString": made.signing_key.serialize_pem()}});
        let secret = from_value::<Secret>(json!({"name": &name, "tlsCertificate": certificate})).expect("valid");
        (Arc::<str>::from(name), Any::pack(&secret))
    };
    let mut state = state();
    let mut all: Vec<_> = (0..CERTIFICATES).map(secret).collect();
    // A server that tells the state of the world tells all of them each time.
    let tell = |state: &mut State, all: &[(Arc<str>, Any)]| {
        assert!(state.take(&Update::of(ResourceType::Secret, all.to_vec(), vec![])).is_empty());
        (0..CERTIFICATES).map(|number| state.secrets.certificate(&format!("c{number}")).get().expect("loaded")).collect::<Vec<_>>()
    };
    let before = tell(&mut state, &all);
    all[7] = secret(7);
    let after = tell(&mut state, &all);
    let loaded = |number: &usize| !Arc::ptr_eq(&before[*number], &after[*number]);
    assert_eq!((0..CERTIFICATES).filter(loaded).collect::<Vec<_>>(), [7]);
}

#[tokio::test]
async fn a_cluster_that_changes_does_not_wait_for_ever() {
    let mut state = state();
    let start = Instant::now();
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", static_cluster("c", 1..2)).expect("accepted");
    state.build(start);
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", secure_cluster("c", "s")).expect("accepted");
    state.build(start);
    assert_eq!(state.deadline(), Some(start + FETCH_TIMEOUT));
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", secure_cluster("c", "t")).expect("accepted");
    assert!(state.build(start + FETCH_TIMEOUT / 2).is_none());
    state.build(start + FETCH_TIMEOUT).expect("it is in force");
    assert!(state.published.clusters["c"].transports.is_waiting() && state.deadline().is_none());
}

#[test]
fn a_cluster_that_was_never_ready_is_replaced_at_once() {
    let mut state = state();
    let now = Instant::now();
    waiting_cluster(&mut state, "c");
    state.build(now);
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", secure_cluster("c", "s")).expect("accepted");
    let config = state.build(now).expect("another one");
    assert!(config.clusters["c"].transports.is_waiting() && state.is_settled());
}

const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

/// A listener with a chain for each of these tables, and one that passes bytes on to `c`.
fn chains(tables: &[&str]) -> Value {
    let mut listener = listener(0);
    let mut chains = vec![listener["filterChains"][0].clone()];
    for table in tables {
        let rds = json!({"routeConfigName": table, "configSource": {"ads": {}}});
        let filters = json!([{"name": "router", "typedConfig": {"@type": ROUTER}}]);
        let manager = json!({"@type": MANAGER, "statPrefix": "p", "rds": rds, "httpFilters": filters});
        let server_names = json!({"serverNames": [format!("{table}.test")]});
        chains.push(json!({"filterChainMatch": server_names, "filters": [{"name": "http", "typedConfig": manager}]}));
    }
    listener["filterChains"] = chains.into();
    listener
}

#[tokio::test]
async fn a_listener_does_not_wait_for_ever_for_one_of_its_tables() {
    let mut state = state();
    let start = Instant::now();
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", static_cluster("c", 1..2)).expect("accepted");
    routes(&mut state, 1);
    put_listener(&mut state, chains(&["r", "missing"])).expect("accepted");
    state.build(start);
    assert!(state.published.listeners.is_empty() && !state.is_settled());
    assert_eq!(state.deadline(), Some(start + PATIENCE));
    state.build(start + PATIENCE).expect("the other chain is served");
    assert!(state.published.listeners.len() == 1 && state.is_settled());
    assert_eq!(state.deadline(), None);
}

#[tokio::test]
async fn a_listener_does_not_wait_for_ever_for_a_cluster_nor_begins_anew_with_each_change() {
    let mut state = state();
    let start = Instant::now();
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", static_cluster("c", 1..2)).expect("accepted");
    put_listener(&mut state, chains(&[])).expect("accepted");
    state.build(start);
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", secure_cluster("c", "s")).expect("accepted");
    let is_newest = |state: &State| state.listeners["l"].is_active();
    for second in 0..5 {
        let mut changed = chains(&[]);
        changed["statPrefix"] = second.to_string().into();
        put_listener(&mut state, changed).expect("accepted");
        state.build(start + Duration::from_secs(second));
        assert!(!is_newest(&state), "{second}");
    }
    state.build(start + PATIENCE);
    assert!(is_newest(&state));
}

#[tokio::test]
async fn a_listener_waits_for_a_table_as_long_as_that_waits_for_its_clusters() {
    let mut state = state();
    let start = Instant::now();
    put_listener(&mut state, chains(&["r"])).expect("accepted");
    state.build(start);
    waiting_cluster(&mut state, "c");
    routes(&mut state, 1);
    let later = start + PATIENCE / 2;
    state.build(later);
    state.build(start + PATIENCE);
    assert!(state.published.listeners.is_empty());
    assert_eq!(state.deadline(), Some(later + PATIENCE), "nothing is to be looked at before");
    state.build(later + PATIENCE);
    assert_eq!(state.published.listeners.len(), 1);
}

#[test]
fn an_open_socket_does_not_become_transparent() {
    let mut state = state();
    put::<XdsCluster>(&mut state, ResourceType::Cluster, "c", static_cluster("c", 1..2)).expect("accepted");
    put_listener(&mut state, listener(0)).expect("accepted");
    let mut other = listener(0);
    other["transparent"] = json!(true);
    let refused = put_listener(&mut state, other).expect_err("its socket is open");
    assert!(refused.reason().contains("whether it is transparent cannot change while it is open"), "{refused:?}");
}
