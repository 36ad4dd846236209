//! `weir workload`: workloads on other machines.

mod file;
pub(crate) mod join;
pub(crate) mod token;

use std::process::ExitCode;

use crate::cli::WorkloadCommand;

/// Does what was asked for.
///
/// # Errors
/// If it cannot be done.
pub(crate) fn run(command: &WorkloadCommand) -> anyhow::Result<ExitCode> {
    match command {
        WorkloadCommand::Token(args) => token::run(args),
        WorkloadCommand::Join(args) => join::run(args),
    }
}
