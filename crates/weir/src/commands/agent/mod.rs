//! `weir agent`: beside a stock Envoy. It has the proxy's key, comes to its certificate, and gives Envoy both over a socket that only
//! its owner may open. It also writes the bootstrap by which Envoy finds it and the pilot, and answers questions of DNS with what the pilot
//! tells of the mesh.

mod bootstrap;
mod secrets;
mod socket;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::{mpsc, watch};
use weir_ads::Protocol;
use weir_ads::grpc::server::{self, Services};
use weir_model::Proxy;
use weir_pilot::{node, standalone};
use weir_xds::core::Node;

pub(in crate::commands) use self::bootstrap::PilotAt;
use self::bootstrap::bootstrap;
use super::proxy::{Way, addresses};
use crate::cli::{AgentArgs, EnvoyArgs, XdsAddress};
use crate::mesh::{answer_dns, authority, follow_names, start_runtime};
use crate::print;
use crate::signals::{Signals, Told};

/// So many streams may wait to be served.
const WAITING: usize = 8;

/// An Envoy, and what is given to it.
pub(in crate::commands) struct Beside<'a> {
    pub proxy: Proxy,
    /// What Envoy says of itself.
    pub node: Node,
    /// How the pilot is reached, and certifies.
    pub way: Way,
    /// What of that Envoy is told.
    pub pilot: PilotAt,
    pub socket: &'a Path,
    pub envoy: &'a EnvoyArgs,
    /// Where questions of DNS are answered.
    pub dns: &'a [SocketAddr],
    pub resolv_conf: &'a Path,
}

/// Runs until told to end.
///
/// # Errors
/// If the arguments do not name a proxy, or the socket cannot be had.
pub(crate) fn run(args: &AgentArgs) -> anyhow::Result<ExitCode> {
    let proxy = proxy(args)?;
    let lifetime = args.lifetime.as_deref().map(authority::parse_lifetime).transpose().context("--lifetime")?;
    if matches!(args.xds, XdsAddress::Tcp(address) if !address.ip().to_canonical().is_loopback()) {
        bail!(
            "--xds {} is on another machine: a pilot certifies only who is on its own; others join by a file, see `weir workload`",
            args.xds
        );
    }
    let state = Some(authority::state_of(args.state.as_deref())?);
    let AgentArgs { socket, envoy, dns, resolv_conf, .. } = args;
    let (node, pilot) = (node::introduce_with_agent(&proxy), PilotAt::Here(args.xds.clone()));
    let way = Way::Plain { server: args.xds.to_string(), state, lifetime };
    stand_beside(Beside { proxy, node, way, pilot, socket, envoy, dns, resolv_conf })
}

/// Stands beside an Envoy until told to end.
///
/// # Errors
/// If the socket cannot be had, or the pilot refuses.
pub(in crate::commands) fn stand_beside(mut beside: Beside<'_>) -> anyhow::Result<ExitCode> {
    if !beside.dns.is_empty() {
        node::promise_dns(&mut beside.node);
    }
    let Beside { proxy, node, way, pilot, socket, envoy, dns, resolv_conf } = beside;
    start_runtime()?.block_on(async {
        way.try_out(&proxy).await?;
        let listener = socket::bind(socket).with_context(|| format!("the socket {} cannot be had", socket.display()))?;
        let made = socket::identity_of(socket);
        let (newest, issued) = watch::channel(None);
        if let Some(certification) = way.certification(&proxy) {
            tokio::spawn(certification.run(proxy.id.as_str().into(), newest, |issued| Ok(Arc::new(secrets::resources(issued)))));
        }
        if !dns.is_empty() {
            let told = answer_dns(dns, resolv_conf, &proxy).await?;
            let mut node = node.clone();
            node::accompany(&mut node);
            tokio::spawn(follow_names(way.server().to_owned(), way.connect(Protocol::Delta), node, told));
        }
        let (streams, waiting) = mpsc::channel(WAITING);
        tokio::spawn(server::serve(listener, Services { secrets: Some(streams), ..Services::default() }));
        tokio::spawn(secrets::serve_all(waiting, issued));
        if let Some(path) = &envoy.bootstrap {
            let text = serde_json::to_string_pretty(&bootstrap(&node, &pilot, socket, envoy)?)?;
            fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        print::say(&format!("weir: certificates of {} at {}", proxy.id, socket.display()));
        let mut signals = Signals::new().context("the system does not tell of signals")?;
        while signals.next().await != Told::End {}
        // Another agent may have taken the place meanwhile.
        if made.is_some_and(|made| socket::identity_of(socket) == Some(made)) {
            let _ = fs::remove_file(socket);
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn proxy(args: &AgentArgs) -> anyhow::Result<Proxy> {
    let labels = standalone::parse_labels(&args.labels).map_err(|error| anyhow::anyhow!("--labels: {error}"))?;
    let Some((kind, address, name, namespace)) = Proxy::parse_id(&args.id) else {
        bail!("--id {:?} names no proxy: write sidecar|router~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN", args.id);
    };
    let addresses = addresses(kind, address, &args.address);
    let (locality, interception) = (args.locality.clone(), args.interception_mode.into());
    Ok(Proxy { id: args.id.clone(), kind, name, namespace, labels, addresses, locality, interception })
}
