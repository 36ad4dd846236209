//! Processes as the kernel tells of them, and commands that end with who has started them.

use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use weir_capture::programs::found;

/// A command that the kernel ends with the thread that starts it. It is given nothing to read.
pub(super) fn ending_with_us(program: &str) -> Command {
    let path = |name: &str| found(name).unwrap_or_else(|| name.into());
    let mut command = Command::new(path("setpriv"));
    command.args(["--pdeathsig", "KILL", "--"]).arg(path(program));
    // What the system's own programs are found by; a container's environment is its own.
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The first process that another has started, if that has.
pub(super) fn child(id: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Sends a signal to a process. One that has ended needs none.
pub(super) fn signal(id: u32, signal: Signal) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    let _ = id.map(|id| kill_process(id, signal));
}
