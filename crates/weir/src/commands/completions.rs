//! `weir completions`: what a shell offers behind `weir`.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::generate;

use crate::cli::{Cli, CompletionsArgs};
use crate::print;

/// Prints the shell's script.
///
/// # Errors
/// None.
pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = vec![];
    generate(args.shell, &mut Cli::command(), "weir", &mut script);
    print::result(&String::from_utf8(script)?);
    Ok(ExitCode::SUCCESS)
}
