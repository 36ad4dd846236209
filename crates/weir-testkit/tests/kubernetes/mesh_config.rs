//! What holds for the whole mesh stands in the cluster, and may change.

use serde_json::json;
use weir_testkit::until;

use crate::follower::Follower;
use crate::{ADMIN, RULE, WEB, XDS, cluster, object, rule};

const CONFIG: &str = "/api/v1/namespaces/istio-system/configmaps/istio";
const NAMESPACE: &str = "/api/v1/namespaces/shop";

#[tokio::test]
async fn what_the_config_map_says_holds_and_changes_at_once() {
    let Some(cluster) = cluster().await else { return };
    let pilot = cluster.start_pilot(XDS, ADMIN).await;
    let configure = async |mesh: &str| cluster.apply(CONFIG, object("v1", "ConfigMap", "istio", json!({"data": {"mesh": mesh}}))).await;
    let mut follower = Follower::connect(XDS, WEB, "80").await;
    follower.until("all services are known", |told| told.clusters().contains(WEB)).await;

    configure("defaultServiceExportTo: ['~']\n").await;
    follower.until("none is", |told| !told.clusters().contains(WEB)).await;
    configure("connectTimeout: 3s\n").await;
    follower.until("all are again", |told| told.clusters().contains(WEB)).await;

    configure("discoverySelectors: [{matchLabels: {team: a}}]\n").await;
    follower.until("the namespace does not count", |told| !told.clusters().contains(WEB)).await;
    cluster.merge(NAMESPACE, json!({"metadata": {"labels": {"team": "a"}}})).await;
    follower.until("it does by its label", |told| told.clusters().contains(WEB)).await;

    configure("discoverySelectors: [{matchLabel: {team: b}}]\n").await;
    until("what is broken is reported", async || pilot.said().contains("unknown field `matchLabel`")).await;
    cluster.apply(RULE, rule("second")).await;
    follower.until("changes go on", |told| told.routes("80").contains("second")).await;
    assert!(follower.clusters().contains(WEB));

    cluster.merge(NAMESPACE, json!({"metadata": {"labels": {"team": null}}})).await;
    follower.until("the namespace does not count any more", |told| !told.clusters().contains(WEB)).await;
    cluster.delete(CONFIG).await;
    follower.until("without the ConfigMap all count", |told| told.clusters().contains(WEB)).await;
}
