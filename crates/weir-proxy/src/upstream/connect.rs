//! Making a TCP connection to an instance.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use weir_config::cluster::ClusterPolicy;

use super::cluster::ClusterRuntime;
use super::host::HostRuntime;
use crate::exchange::failure::{ConnectError, Failure, FailureKind};

/// Connects to an instance for a worker of the data plane, and counts it.
///
/// # Errors
/// If it cannot be reached in time.
pub async fn open(cluster: &ClusterRuntime, target: &HostRuntime) -> Result<TcpStream, Failure> {
    let stream = connect(&cluster.policy(), target.host.address).await;
    cluster.with_stats(|stats| {
        stats.count_connect(stream.is_err(), matches!(stream, Err(ConnectError::TimedOut)));
        if stream.is_err() {
            stats.rq_pending_failure_eject.add(1);
        }
    });
    stream.map_err(|error| FailureKind::Connect(error).into())
}

/// Connects to an instance of a cluster.
///
/// # Errors
/// If it cannot be reached in time.
pub async fn connect(policy: &ClusterPolicy, address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let attempt = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = policy.source_address.filter(|source| source.is_ipv4() == address.is_ipv4()) {
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        set_keepalive(policy, &stream)?;
        Ok(stream)
    };
    within(policy.connect_timeout, attempt).await.unwrap_or(Err(ConnectError::TimedOut))
}

async fn within<T>(limit: Duration, attempt: impl Future<Output = std::io::Result<T>>) -> Option<Result<T, ConnectError>> {
    let result = tokio::time::timeout(limit, attempt).await.ok()?;
    Some(result.map_err(ConnectError::Refused))
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
