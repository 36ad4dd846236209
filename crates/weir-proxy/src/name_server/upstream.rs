//! The servers that were asked before: what is not the mesh's goes to them as it came, but for its identifier. The client chose that, and
//! whoever knows it could answer before the server does, to all who wait for the same.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::message::{ID, answers, is_refusal};
use super::reply::Transport;
use super::{LONGEST, read, write};

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take before the next is asked as well: less than clients wait, so that one dead server is not the end.
const HASTE: Duration = Duration::from_secs(1);

/// Servers, in the order in which they are asked.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    servers: Vec<SocketAddr>,
    asking: Asking,
}

/// The addresses from which questions are being asked.
#[derive(Debug, Clone, Default)]
struct Asking(Arc<Mutex<HashSet<(SocketAddr, Transport)>>>);

/// Such an address, for as long as somebody asks from there.
struct From {
    address: (SocketAddr, Transport),
    asking: Asking,
}

impl Asking {
    fn from(&self, address: SocketAddr, transport: Transport) -> From {
        self.lock().insert((address, transport));
        From { address: (address, transport), asking: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(SocketAddr, Transport)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for From {
    fn drop(&mut self) {
        self.asking.lock().remove(&self.address);
    }
}

impl Upstream {
    /// These.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, asking: Asking::default() }
    }

    /// Whether a question from there is one that we have sent, and that has come back to us.
    pub(super) fn is_own(&self, client: SocketAddr, transport: Transport) -> bool {
        self.asking.lock().contains(&(client, transport))
    }

    /// The answer of the first that gives one; if none knows more than that it cannot say, that.
    pub(super) async fn ask(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let question: Arc<[u8]> = question.into();
        let (mut servers, mut asked, mut refusal) = (self.servers.iter(), JoinSet::new(), None);
        loop {
            if let Some(server) = servers.next() {
                asked.spawn(ask_one(*server, question.clone(), transport, self.asking.clone()));
            }
            let patience = if servers.as_slice().is_empty() { PATIENCE } else { HASTE };
            match tokio::time::timeout(patience, asked.join_next()).await {
                Ok(Some(Ok(Some(answer)))) if is_refusal(&answer) => refusal = Some(answer),
                Ok(Some(Ok(Some(answer)))) => return Some(answer),
                Ok(None) => return refusal,
                Ok(Some(_)) | Err(_) => {}
            }
        }
    }
}

/// The answer of a server, if it gives one.
async fn ask_one(server: SocketAddr, question: Arc<[u8]>, transport: Transport, asking: Asking) -> Option<Vec<u8>> {
    let asked = async {
        let question = with_own_id(&question)?;
        match transport {
            Transport::Udp => over_udp(server, &question, &asking).await,
            Transport::Tcp => over_tcp(server, &question, &asking).await,
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => return Some(answer),
        Ok(Err(error)) => tracing::debug!(%server, %error, "a DNS server gives no answer"),
        Err(_) => tracing::debug!(%server, "a DNS server gives no answer in time"),
    }
    None
}

/// The question with an identifier that nobody can guess. Who asked gets his own back.
fn with_own_id(question: &[u8]) -> io::Result<Vec<u8>> {
    let mut id = [0; ID];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok([&id[..], question.get(ID..).unwrap_or_default()].concat())
}

async fn over_udp(server: SocketAddr, question: &[u8], asking: &Asking) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A port of its own for each question, which nobody can guess; only the server's datagrams come in.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let _from = asking.from(socket.local_addr()?, Transport::Udp);
    socket.send(question).await?;
    let mut answer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut answer).await?;
        if answer.get(..length).is_some_and(|answer| answers(answer, question)) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8], asking: &Asking) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let _from = asking.from(stream.local_addr()?, Transport::Tcp);
    write(&mut stream, question).await?;
    let answer = read(&mut stream).await?;
    if answers(&answer, question) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}
