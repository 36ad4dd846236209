//! What a pilot writes into resources.

use std::env;
use std::time::Instant;

use serde_json::{Value, json};
use weir_testkit::{Cluster, until};

use crate::follower::Follower;
use crate::{ADMIN, BOUND, RULE, WEB, XDS, cluster, quantile, rule};

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
/// So many times the rule changes.
const CHANGES: usize = 50;
/// Names for how many seconds nothing changes, and nothing may be written; `.ci/long` asks for a minute.
const QUIET: &str = "WEIR_TEST_QUIET";
const USUAL: u64 = 3;

/// The status of a resource if it is that of its generation, and its condition: `True Acknowledged`.
pub async fn status(cluster: &Cluster, path: &str) -> Option<(Value, String)> {
    let object = cluster.ask("GET", path, None).await.unwrap();
    let status = &object["status"];
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let own = conditions.into_iter().find(|condition| condition["type"] == "weir.dev/InForce")?;
    let is_newest = [&status["observedGeneration"], &own["observedGeneration"]].iter().all(|at| **at == object["metadata"]["generation"]);
    is_newest.then(|| (own.clone(), format!("{} {}", own["status"].as_str().unwrap(), own["reason"].as_str().unwrap())))
}

pub async fn until_status(cluster: &Cluster, path: &str, condition: &str) -> Value {
    let mut last = None;
    until(&format!("the status of {path} is {condition}"), async || {
        last = status(cluster, path).await;
        last.as_ref().is_some_and(|(_, now)| now == condition)
    })
    .await;
    last.unwrap().0
}

/// What is changed of these lists in some seconds in which nobody does anything.
async fn changes_in_quiet(cluster: &Cluster, lists: &[&str]) -> Vec<String> {
    let seconds: u64 = env::var(QUIET).map_or(USUAL, |written| written.parse().expect("a number of seconds"));
    let mut versions = vec![];
    for list in lists {
        let listed = cluster.ask("GET", list, None).await.unwrap();
        versions.push((list, listed["metadata"]["resourceVersion"].as_str().unwrap().to_owned()));
    }
    let mut changes = vec![];
    for (index, (list, version)) in versions.into_iter().enumerate() {
        // The first one waits, and the others tell what happened meanwhile.
        let seconds = if index == 0 { seconds } else { 1 };
        let path = format!("{list}?watch=1&resourceVersion={version}&timeoutSeconds={seconds}");
        match cluster.ask("GET", &path, None).await.unwrap() {
            Value::String(text) => changes.extend(text.lines().map(str::to_owned)),
            change => changes.push(change.to_string()),
        }
    }
    changes
}

#[tokio::test]
async fn a_status_tells_soon_what_became_of_a_resource_and_is_not_written_again() {
    let Some(cluster) = cluster().await else { return };
    let mut pilot = cluster.start_pilot(XDS, ADMIN).await;
    tokio::spawn(Follower::connect(XDS, WEB, "80").await.take_all());
    let told = until_status(&cluster, RULE, "True Acknowledged").await;
    assert_eq!(told["message"], "acknowledged by 1 of 1 proxies");

    let mut took = vec![];
    for index in 0..CHANGES {
        cluster.apply(RULE, rule(&format!("change-{index}"))).await;
        let answered = Instant::now();
        until_status(&cluster, RULE, "True Acknowledged").await;
        took.push(answered.elapsed());
    }
    let p99 = quantile(&mut took, 99);
    eprintln!("{CHANGES} changes of a VirtualService: in its status after p50 {:?}, p99 {p99:?}", quantile(&mut took, 50));
    assert!(p99 < BOUND, "{p99:?}");

    let mut broken = rule("broken");
    broken["spec"]["http"][0]["match"] = json!([{"uri": {"regex": "("}}]);
    cluster.apply(RULE, broken).await;
    let told = until_status(&cluster, RULE, "False Refused").await;
    let message = told["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("it is refused, and its last good version stays in force: spec.http[0].match[0].uri.regex"), "{message}");
    until("an Event tells it", async || !events(&cluster).await.is_empty()).await;
    let told = events(&cluster).await;
    assert_eq!((told.len(), &told[0]["note"], &told[0]["regarding"]["name"]), (1, &json!(message), &json!("web")));
    // What it says of itself is nothing that the schema has no place for.
    let object = cluster.ask("GET", RULE, None).await.unwrap();
    let said = &object["status"]["validationMessages"][0];
    assert!(said["type"]["name"].as_str().unwrap().starts_with("spec.http[0].match[0].uri.regex: ") && said["level"] == "ERROR", "{said}");

    let (rules, _) = RULE.rsplit_once('/').unwrap();
    assert_eq!(changes_in_quiet(&cluster, &[rules, EVENTS]).await, [""; 0]);
    assert!(pilot.is_running());
}

async fn events(cluster: &Cluster) -> Vec<Value> {
    let all = cluster.ask("GET", EVENTS, None).await.unwrap()["items"].as_array().cloned().unwrap();
    all.into_iter().filter(|event| event["reportingController"] == "weir.dev/pilot").collect()
}
