//! `weir get` prints what kubectl prints.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A folder with documents of the pages that Weir began with, and one of another namespace.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weir-api/tests/seeds");
    for name in [
        "002-01-virtual-service-reviews.yaml",
        "002-02-destination-rule-my-destination-rule.yaml",
        "002-05-service-entry-svc-entry.yaml",
        "002-13-gateway-bookinfo-gateway.yaml",
        "002-15-virtual-service-bookinfo.yaml",
    ] {
        fs::copy(seeds.join(name), folder.path().join(name)).unwrap();
    }
    let other = fs::read_to_string(seeds.join("002-01-virtual-service-reviews.yaml")).unwrap();
    fs::write(folder.path().join("other.yaml"), other.replace("name: reviews\n", "name: reviews\n  namespace: other\n")).unwrap();
    folder
}

/// What it prints, and whether it ends well.
fn get(folder: &Path, arguments: &[&str]) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).arg("get").args(arguments).arg("-f").arg(folder).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

/// The lines of a table without their last column, which is the age.
fn table(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let (text, _) = get(folder, arguments);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    assert!(header.ends_with("AGE"), "{text}");
    let mut found = vec![header.split_whitespace().collect::<Vec<_>>().join(" ")];
    for line in lines {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let age = words.pop().unwrap();
        assert!(age.starts_with(|first: char| first.is_ascii_digit()), "{age} is no age: {line}");
        found.push(words.join(" "));
    }
    found
}

#[test]
fn tables_are_those_of_kubectl() {
    let folder = folder();
    let virtual_services = ["NAME GATEWAYS HOSTS AGE", r#"bookinfo ["bookinfo-gateway"] ["*"]"#, r#"reviews ["reviews"]"#];
    for kind in ["virtualservices", "virtualservice", "vs"] {
        assert_eq!(table(folder.path(), &[kind]), virtual_services, "{kind}");
    }
    assert_eq!(table(folder.path(), &["vs", "reviews"]), ["NAME GATEWAYS HOSTS AGE", r#"reviews ["reviews"]"#]);
    assert_eq!(table(folder.path(), &["dr"]), ["NAME HOST AGE", "my-destination-rule my-svc"]);
    assert_eq!(table(folder.path(), &["gw"]), ["NAME AGE", "bookinfo-gateway"]);
    let entry = r#"svc-entry ["ext-svc.example.com"] MESH_EXTERNAL DNS"#;
    assert_eq!(table(folder.path(), &["se"]), ["NAME HOSTS LOCATION RESOLUTION AGE", entry]);
}

#[test]
fn namespaces_are_told_apart() {
    let folder = folder();
    assert_eq!(table(folder.path(), &["vs", "-n", "other"]), ["NAME GATEWAYS HOSTS AGE", r#"reviews ["reviews"]"#]);
    assert_eq!(
        table(folder.path(), &["vs", "-A"]),
        [
            "NAMESPACE NAME GATEWAYS HOSTS AGE",
            r#"default bookinfo ["bookinfo-gateway"] ["*"]"#,
            r#"default reviews ["reviews"]"#,
            r#"other reviews ["reviews"]"#,
        ]
    );
}

#[test]
fn resources_come_as_they_are_written() {
    let folder = folder();
    let (text, ended_well) = get(folder.path(), &["vs", "reviews", "-o", "json"]);
    assert!(ended_well);
    let resource: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&resource["kind"], &resource["metadata"]["name"]), (&"VirtualService".into(), &"reviews".into()));
    assert_eq!(resource["spec"]["http"][0]["match"][0]["headers"]["end-user"]["exact"], "jason");
    let (text, _) = get(folder.path(), &["vs", "-o", "json"]);
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&"List".into(), 2));
    let (text, _) = get(folder.path(), &["vs", "reviews", "-o", "yaml"]);
    // What it prints can be read again.
    let again = tempfile::tempdir().unwrap();
    fs::write(again.path().join("reviews.yaml"), text).unwrap();
    assert_eq!(table(again.path(), &["vs"]), ["NAME GATEWAYS HOSTS AGE", r#"reviews ["reviews"]"#]);
}

#[test]
fn who_asks_for_what_is_not_there_is_told() {
    let folder = folder();
    assert!(!get(folder.path(), &["vs", "nobody"]).1);
    assert!(!get(folder.path(), &["unheard-of"]).1);
}

#[test]
fn what_a_service_entry_is_given_is_its_status() {
    let folder = folder();
    let status = |name: &str| {
        let (text, _) = get(folder.path(), &["se", name, "-o", "json"]);
        serde_json::from_str::<Value>(&text).unwrap()["status"].clone()
    };
    let given = status("svc-entry");
    let hosts: Vec<&str> = given["addresses"].as_array().unwrap().iter().map(|address| address["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["ext-svc.example.com"; 2], "{given}");
    assert!(given["addresses"][0]["value"].as_str().unwrap().starts_with("240.240."), "{given}");
    let seed = fs::read_to_string(folder.path().join("002-05-service-entry-svc-entry.yaml")).unwrap();
    let written = seed.replace("name: svc-entry", "name: written").replace("ext-svc.example.com", "written.test");
    fs::write(folder.path().join("written.yaml"), written.replace("spec:", "spec:\n  addresses: [10.0.0.1]")).unwrap();
    assert_eq!(status("written"), Value::Null);
    // Whatever somebody writes there.
    for (name, status_text) in [("word", "x"), ("list", "[1]"), ("number", "5")] {
        let text = seed.replace("name: svc-entry", &format!("name: {name}")).replace("ext-svc.example.com", &format!("{name}.test"));
        fs::write(folder.path().join(format!("{name}.yaml")), format!("{}\nstatus: {status_text}\n", text.trim_end())).unwrap();
        assert!(status(name)["addresses"].is_array(), "{status_text}");
    }
}

/// Lines as words, without ages.
fn words(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let (text, is_good) = get(folder, arguments);
    assert!(is_good, "{text}");
    let is_age = |word: &&str| word.ends_with(['s', 'm']) && word.starts_with(|first: char| first.is_ascii_digit());
    text.lines().map(|line| line.split_whitespace().filter(|word| !is_age(word)).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn columns_are_those_of_the_kinds_own_definitions() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("all.yaml"),
        "apiVersion: v1
kind: Service
metadata: {name: a}
spec: {clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 30080}, {port: 53, protocol: UDP}], type: NodePort, selector: {app: a, v: '1'}}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {type: LoadBalancer, clusterIP: 10.0.0.2, externalIPs: [192.0.2.9], ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: lb.test}]}}
---
apiVersion: v1
kind: Service
metadata: {name: c}
spec: {type: LoadBalancer, clusterIP: None}
---
apiVersion: v1
kind: Service
metadata: {name: d}
spec: {type: ExternalName, externalName: far.test}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w}
spec: {address: 10.0.0.3}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p}
spec: {action: DENY}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: p}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec:
  ingressClassName: istio
  tls: [{secretName: s}]
  rules: [{host: a.test}, {host: b.test}, {host: c.test}, {host: d.test}]
",
    )
    .unwrap();
    let shown = |arguments: &[&str]| words(folder.path(), arguments);
    assert_eq!(
        shown(&["svc"]),
        [
            "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE",
            "a NodePort 10.0.0.1 <none> 80:30080/TCP,53/UDP",
            "b LoadBalancer 10.0.0.2 192.0.2.1,lb.test,192.0.2.9 80/TCP",
            "c LoadBalancer None <pending> <none>",
            "d ExternalName <none> far.test <none>",
        ]
    );
    assert_eq!(shown(&["svc", "a", "-o", "wide"])[1], "a NodePort 10.0.0.1 <none> 80:30080/TCP,53/UDP app=a,v=1");
    assert_eq!(shown(&["we"]), ["NAME AGE ADDRESS", "w 10.0.0.3"]);
    assert_eq!(shown(&["ap"]), ["NAME ACTION AGE", "p DENY"]);
    assert_eq!(shown(&["pa"]), ["NAME MODE AGE", "p STRICT"]);
    assert_eq!(shown(&["ing"]), ["NAME CLASS HOSTS ADDRESS PORTS AGE", "i istio a.test,b.test,c.test + 1 more... 80, 443"]);
}

#[test]
fn resources_are_named_as_kubectl_names_them() {
    let folder = folder();
    assert_eq!(words(folder.path(), &["vs/reviews", "-o", "name"]), ["virtualservice.networking.istio.io/reviews"]);
    assert_eq!(words(folder.path(), &["virtualservices.networking.istio.io", "-o", "name"]).len(), 2);
    let (_, is_good) = get(folder.path(), &["vs/reviews", "bookinfo"]);
    assert!(!is_good);
}

/// A kubeconfig that the environment names is not asked for by that.
#[test]
fn a_cluster_is_looked_at_only_if_it_is_asked_for() {
    let ask = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).env("KUBECONFIG", "/nowhere/config").env("HOME", "/nowhere").output().unwrap();
        (String::from_utf8(output.stderr).unwrap(), output.status.code())
    };
    let weir = Path::new(env!("CARGO_BIN_EXE_weir"));
    let (said, code) = ask(weir, &["get", "vs", "--admin", "127.0.0.1:1"]);
    assert!(code == Some(2) && said.contains("no mesh answers at 127.0.0.1:1"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-weir");
    #[cfg(unix)]
    std::os::unix::fs::symlink(weir, &plugin).unwrap();
    let expected = if cfg!(feature = "kubernetes") { "/nowhere/config" } else { "built without Kubernetes" };
    for (program, arguments) in [
        (weir, &["get", "vs", "--kubernetes"][..]),
        (weir, &["validate", "--context", "c"]),
        (weir, &["explain", "--kubernetes", "--from", "deploy/a", "http://a/"]),
        #[cfg(unix)]
        (&plugin, &["get", "vs"]),
        #[cfg(unix)]
        (&plugin, &["validate"]),
    ] {
        let (said, code) = ask(program, arguments);
        assert!(code == Some(2) && said.contains(expected), "{arguments:?}: {said}");
    }
    let (said, code) = ask(weir, &["validate"]);
    assert!(code == Some(2) && said.contains("files with -f, or a cluster with --kubernetes"), "{said}");
}

#[test]
fn shells_complete_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_weir")).args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("proxy-status") && script.contains("all-namespaces"), "{shell}: {script}");
    }
}
