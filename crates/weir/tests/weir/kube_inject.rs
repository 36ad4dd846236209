//! `weir kube-inject` gives pods of files their sidecars.

use std::io::Write;
use std::process::{Command, Stdio};

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers: [{name: shop, image: shop}]
";
const SERVICE: &str = "apiVersion: v1\nkind: Service   # untouched\nmetadata: {name: shop}\n---\n";

/// What it prints, what it says, and how it ends.
fn inject(arguments: &[&str], text: &str) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("kube-inject").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who does not read it has said why.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn files_and_standard_input_are_injected() {
    let text = SERVICE.to_owned() + DEPLOYMENT;
    let (out, said, code) = inject(&["-f", "-"], &text);
    assert_eq!((said.as_str(), code), ("", Some(0)));
    assert!(out.starts_with(SERVICE) && out.contains("name: istio-proxy") && out.contains("name: istio-init"), "{out}");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("in.yaml"), &text).unwrap();
    let (printed, _, code) = inject(&["-f", &path("in.yaml"), "-o", &path("out.yaml")], "");
    assert_eq!((printed.as_str(), code), ("", Some(0)));
    assert_eq!(std::fs::read_to_string(path("out.yaml")).unwrap(), out);
}

#[test]
fn options_say_what_the_sidecar_is() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = folder.path().join("mesh.yaml").display().to_string();
    std::fs::write(&mesh, "defaultConfig: {holdApplicationUntilProxyStarts: true, concurrency: 7}\n").unwrap();
    let (out, _, _) = inject(&["-f", "-", "-r", "canary", "--image", "hub.test/weir:9", "--mesh-config", &mesh], DEPLOYMENT);
    for expected in ["istiod-canary.istio-system.svc:15012", "hub.test/weir:9", "--workers=7", "postStart:"] {
        assert!(out.contains(expected), "no {expected} in\n{out}");
    }
    let (out, _, _) = inject(&["-f", "-", "--data-plane", "envoy", "--envoy-image", "envoy:9", "--native-sidecars"], DEPLOYMENT);
    for expected in ["name: istio-agent", "image: \"envoy:9\"", "restartPolicy: Always"] {
        assert!(out.replace("'", "\"").replace("image: envoy:9", "image: \"envoy:9\"").contains(expected), "no {expected} in\n{out}");
    }
}

#[test]
fn who_is_wrong_is_told_and_nothing_is_printed() {
    let wrong = DEPLOYMENT.replace("metadata: {labels", "metadata: {annotations: {sidecar.istio.io/proxyCPU: lots}, labels");
    let (out, said, code) = inject(&["-f", "-"], &(SERVICE.to_owned() + &wrong));
    assert_eq!((out.as_str(), code), ("", Some(2)));
    assert!(said.contains("Deployment shop: annotation sidecar.istio.io/proxyCPU: the value \"lots\" cannot be read"), "{said}");
    let (_, said, code) = inject(&["-f", "-"], "a: [\n");
    assert!(code == Some(2) && said.contains("standard input:1"), "{said}");
    let (out, said, code) = inject(&["-f", "-"], &DEPLOYMENT.replace("    spec:\n", "    spec:\n      hostNetwork: true\n"));
    assert!(code == Some(0) && said.contains("Deployment shop: not injected: it shares the machine's network"), "{said}");
    assert!(!out.contains("istio-proxy"));
}
