//! The webhooks' configurations: the selectors in them send just those pods that are to be sent.
#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_api::resources::mesh_config::LabelSelector;
use weir_inject::Webhooks;
use weir_inject::configuration::Reach;

type Labels = BTreeMap<String, String>;

fn webhooks(revision: &str, tags: &[&str]) -> Webhooks {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Webhooks { revision: revision.to_owned(), tags, every_namespace: false, own_namespace: "istio-system".to_owned() }
}

/// All combinations of these labels, each of which is absent or has one of the values.
fn combinations(labels: &[(&str, &[&str])]) -> Vec<Labels> {
    labels.iter().fold(vec![Labels::new()], |all, (name, values)| {
        let with = |known: &Labels, value: &str| known.clone().into_iter().chain([((*name).to_owned(), value.to_owned())]).collect();
        let more = all.iter().flat_map(|known| values.iter().map(|value| with(known, value)));
        all.iter().cloned().chain(more).collect()
    })
}

/// Whether a selector selects, as the API server has it.
fn selects(selector: &Value, labels: &Labels) -> bool {
    serde_json::from_value::<LabelSelector>(selector.clone()).unwrap().matches(labels)
}

fn hooks(configurations: &[Value]) -> Vec<&Value> {
    configurations.iter().flat_map(|configuration| configuration["webhooks"].as_array().unwrap()).collect()
}

#[test]
fn the_selectors_send_the_pods_that_the_rules_send() {
    const REVISIONS: &[&str] = &["default", "canary", "prod", "other"];
    let namespaces = combinations(&[("istio-injection", &["enabled", "disabled", "on"]), ("istio.io/rev", REVISIONS)]);
    let pods = combinations(&[("sidecar.istio.io/inject", &["true", "false", "maybe"]), ("istio.io/rev", REVISIONS)]);
    let mut planes = vec![webhooks("", &[]), webhooks("default", &["prod", "default"]), webhooks("canary", &[])];
    planes.push(webhooks("canary", &["prod", "default"]));
    planes.extend(planes.clone().into_iter().map(|plane| Webhooks { every_namespace: true, ..plane }));
    let mut sent = 0;
    for plane in &planes {
        let configurations = plane.injectors(&Reach::Service);
        for name in ["shop", "kube-system", "istio-system"] {
            for (namespace, pod) in namespaces.iter().flat_map(|namespace| pods.iter().map(move |pod| (namespace, pod))) {
                let mut known = namespace.clone();
                known.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
                let is_sent = |hook: &&&Value| selects(&hook["namespaceSelector"], &known) && selects(&hook["objectSelector"], pod);
                let by = hooks(&configurations).iter().filter(is_sent).count();
                let decision = plane.send(name, namespace, pod);
                assert!(by <= 1, "{plane:?}: {name} {namespace:?} {pod:?}: by {by} webhooks at once");
                assert_eq!(by == 1, decision.injects(), "{plane:?}: {name} {namespace:?} {pod:?}: {decision}");
                sent += by;
            }
        }
    }
    assert!(sent > 1000, "{sent}");
}

#[test]
fn objects_are_named_and_labelled_as_istios() {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    let names = |objects: Vec<Value>| objects.iter().map(name).collect::<Vec<_>>();
    assert_eq!(names(webhooks("default", &[]).injectors(&Reach::Service)), ["istio-sidecar-injector"]);
    let canary = webhooks("canary", &["prod"]);
    assert_eq!(names(canary.injectors(&Reach::Service)), ["istio-sidecar-injector-canary", "istio-revision-tag-prod"]);
    assert_eq!(names(canary.validators(&Reach::Service)), ["istio-validator-canary-istio-system"]);
    assert_eq!(names(webhooks("", &[]).validators(&Reach::Service)), ["istio-validator-istio-system", "istiod-default-validator"]);
    let elsewhere = Webhooks { own_namespace: "mesh".to_owned(), ..webhooks("canary", &["prod"]) };
    assert_eq!(names(elsewhere.injectors(&Reach::Service)), ["istio-sidecar-injector-canary-mesh", "istio-revision-tag-prod-mesh"]);

    let tag = &canary.injectors(&Reach::Service)[1];
    assert_eq!(tag["metadata"]["labels"], json!({"app": "sidecar-injector", "istio.io/rev": "canary", "istio.io/tag": "prod"}));
    let all = canary.injectors(&Reach::Service);
    for hook in hooks(&all) {
        assert!(hook["name"].as_str().unwrap().ends_with(".sidecar-injector.istio.io"));
        let service = json!({"name": "istiod-canary", "namespace": "istio-system", "path": "/inject", "port": 443});
        assert_eq!((&hook["clientConfig"]["service"], &hook["failurePolicy"]), (&service, &json!("Fail")));
    }
    let at = canary.validators(&Reach::Url("https://192.0.2.1:15017".to_owned()));
    assert_eq!(at[0]["webhooks"][0]["clientConfig"], json!({"url": "https://192.0.2.1:15017/validate"}));
    assert_eq!(at[0]["webhooks"][0]["failurePolicy"], "Ignore");
}

#[test]
fn no_two_webhooks_of_a_configuration_have_one_name() {
    let plane = Webhooks { every_namespace: true, ..webhooks("default", &["prod"]) };
    for configuration in plane.injectors(&Reach::Service).into_iter().chain(plane.validators(&Reach::Service)) {
        let hooks = configuration["webhooks"].as_array().unwrap();
        let names: BTreeSet<&str> = hooks.iter().map(|hook| hook["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), hooks.len());
    }
}
