//! Resources are validated before they are: a broken one is refused with a picture, and nothing passes while nobody answers.

use std::time::Instant;

use serde_json::{Value, json};
use weir_inject::configuration::Reach;
use weir_testkit::{Cluster, until};

use super::*;
use crate::{ADMIN, XDS};

const RULES: &str = "/apis/networking.istio.io/v1/namespaces/default/virtualservices";

fn rule(name: &str, labels: &Value, regex: &str) -> Value {
    let http = json!([{"match": [{"uri": {"regex": regex}}], "route": [{"destination": {"host": "web"}}]}]);
    let metadata = json!({"name": name, "labels": labels});
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": {"hosts": ["web"], "http": http}})
}

async fn create(cluster: &Cluster, rule: &Value) -> Result<Vec<String>, String> {
    cluster.create(RULES, rule).await.map(|(_, warnings)| warnings)
}

/// The API server may not have heard yet of what has just been changed.
async fn until_refused(cluster: &Cluster, rule: &Value) -> String {
    let mut said = String::new();
    until("a broken rule is refused", async || {
        let tried = cluster.create(&format!("{RULES}?dryRun=All"), rule).await;
        said = tried.as_ref().err().cloned().unwrap_or_default();
        said.contains("denied the request")
    })
    .await;
    said
}

#[tokio::test]
async fn broken_resources_are_refused_with_a_picture_and_nothing_passes_while_nobody_answers() {
    let Some(cluster) = Cluster::start().await else { return };
    make_service(&cluster, "istiod").await;
    let paths = apply_all(&cluster, VALIDATING, plane("default", &[]).validators(&Reach::Service)).await;
    let stranger = make_stranger(&cluster).await;
    // Nobody answers yet, and nothing is refused for that.
    create(&cluster, &rule("before", &json!({}), "(")).await.unwrap();

    let arguments = arguments_of_service("0.0.0.0:15017");
    let mut pilot = cluster.start_pilot_with(XDS, ADMIN, &arguments).await;
    until_closed(&cluster, &paths).await;
    until_known(&cluster, &paths).await;
    let none = json!({});
    let said = until_refused(&cluster, &rule("broken", &none, "(")).await;
    for expected in [
        "admission webhook \"validation.istio.io\" denied the request: configuration is invalid: ",
        "error: VirtualService default/broken: spec.http[0].match[0].uri.regex: ",
        "--> VirtualService/default/broken:",
        "regex: \"(\"",
        "^^^",
    ] {
        assert!(said.contains(expected), "no {expected:?} in {said}");
    }
    eprintln!("{said}");
    let said = until_refused(&cluster, &rule("broken", &json!({"istio.io/rev": "default"}), "(")).await;
    assert!(said.contains("\"rev.validation.istio.io\" denied"), "{said}");
    assert_eq!(create(&cluster, &rule("good", &none, "/a.*")).await, Ok(vec![]));
    // Two routes for one match: the second is never taken.
    let mut doubtful = rule("doubtful", &none, "/a.*");
    doubtful["spec"]["http"] = json!([doubtful["spec"]["http"][0], doubtful["spec"]["http"][0]]);
    let warnings = create(&cluster, &doubtful).await.unwrap();
    assert!(warnings.iter().any(|warning| warning.contains("VirtualService/default/doubtful:")), "{warnings:?}");
    // What was broken before anybody looked can be touched, and goes.
    cluster.merge(&format!("{RULES}/before"), json!({"metadata": {"finalizers": null}})).await;
    cluster.delete(&format!("{RULES}/before")).await;
    assert!(hooks(&cluster, &stranger).await[0]["clientConfig"]["caBundle"].is_null(), "another's webhook is not ours to change");

    pilot.signal("KILL").await;
    pilot.ended().await;
    let refused = create(&cluster, &rule("nobody", &none, "/a.*")).await.unwrap_err();
    assert!(refused.contains("failed calling webhook \"validation.istio.io\""), "{refused}");
    let back = Instant::now();
    // It has another root now.
    let mut pilot = cluster.start_pilot_with(XDS, ADMIN, &arguments).await;
    until("resources can be made again", async || create(&cluster, &rule("again", &none, "/a.*")).await.is_ok()).await;
    eprintln!("the webhooks of a pilot that was started anew, with another root, answered after {:?}", back.elapsed());
    put_back(&cluster, &paths[1]).await;
    assert!(pilot.is_running());
}

/// A webhook of a configuration with our label that calls somebody else.
async fn make_stranger(cluster: &Cluster) -> String {
    let mut stranger = plane("default", &[]).validators(&Reach::Url("https://192.0.2.1".to_owned())).remove(0);
    stranger["metadata"]["name"] = json!("stranger");
    stranger["webhooks"][0]["objectSelector"] = json!({"matchLabels": {"nobody": "has-this"}});
    apply_all(cluster, VALIDATING, vec![stranger]).await.remove(0)
}

/// Whatever somebody does to a caBundle, it is put back.
async fn put_back(cluster: &Cluster, path: &str) {
    for bundle in [json!(null), json!("bm9uZQ==")] {
        let mut read = cluster.ask("GET", path, None).await.unwrap();
        let before = read["webhooks"][0]["clientConfig"]["caBundle"].clone();
        read["webhooks"][0]["clientConfig"]["caBundle"] = bundle.clone();
        cluster.ask("PUT", path, Some(("application/json", read))).await.unwrap();
        until("the caBundle is put back", async || hooks(cluster, path).await[0]["clientConfig"]["caBundle"] == before).await;
    }
}
