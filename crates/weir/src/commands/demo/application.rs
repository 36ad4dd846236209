//! One application of a sample in a process of its own, which knows nothing of a mesh.

use std::process::ExitCode;

use anyhow::{Context, bail};
use weir_samples::Sample;

use crate::cli::DemoApplicationArgs;
use crate::mesh::start_runtime;
use crate::signals::{Signals, Told};

/// Serves until told to end.
///
/// # Errors
/// If there is no such application, or its port is taken.
pub(crate) fn run(args: &DemoApplicationArgs) -> anyhow::Result<ExitCode> {
    let mut all = Sample::ALL.into_iter().flat_map(Sample::instances);
    let Some(instance) = all.find(|instance| instance.name == args.name) else { bail!("no sample has an application {:?}", args.name) };
    start_runtime()?.block_on(async {
        let mut signals = Signals::new().context("the system does not tell of signals")?;
        signals.end_with_terminal();
        let bound = instance.alone().bind().await?;
        bound.serve(async move { while signals.next().await != Told::End {} }).await;
        Ok(ExitCode::SUCCESS)
    })
}
