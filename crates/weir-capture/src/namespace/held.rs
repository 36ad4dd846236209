//! Network namespaces of our own: machines that share processes and files with this one, and no network.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{io, panic, thread};

use crate::programs::{self, Error};

/// What waits in a namespace: it says a line when it is there, and ends when nobody holds its standard input any more. Its arguments are
/// pairs: a file, and the one of the system's whose place it takes.
const HOLDER: &str = r#"ip link set lo up || exit
while [ $# -gt 1 ]; do
    if [ -e "$2" ]; then mount --bind "$1" "$2" || exit; fi
    shift 2
done
echo in && exec cat"#;

/// A network namespace. It ends with this, and so do its interfaces and rules, when no process is in it any more. That is so as well
/// when this process is killed.
#[derive(Debug)]
pub struct Namespace {
    /// Waits in it.
    holder: Child,
    /// Whether it has files of its own.
    has_files: bool,
}

impl Namespace {
    /// The programs that it takes to make one and to work in it.
    pub const PROGRAMS: [&'static str; 5] = ["unshare", "nsenter", "mount", "ip", "sh"];

    /// One with a loopback interface.
    ///
    /// # Errors
    /// If a program is missing, or this user may make none.
    pub fn new() -> Result<Self, Error> {
        Self::with_files(&[])
    }

    /// The same, in which each first file takes the place of the second, if the system has that: for commands of this namespace alone.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn with_files(files: &[(&Path, &str)]) -> Result<Self, Error> {
        let mut command = programs::command("unshare")?;
        command.arg("--net").args((!files.is_empty()).then_some("--mount"));
        command.args(["--", "sh", "-c", HOLDER, "sh"]);
        for (own, of_system) in files {
            command.arg(own).arg(of_system);
        }
        // Ctrl-C at the terminal is for whoever holds it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error| Error::Run("unshare".to_owned(), error);
        let mut namespace = Self { holder: command.spawn().map_err(failed)?, has_files: !files.is_empty() };
        let (out, err) = (namespace.holder.stdout.take(), namespace.holder.stderr.take());
        let mut line = String::new();
        out.map_or(Ok(0), |out| BufReader::new(out).read_line(&mut line)).map_err(failed)?;
        if line == "in\n" {
            return Ok(namespace);
        }
        let mut why = String::new();
        err.map_or(Ok(0), |mut err| err.read_to_string(&mut why)).map_err(failed)?;
        Err(Error::Refused("unshare".to_owned(), why.trim().to_owned()))
    }

    /// The number of a process that is in it for as long as it lasts.
    pub fn id(&self) -> u32 {
        self.holder.id()
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        super::path_of(&self.id().to_string())
    }

    /// A program that is to be started in it, by its path if the namespace has files of its own: then it begins in the root folder.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = programs::command("nsenter").unwrap_or_else(|_| Command::new("nsenter"));
        command.arg(format!("--net={}", self.path().display()));
        command.args(self.has_files.then(|| format!("--mount=/proc/{}/ns/mnt", self.id())));
        command.arg("--").arg(program);
        command
    }

    /// Runs a program in it, which must do its work; gives back what it says.
    ///
    /// # Errors
    /// If it cannot be started, or says no.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        let mut command = self.command(program);
        command.args(arguments);
        programs::finish(command, &words(program, arguments), "")
    }

    /// Does something in it, on a thread of its own: this one stays where it is.
    ///
    /// # Errors
    /// If it cannot be entered.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> io::Result<T> {
        let path = self.path();
        let entered = move || super::enter(&path).map(|()| act());
        thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Lays a cable to another one, between interfaces of these names.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn join(&self, name: &str, other: &Self, its_name: &str) -> Result<(), Error> {
        self.run("ip", &laying(name, &other.id().to_string(), its_name)).map(drop)
    }

    /// Gives an interface an address, such as 10.0.0.1/24, and switches it on.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn address(&self, interface: &str, address: &str) -> Result<(), Error> {
        self.run("ip", &["address", "add", address, "dev", interface])?;
        self.run("ip", &["link", "set", interface, "up"]).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A cable from this machine into a namespace; it goes with this.
#[derive(Debug)]
pub struct Cable {
    /// The name of its end here.
    name: String,
}

impl Cable {
    /// Lays one to an interface of a namespace, from one of this machine with this name and address.
    ///
    /// # Errors
    /// If the kernel refuses, such as for a name that is taken.
    pub fn lay(namespace: &Namespace, its_name: &str, name: &str, address: &str) -> Result<Self, Error> {
        ip(&laying(name, &namespace.id().to_string(), its_name))?;
        let laid = Self { name: name.to_owned() };
        ip(&["address", "add", address, "dev", name])?;
        ip(&["link", "set", name, "up"])?;
        Ok(laid)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // Once the namespace has ended it goes by itself, which may take a moment.
        let _ = ip(&["link", "delete", "dev", &self.name]);
    }
}

/// Has `ip` do something here.
fn ip(arguments: &[&str]) -> Result<(), Error> {
    let mut command = programs::command("ip")?;
    command.args(arguments);
    programs::finish(command, &words("ip", arguments), "").map(drop)
}

/// What `ip` is told to lay a cable from where it runs into the namespace of a process.
fn laying<'w>(name: &'w str, id: &'w str, its_name: &'w str) -> [&'w str; 11] {
    ["link", "add", "name", name, "type", "veth", "peer", "name", its_name, "netns", id]
}

fn words(program: &str, arguments: &[&str]) -> String {
    arguments.iter().fold(program.to_owned(), |words, word| words + " " + word)
}
