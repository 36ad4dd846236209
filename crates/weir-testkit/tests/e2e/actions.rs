//! What routes and clusters may ask for and no resource of Istio's does, given as xDS.

use hyper::{Request, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, http2_cluster};

use crate::support::over_each_data_plane;

over_each_data_plane!(
    the_name_of_the_chosen_instance_becomes_the_host,
    overloads_are_dropped_before_an_instance_is_chosen,
    copies_say_who_sends_them_and_have_the_trailers,
    a_refused_upgrade_is_logged_with_its_cluster,
    localities_without_weights_get_nothing_by_hash,
);

fn get(path: &str) -> Request<Content> {
    Request::get(format!("http://shop.test{path}")).body(Content::default()).unwrap()
}

async fn the_name_of_the_chosen_instance_becomes_the_host(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let with = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut cluster = cluster(name, peer.address());
        change(&mut cluster);
        cluster
    };
    let endpoint = |cluster: &mut Value, field: &str, value: &str| {
        cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"][0]["endpoint"][field] = json!(value);
    };
    let clusters = vec![
        with("unnamed", &|_| {}),
        with("named", &|cluster| endpoint(cluster, "hostname", "own.test")),
        with("found", &|cluster| cluster["type"] = json!("STRICT_DNS")),
    ];
    let route = |name: &str, append: bool| {
        let action = json!({"cluster": name, "autoHostRewrite": true, "appendXForwardedHost": append});
        json!({"match": {"prefix": format!("/{name}/{append}")}, "route": action})
    };
    let routes = ["unnamed", "named", "found"].into_iter().flat_map(|name| [route(name, false), route(name, true)]).collect();
    let address = peer.address().ip().to_string();
    let proxy = LoneProxy::start(plane, &Xds { routes, clusters, ..Xds::default() }).await;
    let cases = [
        ("/unnamed/true", "shop.test", "", ""),
        ("/named/false", "own.test", "shop.test", ""),
        ("/named/true", "own.test", "shop.test", "shop.test"),
        ("/found/true", address.as_str(), "shop.test", "shop.test"),
    ];
    for (path, host, original, forwarded) in cases {
        assert_eq!(proxy.ask(get(path)).await.unwrap().status, 200);
        let asked = peer.asked().await;
        let told = ["host", "x-envoy-original-host", "x-forwarded-host"].map(|name| asked.header(name));
        assert_eq!(told, [host, original, forwarded], "{path}");
    }
}

async fn overloads_are_dropped_before_an_instance_is_chosen(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let mut clusters = vec![cluster("a", peer.address()), cluster("empty", peer.address())];
    clusters[1]["loadAssignment"]["endpoints"] = json!([]);
    for cluster in &mut clusters {
        cluster["loadAssignment"]["policy"] = json!({"dropOverloads": [{"category": "throttle", "dropPercentage": {"numerator": 100}}]});
    }
    let to = |name: &str| json!({"match": {"prefix": format!("/{name}")}, "route": {"cluster": name}});
    let proxy = LoneProxy::start(plane, &Xds { routes: vec![to("a"), to("empty")], clusters, ..Xds::default() }).await;
    for path in ["/a", "/empty"] {
        let told = proxy.ask(get(path)).await.unwrap();
        assert_eq!((told.status, told.text().as_str()), (503, "unconditional drop overload"));
        assert_eq!(told.header("x-envoy-unconditional-drop-overload"), "true");
    }
    let log = proxy.log(2).await;
    assert_eq!(log, ["503 UDO unconditional_drop_overload a", "503 UDO unconditional_drop_overload empty"]);
}

async fn copies_say_who_sends_them_and_have_the_trailers(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_2).await;
    let mut copied = Recorder::start(Version::HTTP_2).await;
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a", "requestMirrorPolicies": [{"cluster": "b"}]}});
    let clusters = vec![http2_cluster("a", peer.address()), http2_cluster("b", copied.address())];
    let virtual_host = json!({"includeRequestAttemptCount": true});
    let proxy = LoneProxy::start(plane, &Xds { virtual_host, routes: vec![route], clusters, ..Xds::default() }).await;
    let content = Content::streamed(&["abc", "def"]).trailing(&[("x-end", "1")]);
    let request = Request::post("http://shop.test/").header("x-forwarded-for", "192.0.2.7").body(content).unwrap();
    assert_eq!(proxy.ask_http2(request).await.unwrap().status, 200);
    let (asked, copy) = (peer.asked().await, copied.asked().await);
    assert_eq!((&asked.body, &asked.trailers), (&copy.body, &copy.trailers));
    assert_eq!(copy.trailers["x-end"], "1");
    assert_eq!(["x-envoy-internal", "x-envoy-attempt-count"].map(|name| copy.header(name)), ["true", "1"]);
    assert_eq!(asked.header("x-forwarded-for"), "192.0.2.7");
    let forwarded = copy.header("x-forwarded-for");
    let own = forwarded.strip_prefix("192.0.2.7,").unwrap_or_default();
    assert!(own.parse::<std::net::IpAddr>().is_ok(), "{forwarded}");
}

async fn a_refused_upgrade_is_logged_with_its_cluster(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let clusters = vec![cluster("a", peer.address())];
    let route = json!({"match": {"prefix": "/to"}, "route": {"cluster": "a"}});
    let proxy = LoneProxy::start(plane, &Xds { routes: vec![route], clusters, ..Xds::default() }).await;
    for (path, status) in [("/to", 403), ("/none", 404)] {
        let mut request = get(path);
        request.headers_mut().insert("connection", "upgrade".parse().unwrap());
        request.headers_mut().insert("upgrade", "other".parse().unwrap());
        assert_eq!(proxy.ask(request).await.unwrap().status, status, "{path}");
    }
    assert_eq!(proxy.log(2).await, ["403 - upgrade_failed a", "404 NR route_not_found -"]);
}

async fn localities_without_weights_get_nothing_by_hash(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let mut clusters = vec![];
    let somewhere = || json!({"region": "r"});
    for (name, weight, locality) in
        [("weighted", json!(1), somewhere()), ("unweighted", Value::Null, somewhere()), ("nowhere", json!(1), Value::Null)]
    {
        let mut cluster = cluster(name, peer.address());
        cluster["lbPolicy"] = json!("MAGLEV");
        cluster["commonLbConfig"] = json!({"localityWeightedLbConfig": {}});
        cluster["loadAssignment"]["endpoints"][0]["loadBalancingWeight"] = weight;
        cluster["loadAssignment"]["endpoints"][0]["locality"] = locality;
        clusters.push(cluster);
    }
    let to = |name: &str| json!({"match": {"prefix": format!("/{name}")}, "route": {"cluster": name}});
    let routes = vec![to("weighted"), to("unweighted"), to("nowhere")];
    let proxy = LoneProxy::start(plane, &Xds { routes, clusters, ..Xds::default() }).await;
    assert_eq!(proxy.ask(get("/weighted")).await.unwrap().status, 200);
    assert_eq!(proxy.ask(get("/unweighted")).await.unwrap().status, 503);
    assert_eq!(proxy.ask(get("/nowhere")).await.unwrap().status, 503);
    let unhealthy = |cluster| format!("503 UH no_healthy_upstream {cluster}");
    assert_eq!(proxy.log(3).await, ["200 - via_upstream weighted".to_owned(), unhealthy("unweighted"), unhealthy("nowhere")]);
}
