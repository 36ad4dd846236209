use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_api::{Kind, Object};

use super::{News, Options, Received, Store};
use crate::Catalog;

const RULE: Kind = Kind::VirtualService;
const POLICY: Kind = Kind::PeerAuthentication;

fn options(selectors: &[Value]) -> Options {
    let selectors = selectors.iter().map(|selector| serde_json::from_value(selector.clone()).unwrap()).collect();
    Options { revision: "default".to_owned(), selectors }
}

/// What comes from a server, stripped as what is followed.
fn received(json: Value) -> Received {
    serde_json::from_value::<Received>(json).unwrap().stripped(RULE)
}

/// A VirtualService that sends all to this host.
fn rule(name: &str, host: &str) -> Received {
    labelled(name, host, json!({}))
}

fn labelled(name: &str, host: &str, labels: Value) -> Received {
    let spec = json!({"hosts": [name], "http": [{"route": [{"destination": {"host": host}}]}]});
    received(json!({"metadata": {"name": name, "namespace": "shop", "labels": labels}, "spec": spec}))
}

fn policy(mode: &str) -> Received {
    received(json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": {"mtls": {"mode": mode}}}))
}

fn take(store: &mut Store, news: Vec<News>) -> bool {
    store.take(news.into_iter().map(|news| (RULE, news)))
}

/// A store in which a list with these is complete.
fn listed(objects: Vec<Received>) -> Store {
    let mut store = Store::new([RULE], &options(&[]));
    let news = std::iter::once(News::Began).chain(objects.into_iter().map(News::Listed)).chain([News::Complete]);
    assert!(take(&mut store, news.collect()));
    store
}

/// Where each VirtualService sends all; what is kept of an earlier version has a `!`.
fn rules(catalog: &Catalog) -> BTreeMap<String, String> {
    let kept: Vec<String> = catalog.kept().map(|name| name.name).collect();
    let host = |object: &Object| object.node.to_json()["spec"]["http"][0]["route"][0]["destination"]["host"].as_str().unwrap().to_owned();
    let one = |object: &std::sync::Arc<Object>| {
        let mark = if kept.contains(&object.meta.name) { "!" } else { "" };
        (object.meta.name.clone(), host(object) + mark)
    };
    catalog.objects().filter(|object| object.kind == RULE).map(one).collect()
}

fn of(written: &[(&str, &str)]) -> BTreeMap<String, String> {
    written.iter().map(|(name, host)| ((*name).to_owned(), (*host).to_owned())).collect()
}

#[test]
fn a_list_counts_when_it_is_complete() {
    let mut store = listed(vec![rule("a", "x"), rule("b", "x")]);
    assert!(!take(&mut store, vec![News::Began, News::Listed(rule("c", "x"))]));
    assert_eq!(rules(&store.catalog()), of(&[("a", "x"), ("b", "x")]));
    // One that is begun again forgets what it had.
    assert!(take(&mut store, vec![News::Began, News::Listed(rule("b", "y")), News::Complete]));
    assert_eq!(rules(&store.catalog()), of(&[("b", "y")]));
}

#[test]
fn a_store_is_whole_when_every_list_was_complete_or_there_is_no_such_kind() {
    let mut store = Store::new([RULE, POLICY], &options(&[]));
    take(&mut store, vec![News::Began, News::Complete]);
    assert!(!store.is_whole());
    assert!(store.take([(POLICY, News::Missing)]) && store.is_whole());
    assert!(!store.take([(POLICY, News::Missing)]));
}

#[test]
fn objects_come_change_and_go() {
    let mut store = listed(vec![]);
    assert!(take(&mut store, vec![News::Applied(rule("a", "x")), News::Applied(rule("b", "x"))]));
    assert!(take(&mut store, vec![News::Applied(rule("a", "y")), News::Deleted(rule("b", "x"))]));
    assert_eq!(rules(&store.catalog()), of(&[("a", "y")]));
    assert!(take(&mut store, vec![News::Missing]));
    assert!(store.catalog().is_empty());
}

#[test]
fn news_of_what_is_not_kept_change_nothing() {
    let mut store = listed(vec![rule("a", "x")]);
    let before = store.catalog();
    let mut same = rule("a", "x");
    same.json["metadata"]["resourceVersion"] = json!("17");
    same.json["status"] = json!({"observedGeneration": 1});
    let same = same.stripped(RULE);
    assert!(!take(&mut store, vec![News::Applied(same.clone())]));
    assert!(!take(&mut store, vec![News::Began, News::Listed(same), News::Complete]));
    assert!(store.catalog().changes_since(&before, []).objects.is_empty());
}

#[test]
fn a_broken_object_stays_as_it_last_was_and_its_neighbours_go_on() {
    let mut broken = rule("b", "y");
    broken.json["spec"]["http"][0]["timeout"] = json!("soon");
    let mut store = listed(vec![rule("a", "x"), broken.clone()]);
    assert_eq!(rules(&store.catalog()), of(&[("a", "x")]));
    take(&mut store, vec![News::Applied(rule("b", "x"))]);
    assert_eq!(store.catalog().diagnostics().count(), 0);
    take(&mut store, vec![News::Applied(rule("a", "y")), News::Applied(broken.clone())]);
    assert_eq!(rules(&store.catalog()), of(&[("a", "y"), ("b", "x!")]));
    let said = store.catalog().diagnostics().next().unwrap().to_string();
    assert!(said.starts_with("VirtualService/shop/b:") && said.contains("spec.http[0].timeout"), "{said}");
    // Also over a list.
    take(&mut store, vec![News::Began, News::Listed(broken), News::Complete]);
    assert_eq!(rules(&store.catalog()), of(&[("b", "x!")]));
    take(&mut store, vec![News::Deleted(rule("b", "x"))]);
    assert!(store.catalog().is_empty() && store.catalog().diagnostics().next().is_none());
}

#[test]
fn something_strict_stands_in_for_a_policy_that_was_never_good() {
    let mut store = Store::new([POLICY], &options(&[]));
    store.take([(POLICY, News::Began), (POLICY, News::Listed(policy("MUTUELL"))), (POLICY, News::Complete)]);
    assert_eq!(store.catalog().stand_ins().count(), 1);
    store.take([(POLICY, News::Applied(policy("PERMISSIVE")))]);
    store.take([(POLICY, News::Applied(policy("STRIKT")))]);
    assert_eq!((store.catalog().stand_ins().count(), store.catalog().kept().count()), (0, 1));
}

#[test]
fn a_resource_of_another_revision_is_for_another_control_plane() {
    let rev = |revision: &str| json!({"istio.io/rev": revision});
    let mut store = listed(vec![labelled("a", "x", rev("canary")), labelled("b", "x", rev("default")), rule("c", "x")]);
    assert_eq!(rules(&store.catalog()), of(&[("b", "x"), ("c", "x")]));
    take(&mut store, vec![News::Applied(labelled("c", "x", rev("canary"))), News::Applied(rule("a", "x"))]);
    assert_eq!(rules(&store.catalog()), of(&[("a", "x"), ("b", "x")]));
}

#[test]
fn only_namespaces_that_are_selected_count_by_the_labels_that_they_have_now() {
    const NAMESPACE: Kind = Kind::Namespace;
    let namespace = |name: &str, labels: Value| received(json!({"metadata": {"name": name, "labels": labels}}));
    let selectors = [json!({"matchLabels": {"mesh": "yes"}}), json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]})];
    let mut store = Store::new([RULE, NAMESPACE], &options(&selectors));
    take(&mut store, vec![News::Began, News::Listed(rule("a", "x")), News::Complete]);
    let shop = |labels: Value| (NAMESPACE, News::Applied(namespace("shop", labels)));
    store.take([
        (NAMESPACE, News::Began),
        (NAMESPACE, News::Listed(namespace("other", json!({"mesh": "yes"})))),
        (NAMESPACE, News::Complete),
    ]);
    assert_eq!(rules(&store.catalog()), of(&[]));
    for (labels, is_selected) in [
        (json!({"mesh": "yes"}), true),
        (json!({"mesh": "yes", "more": "x"}), true),
        (json!({"mesh": "no"}), false),
        (json!({"team": "any"}), true),
        (json!(null), false),
        (json!({"team": "any"}), true),
    ] {
        store.take([shop(labels.clone())]);
        assert_eq!(rules(&store.catalog()).len(), usize::from(is_selected), "{labels}");
    }
    // What changes meanwhile is not lost.
    store.take([shop(json!({}))]);
    take(&mut store, vec![News::Applied(rule("a", "y")), News::Applied(rule("b", "x"))]);
    assert_eq!(rules(&store.catalog()), of(&[]));
    store.take([shop(json!({"mesh": "yes"}))]);
    assert_eq!(rules(&store.catalog()), of(&[("a", "y"), ("b", "x")]));
    store.take([(RULE, News::Deleted(rule("a", "y"))), (NAMESPACE, News::Deleted(namespace("shop", json!({}))))]);
    assert_eq!(rules(&store.catalog()), of(&[]));
    store.take([shop(json!({"mesh": "yes"}))]);
    assert_eq!(rules(&store.catalog()), of(&[("b", "x")]));
}

#[test]
fn other_selectors_count_at_once_over_what_is_there() {
    const NAMESPACE: Kind = Kind::Namespace;
    let namespace = |name: &str, team: &str| received(json!({"metadata": {"name": name, "labels": {"team": team}}}));
    let selector = |team: &str| serde_json::from_value(json!({"matchLabels": {"team": team}})).unwrap();
    let mut other = rule("b", "x");
    other.json["metadata"]["namespace"] = json!("other");
    let other = || received(other.json.clone());
    let all = |store: &mut Store| {
        store.take([(NAMESPACE, News::Applied(namespace("shop", "a"))), (NAMESPACE, News::Applied(namespace("other", "b")))]);
        take(store, vec![News::Began, News::Listed(rule("a", "x")), News::Listed(other()), News::Complete]);
    };
    let mut store = Store::new([RULE], &options(&[]));
    all(&mut store);
    assert_eq!(rules(&store.catalog()), of(&[("a", "x"), ("b", "x")]));
    assert!(!store.reselect(&[]) && !store.keeps_all());
    assert!(store.reselect(&[selector("a")]) && store.keeps_all());
    assert_eq!(rules(&store.catalog()), of(&[("a", "x")]));
    // All is listed again, and kept.
    all(&mut store);
    assert_eq!(rules(&store.catalog()), of(&[("a", "x")]));
    for (selectors, expected) in [
        (vec![selector("b")], vec![("b", "x")]),
        (vec![selector("a"), selector("b")], vec![("a", "x"), ("b", "x")]),
        (vec![selector("c")], vec![]),
        (vec![], vec![("a", "x"), ("b", "x")]),
    ] {
        assert!(store.reselect(&selectors));
        assert_eq!(rules(&store.catalog()), of(&expected));
    }
}

#[test]
fn a_version_is_known_of_what_is_broken_too() {
    let version = |mut object: Received, generation: i64| {
        let metadata = &mut object.json["metadata"];
        (metadata["uid"], metadata["generation"]) = (json!("u"), json!(generation));
        object
    };
    let mut broken = rule("a", "y");
    broken.json["spec"]["http"][0]["timeout"] = json!("soon");
    let path = std::path::Path::new("VirtualService/shop/a");
    let known = |store: &Store| store.catalog().written(path).map(|written| (written.uid.clone(), written.generation));
    let mut store = listed(vec![rule("b", "x"), version(rule("a", "x"), 1)]);
    assert_eq!(known(&store), Some(("u".to_owned(), 1)));
    take(&mut store, vec![News::Applied(version(broken.clone(), 2))]);
    let before = store.catalog();
    assert!(take(&mut store, vec![News::Applied(version(broken.clone(), 3))]), "it is another version, of which the same is to be said");
    assert_eq!((known(&store).unwrap().1, store.catalog().all_written().count()), (3, 1), "nobody says which version b is");
    let changes = store.catalog().changes_since(&before, []);
    assert_eq!((changes.objects.len(), changes.texts.len()), (0, 1));
}

#[test]
fn what_is_no_object_at_all_harms_nobody() {
    let odd = [json!(null), json!([1]), json!({"metadata": 1}), json!({"metadata": {"name": 7}}), json!({"metadata": {"name": "../x"}})];
    let mut news: Vec<News> = odd.into_iter().map(|json| News::Applied(received(json))).collect();
    news.push(News::Applied(rule("a", "x")));
    let mut store = listed(vec![]);
    take(&mut store, news);
    assert_eq!(rules(&store.catalog()), of(&[("a", "x")]));
    assert!(store.catalog().diagnostics().count() >= 3);
}
