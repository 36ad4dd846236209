//! TCP connections.

use serde_json::json;

use crate::support::{Proxy, Upstream, cluster};

#[tokio::test]
async fn connections_to_a_dead_instance_are_held_against_it() {
    let (alive, dead) = (Upstream::start().await, Upstream::start().await);
    let more = json!({
        "lbPolicy": "ROUND_ROBIN",
        "outlierDetection": {"consecutive5xx": 2, "maxEjectionPercent": 50, "baseEjectionTime": "60s"},
        "commonLbConfig": {"healthyPanicThreshold": {}},
    });
    let clusters = [cluster("a", &[&alive, &dead], more)];
    drop(dead);
    let proxy = Proxy::tcp("a", &clusters).await;
    let mut refused = 0;
    for _ in 0..10 {
        let mut client = proxy.connect().await;
        tokio::select! {
            mut instance = alive.accept() => {
                instance.say("hello").await;
                client.hears("hello").await;
            }
            said = client.end() => {
                assert_eq!(said, "");
                refused += 1;
            }
        }
    }
    // In turn it would be every second one.
    assert_eq!(refused, 2);
    let log = proxy.stop().await;
    assert_eq!(log.iter().filter(|line| *line == "UF").count(), 2, "{log:?}");
}
