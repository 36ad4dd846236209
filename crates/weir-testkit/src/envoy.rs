//! Envoy as a proxy of the mesh: it knows who it is and whom to ask, and learns everything else.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::binaries;
use crate::certified::Certified;
use crate::config::CLIENT_ADDRESS;
use crate::process::Process;
use crate::wait::until;

/// A proxy's name, and what it says of itself.
struct Role {
    name: String,
    id: String,
    metadata: String,
}

/// An Envoy and the file where it writes its admin interface's address.
pub(crate) struct Envoy {
    pub process: Process,
    pub admin: PathBuf,
    /// What gives it certificates of the mesh.
    pub agent: Option<Process>,
}

impl Envoy {
    /// Where its admin interface is, as soon as it has one.
    pub fn admin(&self) -> Option<SocketAddr> {
        read_admin(&self.admin)
    }
}

/// The address in the file where an Envoy writes it.
pub(crate) fn read_admin(file: &Path) -> Option<SocketAddr> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Starts the gateway and the client's sidecar, which follow the pilot at this Unix socket.
pub(crate) fn start(pilot: &Path, work: &Path) -> Vec<Envoy> {
    [gateway(), sidecar()].iter().map(|role| start_one(role, &bootstrap(role, &at_path(pilot)), None, work)).collect()
}

fn at_path(pilot: &Path) -> String {
    format!("{{pipe: {{path: {}}}}}", pilot.display())
}

/// Starts the sidecar of a workload, whose label `app` is its name, and which follows the pilot at this Unix socket.
pub(crate) fn start_sidecar(name: &str, namespace: &str, address: &str, pilot: &Path, work: &Path) -> Envoy {
    let role = sidecar_of(name, namespace, address);
    start_one(&role, &bootstrap(&role, &at_path(pilot)), None, work)
}

/// Starts the same, and the application's sidecar, each with an agent that has certificates of so long a life.
pub(crate) async fn start_certified(pilot: SocketAddr, work: &Path, lifetime: &str) -> Vec<Envoy> {
    let mut envoys = vec![];
    for (role, labels) in [(gateway(), "istio=ingressgateway"), (sidecar(), "app=client"), (application(), "app=app")] {
        let file = |end: &str| work.join(format!("agent-{}.{end}", role.name)).display().to_string();
        let (bootstrap, socket, log, pilot) = (file("json"), file("sock"), file("log"), pilot.to_string());
        let who = ["agent", "--xds", &pilot, "--id", &role.id, "--labels", labels];
        let what = ["--socket", &socket, "--bootstrap", &bootstrap, "--lifetime", lifetime];
        let agent = Process::start(binaries::weir(), &[&who[..], &what].concat(), log.into());
        let mut text = String::new();
        until("the agent has written a bootstrap", async || {
            text = fs::read_to_string(&bootstrap).unwrap_or_default();
            text.ends_with('}')
        })
        .await;
        envoys.push(start_one(&role, &text, Some(agent), work));
    }
    envoys
}

/// Starts one Envoy that follows the ADS server at this address, as the client's sidecar would.
pub(crate) fn start_lone(server: SocketAddr, work: &Path) -> Envoy {
    let role = sidecar();
    start_one(&role, &bootstrap(&role, &place(server)), None, work)
}

/// What makes a proxy follow the ADS server at this address, as the client's sidecar would.
pub(crate) fn bootstrap_of_sidecar(server: SocketAddr) -> String {
    bootstrap(&sidecar(), &place(server))
}

fn place(server: SocketAddr) -> String {
    format!("{{socket_address: {{address: {}, port_value: {}}}}}", server.ip(), server.port())
}

fn gateway() -> Role {
    Role {
        name: "gateway".to_owned(),
        id: "router~127.0.0.1~gw.istio-system~istio-system.svc.cluster.local".to_owned(),
        metadata: "{NAMESPACE: istio-system, LABELS: {istio: ingressgateway}, INTERCEPTION_MODE: NONE}".to_owned(),
    }
}

fn sidecar() -> Role {
    sidecar_of("client", "default", CLIENT_ADDRESS)
}

fn sidecar_of(name: &str, namespace: &str, address: &str) -> Role {
    Role {
        name: name.to_owned(),
        id: format!("sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"),
        metadata: format!("{{NAMESPACE: {namespace}, LABELS: {{app: {name}}}, INSTANCE_IPS: {address}, INTERCEPTION_MODE: NONE}}"),
    }
}

fn application() -> Role {
    let address = Certified::APPLICATION;
    Role { name: "app".to_owned(), id: format!("sidecar~{address}~app.default~default.svc.cluster.local"), metadata: String::new() }
}

fn start_one(role: &Role, bootstrap: &str, agent: Option<Process>, work: &Path) -> Envoy {
    let program = binaries::envoy().expect("who asks for Envoy has looked whether there is one");
    let file = |end: &str| work.join(format!("envoy-{}.{end}", role.name));
    let (config, admin) = (file("yaml"), file("admin"));
    fs::write(&config, bootstrap).expect("a bootstrap can be written");
    let (config, told) = (config.display().to_string(), admin.display().to_string());
    // The base id keeps the shared memory of several Envoys on one machine apart.
    let mut arguments = vec!["-c", &config, "--admin-address-path", &told, "--use-dynamic-base-id", "--concurrency", "1"];
    // A test that reads the access log need not wait ten seconds for it.
    arguments.extend(["--log-level", "warning", "--file-flush-interval-msec", "10"]);
    let process = Process::start_in(work, program, &arguments, &format!("envoy-{}.log", role.name));
    Envoy { process, admin, agent }
}

fn bootstrap(role: &Role, pilot: &str) -> String {
    let Role { name, id, metadata } = role;
    format!(
        r#"node: {{id: "{id}", cluster: {name}.default, metadata: {metadata}}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
dynamic_resources:
  lds_config: {{ads: {{}}, resource_api_version: V3}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: pilot}}}}]
static_resources:
  clusters:
  - name: pilot
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: pilot
      endpoints:
      - lb_endpoints: [{{endpoint: {{address: {pilot}}}}}]
"#
    )
}
