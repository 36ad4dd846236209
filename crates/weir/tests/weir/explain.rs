//! `weir explain` and `weir translate` of a sidecar that answers questions of DNS.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Two services of one port that have no address.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["first", "second"] {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{hosts: [{name}.test], resolution: DNS, ports: [{{number: 5432, name: tcp, protocol: TCP}}]}}\n"
        );
        fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
    }
    fs::write(folder.path().join("proxy.json"), r#"{"type": "sidecar", "addresses": ["10.0.0.1"]}"#).unwrap();
    folder
}

/// What a command prints, as JSON and for people.
fn ask(folder: &Path, arguments: &[&str]) -> (Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).args(["-o", "json"]).current_dir(folder).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

#[test]
fn services_of_one_port_are_told_apart_where_the_sidecar_answers_dns() {
    let folder = folder();
    let explain = |more: &[&str], host: &str| {
        let url = format!("tcp://{host}:5432");
        let files = ["explain", "-f", "first.yaml", "-f", "second.yaml"];
        ask(folder.path(), &[&files, more, &[url.as_str()]].concat())
    };
    let (answer, said) = explain(&[], "second.test");
    assert_eq!((&answer["listener"], &answer["cluster"]), (&"0.0.0.0_5432".into(), &"outbound|5432||first.test".into()));
    assert!(said.contains("a captured sidecar that answers DNS tells them apart (--dns)"), "{said}");
    for host in ["first.test", "second.test"] {
        let (answer, said) = explain(&["--dns"], host);
        assert_eq!((&answer["cluster"], said.as_str()), (&format!("outbound|5432||{host}").into(), ""));
        assert!(answer["listener"].as_str().unwrap().starts_with("240.240."), "{answer}");
    }
}

#[test]
fn a_translation_has_the_listeners_of_given_addresses_if_it_is_asked_for_so() {
    let folder = folder();
    let listeners = |more: &[&str]| -> usize {
        let files = ["translate", "-f", "first.yaml", "-f", "second.yaml", "--proxy", "proxy.json"];
        let (made, _) = ask(folder.path(), &[&files, more].concat());
        let names = made["listeners"].as_array().unwrap().iter().map(|listener| listener["name"].as_str().unwrap().to_owned());
        names.filter(|name| name.starts_with("240.240.")).count()
    };
    assert_eq!([listeners(&[]), listeners(&["--dns"])], [0, 2]);
}

/// As the sidecar of a workload that stands in the files.
#[test]
fn a_request_is_explained_from_a_workloads_point_of_view() {
    let folder = tempfile::tempdir().unwrap();
    let route = |subset: &str, from: &str| {
        format!("{{match: [{{sourceLabels: {{app: {from}}}}}], name: {subset}, route: [{{destination: {{host: far.test}}}}]}}")
    };
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: far, namespace: default}}\n\
         spec: {{hosts: [far.test], resolution: DNS, ports: [{{number: 80, name: http, protocol: HTTP}}]}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: far, namespace: default}}\n\
         spec: {{hosts: [far.test], http: [{}, {}]}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: one, namespace: default}}\n\
         spec: {{address: 10.0.0.1, labels: {{app: one}}, serviceAccount: first}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: two-1, namespace: default, labels: {{app: two}}}}\n\
         spec: {{serviceAccountName: second}}\nstatus: {{podIP: 10.0.0.2}}\n",
        route("of-one", "one"),
        route("of-two", "two")
    );
    fs::write(folder.path().join("mesh.yaml"), text).unwrap();
    for (from, expected) in
        [("we/one", "of-one"), ("sa/first", "of-one"), ("pod/two-1", "of-two"), ("two-1", "of-two"), ("sa/second", "of-two")]
    {
        let (answer, said) = ask(folder.path(), &["explain", "-f", "mesh.yaml", "--from", from, "http://far.test/"]);
        assert_eq!(answer["route"], expected, "{from}: {said}");
    }
    for (from, expected) in [
        ("deploy/two", "only a cluster knows"),
        ("pod/three", "there is no workload for pod/three in namespace default"),
        ("vs/far", "stands for no workloads"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["explain", "-f", "mesh.yaml", "--from", from, "http://far.test/"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(expected), "{from}: {said}");
    }
}
