//! Machines of a test's own: network namespaces, which no traffic of this machine enters or leaves.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::binaries;
use crate::process::Process;
use crate::wire::Wire;

/// What is needed to make namespaces and to capture in them.
const PROGRAMS: [&str; 6] = ["unshare", "nsenter", "setpriv", "ip", "nft", "curl"];

/// A network namespace. It ends with this, and so do its interfaces and rules, when nobody is in it any more.
pub struct Namespace {
    /// Waits in the namespace, which lives as long as it does.
    child: Child,
}

impl Namespace {
    /// One with a loopback interface; none where this user may make none, or a program is missing, which is said.
    ///
    /// # Panics
    /// If that is so in CI.
    pub async fn new() -> Option<Self> {
        let made = Self::make().await;
        if made.is_none() {
            let _ = writeln!(io::stderr(), "\nNOT TESTED IN NAMESPACES: it takes root and {PROGRAMS:?}\n");
            assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must test in namespaces");
        }
        made
    }

    async fn make() -> Option<Self> {
        let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
        if !PROGRAMS.iter().all(|program| folders.iter().any(|folder| folder.join(program).is_file())) {
            return None;
        }
        // It says a line when it is there, and ends when nobody holds its standard input any more.
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", "ip link set lo up && echo in && exec cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take()?).read_line(&mut line).await.ok()?;
        (line == "in\n").then_some(Self { child })
    }

    /// The file that stands for it.
    ///
    /// # Panics
    /// If it has ended.
    pub fn path(&self) -> PathBuf {
        let id = self.child.id().expect("a namespace lasts as long as its test");
        format!("/proc/{id}/ns/net").into()
    }

    /// Joins two namespaces by a cable, between interfaces of these names with these addresses.
    ///
    /// # Panics
    /// If it cannot be laid.
    pub async fn join(&self, name: &str, address: &str, other: &Self, its_name: &str, its_address: &str) {
        let its_id = other.child.id().expect("a namespace lasts as long as its test").to_string();
        self.must(&["ip", "link", "add", name, "type", "veth", "peer", "name", its_name, "netns", &its_id]).await;
        for (namespace, name, address) in [(self, name, address), (other, its_name, its_address)] {
            namespace.must(&["ip", "address", "add", address, "dev", name]).await;
            namespace.must(&["ip", "link", "set", name, "up"]).await;
        }
    }

    /// Runs a command in it to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn run(&self, command: &[&str]) -> Output {
        let mut entered = Command::new("nsenter");
        entered.arg(self.entry()).arg("--").args(command).stdin(Stdio::null()).kill_on_drop(true);
        entered.output().await.expect("nsenter can be started")
    }

    /// The same with one that must do its work; gives back what it says.
    ///
    /// # Panics
    /// If it does not.
    pub async fn must(&self, command: &[&str]) -> String {
        let output = self.run(command).await;
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `weir` in it to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn weir(&self, arguments: &[&str]) -> Output {
        let program = binaries::weir().display().to_string();
        self.run(&[&[program.as_str()], arguments].concat()).await
    }

    /// Starts a program in it; what that says goes to `log`.
    pub(crate) fn start(&self, program: &Path, arguments: &[&str], log: PathBuf) -> Process {
        let (entry, program) = (self.entry(), program.display().to_string());
        let command = [&[entry.as_str(), "--", &program], arguments].concat();
        Process::start(Path::new("nsenter"), &command, log)
    }

    fn entry(&self) -> String {
        format!("--net={}", self.path().display())
    }

    /// Listens to all that passes in it, but for what it says to itself.
    ///
    /// # Panics
    /// If it cannot.
    pub fn listen(&self) -> Wire {
        Wire::open(&self.path())
    }
}
