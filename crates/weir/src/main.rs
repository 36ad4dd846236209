//! Weir's command line: it reads arguments, calls, and prints.

mod cli;
mod commands;
mod mesh;
mod print;
mod signals;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use cli::{Cli, Command, runs_as_plugin};

// Many small pieces of memory come and go with each request, on several threads. It asks for no huge pages: by 2 MiB at a time, an
// idle proxy held twenty for what takes two.
#[global_allocator]
static ALLOCATOR: weir_allocator::Allocator = weir_allocator::Allocator;

/// Something is wrong with what was asked; findings are 1, and 0 is fine.
pub(crate) const USAGE: u8 = 2;

/// What was asked; a program that was called as kubectl's plugin calls itself so.
fn parse() -> Cli {
    let command = if runs_as_plugin() { Cli::command().bin_name("kubectl weir") } else { Cli::command() };
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

fn main() -> ExitCode {
    let cli = parse();
    print::start_log(&cli.log);
    let outcome = match cli.command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::DemoApplication(args) => commands::demo::application::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Pilot(args) => commands::pilot::run(&args),
        Command::Proxy(args) => commands::proxy::run(&args),
        #[cfg(unix)]
        Command::Agent(args) => commands::agent::run(&args),
        Command::Workload(command) => commands::workload::run(&command),
        Command::Capture(args) => commands::capture::run(&args),
        Command::KubeInject(args) => commands::kube_inject::run(&args),
        Command::Install(args) => commands::install::install(&args),
        Command::Upgrade(args) => commands::install::upgrade(&args),
        Command::Uninstall(args) => commands::install::uninstall(&args),
        Command::Check(args) => commands::install::check(&args),
        Command::Get(args) => commands::get::run(&args),
        Command::Validate(args) => commands::validate::run(&args),
        Command::Analyze(args) => commands::analyze::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Translate(args) => commands::translate::run(&args),
        Command::ProxyStatus(args) => commands::proxy_status::run(&args),
        Command::ProxyConfig(args) => commands::proxy_config::run(&args.what),
        Command::Wait(args) => commands::wait::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        print::error(&error);
        ExitCode::from(USAGE)
    })
}
