//! A mesh whose pilot is on a machine of its own, and a workload on another one that joins it by a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;

use crate::binaries;
use crate::captured::{Captured, Workload, machines, sidecar, socket, start, write};
use crate::mesh::DataPlane;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::wait::until;

/// A server that is in the mesh, and a client's machine that is not yet; both are [`Captured`]'s.
pub struct Joined {
    /// Where the client runs.
    pub client: Namespace,
    /// Where the server runs.
    pub server: Namespace,
    /// Where the pilot runs; all that the two others say to each other passes there.
    pub stranger: Namespace,
    // Before the folder with their logs goes.
    pilot: Process,
    _processes: Vec<Process>,
    work: TempDir,
}

impl Joined {
    /// Where the client reaches the pilot, by TLS.
    pub const PILOT: &'static str = "10.77.1.254:15012";

    /// Starts the pilot, and the server with its sidecar, captured. The server serves a file `page` with this text. None where this user can
    /// make no namespaces.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start(resources: &[(&str, &str)], page: &str) -> Option<Self> {
        let [client, server, stranger] = machines().await?;
        let work = TempDir::new().expect("a folder can be made");
        let file = |name: &str| work.path().join(name);
        for folder in ["mesh", "pages"] {
            fs::create_dir(file(folder)).expect("a folder can be made");
        }
        fs::write(file("pages/page"), page).expect("a page can be written");
        resources.iter().for_each(|(name, text)| write(work.path(), name, text));
        let (pages, port) = (file("pages").display().to_string(), Captured::PORT.to_string());
        let serving = ["-m", "http.server", &port, "--directory", &pages];
        let mut processes = vec![server.start(Path::new("python3"), &serving, file("application.log"))];
        let pilot = pilot(&stranger, work.path());
        let workload = Workload { name: "server", addresses: Captured::SERVER, plane: DataPlane::Weir, mode: "REDIRECT" };
        processes.extend(sidecar(&server, &workload, work.path(), &[]).await);
        capture(&stranger, &server).await;
        until("the pilot serves other machines", async || pilot.said().contains("(TLS)")).await;
        Some(Self { client, server, stranger, pilot, _processes: processes, work })
    }

    /// Writes a file of resources, or replaces one.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        write(self.work.path(), name, text);
    }

    /// Starts the pilot anew with another key of tokens: those that the last one signed are of no use any more.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn exchange_token_key(&mut self) {
        assert!(self.pilot.is_running(), "{}", self.pilot.said());
        self.pilot.signal("TERM").await;
        self.pilot.ended().await;
        fs::remove_file(self.work.path().join("state/token-key.pem")).expect("the pilot has a key of tokens");
        self.pilot = pilot(&self.stranger, self.work.path());
    }

    /// Writes the file by which the machine of a workload joins, with these options more: the file, and what was said.
    ///
    /// # Panics
    /// If `weir` cannot be started.
    pub async fn token(&self, name: &str, more: &[&str]) -> (PathBuf, Output) {
        let path = |name: &str| self.work.path().join(name).display().to_string();
        let (mesh, state, file) = (path("mesh"), path("state"), path(&format!("{name}.join.json")));
        let options = ["workload", "token", name, "-f", &mesh, "--state", &state, "-o", &file];
        let output = self.stranger.weir(&[&options[..], more].concat()).await;
        (file.into(), output)
    }

    /// Joins on the client's machine by a file, with these options, as a sidecar runs, and goes on.
    pub fn join(&self, file: &Path, more: &[&str]) -> Process {
        let file = file.display().to_string();
        let options = ["workload", "join", &file, "--workers", "1"];
        start(&self.client, binaries::weir(), &[&options[..], more].concat(), self.work.path().join("join.log"))
    }

    /// Joins on the client's machine with a stock Envoy, whose health and metrics others are told of at Istio's ports.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn join_with_envoy(&self, file: &Path) -> [Process; 2] {
        let path = |name: &str| self.work.path().join(name).display().to_string();
        let (file, socket, bootstrap) = (file.display().to_string(), path("envoy.sock"), path("envoy.json"));
        let told = ["--status-port", "15020"];
        let options = ["workload", "join", &file, "--interception-mode", "REDIRECT", "--socket", &socket, "--bootstrap", &bootstrap];
        let agent = start(&self.client, binaries::weir(), &[&options[..], &told].concat(), self.work.path().join("agent.log"));
        let is_written = || fs::read_to_string(&bootstrap).is_ok_and(|text| text.ends_with('}'));
        until("the agent has written a bootstrap", async || is_written()).await;
        let envoy = binaries::envoy().expect("who asks for Envoy has looked whether there is one");
        let options = ["-c", &bootstrap, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"];
        [agent, start(&self.client, envoy, &options, self.work.path().join("envoy.log"))]
    }

    /// Captures what the client says.
    ///
    /// # Panics
    /// If it cannot be done.
    pub async fn capture_client(&self) {
        capture(&self.stranger, &self.client).await;
    }
}

async fn capture(from: &Namespace, machine: &Namespace) {
    let output = from.weir(&["capture", "--netns", &machine.path().display().to_string()]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The pilot, which the server's sidecar reaches by a file, and other machines by TLS.
fn pilot(machine: &Namespace, work: &Path) -> Process {
    let path = |name: &str| work.join(name).display().to_string();
    let (mesh, state, socket) = (path("mesh"), path("state"), socket(work));
    let options = ["pilot", &mesh, "--xds", &socket, "--state", &state, "--tls-xds", "0.0.0.0:15012", "--admin", "0.0.0.0:15014"];
    machine.start(binaries::weir(), &options, work.join("pilot.log"))
}
