//! Making a TCP connection to an instance.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::config::cluster::ClusterPolicy;

/// Why a connection could not be made.
#[derive(Debug)]
pub enum ConnectError {
    /// The other side, or the system, refused.
    Failed(std::io::Error),
    /// It took longer than the cluster's connect timeout.
    TimedOut,
    /// It failed for somebody else who had waited for the same connection.
    Elsewhere,
}

impl ConnectError {
    /// The reason, as an access log shows it.
    pub fn reason(&self) -> String {
        match self {
            // Envoy's words, so that people find them.
            ConnectError::Failed(error) => format!("delayed connect error: {}", strip_os_error(&error.to_string())),
            ConnectError::TimedOut => "connection timeout".to_owned(),
            ConnectError::Elsewhere => "delayed connect error".to_owned(),
        }
    }
}

/// `Connection refused (os error 111)` without what only a programmer wants.
fn strip_os_error(text: &str) -> &str {
    text.split(" (os error").next().unwrap_or(text)
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
    Some(result.map_err(ConnectError::Failed))
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
