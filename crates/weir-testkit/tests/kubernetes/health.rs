//! What the real controllers say of Pods that end or are not ready, and what proxies are told of that.

use serde_json::{Value, json};

use crate::follower::Follower;
use crate::{ADMIN, SERVICE, WEB, XDS, cluster, object, service, set};

const NAMESPACE: &str = "/api/v1/namespaces/shop";

/// The Service with these labels.
fn labelled(labels: &Value) -> Value {
    let mut service = service();
    service["metadata"]["labels"] = labels.clone();
    service
}

#[tokio::test]
async fn who_ends_drains_for_those_who_keep_to_it_and_who_is_not_ready_is_told_where_others_take_over() {
    let Some(cluster) = cluster().await else { return };
    cluster.apply(SERVICE, labelled(&json!({"istio.io/persistent-session": "session"}))).await;
    let _pilot = cluster.start_pilot(XDS, ADMIN).await;
    let mut follower = Follower::connect(XDS, WEB, "80").await;
    let both = set(&["10.244.1.0:8080 HEALTHY", "10.244.1.1:8080 HEALTHY"]);
    follower.until("both Pods take requests", |told| told.statuses(WEB) == both).await;

    // No kubelet is there to end it, so that it stays as one that is about to.
    cluster.delete("/api/v1/namespaces/shop/pods/web-a?gracePeriodSeconds=600").await;
    let drains = set(&["10.244.1.0:8080 DRAINING", "10.244.1.1:8080 HEALTHY"]);
    follower.until("one drains", |told| told.statuses(WEB) == drains).await;
    cluster.apply(SERVICE, labelled(&json!({}))).await;
    follower.until("nobody keeps to it", |told| told.statuses(WEB) == set(&["10.244.1.1:8080 HEALTHY"])).await;

    cluster.report_pod("shop", "web-b", "10.244.1.1", false).await;
    follower.until("nobody is told of one that is not ready", |told| told.statuses(WEB).is_empty()).await;
    let mut namespace = object("v1", "Namespace", "shop", json!({}));
    namespace["metadata"]["annotations"] = json!({"networking.istio.io/traffic-distribution": "PreferClose"});
    cluster.apply(NAMESPACE, namespace).await;
    let unready = set(&["10.244.1.1:8080 UNHEALTHY"]);
    follower.until("where others take over, clients are", |told| told.statuses(WEB) == unready).await;
}
