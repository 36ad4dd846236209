//! `weir proxy`: one proxy that follows an xDS server, as Envoy would.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use weir_ads::certificates::IstioCertificateRequest;
use weir_ads::{Protocol, grpc};
use weir_config::bootstrap::ConnectionLimits;
use weir_config::memory::MemoryBound;
use weir_config::peer_metadata::PeerMetadata;
use weir_model::{DEFAULT_DOMAIN, Interception, Proxy, ProxyKind};
use weir_pilot::{node, standalone};
use weir_proxy::control::certificate::Certification;
use weir_proxy::control::follow::Connect;
use weir_proxy::control::pilot::RemotePilot;
use weir_proxy::status::Subject;
use weir_xds::core::Node;

use super::status::StatusPorts;
use crate::cli::{PodArgs, ProcessArgs, ProxyArgs, ProxyType, StatusArgs};
use crate::mesh::{Bootstrap, Process, answer_dns, authority, hosted_options, nothing_more, start_runtime};
use crate::print;

/// So long what is under way may take when the proxy is told to end; Istio's default.
const DRAIN: Duration = Duration::from_secs(5);

/// Whom a proxy follows, and as whom.
pub(super) struct Following {
    proxy: Proxy,
    node: Node,
    protocol: Protocol,
    limits: ConnectionLimits,
    memory: Option<MemoryBound>,
    way: Way,
}

/// How a proxy reaches its server, and comes to certificates.
pub(super) enum Way {
    /// In plain text.
    Plain {
        /// The server.
        server: String,
        /// Where a pilot's secret is by which the proxy comes to certificates, if it has a way to them.
        state: Option<PathBuf>,
        /// How long certificates are to last.
        lifetime: Option<Duration>,
    },
    /// By TLS.
    Remote {
        /// The pilot.
        pilot: Arc<RemotePilot>,
        /// The same, as people read it.
        server: String,
        /// How long certificates are to last.
        lifetime: Option<Duration>,
        /// Whether a proxy that the pilot does not take at once does not start: a person is there to be told.
        insists: bool,
    },
}

/// What is around a proxy.
pub(super) struct Around<'a> {
    pub process: &'a ProcessArgs,
    /// Where questions of DNS are answered.
    pub dns: &'a [SocketAddr],
    pub resolv_conf: &'a Path,
    /// What the kubelet asks, in a pod.
    pub status: &'a StatusArgs,
}

impl Following {
    /// One that nobody has bounded.
    pub fn new(proxy: Proxy, node: Node, protocol: Protocol, way: Way) -> Self {
        Self { proxy, node, protocol, limits: ConnectionLimits::default(), memory: None, way }
    }
}

impl Way {
    /// The server, as people read it.
    pub fn server(&self) -> &str {
        let (Self::Plain { server, .. } | Self::Remote { server, .. }) = self;
        server
    }

    /// Looks whether a pilot of another machine takes the proxy: who has just started it is told at once what is wrong.
    ///
    /// # Errors
    /// Why not.
    pub async fn try_out(&self, proxy: &Proxy) -> anyhow::Result<()> {
        let Self::Remote { pilot, insists: true, .. } = self else { return Ok(()) };
        pilot.certify(IstioCertificateRequest::for_changes(&proxy.id, "")).await.map(drop).map_err(anyhow::Error::msg)
    }

    /// What opens a stream.
    pub fn connect(&self, protocol: Protocol) -> Connect {
        match self {
            Self::Plain { server, .. } => {
                let server = server.clone();
                Arc::new(move || {
                    let server = server.clone();
                    Box::pin(async move { grpc::client::connect(&server, protocol).await.map_err(|error| error.to_string()) })
                })
            }
            Self::Remote { pilot, .. } => {
                let pilot = pilot.clone();
                Arc::new(move || {
                    let pilot = pilot.clone();
                    Box::pin(async move { pilot.connect(protocol).await })
                })
            }
        }
    }

    /// How a proxy comes to certificates; none if it does not.
    pub fn certification(&self, proxy: &Proxy) -> Option<Certification> {
        match self {
            Self::Plain { state: None, .. } => None,
            Self::Plain { server, state: Some(state), lifetime } => Some(authority::following(proxy, server, state.clone(), *lifetime)),
            Self::Remote { pilot, lifetime, .. } => Some(authority::remote(proxy, pilot, *lifetime)),
        }
    }
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
    let status = &args.pod.status;
    follow(following, &Around { process: &args.process, dns: &args.dns, resolv_conf: &args.resolv_conf, status })
}

/// Runs a proxy until told to end.
///
/// # Errors
/// If it cannot be started.
pub(super) fn follow(following: Following, around: &Around<'_>) -> anyhow::Result<ExitCode> {
    let Following { proxy, node, protocol, limits, memory, way } = following;
    small_pages();
    start_runtime()?.block_on(async {
        way.try_out(&proxy).await?;
        let process = Process::start(around.process, limits.process, memory, DRAIN)?;
        let admin = process.serve_admin(nothing_more()).await?;
        let status = StatusPorts::bind(around.status, &proxy).await?;
        let mut options = hosted_options(&proxy, way.connect(protocol), protocol);
        if let Some(drain_duration) = node::drain_duration(&node) {
            options.drain_duration = drain_duration;
        }
        options.listener_limits = limits.listeners;
        options.identity.workload = PeerMetadata::of_node(&node, &options.identity.workload).workload;
        options.node = node;
        options.certification = way.certification(&proxy);
        if options.certification.is_some() {
            node::promise_certificates(&mut options.node);
        }
        if !around.dns.is_empty() {
            node::promise_dns(&mut options.node);
            options.names = Some(answer_dns(around.dns, around.resolv_conf, &proxy).await?);
        }
        print::say(&format!("weir: {} follows {}; ask http://{admin}/", proxy.id, way.server()));
        process.plane.host(options);
        if let Some(status) = status {
            status.serve(Subject::Hosted(process.plane.clone()))?;
        }
        let plane = process.plane.clone();
        tokio::spawn(async move {
            plane.ready().await;
            weir_allocator::code::give_back();
        });
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

/// The pilot of a pod's proxy, as the arguments name it.
///
/// # Errors
/// If it cannot be: a file is not there, or is not what it should be.
pub(super) fn pilot_of_pod(server: &str, args: &PodArgs) -> anyhow::Result<Option<Arc<RemotePilot>>> {
    let (Some(token), Some(root)) = (&args.token_file, &args.root_cert) else { return Ok(None) };
    let Some(name) = host_of(server) else { bail!("--xds {server:?} names no port: write HOST:PORT") };
    let pilot = RemotePilot::of_files(server, name, root, token);
    let pilot = pilot.map_err(|reason| anyhow::anyhow!("--xds {server}: {reason}"))?;
    Ok(Some(Arc::new(pilot)))
}

/// The host of `HOST:PORT`.
pub(super) fn host_of(server: &str) -> Option<&str> {
    server.rsplit_once(':').map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']'))
}

fn from_arguments(args: &ProxyArgs) -> anyhow::Result<Following> {
    let (Some(server), Some(id)) = (&args.xds, &args.id) else { bail!("--xds and --id are needed, or a bootstrap with -c") };
    let labels = standalone::parse_labels(&args.labels).map_err(|error| anyhow::anyhow!("--labels: {error}"))?;
    let interception = args.interception_mode.into();
    let kind = args.kind.map(|kind| if kind == ProxyType::Router { ProxyKind::Router } else { ProxyKind::Sidecar });
    let proxy = match (Proxy::parse_id(id), kind, id.rsplit_once('.')) {
        (Some((kind, address, name, namespace)), wanted, _) if wanted.is_none_or(|wanted| wanted == kind) => {
            let addresses = addresses(kind, address, &args.address);
            let locality = args.locality.clone();
            Proxy { id: id.clone(), kind, name, namespace, labels, addresses, locality, interception }
        }
        (None, Some(kind), Some((name, namespace))) => {
            Proxy { locality: args.locality.clone(), interception, ..named(kind, name, namespace, labels, &args.address) }
        }
        _ => {
            bail!("--id {id:?} names no proxy: write sidecar|router~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN, or NAME.NAMESPACE with --type")
        }
    };
    let protocol = if args.state_of_the_world { Protocol::StateOfTheWorld } else { Protocol::Delta };
    let lifetime = args.lifetime.as_deref().map(authority::parse_lifetime).transpose().context("--lifetime")?;
    let way = match pilot_of_pod(server, &args.pod)? {
        // The pilot may come later than the pod.
        Some(pilot) => Way::Remote { pilot, server: server.clone(), lifetime, insists: false },
        None => Way::Plain { server: server.clone(), state: authority::way(server, args.state.as_deref()), lifetime },
    };
    let mut node = node::introduce(&proxy);
    node::describe_workload(&mut node, |name| std::env::var(name).ok());
    Ok(Following::new(proxy, node, protocol, way))
}

/// The addresses of a proxy's workload: its own, as far as anybody says so, else the one of its id.
pub(super) fn addresses(kind: ProxyKind, of_id: String, own: &[IpAddr]) -> Vec<String> {
    match kind {
        ProxyKind::Router => vec![],
        ProxyKind::Sidecar if own.is_empty() => vec![of_id],
        ProxyKind::Sidecar => own.iter().map(IpAddr::to_string).collect(),
    }
}

fn named(kind: ProxyKind, name: &str, namespace: &str, labels: BTreeMap<String, String>, own: &[IpAddr]) -> Proxy {
    let usual: IpAddr = if kind == ProxyKind::Router { Ipv4Addr::UNSPECIFIED.into() } else { Ipv4Addr::LOCALHOST.into() };
    let addresses = if own.is_empty() { &[usual][..] } else { own };
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    let address = addresses.first().map_or("", String::as_str);
    Proxy {
        id: Proxy::make_id(kind, address, name, namespace, DEFAULT_DOMAIN),
        kind,
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        labels,
        addresses: if kind == ProxyKind::Router { vec![] } else { addresses },
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
    Ok(Following {
        limits,
        memory,
        ..Following::new(proxy, node, protocol, Way::Plain { server: read.server, state: None, lifetime: None })
    })
}

/// What the overload manager and the runtime of a bootstrap say of limits of connections, and of memory.
fn bounds(bounds: Option<serde_json::Value>) -> anyhow::Result<(ConnectionLimits, Option<MemoryBound>)> {
    let Some(bounds) = bounds else { return Ok((ConnectionLimits::default(), None)) };
    let bootstrap = weir_xds::json::from_value(bounds).context("no Envoy bootstrap")?;
    let limits = ConnectionLimits::of(&bootstrap).map_err(|error| anyhow::anyhow!("{error}"))?;
    let memory = MemoryBound::of(&bootstrap).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok((limits, memory))
}
