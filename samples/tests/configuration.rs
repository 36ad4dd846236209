//! The files, and that they say what the instances do.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::collections::HashSet;

use serde_json::Value;
use weir_samples::{Instance, Sample};

use support::{Running, instance};

fn documents(sample: Sample) -> Vec<Value> {
    documents_in(sample.files())
}

fn documents_in(files: &[(&str, &str)]) -> Vec<Value> {
    let parse = |(name, text): &(&str, &str)| serde_saphyr::from_multiple::<Value>(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    files.iter().flat_map(parse).collect()
}

fn of_kind(sample: Sample, kind: &str) -> Vec<Value> {
    documents(sample).into_iter().filter(|document| document["kind"] == kind).collect()
}

fn named(sample: Sample, kind: &str, name: &str) -> Value {
    let found = of_kind(sample, kind).into_iter().find(|document| document["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{kind} {name}"))
}

fn every_instance() -> impl Iterator<Item = (Sample, Instance)> {
    Sample::ALL.into_iter().flat_map(|sample| sample.instances().into_iter().map(move |instance| (sample, instance)))
}

#[test]
fn samples_have_names() {
    for sample in Sample::ALL {
        assert_eq!(Sample::from_name(sample.name()), Some(sample));
    }
    assert_eq!(Sample::from_name("nothing"), None);
}

#[test]
fn documents_are_resources_with_names_of_their_own() {
    for sample in Sample::ALL {
        let mut seen = HashSet::new();
        for document in documents(sample) {
            let version = if document["kind"] == "Service" { "v1" } else { "networking.istio.io/v1" };
            assert_eq!(document["apiVersion"], version, "{document}");
            assert!(document["spec"].is_object(), "{document}");
            assert!(seen.insert((document["kind"].to_string(), document["metadata"]["name"].to_string())), "twice: {document}");
        }
    }
}

#[test]
fn no_route_for_reviews_is_there_yet() {
    let names: Vec<Value> =
        of_kind(Sample::Bookinfo, "VirtualService").iter().map(|document| document["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["bookinfo"]);
}

#[test]
fn every_instance_is_a_workload_of_its_service() {
    for (sample, instance) in every_instance() {
        let workload = &named(sample, "WorkloadEntry", &instance.name)["spec"];
        assert_eq!(workload["address"], instance.address.to_string());
        assert_eq!((&workload["labels"]["app"], &workload["labels"]["version"]), (&instance.service.into(), &instance.version.into()));
        let service = &named(sample, "Service", instance.service)["spec"];
        assert_eq!((&service["selector"]["app"], &service["ports"][0]["port"]), (&instance.service.into(), &instance.port.into()));
    }
    for sample in Sample::ALL {
        assert_eq!(of_kind(sample, "WorkloadEntry").len(), sample.instances().len());
    }
}

#[test]
fn every_instance_has_its_sidecar() {
    for (sample, instance) in every_instance() {
        let sidecar = &named(sample, "Sidecar", &instance.name)["spec"];
        let labels = &sidecar["workloadSelector"]["labels"];
        assert_eq!((&labels["app"], &labels["version"]), (&instance.service.into(), &instance.version.into()));
        let (ingress, egress) = (&sidecar["ingress"][0], &sidecar["egress"][0]);
        assert_eq!((&ingress["port"]["number"], &ingress["captureMode"]), (&instance.port.into(), &"NONE".into()));
        assert_eq!(ingress["defaultEndpoint"], instance.listen.to_string());
        assert_eq!((&egress["bind"], &egress["captureMode"]), (&instance.outbound.to_string().into(), &"NONE".into()));
        assert_eq!((&egress["port"]["number"], &egress["hosts"][0]), (&instance.port.into(), &"./*".into()));
    }
}

#[test]
fn on_machines_of_their_own_instances_are_where_the_files_say() {
    let files = Sample::Bookinfo.files_for_machines().unwrap();
    let documents = documents_in(&files);
    let named = |kind: &str, name: &str| {
        let found = documents.iter().find(|document| document["kind"] == kind && document["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("{kind} {name}"))["spec"].clone()
    };
    let mut addresses = HashSet::new();
    for instance in Sample::Bookinfo.instances() {
        let (here, instance) = (named("WorkloadEntry", &instance.name), instance.alone());
        let there = of_kind(Sample::Bookinfo, "WorkloadEntry").into_iter().find(|entry| entry["metadata"]["name"] == *instance.name);
        let mut there = there.unwrap()["spec"].clone();
        there["address"] = instance.address.to_string().into();
        assert_eq!(here, there, "the same workload at another address");
        assert_eq!(instance.listen.to_string(), "0.0.0.0:9080");
        let service = named("Service", instance.service);
        assert_eq!((&service["selector"]["app"], &service["ports"][0]["port"]), (&instance.service.into(), &instance.port.into()));
        addresses.extend([here["address"].to_string(), service["clusterIP"].to_string()]);
    }
    assert_eq!(addresses.len(), 6 + 4, "each has its own");
    assert_eq!(named("PeerAuthentication", "default")["mtls"]["mode"], "STRICT");
    assert!(
        documents.iter().any(|document| document["kind"] == "Gateway") && documents.iter().all(|document| document["kind"] != "Sidecar")
    );
    assert!([Sample::Httpbin, Sample::TcpEcho].iter().all(|sample| sample.files_for_machines().is_none()));
}

#[test]
fn every_instance_has_addresses_of_its_own() {
    let addresses = every_instance().flat_map(|(_, instance)| [instance.address, instance.outbound]);
    assert_eq!(addresses.collect::<HashSet<_>>().len(), 2 * every_instance().count());
    assert_eq!(every_instance().map(|(_, instance)| instance.listen).collect::<HashSet<_>>().len(), every_instance().count());
}

#[test]
fn every_version_has_its_subset() {
    for (sample, instance) in every_instance().filter(|(sample, _)| *sample != Sample::Httpbin) {
        let rules = of_kind(sample, "DestinationRule");
        let rule = rules.iter().find(|rule| rule["spec"]["host"] == instance.service).unwrap();
        let subsets = rule["spec"]["subsets"].as_array().unwrap();
        let subset = subsets.iter().find(|subset| subset["name"] == instance.version).unwrap();
        assert_eq!(subset["labels"]["version"], instance.version);
    }
}

#[test]
fn the_gateway_listens_where_we_say() {
    for sample in Sample::ALL {
        let gateways = of_kind(sample, "Gateway");
        let server = &gateways[0]["spec"]["servers"][0];
        assert_eq!(format!("{}:{}", server["bind"].as_str().unwrap(), server["port"]["number"]), sample.gateway().to_string());
        assert!(sample.entrance().contains(&format!("localhost:{}", sample.gateway().port())));
        let routes = of_kind(sample, "VirtualService");
        assert_eq!((&gateways[0]["metadata"]["name"], routes.len()), (&routes[0]["spec"]["gateways"][0], 1));
    }
}

/// The files that a command names, and whether it writes them.
fn files_in(command: &str) -> Vec<(&str, bool)> {
    let named = command.match_indices("/tmp/my-mesh/").map(|(at, dir)| {
        let name = command[at + dir.len()..].split_whitespace().next().unwrap();
        (name, command[..at].ends_with("cat > ") || name.ends_with(".bak"))
    });
    named.collect()
}

#[test]
fn what_to_try_names_files_that_are_there() {
    for sample in Sample::ALL {
        let mut there: HashSet<&str> = sample.files().iter().map(|(name, _)| *name).collect();
        let things = sample.things_to_try("/tmp/my-mesh");
        for thing in &things {
            assert!(!thing.command.contains("DIR"), "{thing}");
            for (name, written) in files_in(&thing.command) {
                assert!(written || there.contains(name), "{name} in {thing}");
                there.insert(name);
            }
        }
        assert!(things.iter().any(|thing| !files_in(&thing.command).is_empty()));
    }
}

/// The texts between `<<'EOF'` and `EOF`.
fn written_in(command: &str) -> impl Iterator<Item = &str> {
    command.split("<<'EOF'\n").skip(1).map(|rest| rest.split("\nEOF\n").next().unwrap())
}

#[test]
fn what_to_try_writes_resources() {
    for sample in Sample::ALL {
        let things = sample.things_to_try(".");
        let texts: Vec<&str> = things.iter().flat_map(|thing| written_in(&thing.command)).collect();
        assert!(!texts.is_empty());
        for text in texts {
            let document: Value = serde_saphyr::from_str(text).unwrap();
            assert_eq!(document["kind"], "VirtualService");
        }
    }
}

#[test]
fn what_to_try_breaks_what_it_says() {
    for (sample, from, to) in [(Sample::Bookinfo, "subset: v3", "subset: [v3"), (Sample::TcpEcho, "subset: v2", "subset: [v2")] {
        let [_, write, break_it] = sample.things_to_try(".");
        assert!(break_it.command.contains(&format!("s/{from}/{to}/")));
        let text = written_in(&write.command).next().unwrap();
        assert!(text.contains(from));
        assert!(serde_saphyr::from_str::<Value>(&text.replace(from, to)).is_err());
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = Running::start(instance("ratings-v1")).await;
    let error = instance("details-v1").listening_on(taken.address).bind().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("details-v1 cannot listen on {}", taken.address)), "{error}");
}

#[test]
fn serving_can_move_between_threads() {
    fn movable<T: Send>(_: impl FnOnce(weir_samples::Bound) -> T) {}
    movable(|bound| bound.serve(std::future::pending()));
}
