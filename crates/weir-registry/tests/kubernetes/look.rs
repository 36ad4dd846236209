//! One look at a cluster, as a person's tools take it.

use serde_json::{Value, json};
use weir_api::{Kind, Severity};
use weir_registry::kubernetes::{Cluster, Options, Which};

use crate::server::{RULES, Server};
use crate::{PODS, access, names, options, rule, set};

const SHOP: &str = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices";
const VIRTUAL_SERVICES: [&str; 3] = ["v1", "v1beta1", "v1alpha3"];

async fn look(server: &Server) -> Cluster {
    Cluster::reach(&access(server).0).await.unwrap()
}

#[tokio::test]
async fn a_look_sees_what_a_pilot_would() {
    let server = Server::start().await;
    server.page(2);
    ["a", "b", "c"].into_iter().for_each(|name| server.put(RULES, rule(name, "x")));
    let mut other = rule("other", "x");
    other["metadata"]["labels"] = json!({"istio.io/rev": "canary"});
    server.put(RULES, other);
    let cluster = look(&server).await;
    assert_eq!(cluster.namespace(), "shop");
    let seen = cluster.mesh(&options()).await.unwrap();
    assert_eq!((names(&seen.catalog), seen.unseen), (set(&["a", "b", "c"]), vec![]));
    assert_eq!(server.asked(RULES), (2, 0), "it lists, and watches nothing");
    let canary = Options { revision: "canary".to_owned(), ..options() };
    assert_eq!(names(&cluster.mesh(&canary).await.unwrap().catalog), set(&["a", "b", "c", "other"]));
    assert_eq!(names(&cluster.written(None).await.unwrap().catalog), set(&["a", "b", "c", "other"]));
}

#[tokio::test]
async fn what_people_wrote_in_one_namespace_is_seen_with_what_is_wrong_with_it() {
    let server = Server::start().await;
    server.put(RULES, rule("elsewhere", "x"));
    server.put(SHOP, json!({"metadata": {"name": "bad", "namespace": "shop"}, "spec": {"hosts": ["bad"], "htttp": []}}));
    server.put(SHOP, rule("good", "x"));
    let seen = look(&server).await.written(Some("shop")).await.unwrap();
    assert_eq!(names(&seen.catalog), set(&["good"]));
    let errors: Vec<String> =
        seen.catalog.diagnostics().filter(|found| found.severity == Severity::Error).map(|found| found.render(false)).collect();
    assert!(errors.len() == 1 && errors[0].contains("VirtualService/shop/bad:") && errors[0].contains("htttp"), "{errors:?}");
    assert_eq!(server.asked("/api/v1/secrets").0, 0, "nobody wrote them");
}

#[tokio::test]
async fn what_one_may_not_see_is_said_and_what_is_not_there_is_empty() {
    let server = Server::start().await;
    server.put(RULES, rule("a", "x"));
    server.refuse(PODS, Some(403));
    server.refuse("/apis/networking.istio.io/v1/sidecars", Some(404));
    server.refuse("/apis/networking.istio.io/v1beta1/sidecars", Some(404));
    server.refuse("/apis/networking.istio.io/v1alpha3/sidecars", Some(404));
    let cluster = look(&server).await;
    let seen = cluster.mesh(&options()).await.unwrap();
    assert_eq!((names(&seen.catalog), seen.unseen), (set(&["a"]), vec!["refused".to_owned()]));
    let error = cluster.objects(Kind::Sidecar, Which::default()).await.unwrap_err().to_string();
    assert!(error.contains(&server.address.to_string()) && error.contains("knows no sidecars"), "{error}");
    assert_eq!(cluster.at("/apis/apps/v1/namespaces/shop/deployments/web").await.unwrap().unwrap()["kind"], "List");
    server.refuse("/apis/apps/v1/namespaces/shop/deployments/web", Some(404));
    assert!(cluster.at("/apis/apps/v1/namespaces/shop/deployments/web").await.unwrap().is_none());
}

#[tokio::test]
async fn an_api_server_that_fails_or_is_away_is_named() {
    let mut server = Server::start().await;
    let cluster = look(&server).await;
    server.refuse(PODS, Some(500));
    let place = server.address.to_string();
    let said = |error: weir_registry::kubernetes::LookError| error.to_string();
    let error = cluster.mesh(&options()).await.map(|_| ()).map_err(said).unwrap_err();
    assert!(error.contains(&place) && error.contains("500"), "{error}");
    server.refuse(PODS, Some(401));
    let error = cluster.mesh(&options()).await.map(|_| ()).map_err(said).unwrap_err();
    assert!(error.contains(&place) && error.contains("credentials"), "{error}");
    server.go_away().await;
    let error = cluster.objects(Kind::VirtualService, Which::default()).await.map(|_| ()).map_err(said).unwrap_err();
    assert!(error.contains(&place) && error.contains("cannot be asked"), "{error}");
}

#[tokio::test]
async fn objects_and_tables_come_in_the_newest_version_that_there_is() {
    let server = Server::start().await;
    server.page(1);
    let paths = VIRTUAL_SERVICES.map(|version| format!("/apis/networking.istio.io/{version}/namespaces/shop/virtualservices"));
    server.refuse(&paths[0], Some(404));
    server.put(&paths[1], rule("a", "x"));
    server.put(&paths[1], json!({"metadata": {"name": "b", "namespace": "shop"}, "spec": {}}));
    let cluster = look(&server).await;
    let shop = Which { namespace: Some("shop"), name: None };
    let objects = cluster.objects(Kind::VirtualService, shop).await.unwrap();
    let shown: Vec<[&Value; 2]> = objects.iter().map(|object| [&object["kind"], &object["metadata"]["name"]]).collect();
    assert_eq!(shown, [["VirtualService", "a"], ["VirtualService", "b"]]);
    let pages = cluster.tables(Kind::VirtualService, shop).await.unwrap();
    let cells: Vec<&Value> = pages.iter().flat_map(|page| page["rows"].as_array().unwrap()).map(|row| &row["cells"][0]).collect();
    assert_eq!((pages.len(), cells), (2, vec![&json!("a"), &json!("b")]));
    let error = cluster.tables(Kind::VirtualService, Which { namespace: Some("../x"), name: None }).await.unwrap_err().to_string();
    assert!(error.contains("is no namespace"), "{error}");
}
