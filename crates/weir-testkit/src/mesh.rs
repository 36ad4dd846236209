//! A mesh that runs.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::certified::Certified;
use crate::client::Client;
use crate::config::Layout;
use crate::envoy::{self, Envoy};
use crate::process::Process;
use crate::wait::until;
use crate::{binaries, hosts, ports, statistics};

/// Nothing is logged, nothing is traced: a test looks at what clients and peers see.
pub const MESH_CONFIG: &str = "accessLogFile: ''\nenableTracing: false\n";

/// Stands in a `MeshConfig` for the file of the access log.
pub const LOG: &str = "ACCESS_LOG";

/// Whose proxies move the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataPlane {
    /// Weir's own.
    Weir,
    /// Envoy, behind Weir's pilot.
    Envoy,
}

impl DataPlane {
    /// Whether this machine has it. That it has no Envoy is said.
    ///
    /// # Panics
    /// If there is no Envoy in CI.
    pub fn is_available(self) -> bool {
        self == Self::Weir || binaries::envoy().is_some()
    }
}

/// A mesh with a gateway and a client's sidecar; it ends when it is dropped.
pub struct Mesh {
    layout: Layout,
    pilot: SocketAddr,
    weir: Process,
    envoys: Vec<Envoy>,
    /// The admin interface of Weir's proxies.
    admin: Option<SocketAddr>,
    /// The admin interface of the pilot.
    pilot_admin: SocketAddr,
    work: TempDir,
}

impl Mesh {
    /// Starts a mesh whose proxies have certificates of an authority. Over Envoy each has an agent beside it, and the application
    /// `app` has a sidecar.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_certified(plane: DataPlane, layout: Layout, certified: &Certified<'_>, resources: &[(&str, &str)]) -> Self {
        let config = format!("{MESH_CONFIG}defaultConfig: {{proxyMetadata: {{SECRET_TTL: {}}}}}\n", certified.lifetime);
        let work = lay_out(layout, &config, resources);
        let pilot = local(ports::free());
        let authority = certified.authority.display().to_string();
        match plane {
            DataPlane::Weir => Self::start_weir(layout, work, pilot, &["--ca", &authority]).await,
            DataPlane::Envoy => Self::start_envoys(layout, work, pilot, Some(certified)).await,
        }
    }

    /// Starts a mesh with these resources, each with a file's name, and waits until its proxies are ready.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start(plane: DataPlane, layout: Layout, resources: &[(&str, &str)]) -> Self {
        Self::start_with(plane, layout, MESH_CONFIG, resources).await
    }

    /// The same, whose processes know these hosts: see [`can_be_named`](crate::can_be_named).
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_knowing(plane: DataPlane, layout: Layout, named: &[(&str, IpAddr)], resources: &[(&str, &str)]) -> Self {
        let work = lay_out(layout, MESH_CONFIG, resources);
        hosts::write(work.path(), named);
        Self::start_laid_out(plane, layout, work).await
    }

    /// The same, with access logs in this format: see [`Mesh::log`].
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_with_log(plane: DataPlane, layout: Layout, format: &str, resources: &[(&str, &str)]) -> Self {
        let config = format!("accessLogFile: {LOG}\naccessLogFormat: \"{format}\\n\"\nenableTracing: false\n");
        Self::start_with(plane, layout, &config, resources).await
    }

    /// The same with this `MeshConfig`, in which [`LOG`] stands for the file that [`Mesh::log`] reads.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_with(plane: DataPlane, layout: Layout, mesh_config: &str, resources: &[(&str, &str)]) -> Self {
        Self::start_laid_out(plane, layout, lay_out(layout, mesh_config, resources)).await
    }

    async fn start_laid_out(plane: DataPlane, layout: Layout, work: TempDir) -> Self {
        let pilot = local(ports::free());
        match plane {
            DataPlane::Weir => Self::start_weir(layout, work, pilot, &[]).await,
            DataPlane::Envoy => Self::start_envoys(layout, work, pilot, None).await,
        }
    }

    /// Gives a workload a sidecar, and waits until it is ready: over Envoy one more of them. Over Weir the process that runs the mesh
    /// has given it one already.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn add_sidecar(&mut self, name: &str, namespace: &str, address: &str) {
        if self.admin.is_none() {
            self.envoys.push(envoy::start_sidecar(name, namespace, address, &socket_of(self.work.path()), self.work.path()));
            until("the sidecar is ready", async || self.envoys_are_ready().await).await;
        }
    }

    async fn start_weir(layout: Layout, work: TempDir, pilot: SocketAddr, more: &[&str]) -> Self {
        let admin = local(ports::free());
        let named = admin.to_string();
        let mut options = vec!["--gateway", "istio=ingressgateway", "--workers", "1", "--admin", &named];
        options.extend(more);
        let weir = start_weir("run", work.path(), pilot, &options);
        let mut mesh = Self { layout, pilot, weir, envoys: vec![], admin: Some(admin), pilot_admin: admin, work };
        until("weir's proxies are ready", async || mesh.weir_is_running() && is_ready(Some(admin)).await).await;
        mesh
    }

    async fn start_envoys(layout: Layout, work: TempDir, pilot: SocketAddr, certified: Option<&Certified<'_>>) -> Self {
        let pilot_admin = local(ports::free());
        let (named, authority) = (pilot_admin.to_string(), certified.map(|certified| certified.authority.display().to_string()));
        let socket = socket_of(work.path());
        let at_socket = format!("unix:{}", socket.display());
        let mut options = vec!["--xds", &at_socket, "--admin", &named];
        options.extend(authority.iter().flat_map(|authority| ["--ca", authority]));
        let weir = start_weir("pilot", work.path(), pilot, &options);
        let envoys = match certified {
            Some(certified) => envoy::start_certified(pilot, work.path(), certified.lifetime).await,
            // It tries again until there is one.
            None => envoy::start(&socket, work.path()),
        };
        let mut mesh = Self { layout, pilot, weir, envoys, admin: None, pilot_admin, work };
        until("all Envoys are ready", async || mesh.weir_is_running() && mesh.envoys_are_ready().await).await;
        mesh
    }

    /// Nobody need wait for a process that has ended.
    fn weir_is_running(&mut self) -> bool {
        assert!(self.weir.is_running(), "weir has ended");
        true
    }

    async fn envoys_are_ready(&mut self) -> bool {
        for envoy in &mut self.envoys {
            assert!(envoy.process.is_running(), "an Envoy has ended");
            if !is_ready(envoy.admin()).await {
                return false;
            }
        }
        true
    }

    /// Replaces a file of resources, as careful editors do: readers see the old one or the new one, whole.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        write(self.work.path(), name, text);
    }

    /// Starts one more proxy, as another machine would: `weir proxy` with these options, which follows the mesh's pilot.
    pub fn proxy(&self, name: &str, options: &[&str]) -> Process {
        let (pilot, admin) = (self.pilot.to_string(), local(ports::free()).to_string());
        let mut arguments = vec!["proxy", "--xds", &pilot, "--admin", &admin, "--workers", "1"];
        arguments.extend(options);
        Process::start(binaries::weir(), &arguments, self.work.path().join(format!("{name}.log")))
    }

    /// Runs a command of `weir` that asks the mesh's pilot: its exit code, and what it said.
    ///
    /// # Panics
    /// If it cannot be run.
    pub async fn ask(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = tokio::process::Command::new(binaries::weir());
        command.args(arguments).args(["--admin", &self.pilot_admin.to_string()]).current_dir(resources_of(self.work.path()));
        let output = command.output().await.expect("weir can be started");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().expect("it was not killed"), String::from_utf8_lossy(&said).into_owned())
    }

    /// The admin interface of the gateway.
    ///
    /// # Panics
    /// If it has not told its address.
    pub fn gateway_admin(&self) -> SocketAddr {
        let of_envoy = || self.envoys.first().and_then(Envoy::admin);
        self.admin.or_else(of_envoy).expect("a gateway that is ready has told its address")
    }

    /// A client outside the mesh, which asks the gateway for this host.
    pub fn outside(&self, host: &str) -> Client {
        Client::new(local(self.layout.gateway), host)
    }

    /// The client inside the mesh, which asks its sidecar for this service.
    pub fn inside(&self, service: &str) -> Client {
        Client::new(local(self.layout.http), &format!("{service}:{}", self.layout.http))
    }

    /// A client that asks for this host at a port of this machine, whoever listens there.
    pub fn at(port: u16, host: &str) -> Client {
        Client::new(local(port), host)
    }

    /// Where the client's sidecar takes TCP connections.
    pub fn tcp(&self) -> SocketAddr {
        local(self.layout.tcp)
    }

    /// Where the gateway takes connections.
    pub fn gateway(&self) -> SocketAddr {
        local(self.layout.gateway)
    }

    /// The lines of the access log so far, of the gateway and of the sidecar.
    pub fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(log_of(self.work.path())).unwrap_or_default();
        // A line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// What the gateway has counted of a service so far, under Envoy's names, such as `upstream_rq_total`.
    ///
    /// # Panics
    /// If it does not tell.
    pub async fn statistics(&self, service: &str) -> BTreeMap<String, u64> {
        let cluster = format!("outbound|{}||{service}.default.svc.cluster.local", self.layout.http);
        let (admin, path) = match (self.admin, self.envoys.first()) {
            (Some(admin), _) => (admin, "/stats/prometheus"),
            (None, Some(_)) => (self.gateway_admin(), "/stats"),
            (None, None) => panic!("the mesh has no gateway"),
        };
        let text = Client::new(admin, "localhost").get(path, &[]).await.expect("the admin interface answers").body;
        if self.admin.is_some() { statistics::of_weir(&text, &cluster) } else { statistics::of_envoy(&text, &cluster) }
    }

    /// Over [`DataPlane::Weir`] the lines of all statistics of all proxies, as Prometheus reads them.
    ///
    /// # Panics
    /// If they are not told, or the proxies are not Weir's.
    pub async fn metrics(&self) -> Vec<String> {
        let admin = self.admin.expect("the proxies are Weir's");
        let told = Client::new(admin, "localhost").get("/stats/prometheus", &[]).await.expect("the admin interface answers");
        told.body.lines().map(str::to_owned).collect()
    }

    /// What Envoys said of configuration that they refuse.
    ///
    /// # Panics
    /// If a log cannot be read.
    pub fn refusals(&self) -> Vec<String> {
        let said: Vec<String> = self.envoys.iter().map(|envoy| envoy.process.said()).collect();
        said.iter().flat_map(|said| said.lines()).filter(|line| line.contains("rejected")).map(str::to_owned).collect()
    }

    /// The most memory that the process of the gateway has held so far, in bytes.
    ///
    /// # Panics
    /// If it has ended.
    pub fn gateway_memory(&self) -> u64 {
        self.envoys.first().map_or(&self.weir, |gateway| &gateway.process).peak_memory()
    }

    /// The process of the control plane; over [`DataPlane::Weir`] that of the proxies, too.
    pub fn weir(&mut self) -> &mut Process {
        &mut self.weir
    }
}

pub(crate) fn start_weir(command: &str, work: &Path, pilot: SocketAddr, options: &[&str]) -> Process {
    let (resources, config, pilot) =
        (resources_of(work).display().to_string(), work.join("mesh.yaml").display().to_string(), pilot.to_string());
    let state = work.join("state").display().to_string();
    let mut arguments = vec![command, &resources, "--mesh-config", &config, "--xds", &pilot];
    // Each mesh has a root of its own, and none is left behind.
    if !options.contains(&"--ca") {
        arguments.extend(["--state", &state]);
    }
    arguments.extend(options);
    Process::start_in(work, binaries::weir(), &arguments, "weir.log")
}

/// Writes what a mesh is made of to a folder: its configuration and its resources.
pub(crate) fn lay_out(layout: Layout, mesh_config: &str, resources: &[(&str, &str)]) -> TempDir {
    let work = tempfile::tempdir().expect("there is room for a folder");
    fs::create_dir(resources_of(work.path())).expect("a folder can be made");
    let mesh_config = mesh_config.replace(LOG, &log_of(work.path()).display().to_string());
    fs::write(work.path().join("mesh.yaml"), mesh_config).expect("a file can be written");
    write(work.path(), "prelude.yaml", &layout.prelude());
    for (name, text) in resources {
        write(work.path(), name, text);
    }
    work
}

pub(crate) fn resources_of(work: &Path) -> PathBuf {
    work.join("resources")
}

/// Where Envoys follow the pilot.
fn socket_of(work: &Path) -> PathBuf {
    work.join("xds")
}

fn log_of(work: &Path) -> PathBuf {
    work.join("access.log")
}

/// A file is written elsewhere, then renamed.
pub(crate) fn write(work: &Path, name: &str, text: &str) {
    let draft = work.join("draft");
    fs::write(&draft, text).expect("a file can be written");
    fs::rename(draft, resources_of(work).join(name)).expect("a file can be renamed");
}

pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Both proxies' admin interfaces tell by the status of `/ready`.
pub(crate) async fn is_ready(admin: Option<SocketAddr>) -> bool {
    let Some(admin) = admin else { return false };
    Client::new(admin, "localhost").get("/ready", &[]).await.is_ok_and(|answer| answer.status == 200)
}
