//! `weir workload join`: the sidecar of a workload, or a gateway, on another machine than the pilot's. It shows the token of its file until it has a
//! certificate of the mesh, and that from then on. Or it stands beside a stock Envoy, which has its certificates from here.

use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use jiff::Timestamp;
use weir_ads::{Protocol, Token};
use weir_model::{DEFAULT_DOMAIN, Proxy, ProxyKind};
use weir_pilot::node;
use weir_proxy::control::pilot::RemotePilot;

use super::file::{JoinFile, Workload};
use crate::cli::{InterceptionMode, JoinArgs};
use crate::commands::agent::{self, Beside, PilotAt};
use crate::commands::proxy::{self, Around, Following, Way};
use crate::mesh::authority;
use crate::print;

/// Runs until told to end.
///
/// # Errors
/// If the file cannot be used, or the pilot refuses; says what to do.
pub(crate) fn run(args: &JoinArgs) -> anyhow::Result<ExitCode> {
    let lifetime = args.lifetime.as_deref().map(authority::parse_lifetime).transpose().context("--lifetime")?;
    let file = JoinFile::read(&args.file)?;
    file.check_clock(Timestamp::now())?;
    let pilot = RemotePilot::new(&file.pilot, &file.server_name, &file.root, Some(Token::new(file.token.as_str())));
    let pilot = pilot.map_err(|reason| anyhow::anyhow!("{}: {reason}", args.file.display()))?;
    let (proxy, group) = proxy(&file, args)?;
    // The labels of a workload are the mesh's to say, and may be others by now: only our own metrics name those of the file.
    let unlabelled = Proxy { labels: Default::default(), ..proxy.clone() };
    let introduce = if args.socket.is_some() { node::introduce_with_agent } else { node::introduce };
    let mut node = introduce(&unlabelled);
    if let Some(group) = group {
        node::register_in(&mut node, &group);
    }
    print::say(&format!("weir: joins as ns/{}/sa/{} at {}", file.namespace, file.service_account, file.pilot));
    let way = Way::Remote { pilot: Arc::new(pilot), server: file.pilot.clone(), lifetime, insists: true };
    let JoinArgs { envoy, dns, resolv_conf, status, .. } = args;
    if let Some(socket) = &args.socket {
        let pilot = PilotAt::elsewhere(&file.pilot, &file.server_name)?;
        return agent::stand_beside(Beside { proxy, node, way, pilot, socket, envoy, status, dns, resolv_conf });
    }
    let following = Following::new(proxy, node, Protocol::Delta, way);
    proxy::follow(following, &Around { process: &args.process, dns, resolv_conf, status })
}

/// Who the sidecar is, and the group in which it registers itself.
fn proxy(file: &JoinFile, args: &JoinArgs) -> anyhow::Result<(Proxy, Option<String>)> {
    let (name, address, group) = match &file.workload {
        Workload::Entry { name, address } => (name.clone(), *address, None),
        Workload::Group { name } => {
            let own = || own_address(&file.pilot).with_context(|| format!("no address leads to {}: say --address", file.pilot));
            let address = args.address.map_or_else(own, Ok)?;
            (node::name_of_instance(name, &address.to_string(), ""), address, Some(name.clone()))
        }
    };
    let address = address.to_string();
    let kind = ProxyKind::of_workload(&file.labels);
    if kind == ProxyKind::Router && args.interception_mode != InterceptionMode::None {
        bail!("{name} is a gateway, of which nothing is captured: leave --interception-mode out");
    }
    let proxy = Proxy {
        id: Proxy::make_id(kind, &address, &name, &file.namespace, DEFAULT_DOMAIN),
        kind,
        name,
        namespace: file.namespace.clone(),
        labels: file.labels.clone(),
        addresses: vec![address],
        locality: args.locality.clone(),
        interception: args.interception_mode.into(),
    };
    Ok((proxy, group))
}

/// The address of this machine from which a server is reached. Nothing is sent.
fn own_address(server: &str) -> std::io::Result<IpAddr> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in server.to_socket_addrs()? {
        let any: IpAddr = if address.is_ipv4() { [0, 0, 0, 0].into() } else { [0; 16].into() };
        match UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address).and_then(|()| socket.local_addr())) {
            Ok(own) => return Ok(own.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
