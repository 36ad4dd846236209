//! The servers that were asked before: what is not the mesh's goes to them as it came.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::reply::Transport;
use super::{LONGEST, read, write};

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take before the next is asked as well: less than clients wait, so that one dead server is not the end.
const HASTE: Duration = Duration::from_secs(1);
/// How long the identifier of a message is, which an answer has in common with its question.
const ID: usize = 2;
/// How long the head of a message is (RFC 1035, 4.1.1).
const HEAD: usize = 12;

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

    /// The answer of the first that gives one; if none knows more than that it cannot say, that.
    pub(super) async fn ask(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let question: Arc<[u8]> = question.into();
        let (mut servers, mut asked, mut refusal) = (self.servers.iter(), JoinSet::new(), None);
        loop {
            if let Some(server) = servers.next() {
                asked.spawn(ask_one(*server, question.clone(), transport));
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
async fn ask_one(server: SocketAddr, question: Arc<[u8]>, transport: Transport) -> Option<Vec<u8>> {
    let asking = async {
        match transport {
            Transport::Udp => over_udp(server, &question).await,
            Transport::Tcp => over_tcp(server, &question).await,
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(answer)) => return Some(answer),
        Ok(Err(error)) => tracing::debug!(%server, %error, "a DNS server gives no answer"),
        Err(_) => tracing::debug!(%server, "a DNS server gives no answer in time"),
    }
    None
}

/// Whether a server says only that it cannot, or does not want to, say anything: another one may.
fn is_refusal(answer: &[u8]) -> bool {
    const SERVER_FAILURE: u8 = 2;
    const REFUSED: u8 = 5;
    answer.get(3).is_some_and(|flags| matches!(flags & 0x0f, SERVER_FAILURE | REFUSED))
}

/// Whether a message is an answer to a question: it says so, has its identifier, and repeats what was asked if it repeats anything.
fn answers(answer: &[u8], question: &[u8]) -> bool {
    const IS_ANSWER: u8 = 0x80;
    let is_answer = answer.get(ID).is_some_and(|flags| flags & IS_ANSWER != 0) && answer.get(..ID) == question.get(..ID);
    let repeats = answer.get(4..6) != Some(&[0, 0]);
    let asked = |message: &[u8]| message.get(HEAD..end_of_question(message)?).map(<[u8]>::to_ascii_lowercase);
    is_answer && (!repeats || asked(answer) == asked(question))
}

/// Where the first question of a message ends: behind a name, a type and a class (RFC 1035, 4.1.2).
fn end_of_question(message: &[u8]) -> Option<usize> {
    let mut at = HEAD;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 5),
            label => at += 1 + label,
        }
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
        if answer.get(..length).is_some_and(|answer| answers(answer, question)) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write(&mut stream, question).await?;
    let answer = read(&mut stream).await?;
    if answers(&answer, question) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with this head and this question.
    fn message(head: [u8; HEAD], name: &[u8]) -> Vec<u8> {
        [&head[..], name, &[0, 0, 1, 0, 1]].concat()
    }

    #[test]
    fn an_answer_is_to_what_was_asked() {
        let head = |id, flags, count| [0, id, flags, 0, 0, count, 0, 0, 0, 0, 0, 0];
        let question = message(head(7, 1, 1), b"\x01a\x04test");
        for (answer, expected) in [
            (message(head(7, 0x81, 1), b"\x01a\x04test"), true),
            (message(head(7, 0x81, 1), b"\x01A\x04Test"), true),
            (head(7, 0x81, 0).to_vec(), true),
            (question.clone(), false),
            (message(head(8, 0x81, 1), b"\x01a\x04test"), false),
            (message(head(7, 0x81, 1), b"\x01b\x04test"), false),
            (message(head(7, 0x81, 1), b"\x3fa"), false),
            (head(7, 0x81, 1).to_vec(), false),
            (vec![0, 7], false),
            (vec![], false),
        ] {
            assert_eq!(answers(&answer, &question), expected, "{answer:?}");
        }
    }
}
