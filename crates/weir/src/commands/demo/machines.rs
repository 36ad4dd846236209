//! The machines of a demo: a network namespace for each application with its sidecar, and one for the switch that is between them. Nothing
//! leads out of their network but a cable to this machine, where the gateway is.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use anyhow::Context;
use weir_capture::namespace::{Cable, Namespace};
use weir_capture::{Capture, Dns, Kernel, Settings};
use weir_model::{DEFAULT_DOMAIN, Proxy, ProxyKind};
use weir_samples::Instance;

use super::running::{Folder, Running};

/// This machine's end of the cable, and its address there. The network is one of documentation, which nobody has (RFC 5737); samples have
/// the first numbers.
const CABLE: &str = "weir-demo";
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// How long a network's part of an address is.
const NETWORK: u8 = 24;
/// The interface of each machine, and the switch's own.
const INTERFACE: &str = "eth0";
const SWITCH: &str = "switch";
/// The group by which the kernel knows sidecars, as it knows Istio's.
const SIDECAR: &str = "1337";
/// Where they answer questions of DNS, and questions about themselves.
const NAMES: &str = "127.0.0.1:15053";
const ADMIN: u16 = 15000;
/// The namespace of the mesh that all workloads are in.
const NAMESPACE: &str = "default";
/// What applications know of DNS: what a pod does. Nobody is at that address; the kernel hands their questions to the sidecar.
const RESOLV_CONF: &str = "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\nnameserver 127.0.0.53\n";
/// No service of the system's, which is in another network, is asked for names.
const NSSWITCH_CONF: &str = "hosts: files dns\npasswd: files\ngroup: files\n";
/// How long a process may take to answer, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(50);

/// All of them. They end with this: first the processes, then the network.
#[derive(Default)]
pub(super) struct Machines {
    processes: Vec<Running>,
    cable: Option<Cable>,
    machines: Vec<Machine>,
    switch: Option<Namespace>,
}

/// One of them.
pub(super) struct Machine {
    /// The application on it.
    pub instance: Instance,
    /// Its network, and the files of DNS.
    pub namespace: Namespace,
}

impl Machines {
    /// Starts these instances, each alone on a machine, captured, with a sidecar that follows the pilot whose socket is in the folder. What was
    /// started before something failed ends with this, too.
    pub async fn start(&mut self, instances: Vec<Instance>, folder: &Folder) -> anyhow::Result<()> {
        let kernel = Kernel::by(None)?;
        let weir = env::current_exe().context("where this program is cannot be found out")?;
        self.connect(instances, folder).context("the demo's network cannot be made; if another demo runs, end that first")?;
        self.start_each(|machine| sidecar(machine, &weir, folder), says_that_it_is_ready).await?;
        let capture = Capture::of(&Settings { dns: Some(Dns::All), ..Settings::default() });
        let captured = |machine: &Machine| {
            machine.namespace.within(|| kernel.install(&capture))??;
            application(machine, &weir, folder)
        };
        self.start_each(captured, |machine| connect(machine, machine.instance.port).is_some()).await
    }

    /// The machines, in the order of the instances.
    pub fn iter(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter()
    }

    /// A process in whose namespace all passes that machines send each other.
    pub fn switch(&self) -> Option<u32> {
        self.switch.as_ref().map(Namespace::id)
    }

    /// Makes the network, of machines on which nothing runs yet.
    fn connect(&mut self, instances: Vec<Instance>, folder: &Folder) -> anyhow::Result<()> {
        let (resolv_conf, nsswitch_conf) = (folder.file("resolv.conf"), folder.file("nsswitch.conf"));
        fs::write(&resolv_conf, RESOLV_CONF)?;
        fs::write(&nsswitch_conf, NSSWITCH_CONF)?;
        let switch = &*self.switch.insert(Namespace::new()?);
        switch.run("ip", &["link", "add", "name", SWITCH, "type", "bridge"])?;
        switch.run("ip", &["link", "set", SWITCH, "up"])?;
        let plug = |interface: &str| switch.run("ip", &["link", "set", interface, "master", SWITCH, "up"]);
        self.cable = Some(Cable::lay(switch, "host", CABLE, &format!("{HOST}/{NETWORK}"))?);
        plug("host")?;
        for instance in instances {
            let files = [(&*resolv_conf, "/etc/resolv.conf"), (&*nsswitch_conf, "/etc/nsswitch.conf")];
            let namespace = Namespace::with_files(&files)?;
            switch.join(&instance.name, &namespace, INTERFACE)?;
            namespace.address(INTERFACE, &format!("{}/{NETWORK}", instance.address))?;
            plug(&instance.name)?;
            self.machines.push(Machine { instance, namespace });
        }
        Ok(())
    }

    /// Starts a process on each machine, and waits until all of them are ready.
    async fn start_each(
        &mut self,
        start: impl Fn(&Machine) -> anyhow::Result<Running>,
        is_ready: impl Fn(&Machine) -> bool,
    ) -> anyhow::Result<()> {
        let first = self.processes.len();
        for machine in &self.machines {
            self.processes.push(start(machine)?);
        }
        for (machine, process) in self.machines.iter().zip(self.processes.iter_mut().skip(first)) {
            while !is_ready(machine) {
                process.check()?;
                tokio::time::sleep(EVERY).await;
            }
        }
        Ok(())
    }
}

/// A command on a machine, which is told to end when we end, however that comes. These options come before it.
fn command(machine: &Machine, options: &[&str], weir: &Path) -> Command {
    let mut command = machine.namespace.command("setpriv");
    command.args(["--pdeathsig", "TERM"]).args(options).arg("--").arg(weir);
    command
}

fn sidecar(machine: &Machine, weir: &Path, folder: &Folder) -> anyhow::Result<Running> {
    let Instance { service, version, name, address, .. } = &machine.instance;
    let id = Proxy::make_id(ProxyKind::Sidecar, &address.to_string(), name, NAMESPACE, DEFAULT_DOMAIN);
    let mut command = command(machine, &["--regid", SIDECAR, "--clear-groups"], weir);
    command.args(["--log", "warn", "proxy", "--workers", "1", "--interception-mode", "REDIRECT", "--dns", NAMES, "--id", &id]);
    command.args(["--labels", &format!("app={service},version={version}"), "--xds", &format!("unix:{}", folder.xds().display())]);
    command.arg("--state").arg(folder.state());
    Running::start(format!("the sidecar of {name}"), command, &folder.file(&format!("{name}.sidecar.log")), true)
}

fn application(machine: &Machine, weir: &Path, folder: &Folder) -> anyhow::Result<Running> {
    let name = &machine.instance.name;
    let mut command = command(machine, &[], weir);
    command.args(["demo-application", name]);
    Running::start(format!("the application {name}"), command, &folder.file(&format!("{name}.log")), false)
}

/// A connection to a port of a machine that is for that machine alone.
fn connect(machine: &Machine, port: u16) -> Option<TcpStream> {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    machine.namespace.within(|| TcpStream::connect_timeout(&address, PATIENCE)).ok()?.ok()
}

/// Whether the sidecar of a machine has all that it needs.
fn says_that_it_is_ready(machine: &Machine) -> bool {
    let ask = || {
        let mut stream = connect(machine, ADMIN)?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status).ok()?;
        Some(status.starts_with("HTTP/1.1 200 "))
    };
    ask().unwrap_or(false)
}
