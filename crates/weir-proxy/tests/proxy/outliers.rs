//! Instances that fail again and again are left out.

use serde_json::json;

use crate::support::{Proxy, Upstream, Wire, cluster, routes, to};

/// Asks once, and lets whichever instance is asked answer with a status; says which it was.
async fn ask(client: &mut Wire, instances: &mut [(Upstream, Option<Wire>); 2], status: [&str; 2]) -> usize {
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let [one, two] = instances;
    let asked = tokio::select! {
        () = asked(one) => 0,
        () = asked(two) => 1,
    };
    let answer = format!("HTTP/1.1 {}\r\ncontent-length: 0\r\n\r\n", status[asked]);
    instances[asked].1.as_mut().unwrap().say(&answer).await;
    assert!(client.answer().await.0.ends_with(status[asked]));
    asked
}

/// Waits until an instance is asked, over the connection that it has, or over a new one.
async fn asked((upstream, connection): &mut (Upstream, Option<Wire>)) {
    if connection.is_none() {
        *connection = Some(upstream.accept().await);
    }
    if let Some(connection) = connection {
        connection.head().await;
    }
}

#[tokio::test]
async fn an_instance_that_fails_is_left_out_and_comes_back() {
    let mut instances = [(Upstream::start().await, None), (Upstream::start().await, None)];
    let detection = json!({"consecutive5xx": 2, "maxEjectionPercent": 50, "interval": "0.05s", "baseEjectionTime": "0.2s"});
    let more = json!({"lbPolicy": "ROUND_ROBIN", "outlierDetection": detection, "commonLbConfig": {"healthyPanicThreshold": {}}});
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&instances[0].0, &instances[1].0], more)]).await;
    let mut client = proxy.connect().await;
    let (mut failed, mut since) = (0, None);
    // The first fails whenever it is asked: twice, and then not again for a while.
    loop {
        let asked = ask(&mut client, &mut instances, ["500 Internal Server Error", "200 OK"]).await;
        failed += usize::from(asked == 0);
        match (failed, since) {
            (2, None) => since = Some(std::time::Instant::now()),
            (3, Some(since)) => {
                let out: std::time::Duration = since.elapsed();
                assert!(out >= std::time::Duration::from_millis(200), "{out:?}");
                break;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_counts_as_an_error_may_be_said() {
    let mut instances = [(Upstream::start().await, None), (Upstream::start().await, None)];
    let matcher = json!({"httpResponseHeadersMatch": {"headers": [{"name": ":status", "stringMatch": {"exact": "429"}}]}});
    let options = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicitHttpConfig": {"httpProtocolOptions": {}},
        "outlierDetection": {"errorMatcher": matcher},
    });
    let more = json!({
        "lbPolicy": "ROUND_ROBIN",
        "outlierDetection": {"consecutive5xx": 2, "maxEjectionPercent": 50},
        "commonLbConfig": {"healthyPanicThreshold": {}},
        "typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    });
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&instances[0].0, &instances[1].0], more)]).await;
    let mut client = proxy.connect().await;
    // 503 is no error now, 429 is one: the first is asked twice more, and then not again.
    let mut count = 0;
    for _ in 0..8 {
        count += usize::from(ask(&mut client, &mut instances, ["503 Service Unavailable", "200 OK"]).await == 0);
    }
    assert_eq!(count, 4);
    count = 0;
    for _ in 0..12 {
        count += usize::from(ask(&mut client, &mut instances, ["429 Too Many Requests", "200 OK"]).await == 0);
    }
    assert_eq!(count, 2);
}
