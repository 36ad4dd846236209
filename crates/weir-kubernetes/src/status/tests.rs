use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use weir_ads::{Client as AdsClient, Protocol, stream};
use weir_model::{Interception, Proxy, ProxyKind};
use weir_pilot::{Options, Pilot, node};
use weir_registry::kubernetes::{self, Watched};
use weir_xds::resource::ResourceType;

use super::{Scope, Statuses};
use crate::fake::{ApiServer, Mood};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(600);
const RULES: &str = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

/// A pilot on a cluster, whose clock stands still while nothing is to be done.
struct Cluster {
    server: ApiServer,
    pilot: Pilot,
    statuses: Statuses,
    leads: watch::Sender<bool>,
    _watched: Watched,
}

impl Cluster {
    /// One with these rules.
    async fn start(rules: impl IntoIterator<Item = (String, Value)>) -> Self {
        let server = ApiServer::default();
        rules.into_iter().for_each(|(path, rule)| server.put(&path, rule));
        Self::over(server, Scope::Common).await
    }

    async fn over(server: ApiServer, scope: Scope) -> Self {
        let options = kubernetes::Options { revision: "default".to_owned(), selectors: vec![] };
        let watched = kubernetes::watch(&server.client(), &options).await;
        let options = Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) };
        let pilot = Pilot::start(watched.catalog.clone(), options);
        let (leads, receiver) = watch::channel(true);
        let statuses = Statuses::new(server.client(), pilot.clone(), "istio-system", "default", "pilot-1");
        tokio::spawn(statuses.clone().keep(scope, receiver));
        Self { statuses, server, pilot, leads, _watched: watched }
    }

    /// The status of a rule, and how its condition stands: `True Acknowledged 2`.
    fn status(&self, name: &str) -> (Value, String) {
        let status = self.server.get(&path(name)).unwrap()["status"].clone();
        let word = |field: &str| status["conditions"][0][field].to_string().replace('"', "");
        let condition = format!("{} {} {}", word("status"), word("reason"), word("observedGeneration"));
        (status, condition)
    }

    /// A proxy follows, and takes whatever comes; or refuses it.
    async fn follow(&self, name: &str, refuses: bool) -> JoinHandle<()> {
        let proxy = Proxy {
            id: format!("sidecar~10.0.0.1~{name}.shop~shop.svc.cluster.local"),
            kind: ProxyKind::Sidecar,
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            labels: Default::default(),
            addresses: vec!["10.0.0.1".to_owned()],
            locality: String::new(),
            interception: Interception::None,
        };
        let mut client = AdsClient::new(Protocol::Delta, node::introduce(&proxy));
        client.want_all(ResourceType::Cluster);
        client.want(ResourceType::Route, ["80".into()].into());
        let (mut stream, server) = stream::pair(Protocol::Delta);
        self.pilot.streams().send(server).await.unwrap();
        tokio::spawn(async move {
            for request in client.connect() {
                stream.requests.send(request).await.unwrap();
            }
            while let Some(response) = stream.responses.recv().await {
                let Some(update) = client.receive(response) else { continue };
                let refused: Vec<_> = update.upserts.iter().filter(|_| refuses).map(|(name, _)| (name.clone(), "no".to_owned())).collect();
                let _ = stream.requests.send(client.answer(&update, &refused)).await;
            }
        })
    }
}

fn path(name: &str) -> String {
    format!("{RULES}/{name}")
}

fn rule(name: &str, generation: i64, host: &str) -> (String, Value) {
    let spec = json!({"hosts": [format!("{name}.test")], "http": [{"name": host, "route": [{"destination": {"host": host}}]}]});
    let metadata = json!({"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": generation});
    (path(name), json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": spec}))
}

/// One with a regular expression that is none.
fn broken(name: &str, generation: i64) -> (String, Value) {
    let (path, mut rule) = rule(name, generation, "x");
    rule["spec"]["http"][0]["match"] = json!([{"uri": {"regex": "("}}]);
    (path, rule)
}

impl Cluster {
    /// Somebody changes what is there of an object, and leaves its status alone.
    fn change(&self, (path, mut object): (String, Value)) {
        if let Some(known) = self.server.get(&path) {
            object["status"] = known["status"].clone();
        }
        self.server.put(&path, object);
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_once_for_each_generation() {
    let cluster = Cluster::start([rule("a", 1, "x")]).await;
    sleep(SECOND).await;
    assert_eq!(cluster.status("a").1, "Unknown NoProxies 1");
    let first = cluster.follow("one", false).await;
    sleep(SECOND * 2).await;
    let (status, condition) = cluster.status("a");
    assert_eq!(condition, "True Acknowledged 1");
    assert_eq!((&status["conditions"][0]["message"], &status["observedGeneration"]), (&json!("acknowledged by 1 of 1 proxies"), &json!(1)));
    cluster.server.take_writes();
    cluster.server.take_asked();
    sleep(LONG).await;
    assert_eq!((cluster.server.take_writes(), cluster.server.take_asked()), (vec![], 0), "nothing is written when nothing changed");

    cluster.change(rule("a", 2, "y"));
    sleep(SECOND).await;
    assert_eq!(cluster.status("a").1, "True Acknowledged 2");
    assert_eq!(cluster.server.take_writes(), [format!("PATCH {}", path("a"))]);
    // Proxies come and go.
    let second = cluster.follow("two", false).await;
    sleep(SECOND * 10).await;
    first.abort();
    second.abort();
    sleep(LONG).await;
    assert_eq!(cluster.server.take_writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn who_lacks_a_generation_is_told_of_ever_more_seldom() {
    let cluster = Cluster::start([rule("a", 1, "x")]).await;
    let good = cluster.follow("one", false).await;
    let bad = cluster.follow("two", true).await;
    sleep(SECOND * 2).await;
    let (status, condition) = cluster.status("a");
    assert_eq!(condition, "False Pending 1");
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("acknowledged by 1 of 2 proxies; sidecar~10.0.0.1~two.shop~") && message.contains(": no"), "{message}");
    cluster.server.take_writes();
    for index in 0..100 {
        let more = cluster.follow(&format!("more-{index}"), false).await;
        sleep(SECOND * 2).await;
        more.abort();
        sleep(SECOND).await;
    }
    let writes = cluster.server.take_writes().len();
    assert!((5..20).contains(&writes), "{writes} in five minutes in which proxies came and went");
    bad.abort();
    sleep(SECOND).await;
    assert_eq!(cluster.status("a").1, "True Acknowledged 1");
    good.abort();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_by_an_event_and_where_its_last_good_version_stays() {
    let cluster = Cluster::start([rule("a", 1, "x"), broken("b", 1)]).await;
    let _proxy = cluster.follow("one", false).await;
    sleep(SECOND * 2).await;
    assert_eq!((cluster.status("a").1.as_str(), cluster.status("b").1.as_str()), ("True Acknowledged 1", "False Refused 1"));
    let (status, _) = cluster.status("b");
    assert_eq!(
        (&status["validationMessages"][0]["level"], &status["validationMessages"][0]["type"]["code"]),
        (&json!("ERROR"), &json!("IST0106"))
    );
    let text = status["validationMessages"][0]["type"]["name"].as_str().unwrap();
    assert!(text.starts_with("spec.http[0].match[0].uri.regex: "), "{text}");
    let said = |status: &Value| status["conditions"][0]["message"].as_str().unwrap().to_owned();
    assert!(said(&status).starts_with("it is refused, and nothing of it is in force: spec.http"), "{}", said(&status));
    let events = cluster.server.under(EVENTS);
    assert_eq!((events.len(), &events[0]["regarding"]["uid"], &events[0]["note"]), (1, &json!("uid-b"), &json!(said(&status))));

    cluster.change(broken("a", 2));
    sleep(SECOND).await;
    assert_eq!(cluster.status("a").1, "False Refused 2");
    assert!(said(&cluster.status("a").0).starts_with("it is refused, and its last good version stays in force: "));
    assert_eq!(cluster.server.under(EVENTS).len(), 2);
    cluster.server.take_writes();
    sleep(LONG).await;
    assert_eq!(cluster.server.take_writes(), [""; 0]);
    // The same is wrong with another generation.
    cluster.change(broken("a", 3));
    sleep(SECOND).await;
    assert_eq!((cluster.status("a").1.as_str(), cluster.server.under(EVENTS).len()), ("False Refused 3", 3));
    cluster.change(rule("a", 4, "x"));
    sleep(SECOND).await;
    let (status, condition) = cluster.status("a");
    assert_eq!((condition.as_str(), &status["validationMessages"]), ("True Acknowledged 4", &Value::Null));
    // Another leader tells nothing anew.
    cluster.leads.send_replace(false);
    sleep(SECOND).await;
    cluster.server.take_writes();
    cluster.leads.send_replace(true);
    sleep(LONG).await;
    assert_eq!(cluster.server.take_writes(), [format!("POST {EVENTS}")], "which the API server refuses, as there is one");
    assert_eq!(cluster.server.under(EVENTS).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_writes_nothing_and_who_begins_to_writes_what_is_lacking() {
    let cluster = Cluster::start([rule("a", 1, "x"), rule("b", 1, "x")]).await;
    let _proxy = cluster.follow("one", false).await;
    sleep(SECOND * 2).await;
    cluster.leads.send_replace(false);
    sleep(SECOND).await;
    cluster.server.take_writes();
    cluster.change(rule("a", 2, "y"));
    sleep(LONG).await;
    assert_eq!(cluster.server.take_writes(), [""; 0]);
    cluster.leads.send_replace(true);
    sleep(SECOND).await;
    assert_eq!(cluster.server.take_writes(), [format!("PATCH {}", path("a"))], "b is as it is to be");
    assert_eq!(cluster.status("a").1, "True Acknowledged 2");
}

#[tokio::test(start_paused = true)]
async fn a_scope_is_what_is_labelled_for_a_revision_or_what_is_not() {
    for (scope, own, other) in [(Scope::Common, "a", "b"), (Scope::Revision("default".to_owned()), "b", "a")] {
        let server = ApiServer::default();
        let (first, second) = (rule("a", 1, "x"), rule("b", 1, "x"));
        server.put(&first.0, first.1);
        let mut labelled = second.1;
        labelled["metadata"]["labels"] = json!({"istio.io/rev": "default"});
        server.put(&second.0, labelled);
        let cluster = Cluster::over(server, scope).await;
        sleep(LONG).await;
        assert_eq!((cluster.status(own).1.as_str(), &cluster.status(other).0), ("Unknown NoProxies 1", &Value::Null));
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_writes_meanwhile_is_not_lost() {
    let cluster = Cluster::start([rule("a", 1, "x")]).await;
    let (_, mut theirs) = rule("a", 1, "x");
    theirs["status"] = json!({"conditions": [{"type": "Theirs", "status": "True"}]});
    cluster.server.overtake(&path("a"), theirs);
    sleep(SECOND).await;
    let (status, _) = cluster.status("a");
    assert_eq!((&status["conditions"][0]["type"], &status["conditions"][1]["type"]), (&json!("Theirs"), &json!("weir.dev/InForce")));
}

#[tokio::test(start_paused = true)]
async fn many_are_written_by_and_by_and_what_changes_meanwhile_goes_first() {
    let cluster = Cluster::start((0..600).map(|index| rule(&format!("r{index}"), 1, "x"))).await;
    let _proxy = cluster.follow("one", false).await;
    sleep(SECOND * 5).await;
    let early = cluster.server.take_writes().len();
    assert!(early < 400, "{early} in five seconds");
    cluster.change(rule("r599", 2, "y"));
    sleep(SECOND).await;
    assert_eq!(cluster.status("r599").1, "True Acknowledged 2");
    sleep(SECOND * 15).await;
    let all = (0..600).filter(|index| cluster.status(&format!("r{index}")).1.starts_with("True Acknowledged"));
    assert_eq!(all.count(), 600);
    cluster.server.take_writes();
    sleep(LONG).await;
    assert_eq!(cluster.server.take_writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_again_while_it_is_pending_waits_for_what_changes() {
    let cluster = Cluster::start((0..600).map(|index| rule(&format!("r{index:03}"), 1, "x"))).await;
    let _bad = cluster.follow("bad", true).await;
    sleep(SECOND * 60).await;
    assert_eq!(cluster.status("r599").1, "False Pending 1");
    // All are to be written again.
    let _more = [cluster.follow("one", false).await, cluster.follow("two", false).await];
    sleep(SECOND).await;
    cluster.server.take_writes();
    cluster.change(rule("r599", 2, "y"));
    sleep(SECOND * 2).await;
    assert_eq!(cluster.status("r599").1, "False Pending 2");
    let writes = cluster.server.take_writes().len();
    assert!(writes > 50, "the others are written meanwhile, too: {writes}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_refuses_is_left_alone_for_a_while() {
    for mood in [Mood::Refuses(500), Mood::Refuses(403), Mood::Hangs] {
        let cluster = Cluster::start((0..50).map(|index| rule(&format!("r{index}"), 1, "x"))).await;
        cluster.server.be(mood);
        sleep(SECOND * 5).await;
        cluster.server.take_asked();
        sleep(SECOND * 600).await;
        let asked = cluster.server.take_asked();
        assert!(asked <= 50 * 11, "{mood:?}: asked {asked} times in ten minutes");
        cluster.server.be(Mood::Well);
        sleep(SECOND * 120).await;
        assert_eq!(cluster.status("r49").1, "Unknown NoProxies 1", "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_proxies_of_all_control_planes_count() {
    let server = ApiServer::default();
    let (path, first) = rule("a", 1, "x");
    server.put(&path, first);
    let leader = Cluster::over(server.clone(), Scope::Common).await;
    let other = Cluster::over(server.clone(), Scope::Common).await;
    other.leads.send_replace(false);
    let tell = tokio::spawn(other.statuses.clone().tell());
    tokio::spawn(leader.statuses.clone().tell());
    let own = leader.follow("one", false).await;
    let theirs = [other.follow("two", false).await, other.follow("three", false).await];
    sleep(SECOND * 20).await;
    let message = |name: &str| leader.status(name).0["conditions"][0]["message"].as_str().unwrap_or_default().to_owned();
    leader.change(rule("a", 2, "y"));
    sleep(SECOND).await;
    assert_eq!((leader.status("a").1.as_str(), message("a").as_str()), ("True Acknowledged 2", "acknowledged by 3 of 3 proxies"));
    // One of the other's does not take what comes.
    let bad = other.follow("bad", true).await;
    sleep(SECOND * 20).await;
    leader.change(rule("a", 3, "x"));
    sleep(SECOND * 3).await;
    assert_eq!((leader.status("a").1.as_str(), message("a").as_str()), ("False Pending 3", "acknowledged by 3 of 4 proxies"));
    // Nothing is written but that both live.
    sleep(SECOND * 600).await;
    server.take_writes();
    sleep(SECOND * 600).await;
    let writes = server.take_writes();
    assert!(writes.iter().all(|write| write.contains("/leases/weir-pilot-")) && (200..260).contains(&writes.len()), "{writes:?}");
    // The other is gone without a word, and so are its proxies.
    tell.abort();
    sleep(SECOND * 40).await;
    assert_eq!((leader.status("a").1.as_str(), message("a").as_str()), ("True Acknowledged 3", "acknowledged by 1 of 1 proxies"));
    assert_eq!(server.under("/apis/coordination.k8s.io/v1/namespaces/istio-system/leases/weir-pilot-").len(), 1);
    for follower in theirs.into_iter().chain([own, bad]) {
        follower.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_of_which_nothing_is_seen_is_asked_after_before_it_counts_as_gone() {
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases";
    let server = ApiServer::default();
    let (path, first) = rule("a", 1, "x");
    server.put(&path, first);
    let leader = Cluster::over(server.clone(), Scope::Common).await;
    let other = Cluster::over(server.clone(), Scope::Common).await;
    other.leads.send_replace(false);
    let tell = tokio::spawn(other.statuses.clone().tell());
    let _proxies = [leader.follow("one", false).await, other.follow("two", false).await];
    sleep(SECOND * 10).await;
    server.silence(LEASES);
    server.take_writes();
    sleep(SECOND * 60).await;
    let writes = server.take_writes();
    assert!(!writes.iter().any(|write| write.starts_with("DELETE")), "{writes:?}");
    leader.change(rule("a", 2, "y"));
    sleep(SECOND * 30).await;
    let (status, condition) = leader.status("a");
    let message = &status["conditions"][0]["message"];
    assert_eq!((condition.as_str(), message), ("True Acknowledged 2", &json!("acknowledged by 2 of 2 proxies")));
    tell.abort();
    sleep(SECOND * 40).await;
    assert_eq!(server.under(&format!("{LEASES}/weir-pilot-")).len(), 0, "now it is gone");
}
