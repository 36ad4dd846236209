//! Several pilots: one of them writes what only one may write.

use std::time::{Duration, Instant};

use weir_testkit::{Cluster, Process, until};

use crate::follower::Follower;
use crate::status::until_status;
use crate::{RULE, WEB, cluster, rule};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases/weir-leader";
const DURATION: Duration = Duration::from_secs(4);
/// On a busy machine anything may take so much longer.
const SLACK: Duration = Duration::from_secs(5);

async fn start(cluster: &Cluster, name: &str, port: u16) -> Process {
    let (xds, admin) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 1));
    let process = cluster.start_pilot_named(name, &xds, &admin, &["--lease-duration", "4s"]).await;
    tokio::spawn(Follower::connect(&xds, WEB, "80").await.take_all());
    process
}

/// How long until this one leads.
async fn until_leads(cluster: &Cluster, name: &str) -> Duration {
    let begin = Instant::now();
    until(&format!("{name} leads"), async || {
        let lease = cluster.ask("GET", LEASE, None).await.unwrap_or_default();
        lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| holder.starts_with(&format!("{name}_")))
    })
    .await;
    begin.elapsed()
}

/// How many pilots tell that a proxy follows them which has all.
async fn tellers(cluster: &Cluster) -> usize {
    let all = cluster.ask("GET", &format!("{LEASES}?labelSelector=weir.dev/pilot-of-revision"), None).await.unwrap();
    let all = all["items"].as_array().cloned().unwrap_or_default();
    let said = all.iter().map(|lease| lease["metadata"]["annotations"]["weir.dev/proxies"].as_str().unwrap_or_default());
    said.filter(|said| said.contains(r#""proxies":1"#) && said.contains(r#""having":1"#)).count()
}

#[tokio::test]
async fn another_pilot_leads_when_one_is_gone_and_at_once_when_one_ends() {
    let Some(cluster) = cluster().await else { return };
    let one = start(&cluster, "one", 15010).await;
    until_leads(&cluster, "one").await;
    let mut two = start(&cluster, "two", 15020).await;
    until_status(&cluster, RULE, "True Acknowledged").await;
    until("both tell of their proxies", async || tellers(&cluster).await == 2).await;
    cluster.apply(RULE, rule("both")).await;
    let told = until_status(&cluster, RULE, "True Acknowledged").await;
    assert_eq!(told["message"], "acknowledged by 2 of 2 proxies");

    one.signal("KILL").await;
    let taken = until_leads(&cluster, "two").await;
    assert!(taken < DURATION + SLACK, "{taken:?}");
    cluster.apply(RULE, rule("second")).await;
    until_status(&cluster, RULE, "True Acknowledged").await;

    let mut three = start(&cluster, "three", 15030).await;
    until("it contends", async || three.said().contains("proxies may follow")).await;
    two.signal("TERM").await;
    let handed = until_leads(&cluster, "three").await;
    eprintln!("of a Lease of {DURATION:?}: taken {taken:?} after its holder was killed, {handed:?} after its holder was told to end");
    // Had it waited until the Lease expired, it would have taken all of that.
    assert!(handed < DURATION, "{handed:?}");
    two.ended().await;
    // It has taken back what it told; what the one told that was killed, has been taken away.
    until("their proxies are counted no more", async || tellers(&cluster).await == 1).await;
    cluster.apply(RULE, rule("third")).await;
    until_status(&cluster, RULE, "True Acknowledged").await;
    assert!(three.is_running());
}
