//! Machines of a test's own: network namespaces, which no traffic of this machine enters or leaves.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::Command;
use weir_capture::{namespace, programs};

use crate::binaries;
use crate::process::Process;
use crate::wire::Wire;

/// What is needed to work in namespaces, beside what makes them.
const PROGRAMS: [&str; 3] = ["setpriv", "nft", "curl"];

/// A network namespace. It ends with this, and so do its interfaces and rules, when nobody is in it any more.
pub struct Namespace(namespace::Namespace);

impl Namespace {
    /// One with a loopback interface; none where this user may make none, or a program is missing, which is said.
    ///
    /// # Panics
    /// If that is so in CI.
    pub async fn new() -> Option<Self> {
        let made = if PROGRAMS.iter().all(|program| programs::found(program).is_some()) { namespace::Namespace::new().ok() } else { None };
        if made.is_none() {
            let all = [&namespace::Namespace::PROGRAMS[..], &PROGRAMS].concat();
            let _ = writeln!(io::stderr(), "\nNOT TESTED IN NAMESPACES: it takes root and {all:?}\n");
            assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must test in namespaces");
        }
        made.map(Self)
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        self.0.path()
    }

    /// Joins two namespaces by a cable, between interfaces of these names with these addresses.
    ///
    /// # Panics
    /// If it cannot be laid.
    pub async fn join(&self, name: &str, address: &str, other: &Self, its_name: &str, its_address: &str) {
        self.0.join(name, &other.0, its_name).expect("a cable can be laid");
        self.0.address(name, address).expect("an interface can have an address");
        other.0.address(its_name, its_address).expect("an interface can have an address");
    }

    /// Runs a command in it to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn run(&self, command: &[&str]) -> Output {
        let (program, arguments) = command.split_first().expect("a command has a program");
        let mut entered = Command::from(self.0.command(program));
        entered.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
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

    /// A program that is to be started in it.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn command(&self, program: &str) -> std::process::Command {
        self.0.command(program)
    }

    /// Starts a program in it; what that says goes to `log`.
    pub(crate) fn start(&self, program: &Path, arguments: &[&str], log: PathBuf) -> Process {
        let mut command = self.0.command(program);
        command.args(arguments);
        Process::spawn(command, log)
    }

    /// Starts `weir` in it and in a folder, where its temporary files go as well, and a file `log` has what it says.
    pub fn start_weir(&self, arguments: &[&str], folder: &Path) -> Process {
        let mut command = self.0.command(binaries::weir());
        command.args(arguments).current_dir(folder).env("TMPDIR", folder);
        Process::spawn(command, folder.join("log"))
    }

    /// Listens to all that passes in it, but for what it says to itself.
    ///
    /// # Panics
    /// If it cannot.
    pub fn listen(&self) -> Wire {
        Wire::open(&self.path())
    }
}
