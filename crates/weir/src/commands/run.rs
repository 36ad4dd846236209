//! `weir run`: control plane and proxies of a folder's mesh, in one process.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
use weir_ads::certificates::Certificates;
use weir_api::resources::MeshConfig;
use weir_model::DEFAULT_DOMAIN;
use weir_pilot::{Options, Pilot, standalone};
use weir_proxy::DataPlane;
use weir_registry::{Catalog, files};

use super::pilot_admin;
use crate::cli::{DEFAULT_XDS, ProcessArgs, RemoteArgs, RunArgs, XdsAddress};
use crate::mesh::authority::{self, AuthoritySource, Opened};
use crate::mesh::{Hosting, Hosts, Process, Served, descriptors, global_connection_limit, mesh_config, remote, serve_xds, start_runtime};
use crate::print;

/// Runs until told to end.
///
/// # Errors
/// If the mesh cannot be started.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let mesh = mesh_config(args.mesh_config.as_deref())?;
    let gateways = args.gateway.iter().map(|labels| standalone::parse_labels(labels));
    let gateways = gateways.collect::<Result<Vec<_>, _>>().map_err(|error| anyhow::anyhow!("--gateway: {error}"))?;
    let standing = Standing {
        dir: &args.dir,
        mesh,
        gateways,
        xds: args.xds.clone(),
        secrets_only_at_sockets: args.secrets_only_at_sockets,
        plaintext_xds: args.plaintext_xds,
        remote: args.remote.clone(),
        authority: AuthoritySource::Args(&args.authority, Some(&args.dir)),
        process: &args.process,
        ends_with_terminal: false,
    };
    start_runtime()?.block_on(standing.start(|started| async move {
        print::say(&started.summary());
        Ok(())
    }))
}

/// A mesh that stands alone.
pub(crate) struct Standing<'s> {
    pub dir: &'s Path,
    pub mesh: Arc<MeshConfig>,
    pub gateways: Vec<BTreeMap<String, String>>,
    pub xds: Vec<XdsAddress>,
    /// Whether proxies that come by an address are given no certificates.
    pub secrets_only_at_sockets: bool,
    /// Whether proxies of other machines may follow in plain text.
    pub plaintext_xds: bool,
    /// How they follow by TLS.
    pub remote: RemoteArgs,
    pub authority: AuthoritySource<'s>,
    pub process: &'s ProcessArgs,
    /// Whether it ends when its terminal is closed, rather than open its logs anew.
    pub ends_with_terminal: bool,
}

/// A mesh that is up.
pub(crate) struct Started {
    pub plane: Arc<DataPlane>,
    pub catalog: watch::Receiver<Arc<Catalog>>,
    pub admin: SocketAddr,
}

impl Standing<'_> {
    /// Starts the mesh, calls `started` when all of its proxies are ready, and runs until told to end, or until that fails.
    pub async fn start<F: Future<Output = anyhow::Result<()>>>(self, started: impl FnOnce(Started) -> F) -> anyhow::Result<ExitCode> {
        let (Opened { authority, secret, state }, lifetime) = (self.authority.open(&self.mesh)?, authority::lifetime(&self.mesh)?);
        let watched = files::watch(self.dir).with_context(|| format!("the folder {} cannot be read", self.dir.display()))?;
        let defaults = &self.mesh.default_config;
        let drain_duration = defaults.drain_duration.to_std();
        let connections = global_connection_limit(&self.mesh);
        let mut process = Process::start(self.process, connections, None, defaults.termination_drain_duration.to_std())?;
        if self.ends_with_terminal {
            process.end_with_terminal();
        }
        let pilot = Pilot::start(watched.catalog.clone(), options(self.mesh));
        if self.plaintext_xds {
            pilot.serve_other_machines();
        }
        let authority = authority.follow();
        let certificates = pilot.certify(&authority, secret, remote::tokens(&self.remote, state.as_deref())?);
        // Most open files are for the traffic of the proxies.
        let descriptors = descriptors::raise().map(|all| all / 8);
        remote::serve_remote(&pilot, &self.remote, &authority, descriptors).await?;
        let _served = serve(&pilot, &certificates, &self.xds, self.secrets_only_at_sockets).await?;
        let catalog = pilot.catalog();
        let more = pilot_admin::more(pilot.clone());
        let hosts = Hosts { certificates, lifetime, drain_duration };
        let mut hosting = Hosting::new(process.plane.clone(), pilot, self.gateways, hosts);
        hosting.update();
        // Only now: a data plane without any proxy has none that is not ready, and would say that it is.
        let admin = process.serve_admin(more).await?;
        tokio::spawn(hosting.follow());
        let up = Started { plane: process.plane.clone(), catalog, admin };
        let failing = async {
            up.plane.ready().await;
            match started(up).await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        process.until_told(failing).await
    }
}

impl Started {
    fn summary(&self) -> String {
        let (objects, proxies) = (self.catalog.borrow().len(), self.plane.ids().len());
        format!("weir: {objects} resources, {proxies} proxies, all ready; ask http://{}/", self.admin)
    }
}

/// A pilot that shows its findings at the terminal.
pub(crate) fn options(mesh: Arc<MeshConfig>) -> Options {
    Options { mesh, domain: DEFAULT_DOMAIN.to_owned(), say: Box::new(print::diagnostic) }
}

/// Serves other proxies. An address that nobody asked for need not be free.
async fn serve(pilot: &Pilot, certificates: &Certificates, asked: &[XdsAddress], secrets_only_at_sockets: bool) -> anyhow::Result<Served> {
    if !asked.is_empty() {
        return serve_xds(pilot, certificates, asked, secrets_only_at_sockets).await;
    }
    let usual = [XdsAddress::Tcp(DEFAULT_XDS.parse()?)];
    Ok(serve_xds(pilot, certificates, &usual, secrets_only_at_sockets).await.unwrap_or_else(|error| {
        tracing::warn!("other proxies cannot follow this mesh: {error}");
        Served::default()
    }))
}
