//! `weir agent`: beside a stock Envoy. It has the proxy's key, comes to its certificate, and gives Envoy both over a socket that only
//! its owner may open. It also writes the bootstrap by which Envoy finds it and the pilot, and answers questions of DNS with what the pilot
//! tells of the mesh; in a pod it answers the kubelet for Envoy.

mod bootstrap;
mod secrets;
mod socket;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::{mpsc, watch};
use weir_ads::Protocol;
use weir_ads::grpc::server::{self, Services};
use weir_model::Proxy;
use weir_pilot::{node, standalone};
use weir_proxy::status::Subject;
use weir_xds::core::Node;

pub(in crate::commands) use self::bootstrap::PilotAt;
use self::bootstrap::bootstrap;
use super::proxy::{Way, addresses, host_of, pilot_of_pod};
use super::status::StatusPorts;
use crate::cli::{AgentArgs, EnvoyArgs, StatusArgs, XdsAddress};
use crate::mesh::{answer_dns, authority, follow_names, start_runtime};
use crate::print;
use crate::signals::{Signals, Told};

/// Where Envoy's admin interface is, when others are told of it: Istio's.
const ENVOY_ADMIN: u16 = 15000;
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
    /// What the kubelet asks, in a pod, and others elsewhere.
    pub status: &'a StatusArgs,
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
    let (way, pilot) = way(args, lifetime)?;
    let AgentArgs { socket, envoy, dns, resolv_conf, pod, .. } = args;
    let (node, status) = (node::introduce_with_agent(&proxy), &pod.status);
    stand_beside(Beside { proxy, node, way, pilot, socket, envoy, status, dns, resolv_conf })
}

/// How the pilot is reached, and where it is.
fn way(args: &AgentArgs, lifetime: Option<Duration>) -> anyhow::Result<(Way, PilotAt)> {
    let server = args.xds.clone();
    if let Some(pilot) = pilot_of_pod(&server, &args.pod)? {
        let name = host_of(&server).unwrap_or_default();
        let at = PilotAt::elsewhere(&server, name).context("--xds")?;
        // The pilot may come later than the pod.
        return Ok((Way::Remote { pilot, server, lifetime, insists: false }, at));
    }
    let address: XdsAddress = server.parse().map_err(|problem| anyhow::anyhow!("--xds {server:?} {problem}"))?;
    if matches!(address, XdsAddress::Tcp(address) if !address.ip().to_canonical().is_loopback()) {
        bail!(
            "--xds {address} is on another machine: a pilot certifies only who is on its own, who comes with --token-file, or by a file of `weir workload token`"
        );
    }
    let state = Some(authority::state_of(args.state.as_deref())?);
    Ok((Way::Plain { server: address.to_string(), state, lifetime }, PilotAt::Here(address)))
}

/// Stands beside an Envoy until told to end.
///
/// # Errors
/// If the socket cannot be had, or the pilot refuses.
pub(in crate::commands) fn stand_beside(mut beside: Beside<'_>) -> anyhow::Result<ExitCode> {
    if !beside.dns.is_empty() {
        node::promise_dns(&mut beside.node);
    }
    let Beside { proxy, node, way, pilot, socket, envoy, status, dns, resolv_conf } = beside;
    start_runtime()?.block_on(async {
        way.try_out(&proxy).await?;
        let listener = socket::bind(socket).with_context(|| format!("the socket {} cannot be had", socket.display()))?;
        let made = socket::identity_of(socket);
        let status = StatusPorts::bind(status, &proxy).await?;
        let usual = if status.is_some() { ENVOY_ADMIN } else { 0 };
        let admin = envoy.envoy_admin.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, usual)));
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
            let text = serde_json::to_string_pretty(&bootstrap(&node, &pilot, socket, admin)?)?;
            fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        if let Some(status) = status {
            status.serve(Subject::Envoy(admin))?;
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
