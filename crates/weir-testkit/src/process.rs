//! A process that ends with its test.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::hosts;
use crate::wait::DEADLINE;

/// How many lines of a log are shown when a test fails.
const SHOWN: usize = 40;

/// The ticks of a second in what Linux tells programs, whatever its own are.
const USER_HZ: u64 = 100;

/// A process that a test has started; killed when it is dropped. A test that fails shows what it said.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it says goes to `log`, so that no full pipe can stop it.
    pub(crate) fn start(program: &Path, arguments: &[&str], log: PathBuf) -> Self {
        let mut command = std::process::Command::new(program);
        command.args(arguments);
        Self::spawn(command, log)
    }

    /// The same with a command.
    pub(crate) fn spawn(command: std::process::Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("a log can be written");
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(file.try_clone().expect("a file can be shared")).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?} cannot be started: {error}", command.as_std().get_program()));
        Self { child, log }
    }

    /// The same in a folder of a mesh, whose log has this name: if the folder has a file of hosts, the program knows these.
    pub(crate) fn start_in(work: &Path, program: &Path, arguments: &[&str], log: &str) -> Self {
        let log = work.join(log);
        let Some(namespace) = hosts::namespace(work) else { return Self::start(program, arguments, log) };
        let program = program.display().to_string();
        let words: Vec<&str> =
            namespace[1..].iter().map(String::as_str).chain([program.as_str()]).chain(arguments.iter().copied()).collect();
        Self::start(Path::new(&namespace[0]), &words, log)
    }

    /// All that it has said so far.
    ///
    /// # Panics
    /// If the log cannot be read.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("a log can be read")).into_owned()
    }

    /// Whether it has not ended yet.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child's state is known").is_none()
    }

    /// How much memory it holds, in bytes.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory that it has held so far, in bytes.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// How much time processors have spent on it so far, in steps of ten milliseconds: see proc_pid_stat(5).
    ///
    /// # Panics
    /// If the process has ended.
    pub fn cpu(&self) -> Duration {
        let id = self.child.id().expect("the process has not ended");
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("a process that runs has a state");
        // The program's name, in which there may be anything, is in brackets.
        let (_, fields) = stat.rsplit_once(')').expect("Linux tells a program's name");
        let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a time is a number"));
        Duration::from_millis(ticks.sum::<u64>() * 1000 / USER_HZ)
    }

    /// A figure of `/proc/PID/status`, see proc_pid_status(5).
    fn status(&self, name: &str) -> u64 {
        let id = self.child.id().expect("the process has not ended");
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("a process that runs has a status");
        let figure = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells a process's memory");
        1024 * figure.trim().trim_end_matches(" kB").parse::<u64>().expect("a size is a number")
    }

    /// Sends a signal, such as INT.
    ///
    /// # Panics
    /// If the process has ended.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("the process has not ended").to_string();
        let status = Command::new("kill").arg(format!("-{name}")).arg(id).status().await.expect("kill can be started");
        assert!(status.success(), "the signal {name} cannot be sent: {status}");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(DEADLINE, self.child.wait()).await;
        ended.expect("the process ends in time").expect("a child's end is known")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        let _ = writeln!(io::stderr(), "--- {}\n{last}\n---", self.log.display());
    }
}
