//! Listeners whose filters ask for their configurations.

use weir_xds::core::TypedExtensionConfig;

use super::*;

const BUFFER: &str = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer";
const LUA: &str = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua";
const LIMIT: &str = "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

/// A listener whose first HTTP filter asks for its configuration, with more fields of that question.
fn asking(more: Value) -> Value {
    let mut source = json!({"configSource": {"ads": {}}, "typeUrls": [BUFFER]});
    source.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    with_filters(0, json!([{"name": "b", "configDiscovery": source}, {"name": "router", "typedConfig": {"@type": ROUTER}}]))
}

fn with_filters(port: u16, filters: Value) -> Value {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "statPrefix": "p",
        "routeConfig": {"name": "r"},
        "httpFilters": filters,
    });
    let mut listener = listener(port);
    listener["filterChains"][0]["filters"] = json!([{"name": "m", "typedConfig": manager}]);
    listener
}

/// A filter that takes whatever comes.
fn any(name: &str) -> Value {
    json!({"name": name, "configDiscovery": {"configSource": {"ads": {}}, "typeUrls": [BUFFER, LUA, ROUTER]}})
}

fn extension(state: &mut State, config: Value) -> Result<(), ResourceRefusal> {
    extension_of(state, "b", config)
}

fn extension_of(state: &mut State, name: &str, config: Value) -> Result<(), ResourceRefusal> {
    put::<TypedExtensionConfig>(state, ResourceType::Extension, name, json!({"name": name, "typedConfig": config}))
}

fn lua(script: &str) -> Value {
    json!({"@type": LUA, "defaultSourceCode": {"inlineString": script}})
}

fn buffer(bytes: i64) -> Value {
    json!({"@type": BUFFER, "maxRequestBytes": bytes})
}

fn open(state: &State) -> usize {
    state.published.listeners.len()
}

#[tokio::test]
async fn a_listener_comes_into_force_with_what_its_filters_ask_for_and_follows_it() {
    let (mut state, now) = (state(), Instant::now());
    put_listener(&mut state, asking(json!({}))).expect("accepted");
    assert_eq!(state.wanted(ResourceType::Extension), BTreeSet::from(["b".into()]));
    state.build(now);
    state.build(now + PATIENCE);
    assert_eq!(open(&state), 0, "it waits, however long");
    extension(&mut state, buffer(1)).expect("accepted");
    state.build(now);
    assert_eq!(open(&state), 1);
    let first = state.published.listeners[0].listener.clone();
    extension(&mut state, buffer(2)).expect("accepted");
    state.build(now);
    assert!(!Arc::ptr_eq(&first, &state.published.listeners[0].listener));
    // What it does not take is refused, and the last one stays.
    let last = state.published.listeners[0].listener.clone();
    let refusal = extension(&mut state, json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}));
    assert!(refusal.expect_err("another type").reason().contains("type_urls"));
    state.build(now);
    assert!(Arc::ptr_eq(&last, &state.published.listeners[0].listener));
    // Who asks for nothing has nothing to wait for.
    state.take(&Update::of(ResourceType::Listener, vec![], vec!["l".into()]));
    assert!(state.wanted(ResourceType::Extension).is_empty());
}

#[tokio::test]
async fn a_default_is_taken_at_once_or_when_the_rest_was_waited_for() {
    let now = Instant::now();
    for at_once in [true, false] {
        let mut state = state();
        let default = json!({"defaultConfig": buffer(7), "applyDefaultConfigWithoutWarming": at_once});
        put_listener(&mut state, asking(default)).expect("accepted");
        state.build(now);
        assert_eq!(open(&state), usize::from(at_once));
        state.build(now + PATIENCE);
        assert_eq!(open(&state), 1);
        assert!(state.is_settled());
    }
}

#[tokio::test]
async fn a_busy_port_is_no_fault_of_a_configuration_and_is_tried_again() {
    let now = Instant::now();
    for by_default in [false, true] {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut state = state();
        let more = if by_default { json!({"defaultConfig": buffer(7)}) } else { json!({}) };
        let mut busy = asking(more.clone());
        busy["address"]["socketAddress"]["portValue"] = holder.local_addr().expect("an address").port().into();
        put::<XdsListener>(&mut state, ResourceType::Listener, "a", busy).expect("accepted");
        put::<XdsListener>(&mut state, ResourceType::Listener, "b", asking(more)).expect("accepted");
        state.build(now);
        if !by_default {
            extension(&mut state, buffer(1)).expect("the port is no fault of it");
        }
        let now = now + PATIENCE;
        state.build(now);
        assert_eq!(open(&state), 1, "the others go on");
        assert_eq!(state.shut_listeners().keys().map(|name| &**name).collect::<Vec<_>>(), ["a"]);
        assert_eq!(state.deadline(), Some(now + LISTENER_RETRY));
        state.build(now + LISTENER_RETRY);
        assert_eq!(open(&state), 1, "it is still busy");
        drop(holder);
        state.build(now + LISTENER_RETRY * 2);
        assert_eq!(open(&state), 2);
        assert!(state.shut_listeners().is_empty() && state.deadline().is_none());
    }
}

#[tokio::test]
async fn of_two_configurations_the_bad_one_is_refused_though_it_comes_first() {
    let mut state = state();
    let router = json!({"name": "router", "typedConfig": {"@type": ROUTER}});
    put_listener(&mut state, with_filters(0, json!([any("a"), any("b"), router]))).expect("accepted");
    let refusal = extension_of(&mut state, "a", lua("no lua")).expect_err("a script that cannot be loaded");
    assert!(refusal.reason().contains("listener l"), "{refusal:?}");
    extension_of(&mut state, "b", buffer(1)).expect("nothing is wrong with it");
    extension_of(&mut state, "a", lua("")).expect("mended");
    state.build(Instant::now());
    assert_eq!(open(&state), 1);
}

#[tokio::test]
async fn a_filter_before_a_router_that_has_not_come_is_accepted() {
    let mut state = state();
    put_listener(&mut state, with_filters(0, json!([any("b"), any("r")]))).expect("accepted");
    extension(&mut state, lua("no lua")).expect_err("a script that cannot be loaded");
    extension(&mut state, buffer(1)).expect("nothing is wrong with it");
    extension_of(&mut state, "r", json!({"@type": ROUTER})).expect("nothing is wrong with it");
    state.build(Instant::now());
    assert_eq!(open(&state), 1);
}

#[tokio::test]
async fn a_network_filter_is_judged_before_the_last_one_comes() {
    let mut state = state();
    let ask = |name: &str| json!({"name": name, "configDiscovery": {"configSource": {"ads": {}}, "typeUrls": [TCP, LIMIT]}});
    let mut whole = listener(0);
    whole["filterChains"][0]["filters"] = json!([ask("first"), ask("last")]);
    put_listener(&mut state, whole).expect("accepted");
    let tcp = json!({"@type": TCP, "statPrefix": "p", "cluster": "c"});
    extension_of(&mut state, "first", tcp.clone()).expect_err("only the last one takes the connection");
    extension_of(&mut state, "last", tcp).expect("nothing is wrong with it");
    extension_of(&mut state, "first", json!({"@type": LIMIT, "statPrefix": "p", "maxConnections": 1})).expect("mended");
    state.build(Instant::now());
    assert_eq!(open(&state), 1);
}

#[tokio::test]
async fn what_is_refused_for_the_fault_of_something_else_is_accepted_when_that_is_mended() {
    let mut state = state();
    let whole = |script: &str| {
        let others = [json!({"name": "lua", "typedConfig": lua(script)}), json!({"name": "router", "typedConfig": {"@type": ROUTER}})];
        with_filters(0, json!([any("b"), others[0], others[1]]))
    };
    put_listener(&mut state, whole("no lua")).expect("accepted");
    extension(&mut state, buffer(1)).expect_err("the whole cannot be loaded");
    put_listener(&mut state, whole("")).expect("mended");
    assert_eq!(state.accepted_late, ["b".into()]);
    assert_eq!(state.received.of(ResourceType::Extension).len(), 1);
    state.build(Instant::now());
    assert_eq!(open(&state), 1);
    // What was refused does not come back after something newer.
    extension(&mut state, lua("no lua")).expect_err("a script that cannot be loaded");
    extension(&mut state, buffer(1)).expect("it is in force");
    assert!(state.take_refused_extensions().is_empty() && state.extensions.are_whole());
}

#[tokio::test]
async fn all_listeners_take_a_configuration_or_none() {
    let mut state = state();
    put::<XdsListener>(&mut state, ResourceType::Listener, "a", asking(json!({}))).expect("accepted");
    let mut nowhere = asking(json!({}));
    // A local address without its zone can never be opened.
    nowhere["address"]["socketAddress"]["address"] = "fe80::1".into();
    put::<XdsListener>(&mut state, ResourceType::Listener, "z", nowhere).expect("accepted");
    extension(&mut state, buffer(1)).expect_err("the last listener cannot take it");
    state.build(Instant::now());
    assert_eq!(open(&state), 0, "no other has it either");
    let mut mended = asking(json!({}));
    mended["address"]["socketAddress"]["address"] = "127.0.0.2".into();
    put::<XdsListener>(&mut state, ResourceType::Listener, "z", mended).expect("accepted");
    state.build(Instant::now());
    assert_eq!(open(&state), 2, "what was refused was kept");
}
