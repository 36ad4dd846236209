//! Two workloads whose applications know nothing of the mesh, each on a machine of its own, and a stranger through whose machine all goes
//! that they say to each other.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::binaries;
use crate::mesh::DataPlane;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::wait::until;

/// The group that sidecars run as, by which the kernel knows them.
const SIDECAR: &str = "1337";

/// A client and a server, captured.
pub struct Captured {
    /// Where the client runs.
    pub client: Namespace,
    /// Where the server runs.
    pub server: Namespace,
    /// What is between them, and in no mesh.
    pub stranger: Namespace,
    // Before the folder with their logs goes. The last is the server's proxy.
    processes: Vec<Process>,
    work: TempDir,
}

/// A workload's place in the mesh.
pub(crate) struct Workload<'w> {
    pub name: &'w str,
    /// Of both families, with a comma between them.
    pub addresses: &'w str,
    pub plane: DataPlane,
    /// How its traffic comes to its sidecar, in Istio's words.
    pub mode: &'w str,
}

impl Captured {
    /// The client's address.
    pub const CLIENT: &'static str = "10.77.1.1";
    /// The server's.
    pub const SERVER: &'static str = "10.77.2.1";
    /// The server's of IPv6.
    pub const SERVER_IPV6: &'static str = "fd77:2::1";
    /// The stranger's, as the client reaches it.
    pub const STRANGER: &'static str = "10.77.1.254";
    /// Where the server accepts.
    pub const PORT: u16 = 8080;

    /// Starts both with their sidecars in a mesh of these resources, captured. The server is Python's own, and serves a file `page` with
    /// this text, over both families. None where this user can make no namespaces.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start(client: DataPlane, server: DataPlane, resources: &[(&str, &str)], page: &str) -> Option<Self> {
        Self::start_with(client, server, resources, page, &[], &[]).await
    }

    /// The same with these options of `weir capture`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_by(capture: &[&str], client: DataPlane, server: DataPlane, resources: &[(&str, &str)], page: &str) -> Option<Self> {
        Self::start_with(client, server, resources, page, capture, &[]).await
    }

    /// The same with sidecars that answer questions of DNS: Weir's themselves, beside Envoy the agent does.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_answering_dns(plane: DataPlane, resources: &[(&str, &str)], page: &str) -> Option<Self> {
        let (capture, sidecars) = (["--redirect-dns", "--capture-all-dns"], ["--dns", "127.0.0.1:15053"]);
        Self::start_with(plane, plane, resources, page, &capture, &sidecars).await
    }

    async fn start_with(
        client: DataPlane,
        server: DataPlane,
        resources: &[(&str, &str)],
        page: &str,
        capture: &[&str],
        sidecars: &[&str],
    ) -> Option<Self> {
        let [client_side, server_side, stranger] = machines().await?;
        let work = TempDir::new().expect("a folder can be made");
        let file = |name: &str| work.path().join(name);
        for folder in ["mesh", "pages"] {
            fs::create_dir(file(folder)).expect("a folder can be made");
        }
        fs::write(file("pages/page"), page).expect("a page can be written");
        resources.iter().for_each(|(name, text)| write(work.path(), name, text));
        let (pages, port) = (file("pages").display().to_string(), Self::PORT.to_string());
        let serving = ["-m", "http.server", &port, "--directory", &pages, "--bind", "::"];
        let mut processes = vec![server_side.start(Path::new("python3"), &serving, file("application.log"))];
        processes.push(pilot(work.path()));
        let mode = capture.windows(2).find_map(|pair| (pair[0] == "--interception-mode").then_some(pair[1])).unwrap_or("REDIRECT");
        let workloads = [
            (&client_side, Workload { name: "client", addresses: "10.77.1.1,fd77:1::1", plane: client, mode }),
            (&server_side, Workload { name: "server", addresses: "10.77.2.1,fd77:2::1", plane: server, mode }),
        ];
        for (machine, workload) in workloads {
            processes.extend(sidecar(machine, &workload, work.path(), sidecars).await);
            let path = machine.path().display().to_string();
            let output = stranger.weir(&[&["capture", "--netns", &path], capture].concat()).await;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Some(Self { client: client_side, server: server_side, stranger, processes, work })
    }

    /// Kills the server's sidecar.
    pub async fn kill_server_sidecar(&mut self) {
        if let Some(mut sidecar) = self.processes.pop() {
            sidecar.signal("KILL").await;
            sidecar.ended().await;
        }
    }

    /// What the server has written of its clients: a line for each request, which begins with the address that it came from.
    pub fn application_log(&self) -> String {
        fs::read_to_string(self.work.path().join("application.log")).unwrap_or_default()
    }

    /// Starts an application at a port of the stranger's, who is in no mesh: it serves a file `page` with this text, for as long as this is
    /// kept.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn serve_outside(&self, port: u16, page: &str) -> Process {
        let folder = self.work.path().join(format!("pages-{port}"));
        fs::create_dir(&folder).expect("a folder can be made");
        fs::write(folder.join("page"), page).expect("a page can be written");
        let (pages, number) = (folder.display().to_string(), port.to_string());
        let serving = ["-m", "http.server", &number, "--directory", &pages, "--bind", "::"];
        self.stranger.start(Path::new("python3"), &serving, self.work.path().join(format!("application-{port}.log")))
    }

    /// Writes a file of resources, or replaces one.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        write(self.work.path(), name, text);
    }
}

/// The machines: the stranger forwards between the two others, whose way to everywhere leads over it.
pub(crate) async fn machines() -> Option<[Namespace; 3]> {
    let [client, server, stranger] = [Namespace::new().await?, Namespace::new().await?, Namespace::new().await?];
    client.join("eth0", "10.77.1.1/24", &stranger, "client", "10.77.1.254/24").await;
    server.join("eth0", "10.77.2.1/24", &stranger, "server", "10.77.2.254/24").await;
    for (machine, name, number) in [(&client, "client", 1), (&server, "server", 2)] {
        // Nobody else has them: it need not be found out, which takes a second.
        let add = |at: u8| format!("fd77:{number}::{at:x}/64");
        machine.must(&["ip", "address", "add", &add(1), "dev", "eth0", "nodad"]).await;
        stranger.must(&["ip", "address", "add", &add(0xfe), "dev", name, "nodad"]).await;
        machine.must(&["ip", "route", "add", "default", "via", &format!("10.77.{number}.254")]).await;
        machine.must(&["ip", "-6", "route", "add", "default", "via", &format!("fd77:{number}::fe")]).await;
    }
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward && echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
    stranger.must(&["sh", "-c", forward]).await;
    Some([client, server, stranger])
}

pub(crate) fn write(work: &Path, name: &str, text: &str) {
    fs::write(work.join("mesh").join(name), text).expect("a resource can be written");
}

/// Where the pilot is: all machines share the files of this one.
pub(crate) fn socket(work: &Path) -> String {
    format!("unix:{}", work.join("xds").display())
}

fn pilot(work: &Path) -> Process {
    let path = |name: &str| work.join(name).display().to_string();
    let (mesh, state, socket) = (path("mesh"), path("state"), socket(work));
    Process::start(binaries::weir(), &["pilot", &mesh, "--xds", &socket, "--state", &state], work.join("pilot.log"))
}

/// Starts a workload's sidecar; it, or the agent beside it, has these options more.
pub(crate) async fn sidecar(machine: &Namespace, workload: &Workload<'_>, work: &Path, more: &[&str]) -> Vec<Process> {
    let Workload { name, addresses, plane, mode } = workload;
    let address = addresses.split(',').next().unwrap_or_default();
    let file = |end: &str| work.join(format!("{name}.{end}"));
    let (state, socket) = (work.join("state").display().to_string(), socket(work));
    let (id, labels) = (format!("sidecar~{address}~{name}.default~default.svc.cluster.local"), format!("app={name}"));
    let of_mesh = ["--xds", &socket, "--state", &state, "--interception-mode", mode];
    let who = [&["--id", &id, "--labels", &labels, "--address", addresses], &of_mesh[..]].concat();
    // The secret that shows whose processes they are is there when the pilot has started.
    until("the pilot has its secret", async || work.join("state/caller-secret").exists() && work.join("xds").exists()).await;
    if *plane == DataPlane::Weir {
        let arguments = [&["proxy", "--workers", "1"], &who[..], more].concat();
        return vec![start(machine, binaries::weir(), &arguments, file("log"))];
    }
    let (bootstrap, certificates) = (file("json").display().to_string(), file("sock").display().to_string());
    let arguments = [&["agent"], &who[..], &["--socket", &certificates, "--bootstrap", &bootstrap], more].concat();
    let agent = start(machine, binaries::weir(), &arguments, file("agent.log"));
    until("the agent has written a bootstrap", async || fs::read_to_string(&bootstrap).is_ok_and(|text| text.ends_with('}'))).await;
    let envoy = binaries::envoy().expect("who asks for Envoy has looked whether there is one");
    let arguments = ["-c", &bootstrap, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"];
    vec![agent, start(machine, envoy, &arguments, file("log"))]
}

/// Starts a program as a sidecar runs.
pub(crate) fn start(machine: &Namespace, program: &Path, arguments: &[&str], log: PathBuf) -> Process {
    let program = program.display().to_string();
    let command = [&["--regid", SIDECAR, "--clear-groups", "--", &program], arguments].concat();
    machine.start(Path::new("setpriv"), &command, log)
}
