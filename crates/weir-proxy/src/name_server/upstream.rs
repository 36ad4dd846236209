//! The servers that were asked before: what is not the mesh's goes to them as it came.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};

use super::reply::Transport;
use super::{LONGEST, read, write};

/// How long a server may take before the next is asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the identifier of a message is, which an answer has in common with its question.
const ID: usize = 2;

/// Servers, in the order in which they are asked.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    servers: Vec<SocketAddr>,
}

impl Upstream {
    /// These.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    /// The answer of the first that gives one.
    pub(super) async fn ask(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        for server in &self.servers {
            let asking = async {
                match transport {
                    Transport::Udp => over_udp(*server, question).await,
                    Transport::Tcp => over_tcp(*server, question).await,
                }
            };
            match tokio::time::timeout(PATIENCE, asking).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "a DNS server gives no answer"),
                Err(_) => tracing::debug!(%server, "a DNS server gives no answer in time"),
            }
        }
        None
    }
}

async fn over_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A port of its own for each question, which nobody can guess; only the server's datagrams come in.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut answer).await?;
        if answer.get(..length.min(ID)) == question.get(..ID) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write(&mut stream, question).await?;
    read(&mut stream).await
}
