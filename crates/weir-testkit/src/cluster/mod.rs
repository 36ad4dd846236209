//! A Kubernetes cluster: etcd, kube-apiserver and kube-controller-manager, the real ones, on a machine of its own; and a node, if it is to
//! have one.
//!
//! Without a node a test writes itself what one would report of a Pod ([`Cluster::run_pod`]); the controllers do the rest, as the
//! EndpointSlices of Services. With one Pods run: see `node`. All of it is in a network namespace, and so is the thread of the test that
//! starts it; etcd's data are on a file system in memory that only etcd sees. With the test, however it ends, all of it is gone.

mod accounts;
mod api;
mod identities;
mod kubectl;
mod node;
mod person;
mod programs;
mod rights;
mod runtime;
mod tools;

use std::path::Path;
use std::process::Command;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_capture::namespace::enter;

use crate::binaries;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::wait::until;
use identities::Identities;
use node::Node;
use programs::{Programs, programs};

pub use runtime::Image;
pub use tools::Ended;

/// The node's address, where the API server is.
const NODE: &str = "10.244.0.1";
/// The bridge that Pods are at; its range is theirs.
const BRIDGE: &str = "pods";
/// Services' addresses, and those of load balancers.
const SERVICES: &str = "10.96.0.0/15";
const CLUSTER_IPS: &str = "10.96.0.0/16";
const ETCD: &str = "http://127.0.0.1:2379";
const API_SERVER: &str = "https://10.244.0.1:6443";
const API_SERVER_HOSTS: [&str; 6] =
    ["127.0.0.1", NODE, "10.96.0.1", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
/// Runs a program that sees a file system in memory at a folder where others see nothing, and that ends with who started it.
const IN_MEMORY: &str = r#"mount -t tmpfs tmpfs "$1" && shift && exec "$@""#;

/// A cluster, until this is dropped.
pub struct Cluster {
    /// Needs the others, so it is dropped before them.
    node: Option<Node>,
    /// Asks the API server as an administrator.
    client: Client,
    programs: &'static Programs,
    identities: Identities,
    api_server: Process,
    controller_manager: Option<Process>,
    _etcd: Process,
    namespace: Namespace,
    work: TempDir,
}

impl Cluster {
    /// Starts one without a node, with the definitions of Istio's resources and the Gateway API's, and moves this thread into its network.
    /// None where this machine has not what it takes, which is said.
    ///
    /// # Panics
    /// If it cannot be started; where there is none, if that is so in CI.
    pub async fn start() -> Option<Self> {
        // Nobody tells it that a node is well.
        Self::begin("*,-node-lifecycle-controller").await
    }

    /// The same with a node, where Pods run. There are images of these names, and those that every cluster has: the applications of Istio's
    /// bookinfo, `weir`, `envoy`, and `host/PROGRAM` for a program of this machine's.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    pub async fn start_with_node(images: Vec<Image>) -> Option<Self> {
        // Else Pods, and who asks for them, would wait for a compiler.
        binaries::weir();
        let mut cluster = Self::begin("*").await?;
        cluster.node = Some(Node::start(&cluster, images).await);
        Some(cluster)
    }

    async fn begin(controllers: &str) -> Option<Self> {
        let programs = programs()?;
        let namespace = Namespace::new().await?;
        lay_network(&namespace).await;
        enter(&namespace.path()).expect("a namespace can be entered");
        let work = tempfile::tempdir().expect("a folder can be made");
        let identities = Identities::write(work.path(), &API_SERVER_HOSTS);
        let admin = identities.kubeconfig(API_SERVER, "admin", Some("system:masters"));
        let manager = identities.kubeconfig(API_SERVER, "system:kube-controller-manager", None);
        let etcd = start_etcd(&namespace, programs, work.path());
        let api_server = start_api_server(&namespace, programs, &identities, work.path());
        let client = client(&admin).await;
        let mut cluster =
            Self { node: None, client, programs, identities, api_server, controller_manager: None, _etcd: etcd, namespace, work };
        cluster.until_ready().await;
        cluster.controller_manager = Some(cluster.start_controller_manager(&manager, controllers));
        cluster.define().await;
        Some(cluster)
    }

    /// Starts `weir pilot` on this cluster, with xDS and its admin interface at these addresses. It may do what the documentation says
    /// that it must be allowed to, and no more.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_pilot(&self, xds: &str, admin: &str) -> Process {
        self.start_pilot_named("pilot", xds, admin, &[]).await
    }

    /// Starts one of several, as a Pod of this name would be, with further arguments.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_pilot_named(&self, name: &str, xds: &str, admin: &str, more: &[&str]) -> Process {
        self.run_pilot(name, &[&["--xds", xds, "--admin", admin, "--ephemeral-root"], more].concat()).await
    }

    /// Starts one with these arguments, as a Pod of this name would be; what it keeps and says is in a folder of this name.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn run_pilot(&self, name: &str, arguments: &[&str]) -> Process {
        const USER: &str = "weir-pilot";
        self.grant(USER).await;
        let kubeconfig = self.identities.kubeconfig(API_SERVER, USER, None).display().to_string();
        let folder = self.work.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let mut command = self.command(binaries::weir());
        command.args(["pilot", "--kubeconfig", &kubeconfig]).args(arguments).current_dir(&folder);
        command.env("XDG_STATE_HOME", &folder).env("POD_NAME", name);
        Process::spawn(command, folder.join("log"))
    }

    /// Starts one of several that are told apart by where they serve, with more arguments, which say where its root is.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_pilot_with(&self, xds: &str, admin: &str, more: &[&str]) -> Process {
        let name = format!("pilot-{}", xds.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"));
        self.run_pilot(&name, &[&["--xds", xds, "--admin", admin], more].concat()).await
    }

    /// The API server is gone at once, as one is that crashes.
    ///
    /// # Panics
    /// If it cannot be ended.
    pub async fn kill_api_server(&mut self) {
        self.api_server.signal("KILL").await;
        self.api_server.ended().await;
    }

    /// It is there again.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_api_server(&mut self) {
        self.api_server = start_api_server(&self.namespace, self.programs, &self.identities, self.work.path());
        self.until_ready().await;
    }

    /// A Pod of this namespace with these labels, of which a node says that it runs there at this address, and is ready.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn run_pod(&self, namespace: &str, name: &str, labels: &Value, node: &str, address: &str) {
        // A controller makes the account that a Pod runs as.
        let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        until("there is a service account", async || self.exists_by_now(&account).await).await;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let port = json!({"name": "serving", "containerPort": 8080});
        let spec = json!({"nodeName": node, "containers": [{"name": "app", "image": "app", "ports": [port]}]});
        self.apply(&path, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec})).await;
        self.report_pod(namespace, name, address, true).await;
    }

    /// The node says whether it is ready.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn report_pod(&self, namespace: &str, name: &str, address: &str, is_ready: bool) {
        let ready = json!({"type": "Ready", "status": if is_ready { "True" } else { "False" }});
        let status = json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]});
        self.merge(&format!("/api/v1/namespaces/{namespace}/pods/{name}/status"), json!({"status": status})).await;
    }

    fn command(&self, program: &Path) -> Command {
        ending_with_us(&self.namespace, program)
    }

    fn start_controller_manager(&self, kubeconfig: &Path, controllers: &str) -> Process {
        let mut command = self.command(&self.programs.path("kube-controller-manager"));
        command.args(["--leader-elect=false", "--use-service-account-credentials=true"]).arg(format!("--controllers={controllers}"));
        command.arg(format!("--kubeconfig={}", kubeconfig.display()));
        for (flag, file) in [
            ("service-account-private-key-file", "tokens.key"),
            ("root-ca-file", "ca.pem"),
            ("cluster-signing-cert-file", "ca.pem"),
            ("cluster-signing-key-file", "ca.key"),
        ] {
            command.arg(format!("--{flag}={}", self.identities.path(file)));
        }
        let work = self.work.path();
        command.arg(format!("--cert-dir={}", work.join("controller-manager").display())).current_dir(work);
        Process::spawn(command, work.join("controller-manager.log"))
    }

    async fn until_ready(&self) {
        until("the API server is ready", async || self.ask("GET", "/readyz", None).await.is_ok()).await;
    }

    /// Defines Istio's resources and the Gateway API's, and waits until they can be listed.
    async fn define(&self) {
        let definitions = self.programs.definitions();
        for definition in &definitions {
            let name = word(&definition["metadata"]["name"]);
            self.apply(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"), definition.clone()).await;
        }
        for definition in &definitions {
            let spec = &definition["spec"];
            let served = spec["versions"].as_array().into_iter().flatten().find(|version| version["served"] == true);
            let version = served.map(|version| word(&version["name"]).to_owned()).expect("a definition serves some version");
            let path = format!("/apis/{}/{version}/{}?limit=1", word(&spec["group"]), word(&spec["names"]["plural"]));
            // A definition itself is large, and asking for it again and again is what a busy machine has no time for.
            until(&format!("{path} is there"), async || self.exists_by_now(&path).await).await;
        }
    }
}

fn word(value: &Value) -> &str {
    value.as_str().expect("a definition has names")
}

/// A program in a namespace that ends when this thread does, even where nobody can end it.
fn ending_with_us(namespace: &Namespace, program: &Path) -> Command {
    let mut command = namespace.command("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

async fn lay_network(namespace: &Namespace) {
    let address = format!("{NODE}/16");
    namespace.must(&["ip", "link", "add", BRIDGE, "type", "bridge"]).await;
    namespace.must(&["ip", "address", "add", &address, "dev", BRIDGE]).await;
    namespace.must(&["ip", "link", "set", BRIDGE, "up"]).await;
    // From a Pod to a Pod behind a Service; and never "talk to it yourself", since what is translated must come back here.
    let forward = format!("cd /proc/sys/net/ipv4/conf && echo 1 >{BRIDGE}/forwarding && echo 0 >{BRIDGE}/send_redirects");
    namespace.must(&["sh", "-c", &forward]).await;
    // A packet needs a way before anything can translate where it goes; and none leads out of here.
    namespace.must(&["ip", "route", "add", SERVICES, "dev", BRIDGE]).await;
}

fn start_etcd(namespace: &Namespace, programs: &Programs, work: &Path) -> Process {
    let data = work.join("etcd");
    std::fs::create_dir(&data).expect("a folder can be made");
    let mut command = ending_with_us(namespace, Path::new("unshare"));
    command.args(["--mount", "--", "sh", "-c", IN_MEMORY, "sh"]).arg(&data).arg(&programs.etcd);
    command.arg(format!("--data-dir={}/data", data.display()));
    command.args(["--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380"]);
    command.args(["--initial-cluster=default=http://127.0.0.1:2380"]);
    command.arg(format!("--listen-client-urls={ETCD}")).arg(format!("--advertise-client-urls={ETCD}"));
    Process::spawn(command, work.join("etcd.log"))
}

fn start_api_server(namespace: &Namespace, programs: &Programs, identities: &Identities, work: &Path) -> Process {
    let mut command = ending_with_us(namespace, &programs.path("kube-apiserver"));
    command.args(["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--secure-port=6443"]);
    command.arg("--kubelet-preferred-address-types=InternalIP");
    command.args(["--bind-address=0.0.0.0", "--service-account-issuer=https://kubernetes.default.svc", "--enable-aggregator-routing=true"]);
    command.args([
        format!("--etcd-servers={ETCD}"),
        format!("--service-cluster-ip-range={CLUSTER_IPS}"),
        format!("--advertise-address={NODE}"),
    ]);
    for (flag, file) in [
        ("client-ca-file", "ca.pem"),
        ("tls-cert-file", "server.pem"),
        ("tls-private-key-file", "server.key"),
        ("service-account-key-file", "tokens.pub"),
        ("service-account-signing-key-file", "tokens.key"),
        ("kubelet-certificate-authority", "ca.pem"),
        ("kubelet-client-certificate", "api-server.pem"),
        ("kubelet-client-key", "api-server.key"),
    ] {
        command.arg(format!("--{flag}={}", identities.path(file)));
    }
    // Else it keeps a certificate of its own making in a folder of the system's.
    command.current_dir(work);
    Process::spawn(command, work.join("api-server.log"))
}

async fn client(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig that was just written");
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("its files are there");
    Client::try_from(config).expect("a client can be made")
}
