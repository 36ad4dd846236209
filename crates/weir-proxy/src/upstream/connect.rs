//! Making a connection to an instance: TCP, and TLS over it where its transport asks for that.

use std::io;
use std::net::SocketAddr;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use weir_config::cluster::ClusterPolicy;

use super::cluster::ClusterRuntime;
use super::host::HostRuntime;
use super::transport::{Transport, TransportKey};
use crate::exchange::failure::{ConnectError, Failure, FailureKind};
use crate::io::transparent::{self, Source};
use crate::io::unix_socket;
use crate::stats::cluster::WorkerClusterStats;
use crate::tls::refusal::{Fault, fault};

/// Connects to an instance for a worker of the data plane, and counts it.
///
/// # Errors
/// If it cannot be reached in time.
pub async fn open(cluster: &ClusterRuntime, target: &HostRuntime, key: &TransportKey) -> Result<Transport, Failure> {
    let stream = connect(&cluster.policy(), target.host.address, key).await;
    cluster.with_stats(|stats| {
        stats.count_connect(stream.is_err(), matches!(stream, Err(ConnectError::TimedOut)));
        match &stream {
            Ok(Transport::Tls(..)) => stats.ssl_handshake.add(1),
            Err(ConnectError::Handshake(error)) => count_handshake(error, stats),
            _ => {}
        }
        if stream.is_err() {
            stats.rq_pending_failure_eject.add(1);
        }
    });
    stream.map_err(|error| FailureKind::Connect(error).into())
}

/// Counts a handshake that failed.
fn count_handshake(error: &io::Error, stats: &WorkerClusterStats) {
    match fault(error) {
        Some(Fault::Chain) => stats.ssl_fail_verify_error.add(1),
        Some(Fault::Names) => stats.ssl_fail_verify_san.add(1),
        Some(Fault::Hash) => stats.ssl_fail_verify_cert_hash.add(1),
        None => stats.ssl_connection_error.add(1),
    }
}

/// Connects to an instance of a cluster. The time that the cluster gives is for the handshake as well.
///
/// # Errors
/// If it cannot be reached in time, or if the handshake fails.
pub async fn connect(policy: &ClusterPolicy, address: SocketAddr, key: &TransportKey) -> Result<Transport, ConnectError> {
    let attempt = async {
        let mut stream = reach(policy, address, key.source(address)).await.map_err(ConnectError::Refused)?;
        key.announce(&mut stream).await.map_err(ConnectError::Refused)?;
        key.secure(stream, address).await.map_err(ConnectError::Handshake)
    };
    tokio::time::timeout(policy.connect_timeout, attempt).await.unwrap_or(Err(ConnectError::TimedOut))
}

async fn reach(policy: &ClusterPolicy, address: SocketAddr, client: Option<Source>) -> io::Result<TcpStream> {
    if let Some(path) = unix_socket::path(address) {
        return unix_socket::connect(&path).await;
    }
    let stream = match client {
        Some(client) => transparent::connect(client, address).await?,
        None => in_our_name(policy, address).await?,
    };
    stream.set_nodelay(true)?;
    set_keepalive(policy, &stream)?;
    Ok(stream)
}

async fn in_our_name(policy: &ClusterPolicy, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = policy.source_addresses.iter().find(|source| source.is_ipv4() == address.is_ipv4()) {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(*source, 0))?;
    }
    socket.connect(address).await
}

fn set_keepalive(policy: &ClusterPolicy, stream: &TcpStream) -> std::io::Result<()> {
    let Some(wanted) = policy.keepalive else { return Ok(()) };
    let mut keepalive = TcpKeepalive::new();
    if let Some(time) = wanted.time {
        keepalive = keepalive.with_time(time);
    }
    if let Some(interval) = wanted.interval {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(probes) = wanted.probes {
        keepalive = keepalive.with_retries(probes);
    }
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
