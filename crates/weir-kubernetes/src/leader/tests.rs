use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{Election, Leader, Times};
use crate::fake::{ApiServer, Mood};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases/leader";
const LONG: Duration = Duration::from_secs(3600);

type Way = Arc<Mutex<Option<Mood>>>;

/// A candidate, whose way to the API server can be cut.
fn candidate(server: &ApiServer, identity: &str) -> (Leader, Way) {
    let way = Way::default();
    let election = Election {
        namespace: "istio-system".to_owned(),
        lease: "leader".to_owned(),
        identity: identity.to_owned(),
        times: Times::default(),
    };
    (Leader::contend(server.client_with(&way), election), way)
}

fn holder(server: &ApiServer) -> String {
    server.get(LEASE).unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned()
}

/// How long until it leads, or does not.
async fn until(leads: &mut watch::Receiver<bool>, wanted: bool) -> Duration {
    let begin = Instant::now();
    timeout(LONG, leads.wait_for(|leads| *leads == wanted)).await.expect("in an hour").unwrap();
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_gives_the_lease_back_to_the_next_at_once() {
    let server = ApiServer::default();
    let (first, _) = candidate(&server, "a");
    until(&mut first.leads(), true).await;
    let (second, _) = candidate(&server, "b");
    let mut leads = second.leads();
    sleep(LONG).await;
    assert!(*first.leads().borrow() && !*leads.borrow() && holder(&server) == "a");
    first.release().await;
    assert!(until(&mut leads, true).await < Duration::from_secs(1));
    assert_eq!((holder(&server).as_str(), &server.get(LEASE).unwrap()["spec"]["leaseTransitions"]), ("b", &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_stops_before_another_begins() {
    for mood in [Mood::Hangs, Mood::Refuses(500), Mood::Refuses(403)] {
        let server = ApiServer::default();
        let (first, way) = candidate(&server, "a");
        let mut first_leads = first.leads();
        until(&mut first_leads, true).await;
        let (second, _) = candidate(&server, "b");
        let mut second_leads = second.leads();
        sleep(Duration::from_secs(100)).await;
        *way.lock().unwrap() = Some(mood);
        let stopped = until(&mut first_leads, false).await;
        assert!(stopped <= Duration::from_secs(15), "{mood:?}: {stopped:?}");
        let began = stopped + until(&mut second_leads, true).await;
        assert!(began <= Duration::from_secs(31) && began - stopped >= Duration::from_secs(14), "{mood:?}: {began:?}");
        // It comes back, and waits for its turn.
        *way.lock().unwrap() = None;
        sleep(LONG).await;
        assert!(!*first_leads.borrow() && *second_leads.borrow(), "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_dropped_leads_no_longer_and_its_lease_runs_out() {
    let server = ApiServer::default();
    let (first, _) = candidate(&server, "a");
    let mut leads = first.leads();
    until(&mut leads, true).await;
    drop(first);
    until(&mut leads, false).await;
    assert_eq!(holder(&server), "a");
    let (second, _) = candidate(&server, "b");
    let waited = until(&mut second.leads(), true).await;
    assert!((Duration::from_secs(29)..=Duration::from_secs(31)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_another_machine_s_clock_says_does_not_count() {
    for renewed in ["2001-01-01T00:00:00.000000Z", "2101-01-01T00:00:00.000000Z"] {
        let server = ApiServer::default();
        let spec = json!({"holderIdentity": "x", "leaseDurationSeconds": 20, "renewTime": renewed});
        server.put(LEASE, json!({"metadata": {"name": "leader"}, "spec": spec}));
        let (candidate, _) = candidate(&server, "a");
        let waited = until(&mut candidate.leads(), true).await;
        assert!((Duration::from_secs(20)..Duration::from_secs(21)).contains(&waited), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_one_leads_at_any_time() {
    let server = ApiServer::default();
    let all: Vec<_> = ["a", "b", "c", "d", "e"].into_iter().map(|name| candidate(&server, name)).collect();
    let leading = || all.iter().filter(|(candidate, _)| *candidate.leads().borrow()).count();
    let mut seldom = 0;
    for second in 0..600 {
        sleep(Duration::from_secs(1)).await;
        // Now and then whoever leads is cut off, and the last one comes back.
        if second % 60 == 30 {
            for (candidate, way) in &all {
                *way.lock().unwrap() = candidate.leads().borrow().then_some(Mood::Hangs);
            }
        }
        assert!(leading() <= 1, "at {second}");
        seldom += usize::from(leading() == 0);
    }
    assert!(seldom < 400, "nobody led for {seldom} seconds of 600");
}

#[tokio::test(start_paused = true)]
async fn whoever_else_changes_the_lease_does_not_take_it_away_unless_he_says_so() {
    let server = ApiServer::default();
    let (first, _) = candidate(&server, "a");
    let mut leads = first.leads();
    until(&mut leads, true).await;
    let change = |change: &dyn Fn(&mut Value)| {
        let mut lease = server.get(LEASE).unwrap();
        change(&mut lease);
        server.put(LEASE, lease);
    };
    change(&|lease| lease["metadata"]["labels"] = json!({"team": "x"}));
    sleep(Duration::from_secs(60)).await;
    assert!(*leads.borrow_and_update() && server.get(LEASE).unwrap()["metadata"]["labels"]["team"] == "x");
    change(&|lease| lease["spec"] = json!({"holderIdentity": "z", "leaseDurationSeconds": 30}));
    assert!(until(&mut leads, false).await < Duration::from_secs(8));
}

#[test]
fn times_have_istio_s_proportions() {
    let seconds = |times: Times| [times.duration, times.renew, times.retry].map(|time| time.as_secs_f64());
    assert_eq!(seconds(Times::default()), [30.0, 15.0, 7.5]);
    assert_eq!(seconds(Times::of(Duration::ZERO)), [1.0, 0.5, 0.25]);
}
