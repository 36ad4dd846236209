//! `weir proxy`: one proxy that follows an xDS server, as Envoy would.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use weir_ads::{Protocol, grpc};
use weir_config::bootstrap::ConnectionLimits;
use weir_config::memory::MemoryBound;
use weir_model::{DEFAULT_DOMAIN, Interception, Proxy, ProxyKind};
use weir_pilot::{node, standalone};
use weir_proxy::control::follow::Connect;
use weir_xds::core::Node;

use crate::cli::{ProxyArgs, ProxyType};
use crate::mesh::{Bootstrap, Process, answer_dns, authority, hosted_options, nothing_more, start_runtime};
use crate::print;

/// So long what is under way may take when the proxy is told to end; Istio's default.
const DRAIN: Duration = Duration::from_secs(5);

/// Whom a proxy follows, and as whom.
struct Following {
    proxy: Proxy,
    node: Node,
    server: String,
    protocol: Protocol,
    limits: ConnectionLimits,
    memory: Option<MemoryBound>,
    /// Where a pilot's secret is by which the proxy comes to certificates, if it has a way to them.
    way: Option<PathBuf>,
}

/// Runs until told to end.
///
/// # Errors
/// If the arguments do not name a proxy and a server.
pub(crate) fn run(args: &ProxyArgs) -> anyhow::Result<ExitCode> {
    let mut following = match &args.config {
        Some(path) => from_bootstrap(path)?,
        None => from_arguments(args)?,
    };
    if let Some(group) = &args.workload_group {
        node::register_in(&mut following.node, group);
    }
    let lifetime = args.lifetime.as_deref().map(authority::parse_lifetime).transpose().context("--lifetime")?;
    small_pages();
    start_runtime()?.block_on(async {
        let process = Process::start(&args.process, following.limits.process, following.memory, DRAIN)?;
        let admin = process.serve_admin(nothing_more()).await?;
        let mut options = hosted_options(&following.proxy, connect(&following), following.protocol);
        if let Some(drain_duration) = node::drain_duration(&following.node) {
            options.drain_duration = drain_duration;
        }
        options.listener_limits = following.limits.listeners;
        options.node = following.node;
        if let Some(state) = following.way {
            node::promise_certificates(&mut options.node);
            options.certification = Some(authority::following(&following.proxy, &following.server, state, lifetime));
        }
        if !args.dns.is_empty() {
            node::promise_dns(&mut options.node);
            options.names = Some(answer_dns(&args.dns, &args.resolv_conf, &following.proxy).await?);
        }
        print::say(&format!("weir: {} follows {}; ask http://{admin}/", following.proxy.id, following.server));
        process.plane.host(options);
        process.until_told(std::future::pending()).await
    })
}

/// Where the system gives huge pages to all who do not refuse them, it would hold tens of megabytes for a proxy that uses few.
#[cfg(target_os = "linux")]
fn small_pages() {
    // Where it cannot be had, the proxy is as good, and larger.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(not(target_os = "linux"))]
fn small_pages() {}

fn connect(following: &Following) -> Connect {
    let (server, protocol) = (following.server.clone(), following.protocol);
    Arc::new(move || {
        let server = server.clone();
        Box::pin(async move { grpc::client::connect(&server, protocol).await.map_err(|error| error.to_string()) })
    })
}

fn from_arguments(args: &ProxyArgs) -> anyhow::Result<Following> {
    let (Some(server), Some(id)) = (&args.xds, &args.id) else { bail!("--xds and --id are needed, or a bootstrap with -c") };
    let labels = standalone::parse_labels(&args.labels).map_err(|error| anyhow::anyhow!("--labels: {error}"))?;
    let interception = args.interception_mode.into();
    let kind = args.kind.map(|kind| if kind == ProxyType::Router { ProxyKind::Router } else { ProxyKind::Sidecar });
    let proxy = match (Proxy::parse_id(id), kind, id.rsplit_once('.')) {
        (Some((kind, address, name, namespace)), wanted, _) if wanted.is_none_or(|wanted| wanted == kind) => {
            let address = args.address.map_or(address, |own| own.to_string());
            let addresses = if kind == ProxyKind::Router { vec![] } else { vec![address] };
            let locality = args.locality.clone();
            Proxy { id: id.clone(), kind, name, namespace, labels, addresses, locality, interception }
        }
        (None, Some(kind), Some((name, namespace))) => {
            Proxy { locality: args.locality.clone(), interception, ..named(kind, name, namespace, labels, args.address) }
        }
        _ => {
            bail!("--id {id:?} names no proxy: write sidecar|router~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN, or NAME.NAMESPACE with --type")
        }
    };
    let protocol = if args.state_of_the_world { Protocol::StateOfTheWorld } else { Protocol::Delta };
    Ok(Following {
        node: node::introduce(&proxy),
        proxy,
        server: server.clone(),
        protocol,
        limits: ConnectionLimits::default(),
        memory: None,
        way: authority::way(server, args.state.as_deref()),
    })
}

fn named(kind: ProxyKind, name: &str, namespace: &str, labels: BTreeMap<String, String>, address: Option<IpAddr>) -> Proxy {
    let usual: IpAddr = if kind == ProxyKind::Router { Ipv4Addr::UNSPECIFIED.into() } else { Ipv4Addr::LOCALHOST.into() };
    let address = &address.unwrap_or(usual).to_string();
    Proxy {
        id: Proxy::make_id(kind, address, name, namespace, DEFAULT_DOMAIN),
        kind,
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        labels,
        addresses: if kind == ProxyKind::Router { vec![] } else { vec![address.clone()] },
        locality: String::new(),
        interception: Interception::None,
    }
}

/// What an Envoy bootstrap says of the node, the ADS server, and limits of connections. Everything else in it is Envoy's own business.
fn from_bootstrap(path: &Path) -> anyhow::Result<Following> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let read = Bootstrap::read(&text).with_context(|| path.display().to_string())?;
    for field in &read.untold {
        print::say(&format!("weir: {}: the server is not told of node.{field}", path.display()));
    }
    let protocol = if read.is_delta { Protocol::Delta } else { Protocol::StateOfTheWorld };
    let mut node = read.node;
    // Whatever the bootstrap was written for.
    node::claim(&mut node);
    let proxy = node::recognize(&node).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    let (limits, memory) = bounds(read.bounds).with_context(|| path.display().to_string())?;
    Ok(Following { proxy, node, server: read.server, protocol, limits, memory, way: None })
}

/// What the overload manager and the runtime of a bootstrap say of limits of connections, and of memory.
fn bounds(bounds: Option<serde_json::Value>) -> anyhow::Result<(ConnectionLimits, Option<MemoryBound>)> {
    let Some(bounds) = bounds else { return Ok((ConnectionLimits::default(), None)) };
    let bootstrap = weir_xds::json::from_value(bounds).context("no Envoy bootstrap")?;
    let limits = ConnectionLimits::of(&bootstrap).map_err(|error| anyhow::anyhow!("{error}"))?;
    let memory = MemoryBound::of(&bootstrap).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok((limits, memory))
}
