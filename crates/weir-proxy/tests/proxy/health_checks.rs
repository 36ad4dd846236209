//! Instances that are asked whether they are well, and left out while they are not. Checks go to a port of their own, so that
//! a test says what becomes of each. When the next check comes, what followed from the last one is in force.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{Proxy, Upstream, Wire, in_time, routes, to};

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// A cluster of one instance, whose checks go to another address.
fn checked(instance: &Upstream, checks: &Upstream, check: Value) -> Value {
    let (address, other) = (instance.address(), checks.address());
    let socket = |ip: std::net::IpAddr, port: u16| json!({"socketAddress": {"address": ip.to_string(), "portValue": port}});
    let endpoint = json!({
        "address": socket(address.ip(), address.port()),
        "healthCheckConfig": {"address": socket(other.ip(), 1), "portValue": other.port(), "hostname": "health.example"},
    });
    let pauses = ["interval", "noTrafficInterval", "unhealthyInterval"].map(|name| (name.to_owned(), json!("0.01s")));
    let mut health_check = json!({"timeout": "10s", "unhealthyThreshold": 2, "healthyThreshold": 2});
    health_check.as_object_mut().unwrap().extend(pauses);
    health_check.as_object_mut().unwrap().extend(check.as_object().unwrap().clone());
    json!({
        "name": "a", "type": "STATIC", "commonLbConfig": {"healthyPanicThreshold": {}}, "healthChecks": [health_check],
        "loadAssignment": {"clusterName": "a", "endpoints": [{"lbEndpoints": [{"endpoint": endpoint}]}]},
    })
}

async fn proxy(instance: &Upstream, checks: &Upstream, check: Value) -> Proxy {
    Proxy::start(routes(json!([to("a")])), &[checked(instance, checks, check)]).await
}

/// Asks, and answers in the instance's place.
async fn is_served(proxy: &Proxy, instance: &Upstream) {
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut request = instance.accept().await;
    request.head().await;
    request.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

/// Asks, and there is no instance for it.
async fn is_left_out(proxy: &Proxy) {
    assert_eq!(answer(proxy).await, "HTTP/1.1 503 Service Unavailable");
}

/// The status of an answer that the proxy gives itself.
async fn answer(proxy: &Proxy) -> String {
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.answer().await.0
}

/// Answers the first check, while the proxy waits for it.
async fn start_with(instance: &Upstream, checks: &Upstream, check: Value, first: &str) -> (Proxy, Wire) {
    let answer = async {
        let mut check = checks.accept().await;
        check.head().await;
        check.say(first).await;
        check
    };
    tokio::join!(proxy(instance, checks, check), answer)
}

#[tokio::test]
async fn an_instance_leaves_at_once_when_it_says_so_and_comes_back_by_the_threshold() {
    let (instance, checks) = (Upstream::start().await, Upstream::start().await);
    let (proxy, mut check) = start_with(&instance, &checks, json!({"httpHealthCheck": {"path": "/healthz"}}), FINE).await;
    assert_eq!(check.head().await, ["GET /healthz HTTP/1.1", "host: health.example", "user-agent: Envoy/HC"]);
    is_served(&proxy, &instance).await;

    check.say(BAD).await;
    check.head().await;
    is_left_out(&proxy).await;

    check.say(FINE).await;
    check.head().await;
    is_left_out(&proxy).await;

    check.say(FINE).await;
    check.head().await;
    is_served(&proxy, &instance).await;
    let log = proxy.stop().await;
    assert!(log[1].starts_with("503 UH"), "{log:?}");
}

#[tokio::test]
async fn an_instance_is_not_used_until_its_first_check_and_that_decides() {
    let (instance, checks) = (Upstream::start().await, Upstream::start().await);
    let (proxy, mut check) = start_with(&instance, &checks, json!({"httpHealthCheck": {"path": "/"}}), BAD).await;
    check.head().await;
    is_left_out(&proxy).await;
}

#[tokio::test]
async fn statuses_that_are_retriable_count_by_the_threshold() {
    let (instance, checks) = (Upstream::start().await, Upstream::start().await);
    let http = json!({"path": "/", "retriableStatuses": [{"start": 500, "end": 600}], "expectedStatuses": [{"start": 200, "end": 300}]});
    let (proxy, mut check) = start_with(&instance, &checks, json!({ "httpHealthCheck": http }), "HTTP/1.1 204 No Content\r\n\r\n").await;
    check.head().await;
    check.say(BAD).await;
    check.head().await;
    is_served(&proxy, &instance).await;
    check.say(BAD).await;
    check.head().await;
    is_left_out(&proxy).await;
}

#[tokio::test]
async fn an_instance_that_closes_the_connection_is_asked_over_a_new_one_and_then_fails() {
    let (instance, checks) = (Upstream::start().await, Upstream::start().await);
    let (proxy, mut check) = start_with(&instance, &checks, json!({"httpHealthCheck": {"path": "/"}}), FINE).await;
    check.head().await;
    check.reset();
    let mut check = checks.accept().await;
    check.head().await;
    is_served(&proxy, &instance).await;
    check.reset();
    let mut check = checks.accept().await;
    check.head().await;
    is_left_out(&proxy).await;
}

#[tokio::test]
async fn an_instance_that_does_not_answer_in_time_fails() {
    let (instance, checks) = (Upstream::start().await, Upstream::start().await);
    let check = json!({"httpHealthCheck": {"path": "/"}, "timeout": "0.1s"});
    // The first check gets no answer: the proxy is ready when its time is over.
    let (proxy, first) = tokio::join!(proxy(&instance, &checks, check), checks.accept());
    let mut second = checks.accept().await;
    drop(first);
    second.head().await;
    is_left_out(&proxy).await;
}

#[tokio::test]
async fn an_instance_that_refuses_fails_and_is_used_when_it_accepts() {
    // Nobody connects from this address, and so nobody takes the port while it is free.
    let (instance, checks) = (Upstream::start().await, Upstream::at("127.0.3.1:0".parse().unwrap()).await);
    let address = checks.address();
    let cluster = checked(&instance, &checks, json!({"httpHealthCheck": {"path": "/"}, "healthyThreshold": 1}));
    drop(checks);
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster]).await;
    is_left_out(&proxy).await;
    let checks = Upstream::at(address).await;
    let mut check = checks.accept().await;
    check.head().await;
    check.say(FINE).await;
    check.head().await;
    is_served(&proxy, &instance).await;
}

#[tokio::test]
async fn bytes_are_sent_and_waited_for_over_tcp() {
    let (instance, checks) = (Upstream::start().await, Upstream::start().await);
    let tcp = json!({"send": {"text": "50494e47"}, "receive": [{"text": "504f"}, {"binary": "Tkc="}]});
    let answer = async {
        let mut check = checks.accept().await;
        check.hears("PING").await;
        check.say("-PO--NG-").await;
        check
    };
    let (proxy, mut check) = tokio::join!(proxy(&instance, &checks, json!({"tcpHealthCheck": tcp, "unhealthyThreshold": 1})), answer);
    check.hears("PING").await;
    is_served(&proxy, &instance).await;

    check.say("NGPO").await;
    check.reset();
    let mut check = checks.accept().await;
    check.hears("PING").await;
    is_left_out(&proxy).await;
}

#[tokio::test]
async fn the_answer_to_a_request_may_say_that_the_instance_is_not_well() {
    let (instance, checks) = (Upstream::start().await, Upstream::start().await);
    let (proxy, mut check) = start_with(&instance, &checks, json!({"httpHealthCheck": {"path": "/"}}), FINE).await;
    check.head().await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut request = instance.accept().await;
    request.head().await;
    request.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\nx-envoy-immediate-health-check-fail: yes\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    is_left_out(&proxy).await;
    check.say(FINE).await;
    check.head().await;
    check.say(FINE).await;
    check.head().await;
    is_served(&proxy, &instance).await;
}

#[tokio::test]
async fn the_check_of_an_instance_that_stays_outlives_a_change_of_its_cluster() {
    let (instance, checks) = (Upstream::start().await, Upstream::start().await);
    let policy = json!({"httpHealthCheck": {"path": "/"}});
    let (proxy, mut check) = start_with(&instance, &checks, policy.clone(), FINE).await;
    check.head().await;
    let mut changed = checked(&instance, &checks, policy);
    changed["lbPolicy"] = json!("RANDOM");
    // The answer that the proxy gives itself shows when the change is in force.
    let gone =
        json!([{"match": {"prefix": "/other"}, "route": {"cluster": "a"}}, {"match": {"prefix": "/"}, "directResponse": {"status": 204}}]);
    proxy.change(routes(gone), &[changed]);
    in_time("the change is in force", async { while answer(&proxy).await != "HTTP/1.1 204 No Content" {} }).await;
    // It is still the same connection, and the same check.
    check.say(FINE).await;
    check.head().await;
}

/// A gRPC server whose status the test sets. Each check is counted when it comes.
async fn serve_grpc(checks: Upstream, status: watch::Receiver<u8>, came: watch::Sender<usize>) {
    let mut connection = h2::server::handshake(checks.accept().await.into_stream()).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!((request.uri().path(), request.uri().host()), ("/grpc.health.v1.Health/Check", Some("health.example")));
        came.send_modify(|came| *came += 1);
        let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut body = respond.send_response(response, false).unwrap();
        body.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, *status.borrow()]), false).unwrap();
        body.send_trailers(http::HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())])).unwrap();
    }
}

#[tokio::test]
async fn a_server_is_asked_by_grpc() {
    const SERVING: u8 = 1;
    const NOT_SERVING: u8 = 2;
    let (instance, checks) = (Upstream::start().await, Upstream::start().await);
    let check = json!({"grpcHealthCheck": {"serviceName": "shop"}, "healthyThreshold": 1});
    let cluster = checked(&instance, &checks, check);
    let (status, came) = (watch::Sender::new(SERVING), watch::Sender::new(0));
    let mut arrivals = came.subscribe();
    tokio::spawn(serve_grpc(checks, status.subscribe(), came));
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster]).await;
    is_served(&proxy, &instance).await;
    for new in [NOT_SERVING, SERVING] {
        status.send_replace(new);
        // The next check gets the new answer; when one more comes, that is in force.
        let enough = *arrivals.borrow() + 2;
        in_time("two checks come", arrivals.wait_for(|came| *came >= enough)).await.unwrap();
        if new == SERVING { is_served(&proxy, &instance).await } else { is_left_out(&proxy).await }
    }
}

#[tokio::test]
async fn what_is_checked_is_counted() {
    let (instance, checks) = (Upstream::start().await, Upstream::start().await);
    let (proxy, mut check) = start_with(&instance, &checks, json!({"httpHealthCheck": {"path": "/"}}), BAD).await;
    check.head().await;
    check.say(FINE).await;
    check.head().await;
    let statistics = proxy.ask_admin("/stats").await;
    for (name, value) in [("attempt", 3), ("success", 1), ("failure", 1), ("network_failure", 0), ("healthy", 0)] {
        let line = format!("envoy_cluster_health_check_{name}{{cluster_name=\"a\",proxy=\"test\"}} {value}\n");
        assert!(statistics.contains(&line), "{line} is not in {statistics}");
    }
    assert!(proxy.ask_admin("/clusters").await.contains("::health_flags::/failed_active_hc\n"));
}
