//! Programs of the system's that talk with the kernel.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Why the kernel is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no tool to set rules with.
    #[error("neither nft nor iptables-restore is on this machine: install the package nftables or iptables")]
    NoTool,
    /// A program that is needed is not here.
    #[error("{0} is not on this machine")]
    NotHere(String),
    /// A program cannot be started, or spoken with.
    #[error("{0} cannot be run: {1}")]
    Run(String, io::Error),
    /// A program says no.
    #[error("{0} refused: {1}")]
    Refused(String, String),
}

/// Where a program is: in a folder of `PATH`, or where those for administrators are.
pub fn found(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A program that is to be started. A shell looks for programs where we do.
pub(crate) fn command(program: &str) -> Result<Command, Error> {
    let path = found(program).ok_or_else(|| Error::NotHere(program.to_owned()))?;
    let mut command = Command::new(path);
    command.env("PATH", search_path());
    Ok(command)
}

/// Runs a program here, in the network namespace of the calling thread; what it says must be that it has done its work.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    let mut command = command(program)?;
    command.args(arguments);
    finish(command, program, input)
}

/// Runs a command to its end; `what` it is called if it fails.
pub(crate) fn finish(mut command: Command, what: &str, input: &str) -> Result<String, Error> {
    let failed = |error| Error::Run(what.to_owned(), error);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut stdin = child.stdin.take();
    // It reads all of that before it says anything worth waiting for.
    let written = stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(input.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Err(Error::Refused(what.to_owned(), String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    written.map_err(failed)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `PATH`, and where programs for administrators are.
fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    // Those of `PATH` were joined before, so they can be again.
    env::join_paths(env::split_paths(&path).chain(usual)).unwrap_or(path)
}
