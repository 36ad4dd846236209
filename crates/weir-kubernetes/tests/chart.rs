//! The Helm chart renders what `weir install` applies, object by object: with the real Helm, which `.ci/helm` builds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use weir_kubernetes::install::{InstallSettings, differences, manifest, title};

/// Names Helm, if it is not at `target/helm/helm`.
const HELM: &str = "WEIR_TEST_HELM";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/weir");

/// Helm. Without it nothing is compared, which must not go unseen: it is said on standard error, where the test harness does not swallow it,
/// and it fails a test in CI.
fn helm() -> Option<PathBuf> {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/helm/helm");
    let path = env::var_os(HELM).filter(|path| !path.is_empty()).map_or_else(built, PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    let _ = writeln!(io::stderr(), "\nTHE CHART IS NOT TESTED: there is no {}; `.ci/helm` makes it\n", path.display());
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must test the chart");
    None
}

fn render(helm: &Path, namespace: &str, values: &Value) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    fs::write(&file, values.to_string()).unwrap();
    let mut command = Command::new(helm);
    command.args(["template", "weir", CHART, "--kube-version", "1.36", "--namespace", namespace, "--values"]).arg(&file);
    // It keeps nothing in this user's home.
    command.env("HOME", folder.path()).output().unwrap()
}

/// Objects by what they are called; the mesh's configuration as what it says, since the two write YAML in their own ways.
fn by_title(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let plain = |mut object: Value| {
        if let Some(mesh) = object["data"]["mesh"].as_str() {
            object["data"]["mesh"] = serde_saphyr::from_str(mesh).unwrap();
        }
        (title(&object), object)
    };
    let count = objects.len();
    let all: BTreeMap<String, Value> = objects.into_iter().map(plain).collect();
    assert_eq!(all.len(), count, "each object once");
    all
}

fn rendered(output: &Output) -> BTreeMap<String, Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let documents = text.split("---\n").filter(|document| document.lines().any(|line| !line.is_empty() && !line.starts_with('#')));
    by_title(documents.map(|document| serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}\n{document}"))).collect())
}

#[test]
fn the_chart_renders_what_weir_installs() {
    let Some(helm) = helm() else { return };
    let cases = [
        ("istio-system", json!({})),
        ("istio-system", serde_json::to_value(InstallSettings::default()).unwrap()),
        ("istio-system", json!({"revision": "canary", "tags": ["prod"], "image": "registry.example:5000/mesh/weir@sha256:0a"})),
        (
            "mesh",
            json!({"tags": ["default", "prod"], "everyNamespace": true, "plaintextXds": true, "dataPlane": "envoy", "envoyImage": "envoy:1", "log": "weir_pilot=debug,info"}),
        ),
        // A number, if nobody said that it is a name.
        ("mesh", json!({"revision": "7", "tags": ["0", "true", "default"], "everyNamespace": true})),
        (
            "istio-system",
            json!({"replicas": 3, "autoscale": {"enabled": false}, "imagePullPolicy": "Always", "imagePullSecrets": ["a", "b"]}),
        ),
        (
            "istio-system",
            json!({
                "autoscale": {"min": 4, "max": 9, "cpu": 60},
                "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": null}},
                "nodeSelector": {"kubernetes.io/os": "linux", "pool": "1"},
                "tolerations": [{"key": "mesh", "operator": "Exists", "effect": "NoSchedule"}],
                "priorityClass": "system-cluster-critical",
            }),
        ),
        (
            "istio-system",
            json!({"meshConfig": {
                "accessLogFile": "/dev/stdout", "trustDomain": "example.org", "accessLogFormat": "a: \"b\"\n#c\n",
                "defaultConfig": {"discoveryAddress": "elsewhere:15012", "proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}},
            }}),
        ),
    ];
    for (namespace, values) in cases {
        let mut settings = InstallSettings::of_values(&values).unwrap();
        settings.namespace = namespace.to_owned();
        assert_eq!(settings.problems(), Vec::<String>::new(), "{values}");
        let mut ours = by_title(manifest(&settings));
        // Helm makes it itself, if it is told to.
        ours.remove(&format!("Namespace {namespace}")).unwrap();
        let theirs = rendered(&render(&helm, namespace, &values));
        assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "{values}");
        for (title, object) in &ours {
            assert_eq!(differences(object, &theirs[title]), [], "{title} by weir, and by Helm with {values}");
            // Of what differences() passes over there is nothing here.
            assert_eq!(object, &theirs[title], "{title} with {values}");
        }
    }
}

#[test]
fn what_weir_does_not_install_the_chart_refuses() {
    let Some(helm) = helm() else { return };
    for values in [
        json!({"replica": 1}),
        json!({"revision": "Canary"}),
        json!({"revision": ""}),
        json!({"revision": "a".repeat(60)}),
        json!({"tags": ["-"]}),
        json!({"image": ""}),
        json!({"dataPlane": "Envoy"}),
        json!({"imagePullPolicy": "always"}),
        json!({"replicas": 0}),
        json!({"autoscale": {"cpu": 0}}),
        json!({"autoscale": {"maximum": 3}}),
    ] {
        let output = render(&helm, "istio-system", &values);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("values don't meet the specifications"), "{values}: {said}");
        let settings = InstallSettings::of_values(&values);
        assert!(settings.is_err() || !settings.unwrap().problems().is_empty(), "{values}");
    }
}

#[test]
fn the_charts_values_are_the_usual_settings() {
    let read = |name: &str| fs::read_to_string(Path::new(CHART).join(name)).unwrap();
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    assert_eq!(values, serde_json::to_value(InstallSettings::default()).unwrap());
    let about: Value = serde_saphyr::from_str(&read("Chart.yaml")).unwrap();
    assert_eq!((&about["version"], &about["appVersion"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(env!("CARGO_PKG_VERSION"))));
}
