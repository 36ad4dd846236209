//! The adapter for Kubernetes over an API server that has its bad days.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod look;
mod server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use server::{RULES, Server};
use tokio::time::{interval, timeout};
use weir_api::{Kind, Severity};
use weir_registry::Catalog;
use weir_registry::kubernetes::{Access, Client, Options, Watched, connect, watch};

/// What has not happened after this time will not happen.
const DEADLINE: Duration = Duration::from_secs(30);
const PODS: &str = "/api/v1/pods";

/// A way to a server, by a kubeconfig as a person has it.
async fn client(server: &Server) -> Client {
    let (access, _folder) = access(server);
    connect(&access).await.unwrap()
}

fn access(server: &Server) -> (Access, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let kubeconfig = json!({
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", server.address)}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
    });
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    (Access::Kubeconfig { path, context: Some("here".to_owned()) }, folder)
}

fn options() -> Options {
    Options { revision: "default".to_owned(), selectors: vec![] }
}

async fn follow(server: &Server) -> Watched {
    let client = client(server).await;
    timeout(DEADLINE, watch(&client, &options())).await.expect("all lists are read in time")
}

fn rule(name: &str, host: &str) -> Value {
    let spec = json!({"hosts": [name], "http": [{"route": [{"destination": {"host": host}}]}]});
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

/// The names of all VirtualServices.
fn names(catalog: &Catalog) -> BTreeSet<String> {
    catalog.objects().filter(|object| object.kind == Kind::VirtualService).map(|object| object.meta.name.clone()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Waits until the catalog is so.
async fn until(watched: &mut Watched, holds: impl FnMut(&Arc<Catalog>) -> bool) {
    timeout(DEADLINE, watched.catalog.wait_for(holds)).await.expect("the catalog is so in time").unwrap();
}

/// Waits until the server is so.
async fn until_server(mut holds: impl FnMut() -> bool) {
    let mut tick = interval(Duration::from_millis(5));
    let asking = async {
        while !holds() {
            tick.tick().await;
        }
    };
    timeout(DEADLINE, asking).await.expect("the server is asked in time");
}

#[tokio::test]
async fn a_cluster_is_known_when_every_list_was_read() {
    let server = Server::start().await;
    server.refuse(PODS, Some(403));
    server.put(RULES, rule("a", "x"));
    let client = client(&server).await;
    let mut following = tokio::spawn(async move { watch(&client, &options()).await });
    until_server(|| server.asked(PODS).0 >= 2 && server.watchers(RULES) == 1).await;
    assert!(!following.is_finished());
    server.refuse(PODS, None);
    let watched = timeout(DEADLINE, &mut following).await.unwrap().unwrap();
    assert_eq!(names(&watched.catalog.borrow()), set(&["a"]));
}

#[tokio::test]
async fn changes_are_followed_from_a_list_of_many_pages_on() {
    let server = Server::start().await;
    server.page(2);
    ["a", "b", "c", "d", "e"].into_iter().for_each(|name| server.put(RULES, rule(name, "x")));
    let mut watched = follow(&server).await;
    assert_eq!((names(&watched.catalog.borrow()), server.asked(RULES).0), (set(&["a", "b", "c", "d", "e"]), 3));
    server.put(RULES, rule("f", "x"));
    server.delete(RULES, rule("a", "x"));
    until(&mut watched, |catalog| names(catalog) == set(&["b", "c", "d", "e", "f"])).await;
}

#[tokio::test]
async fn a_watch_that_ends_or_breaks_goes_on_where_it_was() {
    let server = Server::start().await;
    server.put(RULES, rule("a", "x"));
    let mut watched = follow(&server).await;
    let breaks: [fn(&Server); 4] = [
        |server| server.end_watches(RULES),
        |server| server.break_watches(RULES),
        |server| {
            server.say(RULES, "{\"type\": \"MODIFI");
            server.break_watches(RULES);
        },
        |server| {
            server.say(RULES, "no JSON at all\n");
            server.end_watches(RULES);
        },
    ];
    let mut known = vec!["a".to_owned()];
    for (index, make_break) in breaks.iter().enumerate() {
        until_server(|| server.watchers(RULES) == 1).await;
        make_break(&server);
        let name = format!("n{index}");
        server.put(RULES, rule(&name, "x"));
        known.push(name);
        until(&mut watched, |catalog| names(catalog) == known.iter().cloned().collect()).await;
    }
    assert_eq!(server.asked(RULES).0, 1, "it is not listed again");
}

#[tokio::test]
async fn a_list_anew_replaces_all_at_once() {
    let server = Server::start().await;
    ["gone", "same", "other"].into_iter().for_each(|name| server.put(RULES, rule(name, "x")));
    let mut watched = follow(&server).await;
    let before = watched.catalog.borrow_and_update().clone();
    server.end_watches(RULES);
    server.refuse(RULES, Some(500));
    server.delete(RULES, rule("gone", "x"));
    server.put(RULES, rule("other", "y"));
    server.put(RULES, rule("new", "x"));
    server.forget(RULES);
    server.refuse(RULES, None);
    // The very next catalog has all of it.
    timeout(DEADLINE, watched.catalog.changed()).await.unwrap().unwrap();
    let after = watched.catalog.borrow().clone();
    assert_eq!(names(&after), set(&["new", "other", "same"]));
    assert_eq!(after.changes_since(&before, []).objects.len(), 3, "what is the same has not changed");
    assert_eq!(server.asked(RULES).0, 2);
}

#[tokio::test]
async fn a_bad_object_is_refused_alone_and_its_last_good_version_stays() {
    let server = Server::start().await;
    server.put(RULES, rule("good", "x"));
    server.put(RULES, json!({"metadata": {"name": "bad", "namespace": "shop", "labels": {"a": 1}}, "spec": {"hosts": 7}}));
    server.put(RULES, json!({"metadata": {"name": "worse", "annotations": []}, "spec": []}));
    let mut watched = follow(&server).await;
    assert_eq!(names(&watched.catalog.borrow()), set(&["good"]));
    let errors = |catalog: &Catalog| {
        catalog.diagnostics().filter(|found| found.severity == Severity::Error).map(ToString::to_string).collect::<Vec<_>>()
    };
    let found = errors(&watched.catalog.borrow());
    assert!(["bad", "worse"].iter().all(|name| found.iter().any(|error| error.contains(name))), "{found:#?}");
    server.put(RULES, rule("bad", "x"));
    until(&mut watched, |catalog| names(catalog) == set(&["bad", "good"])).await;
    server.put(RULES, json!({"metadata": {"name": "bad", "namespace": "shop"}, "spec": {"hosts": ["bad"], "htttp": []}}));
    until(&mut watched, |catalog| errors(catalog).iter().any(|error| error.contains("htttp"))).await;
    assert_eq!(names(&watched.catalog.borrow()), set(&["bad", "good"]));
}

#[tokio::test]
async fn a_kind_that_is_missing_is_followed_once_it_appears() {
    let server = Server::start().await;
    let versions = ["v1", "v1beta1", "v1alpha3"].map(|version| format!("/apis/networking.istio.io/{version}/virtualservices"));
    versions.iter().for_each(|path| server.refuse(path, Some(404)));
    let mut watched = follow(&server).await;
    assert!(watched.catalog.borrow().is_empty());
    // Of the versions, one is enough.
    server.put(&versions[1], rule("a", "x"));
    server.refuse(&versions[1], None);
    until(&mut watched, |catalog| names(catalog) == set(&["a"])).await;
    server.put(&versions[1], rule("b", "x"));
    until(&mut watched, |catalog| names(catalog) == set(&["a", "b"])).await;
}

/// Whoever knows no API server, or not yet, knows none of its kinds.
#[tokio::test]
async fn who_stands_before_an_api_server_and_knows_nothing_makes_nothing_go() {
    let server = Server::start().await;
    server.put(RULES, rule("a", "x"));
    server.stand_before(Some(404));
    let passes = async {
        until_server(|| server.asked(RULES).0 >= 1 && server.asked(PODS).0 >= 2 && server.asked("/apis").0 >= 1).await;
        server.stand_before(None);
    };
    let (watched, ()) = tokio::join!(follow(&server), passes);
    assert_eq!(names(&watched.catalog.borrow()), set(&["a"]), "it waits for every list");
}

#[tokio::test]
async fn an_api_server_that_is_away_costs_nothing_but_news() {
    let mut server = Server::start().await;
    server.put(RULES, rule("a", "x"));
    let mut watched = follow(&server).await;
    server.go_away().await;
    server.put(RULES, rule("b", "x"));
    assert_eq!(names(&watched.catalog.borrow()), set(&["a"]));
    server.come_back().await;
    until(&mut watched, |catalog| names(catalog) == set(&["a", "b"])).await;
    assert_eq!(server.asked(RULES).0, 1, "what it missed, it is told");
}

#[tokio::test]
async fn who_asks_is_told_why_there_is_no_way_to_a_cluster() {
    let of = async |context: &str, text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, text).unwrap();
        connect(&Access::Kubeconfig { path, context: Some(context.to_owned()) }).await.err().unwrap().to_string()
    };
    let said = of("there", "{contexts: [], clusters: [], users: []}").await;
    assert!(said.contains("config cannot be used") && said.contains("there"), "{said}");
    let said = of("there", "clusters: 7").await;
    assert!(said.contains("config cannot be used"), "{said}");
    let said = connect(&Access::Kubeconfig { path: "/nowhere".into(), context: None }).await.err().unwrap().to_string();
    assert!(said.contains("/nowhere"), "{said}");
}
