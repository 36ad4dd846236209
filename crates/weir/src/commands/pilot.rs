//! `weir pilot`: the control plane alone.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use weir_pilot::Pilot;
use weir_proxy::admin::serve_answers;

use super::pilot_admin;
use super::run::options;
use crate::cli::PilotArgs;
#[cfg(feature = "kubernetes")]
use crate::mesh::Leading;
use crate::mesh::{Configured, Source, Trust, Webhooks, bind, descriptors, global_connection_limit, remote, serve_xds, start_runtime};
use crate::print;
use crate::signals::Signals;

/// So long the last proxy that leaves may take.
const GOODBYE: Duration = Duration::from_secs(3);

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
        let opening = async {
            let source = Source::open(&args.source, &mesh).await?;
            let trust = Trust::open(args, &source, &mesh).await?;
            anyhow::Ok((source, trust))
        };
        // An API server that is away may keep it waiting.
        let (source, trust) = tokio::select! {
            opened = opening => opened?,
            () = signals.end() => return Ok(ExitCode::SUCCESS),
        };
        // Pods cannot be made until they are answered: the first thing that a cluster waits for.
        let webhooks = Webhooks::serve(args, &source, &trust.authority).await?;
        let catalog = source.catalog();
        let pilot = Pilot::start(catalog.clone(), options(mesh.clone()));
        if args.plaintext_xds {
            pilot.serve_other_machines();
        }
        trust.join(args, &source, &configured, &pilot);
        let Trust { authority, secret, state } = trust;
        let certificates = pilot.certify(&authority, secret, remote::tokens(&args.remote, state.as_deref())?);
        let by_tls = remote::serve_remote(&pilot, &args.remote, &authority, descriptors::raise()).await?;
        let served = serve_xds(&pilot, &certificates, &args.xds, args.secrets_only_at_sockets).await?;
        let asked = serve_admin(&pilot, args.admin, webhooks.statistics()).await? + &webhooks.place();
        let places = [served.places.as_slice(), &by_tls].concat().join(", ");
        print::say(&format!("weir: {} resources; proxies may follow {places}{asked}", catalog.borrow().len()));
        #[cfg(feature = "kubernetes")]
        let leading = Leading::start(&source, &pilot, &args.source);
        tokio::select! {
            () = signals.end() => {}
            () = configured.follow(&pilot, &source) => {}
        }
        // Another one leads while the proxies leave.
        #[cfg(feature = "kubernetes")]
        leading.end().await;
        leave(&pilot, within(args), &mut signals).await;
        webhooks.end().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// How long proxies have to leave. Where there are other pilots, all of them coming at once would be much for these.
fn within(args: &PilotArgs) -> Duration {
    let default = if args.source.dir.is_some() { 0 } else { 5 };
    Duration::from_secs(args.leave_within.unwrap_or(default).into())
}

/// Lets the proxies go, to whom other pilots are to serve. Who is told again to end does not wait.
async fn leave(pilot: &Pilot, within: Duration, signals: &mut Signals) {
    let followed = pilot.proxies().len();
    if within.is_zero() || followed == 0 {
        return;
    }
    print::say(&format!("weir: {followed} proxies leave, within {} s", within.as_secs()));
    tokio::select! {
        // Who does not go is cut off.
        _ = tokio::time::timeout(within + GOODBYE, pilot.leave(within)) => {}
        () = signals.end() => {}
    }
}

/// Answers questions, if somebody said where; says where. More may be counted than what the pilot counts.
async fn serve_admin(
    pilot: &Pilot,
    admin: Option<SocketAddr>,
    more: impl Fn() -> String + Send + Sync + 'static,
) -> anyhow::Result<String> {
    let Some(admin) = admin else { return Ok(String::new()) };
    let listener = bind(admin, "the admin interface", "--admin").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve_answers(listener, pilot_admin::alone(pilot.clone(), more)));
    Ok(format!("; ask http://{address}/"))
}
