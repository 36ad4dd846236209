//! A sandbox: the namespaces of a Pod, with an address at the bridge.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::Host;
use super::cri::{DnsConfig, NamespaceMode, PodSandboxConfig};
use super::process::{child, ending_with_us};

const HOLDER: &str = include_str!("sandbox.sh");
const CABLE: &str = include_str!("cable.sh");

/// A Pod's sandbox.
pub(super) struct Sandbox {
    pub id: String,
    pub config: PodSandboxConfig,
    /// In nanoseconds since 1970.
    pub created: i64,
    /// None if it shares the host's network.
    pub address: Option<Ipv4Addr>,
    /// The first of its processes.
    first: u32,
    /// Who holds its namespaces: none once it was stopped.
    holder: Mutex<Option<Child>>,
}

impl Sandbox {
    /// Makes one.
    ///
    /// # Errors
    /// If the system does not: what it says.
    pub async fn start(host: &Host, id: String, config: PodSandboxConfig, created: i64, address: Ipv4Addr) -> Result<Self, String> {
        let address = (!shares_network(&config)).then_some(address);
        let mut command = ending_with_us("unshare");
        command.args(address.map(|_| "--net")).args(["--uts", "--ipc", "--pid", "--fork", "--kill-child", "--", "sh", "-c", HOLDER, "sh"]);
        command.arg(&config.hostname).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C at the terminal is for whoever runs the test.
        command.as_std_mut().process_group(0);
        let mut holder = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        if let Some(out) = holder.stdout.take() {
            BufReader::new(out).read_line(&mut line).await.map_err(|error| error.to_string())?;
        }
        if line != "in\n" {
            let mut why = String::new();
            if let Some(mut err) = holder.stderr.take() {
                err.read_to_string(&mut why).await.map_err(|error| error.to_string())?;
            }
            return Err(format!("unshare: {}", why.trim()));
        }
        let first = holder.id().and_then(child).ok_or("the sandbox has ended")?;
        let sandbox = Self { id, config, created, address, first, holder: Mutex::new(Some(holder)) };
        sandbox.connect(host).await?;
        sandbox.write_resolvers(host).map_err(|error| error.to_string())?;
        Ok(sandbox)
    }

    async fn connect(&self, host: &Host) -> Result<(), String> {
        let Some(address) = self.address else { return Ok(()) };
        let (first, [_, _, high, low]) = (self.first.to_string(), address.octets());
        let (bridge, its_address) = host.bridge;
        let mut cable = ending_with_us("sh");
        cable.args(["-c", CABLE, "sh", &format!("pod{high}-{low}"), &first, &address.to_string(), bridge, its_address]);
        finish(cable).await?;
        for (name, value) in self.sysctls() {
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            let mut setting = ending_with_us("nsenter");
            setting.args([format!("--net=/proc/{first}/ns/net"), "--".to_owned(), "sh".to_owned(), "-c".to_owned()]);
            setting.args(["printf %s \"$1\" >\"$2\"", "sh", &value, &path]);
            finish(setting).await?;
        }
        Ok(())
    }

    fn sysctls(&self) -> HashMap<String, String> {
        self.config.linux.as_ref().map(|linux| linux.sysctls.clone()).unwrap_or_default()
    }

    /// Who its containers ask for names, as a file of the host's.
    pub fn resolvers(&self, host: &Host) -> String {
        host.folder.join(format!("{}.resolv.conf", self.id)).display().to_string()
    }

    fn write_resolvers(&self, host: &Host) -> std::io::Result<()> {
        let text = self.config.dns_config.as_ref().map(resolvers).unwrap_or_default();
        fs::write(host.reach(self.resolvers(host).as_ref()), text)
    }

    /// A command in its namespaces, and with the host's mounts.
    pub fn command(&self, host: &Host) -> Command {
        let mut command = ending_with_us("nsenter");
        command.arg(format!("--mount={}", host.mounts()));
        for kind in ["net", "uts", "ipc", "pid"] {
            command.arg(format!("--{kind}=/proc/{}/ns/{kind}", self.first));
        }
        command.arg("--");
        command
    }

    /// Whether it has not been stopped.
    pub fn is_ready(&self) -> bool {
        // Who is about to stop it has the lock.
        self.holder.try_lock().is_ok_and(|holder| holder.is_some())
    }

    /// Ends all that is in it, and its network.
    pub async fn stop(&self) {
        if let Some(mut holder) = self.holder.lock().await.take() {
            // It has ended then, one way or the other.
            let _ = holder.kill().await;
        }
    }
}

fn shares_network(config: &PodSandboxConfig) -> bool {
    let options = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref()?.namespace_options.as_ref());
    options.is_some_and(|options| options.network() == NamespaceMode::Node)
}

/// Runs a command to its end, which must do its work.
async fn finish(mut command: Command) -> Result<(), String> {
    let output = command.output().await.map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

/// See resolv.conf(5).
fn resolvers(config: &DnsConfig) -> String {
    let servers = config.servers.iter().map(|server| format!("nameserver {server}\n"));
    let lists = [("search", &config.searches), ("options", &config.options)];
    let lists = lists.into_iter().filter(|(_, words)| !words.is_empty()).map(|(name, words)| format!("{name} {}\n", words.join(" ")));
    servers.chain(lists).collect()
}
