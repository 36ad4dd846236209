//! A cluster leaves nothing behind, not even when the test's process is killed: no process, interface, mount, or setting of the kernel.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use weir_testkit::{Cluster, until};

use crate::node::ready;

/// What a process that holds a cluster says once Pods run there.
const READY: &str = "Pods run";
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: web
    image: host/python3
    args: [-m, http.server, "8080"]
    securityContext: {runAsUser: 1337}
    readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
    volumeMounts: [{name: memory, mountPath: /memory}]
  volumes: [{name: memory, emptyDir: {medium: Memory}}]
"#;

/// What this machine has, other than processes, that a cluster could leave to it. Who looks is in no cluster.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    interfaces: BTreeSet<String>,
    settings: Vec<String>,
    folders: Vec<bool>,
}

impl Traces {
    fn find() -> Self {
        let settings = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "net/ipv4/ip_forward"];
        let setting = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap();
        let links = Command::new("ip").args(["-oneline", "link"]).output().unwrap();
        // Other tests may have some of their own.
        let links = String::from_utf8(links.stdout).unwrap();
        let links = links.lines().filter_map(|line| line.split(": ").nth(1)).filter(|name| name.starts_with("pod"));
        let folders = ["/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/usr/libexec/kubernetes", "/etc/kubernetes"];
        Self {
            interfaces: links.map(str::to_owned).collect(),
            settings: settings.map(setting).into(),
            folders: folders.map(|folder| fs::exists(folder).unwrap()).into(),
        }
    }
}

/// Run by the test below, as a process of its own.
#[tokio::test]
#[ignore = "goes on until its process is killed"]
async fn a_cluster_until_it_is_killed() {
    let Some(cluster) = Cluster::start_with_node(vec![]).await else { return };
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    until("there is a service account", async || cluster.exists_by_now(account).await).await;
    cluster.kubectl(&["apply", "-f", "-"], POD).await;
    until("the Pod is ready", async || ready(&cluster, "default").await.len() == 1).await;
    eprintln!("{READY}");
    std::future::pending().await
}

#[tokio::test]
async fn a_cluster_that_is_killed_leaves_nothing_behind() {
    let before = Traces::find();
    let work = tempfile::tempdir().unwrap();
    let name = format!("{}::a_cluster_until_it_is_killed", module_path!().split_once("::").unwrap().1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", &name]).env("TMPDIR", work.path());
    let mut holder = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(holder.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = vec![];
    if !lines.inspect(|line| said.push(line.clone())).any(|line| line == READY) {
        // Where there can be no cluster, it has said so.
        assert!(holder.wait().unwrap().success(), "{}", said.join("\n"));
        return eprintln!("{}", said.join("\n"));
    }
    let processes = descendants(holder.id());
    assert!(processes.len() > 10, "etcd, three of the control plane, five of the node, a Pod: {processes:?}");
    let of_cluster: BTreeSet<String> = processes.iter().flat_map(|id| namespaces(*id)).collect();
    let of_others = namespaces(std::process::id());
    let of_cluster: BTreeSet<&String> = of_cluster.difference(&of_others).collect();
    holder.kill().unwrap();
    holder.wait().unwrap();

    let mut left = vec![];
    until("all processes have ended", async || {
        let is_of_cluster = |id: &u32| processes.contains(id) || namespaces(*id).iter().any(|name| of_cluster.contains(name));
        left = all().into_iter().filter(is_of_cluster).collect();
        left.is_empty()
    })
    .await;
    assert_eq!(Traces::find(), before);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&work.path().display().to_string()), "{mounts}");
    work.close().unwrap();
}

/// All processes that have not ended.
fn all() -> Vec<u32> {
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id| is_running(*id)).collect()
}

fn is_running(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

/// The namespaces that a process is in.
fn namespaces(id: u32) -> BTreeSet<String> {
    let links = ["net", "mnt", "pid"].map(|kind| fs::read_link(format!("/proc/{id}/ns/{kind}")));
    links.into_iter().flatten().map(|name| name.display().to_string()).collect()
}

/// The processes that one has started, and those that they have.
fn descendants(id: u32) -> BTreeSet<u32> {
    let (mut found, mut asked) = (BTreeSet::new(), VecDeque::from([id]));
    while let Some(id) = asked.pop_front() {
        for thread in fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children: Vec<u32> = children.split_whitespace().map(|id| id.parse().unwrap()).collect();
            found.extend(&children);
            asked.extend(children);
        }
    }
    found
}
