//! As much of HTTP/1.1 as proxies send here: heads that end, and bodies that have a length.

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::length;

/// As much as is read at once, so that a large request takes few reads.
const BUFFER: usize = 128 * 1024;
/// A head that is longer is none of ours.
const LONGEST_HEAD: usize = 16 * 1024;

/// A request's head, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// With the empty line.
    length: usize,
    body: usize,
    answer: usize,
}

/// Answers until the peer closes.
pub(super) async fn serve(mut stream: TcpStream) -> anyhow::Result<()> {
    let (mut buffer, mut filled) = (vec![0; BUFFER], 0);
    loop {
        let head = loop {
            let read = buffer.get(..filled).unwrap_or_default();
            if let Some(head) = Head::parse(read)? {
                break head;
            }
            ensure!(filled < LONGEST_HEAD, "a head is too long");
            let count = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
            if count == 0 {
                return Ok(());
            }
            filled += count;
        };
        // What was read behind the head, but for the next request.
        let mut body = head.body;
        let behind = filled - head.length;
        let of_body = behind.min(body);
        body -= of_body;
        buffer.copy_within(head.length + of_body..filled, 0);
        filled = behind - of_body;
        while body > 0 {
            let most = body.min(BUFFER);
            let count = stream.read(buffer.get_mut(..most).unwrap_or_default()).await?;
            ensure!(count > 0, "a body ends early");
            body -= count;
        }
        stream.write_all(&answer(head.answer)).await?;
    }
}

impl Head {
    /// Nothing, as long as it is not whole.
    fn parse(read: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(read.get(..end).unwrap_or_default())?;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let path = first.split(' ').nth(1).with_context(|| format!("{first:?} has no path"))?;
        let mut body = 0;
        for line in lines {
            let (name, value) = line.split_once(':').with_context(|| format!("{line:?} is no header"))?;
            if name.eq_ignore_ascii_case("content-length") {
                body = value.trim().parse()?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                bail!("a body without length is not expected");
            }
        }
        Ok(Some(Self { length: end + 4, body, answer: length(path) }))
    }
}

/// With the headers that most servers send, so that a proxy has the usual work.
fn answer(length: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: origin/1.0.0\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\nConnection: keep-alive\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + length, b'x');
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let whole = "POST /longer HTTP/1.1\r\nhost: a\r\nContent-Length: 65536\r\n\r\n";
        assert_eq!(Head::parse(&whole.as_bytes()[..whole.len() - 1]).unwrap(), None);
        assert_eq!(Head::parse(format!("{whole}xxx").as_bytes()).unwrap(), Some(Head { length: whole.len(), body: 65_536, answer: 128 }));
    }

    #[test]
    fn a_body_without_length_is_no_request_of_the_bench() {
        assert!(Head::parse(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
