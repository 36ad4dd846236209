//! A container: a process in a Pod's sandbox, with a root of its own.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Host;
use super::cri::{ContainerConfig, ContainerState, LinuxContainerSecurityContext};
use super::images::Program;
use super::logs::Log;
use super::pods::now;
use super::process::{child, signal};
use super::sandbox::Sandbox;
use super::security;

const SCRIPT: &str = include_str!("container.sh");
/// Has the script as the first process of a namespace, and tells how that has ended: `unshare --fork` cannot, if a signal has ended it
/// (util-linux 2.38). What a shell says of that is not the container's.
const FIRST: &str = r#"{ sh -c "$0" sh "$@" 2>&3 3>&-; } 3>&2 2>/dev/null; exit $?"#;
/// Where programs are looked for that a container's environment says nothing of.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A container.
pub(super) struct Container {
    pub id: String,
    pub sandbox: Arc<Sandbox>,
    pub config: ContainerConfig,
    pub created: i64,
    program: Program,
    log: Arc<Log>,
    life: watch::Sender<Life>,
}

/// How far a container is. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Life {
    #[default]
    Created,
    Running {
        /// The process that waits for its program.
        id: u32,
        started: i64,
    },
    Exited {
        started: i64,
        finished: i64,
        /// As a shell has it: 128 and the signal, if that has ended it.
        code: i32,
    },
}

impl Life {
    pub fn state(self) -> ContainerState {
        match self {
            Self::Created => ContainerState::ContainerCreated,
            Self::Running { .. } => ContainerState::ContainerRunning,
            Self::Exited { .. } => ContainerState::ContainerExited,
        }
    }
}

impl Container {
    /// One that is not started yet.
    ///
    /// # Errors
    /// If its log cannot be written.
    pub fn new(host: &Host, id: String, sandbox: Arc<Sandbox>, config: ContainerConfig, program: Program) -> Result<Arc<Self>, String> {
        let path = host.reach(&log_path(&sandbox, &config));
        let log = Log::open(path.clone()).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Arc::new(Self { id, sandbox, config, created: now(), program, log, life: watch::Sender::default() }))
    }

    pub fn life(&self) -> Life {
        *self.life.borrow()
    }

    /// Its log, as the host names it.
    pub fn log_path(&self) -> PathBuf {
        log_path(&self.sandbox, &self.config)
    }

    /// Goes on in a new log.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn reopen_log(&self) -> std::io::Result<()> {
        self.log.reopen()
    }

    /// Starts its program.
    ///
    /// # Errors
    /// If the system does not.
    pub fn start(self: &Arc<Self>, host: &Host) -> std::io::Result<()> {
        fs::create_dir(host.reach(&self.folder(host)))?;
        let mut command = self.sandbox.command(host);
        command.args(["unshare", "--mount", "--propagation", "private", "--pid", "--", "sh", "-c", FIRST, SCRIPT]);
        command.args(self.arguments(host)).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What a test does at a terminal is not for it.
        command.as_std_mut().process_group(0);
        let mut process = command.spawn()?;
        let id = process.id().unwrap_or_default();
        let started = now();
        self.life.send_replace(Life::Running { id, started });
        let out = process.stdout.take().map(|out| tokio::spawn(self.log.clone().write("stdout", out)));
        let err = process.stderr.take().map(|err| tokio::spawn(self.log.clone().write("stderr", err)));
        let container = self.clone();
        tokio::spawn(async move {
            let ended = process.wait().await;
            for logged in [out, err].into_iter().flatten() {
                // What it has said comes before its end.
                let _ = logged.await;
            }
            container.life.send_replace(Life::Exited { started, finished: now(), code: ended.map_or(-1, code) });
        });
        Ok(())
    }

    /// What the script is told, and then the program.
    fn arguments(&self, host: &Host) -> Vec<String> {
        let context = self.security();
        let root = if context.readonly_rootfs { "ro" } else { "rw" };
        let rights = if context.privileged { "privileged" } else { "confined" };
        let folder = self.folder(host).display().to_string();
        let begin = if self.config.working_dir.is_empty() { "/" } else { &self.config.working_dir };
        let mut arguments = [&folder, root, rights, &security::user(&context), begin].map(str::to_owned).to_vec();
        arguments.extend(self.mounts(host).into_iter().flat_map(|(source, target, mode)| [source, target, mode.to_owned()]));
        arguments.push("--".to_owned());
        arguments.extend(self.entered(&self.program.words));
        arguments
    }

    /// A command as a process of this container has it, in which everything else is as it should be.
    pub fn entered(&self, words: &[String]) -> Vec<String> {
        let mut all = security::command(&self.security());
        all.extend(["/usr/bin/env", "-i"].map(str::to_owned));
        all.extend(self.environment());
        all.extend_from_slice(words);
        all
    }

    fn environment(&self) -> Vec<String> {
        let usual = [("PATH", PATH), ("HOSTNAME", &self.sandbox.config.hostname), ("HOME", "/")];
        let usual = usual.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let own = self.config.envs.iter().map(|variable| (variable.key.clone(), String::from_utf8_lossy(&variable.value).into_owned()));
        // The last one counts.
        usual.into_iter().chain(self.program.environment.clone()).chain(own).map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// What is mounted: source, target, and whether it is to be written. What is further up comes first.
    fn mounts(&self, host: &Host) -> Vec<(String, String, &'static str)> {
        let mode = |readonly: bool| if readonly { "ro" } else { "rw" };
        let of_pod = self.config.mounts.iter().map(|mount| (mount.host_path.clone(), mount.container_path.clone(), mode(mount.readonly)));
        let program = self.program.brought.iter().map(|(file, target)| (file.display().to_string(), target.clone(), "ro"));
        let resolvers = (self.sandbox.resolvers(host), "/etc/resolv.conf".to_owned(), "rw");
        let mut all: Vec<_> = program.chain([resolvers]).chain(of_pod).collect();
        all.sort_by_key(|(_, target, _)| Path::new(target).components().count());
        all
    }

    fn security(&self) -> LinuxContainerSecurityContext {
        self.config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default()
    }

    fn folder(&self, host: &Host) -> PathBuf {
        host.folder.join(&self.id)
    }

    /// The first process of its own: behind who waits for it is who has made its namespaces.
    pub fn first(&self) -> Option<u32> {
        let Life::Running { id, .. } = self.life() else { return None };
        child(id).and_then(child)
    }

    /// Tells its program to end, and ends it and all others in it if that has not ended after this time.
    pub async fn stop(&self, grace: Duration) {
        let mut life = self.life.subscribe();
        let mut ended = async || drop(life.wait_for(|life| !matches!(life, Life::Running { .. })).await);
        if let Some(first) = self.first() {
            signal(first, Signal::TERM);
        }
        if timeout(grace, ended()).await.is_ok() {
            return;
        }
        self.kill();
        ended().await;
    }

    fn kill(&self) {
        // With the first all others of its namespace end. While there is none yet, who makes it does.
        let Life::Running { id, .. } = self.life() else { return };
        let _ = [Some(id), child(id), self.first()].into_iter().flatten().last().map(|id| signal(id, Signal::KILL));
    }

    /// Removes what it has written. It has ended, or never begun.
    pub fn remove(&self, host: &Host) {
        // If it never began there is nothing.
        let _ = fs::remove_dir_all(host.reach(&self.folder(host)));
    }
}

fn log_path(sandbox: &Sandbox, config: &ContainerConfig) -> PathBuf {
    Path::new(&sandbox.config.log_directory).join(&config.log_path)
}

/// A program's end as a shell tells it.
pub(super) fn code(ended: ExitStatus) -> i32 {
    ended.code().or_else(|| ended.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
