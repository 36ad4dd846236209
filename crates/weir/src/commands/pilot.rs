//! `weir pilot`: the control plane alone.

use std::process::ExitCode;

use anyhow::Context;
use weir_ads::grpc;
use weir_pilot::Pilot;
use weir_registry::files;

use super::run::options;
use crate::cli::PilotArgs;
use crate::mesh::{bind, global_connection_limit, mesh_config, start_runtime};
use crate::print;
use crate::signals::{Signals, Told};

/// Runs until told to end.
///
/// # Errors
/// If the pilot cannot be started.
pub(crate) fn run(args: &PilotArgs) -> anyhow::Result<ExitCode> {
    let mesh = mesh_config(args.mesh_config.as_deref())?;
    if let Some(most) = global_connection_limit(&mesh) {
        // It is no matter of xDS.
        tracing::warn!("globalDownstreamConnectionLimit is nothing that a pilot can tell: start each proxy with --max-connections {most}");
    }
    start_runtime()?.block_on(async {
        let watched = files::watch(&args.dir).with_context(|| format!("the folder {} cannot be read", args.dir.display()))?;
        let listener = bind(args.xds, "xDS", "--xds").await?;
        let address = listener.local_addr()?;
        let pilot = Pilot::start(watched.catalog.clone(), options(mesh));
        tokio::spawn(grpc::server::accept(listener, pilot.streams()));
        print::say(&format!("weir: {} resources; proxies may follow {address}", watched.catalog.borrow().len()));
        let mut signals = Signals::new().context("the system does not tell of signals")?;
        while signals.next().await != Told::End {}
        Ok(ExitCode::SUCCESS)
    })
}
