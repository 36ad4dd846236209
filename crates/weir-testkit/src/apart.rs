//! A mesh whose pilot goes away: its proxies are processes of their own, and go on without it.

use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use crate::certified::Certified;
use crate::client::Client;
use crate::config::{CLIENT_ADDRESS, Layout};
use crate::envoy::{self, Envoy};
use crate::mesh::{DataPlane, MESH_CONFIG, is_ready, lay_out, local, start_weir, write};
use crate::process::Process;
use crate::relay::Relay;
use crate::wait::until;
use crate::{binaries, ports};

/// A pilot that is told to end takes so many seconds to let its proxies go.
const LEAVE_WITHIN: &str = "2";

/// The sidecars of the client and of the application `app`, each with a certificate of the mesh, and a pilot that can go away.
pub struct Apart {
    layout: Layout,
    /// Where the proxies look for a pilot.
    relay: Relay,
    address: SocketAddr,
    authority: String,
    pilot: Process,
    /// Over Weir.
    proxies: Vec<Process>,
    /// Over Envoy: with the agents, which have the certificates.
    envoys: Vec<Envoy>,
    work: TempDir,
}

impl Apart {
    /// Starts a mesh with these resources, each with a file's name.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start(plane: DataPlane, layout: Layout, certified: &Certified<'_>, resources: &[(&str, &str)]) -> Self {
        let work = lay_out(layout, MESH_CONFIG, resources);
        let (address, authority) = (local(ports::free()), certified.authority.display().to_string());
        let (pilot, relay) = (start_pilot(work.path(), address, &authority).await, Relay::to(address).await);
        let (proxies, envoys) = match plane {
            DataPlane::Weir => (sidecars(work.path(), relay.address, certified.lifetime), vec![]),
            DataPlane::Envoy => (vec![], envoy::start_certified(relay.address, work.path(), certified.lifetime).await),
        };
        Self { layout, relay, address, authority, pilot, proxies, envoys, work }
    }

    /// The client, which asks its sidecar for this service.
    pub fn inside(&self, service: &str) -> Client {
        Client::new(local(self.layout.http), &format!("{service}:{}", self.layout.http))
    }

    /// The pilot is gone at once, as one is that crashes.
    ///
    /// # Panics
    /// If it cannot be ended.
    pub async fn stop_pilot(&mut self) {
        self.pilot.signal("KILL").await;
        self.pilot.ended().await;
    }

    /// It is there again, at the same place.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_pilot(&mut self) {
        self.pilot = start_pilot(self.work.path(), self.address, &self.authority).await;
    }

    /// Another pilot takes over, and then this one is told to end. What the one that ends has said.
    ///
    /// # Panics
    /// If the other cannot be started, or this one does not end in time.
    pub async fn roll_pilot(&mut self) -> String {
        self.address = local(ports::free());
        let other = start_pilot(self.work.path(), self.address, &self.authority).await;
        self.relay.turn(self.address);
        let mut old = std::mem::replace(&mut self.pilot, other);
        old.signal("TERM").await;
        let status = old.ended().await;
        assert!(status.success(), "{status}");
        old.said()
    }

    /// Writes a file of the mesh.
    pub fn write(&self, name: &str, text: &str) {
        write(self.work.path(), name, text);
    }

    /// What each of those has said that keep certificates new.
    ///
    /// # Panics
    /// If a log cannot be read.
    pub fn said(&self) -> Vec<String> {
        let agents = self.envoys.iter().filter_map(|envoy| envoy.agent.as_ref());
        self.proxies.iter().chain(agents).map(Process::said).collect()
    }
}

/// Proxies look for its secret when they start, so it must be ready.
async fn start_pilot(work: &Path, address: SocketAddr, authority: &str) -> Process {
    let admin = local(ports::free());
    let options = ["--ca", authority, "--admin", &admin.to_string(), "--leave-within", LEAVE_WITHIN];
    let mut pilot = start_weir("pilot", work, address, &options);
    until("the pilot is ready", async || {
        assert!(pilot.is_running(), "the pilot has ended");
        is_ready(Some(admin)).await
    })
    .await;
    pilot
}

fn sidecars(work: &Path, pilot: SocketAddr, lifetime: &str) -> Vec<Process> {
    let application = Certified::APPLICATION.to_string();
    let sidecar = |(name, address): (&str, &str)| {
        let (id, labels) = (format!("sidecar~{address}~{name}.default~default.svc.cluster.local"), format!("app={name}"));
        let (pilot, admin) = (pilot.to_string(), local(ports::free()).to_string());
        let who = ["proxy", "--xds", &pilot, "--id", &id, "--labels", &labels, "--lifetime", lifetime];
        let arguments = [&who[..], &["--admin", &admin, "--workers", "1"]].concat();
        Process::start(binaries::weir(), &arguments, work.join(format!("{name}.log")))
    };
    [("client", CLIENT_ADDRESS), ("app", &*application)].map(sidecar).into()
}
