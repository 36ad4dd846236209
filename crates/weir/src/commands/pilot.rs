//! `weir pilot`: the control plane alone.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use weir_pilot::Pilot;
use weir_proxy::admin::serve_answers;

use super::pilot_admin;
use super::run::options;
use crate::cli::PilotArgs;
#[cfg(feature = "kubernetes")]
use crate::mesh::Leading;
use crate::mesh::authority::{AuthoritySource, Opened};
use crate::mesh::{Configured, Source, bind, descriptors, global_connection_limit, remote, serve_xds, start_runtime};
use crate::print;
use crate::signals::Signals;

/// Runs until told to end.
///
/// # Errors
/// If the pilot cannot be started.
pub(crate) fn run(args: &PilotArgs) -> anyhow::Result<ExitCode> {
    start_runtime()?.block_on(async {
        let mut signals = Signals::new().context("the system does not tell of signals")?;
        let configured = tokio::select! {
            configured = Configured::by(&args.source, args.mesh_config.as_deref()) => configured?,
            () = signals.end() => return Ok(ExitCode::SUCCESS),
        };
        let mesh = configured.now.clone();
        if let Some(most) = global_connection_limit(&mesh) {
            // It is no matter of xDS.
            tracing::warn!(
                "globalDownstreamConnectionLimit is nothing that a pilot can tell: start each proxy with --max-connections {most}"
            );
        }
        let Opened { authority, secret, state } = AuthoritySource::Args(&args.authority, args.source.dir.as_deref()).open(&mesh)?;
        // An API server that is away may keep it waiting.
        let source = tokio::select! {
            source = Source::open(&args.source, &mesh) => source?,
            () = signals.end() => return Ok(ExitCode::SUCCESS),
        };
        let catalog = source.catalog();
        let pilot = Pilot::start(catalog.clone(), options(mesh.clone()));
        if args.plaintext_xds {
            pilot.serve_other_machines();
        }
        let authority = authority.follow();
        let certificates = pilot.certify(&authority, secret, remote::tokens(&args.remote, state.as_deref())?);
        let by_tls = remote::serve_remote(&pilot, &args.remote, &authority, descriptors::raise()).await?;
        let served = serve_xds(&pilot, &certificates, &args.xds, args.secrets_only_at_sockets).await?;
        let asked = serve_admin(&pilot, args.admin).await?;
        let places = [served.places.as_slice(), &by_tls].concat().join(", ");
        print::say(&format!("weir: {} resources; proxies may follow {places}{asked}", catalog.borrow().len()));
        #[cfg(feature = "kubernetes")]
        let leading = Leading::start(&source, &pilot, &args.source, &mesh.root_namespace);
        tokio::select! {
            () = signals.end() => {}
            () = configured.follow(&pilot, &source) => {}
        }
        #[cfg(feature = "kubernetes")]
        leading.end().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Answers questions, if somebody said where; says where.
async fn serve_admin(pilot: &Pilot, admin: Option<SocketAddr>) -> anyhow::Result<String> {
    let Some(admin) = admin else { return Ok(String::new()) };
    let listener = bind(admin, "the admin interface", "--admin").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve_answers(listener, pilot_admin::alone(pilot.clone())));
    Ok(format!("; ask http://{address}/"))
}
