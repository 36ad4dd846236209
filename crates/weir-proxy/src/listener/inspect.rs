//! What a connection is, by its first bytes: Envoy's TLS and HTTP inspectors.

use std::io;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use weir_config::listener::Inspect;

use super::client_hello::{ClientHello, Read, Reading};

/// More than this is not read before it is decided.
const MAX_INSPECTED: usize = 64 << 10;
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// No method that is in use is longer.
const MAX_METHOD: usize = 32;

/// What was found out.
#[derive(Debug, Default)]
pub struct Found {
    /// Whether it is TLS.
    pub tls: bool,
    /// For which server.
    pub server_name: Option<String>,
    /// What it offers by ALPN; for plain text what it speaks: `http/1.1`, `http/1.0` or `h2c`.
    pub protocols: Vec<Vec<u8>>,
    /// What was read to find out.
    pub first: Bytes,
}

/// How it was found out.
#[derive(Debug)]
pub enum Inspected {
    /// In time.
    Known(Found),
    /// It took too long; what is then taken for known, none if the connection is to be closed.
    TooLong(Option<Found>),
}

/// Finds out what a connection is, as far as its listener wants to know. `read` is what was read of it already.
///
/// # Errors
/// If it ends.
pub async fn inspect(stream: &mut TcpStream, inspect: Inspect, mut read: Vec<u8>) -> io::Result<Inspected> {
    if !inspect.tls && !inspect.http {
        return Ok(Inspected::Known(Found { first: read.into(), ..Found::default() }));
    }
    let found = look(stream, inspect, &mut read).await?;
    let with_first = |found| Found { first: read.into(), ..found };
    Ok(match found {
        Some(found) => Inspected::Known(with_first(found)),
        None => Inspected::TooLong(inspect.go_on.then(|| with_first(Found::default()))),
    })
}

/// None if it takes too long.
async fn look(stream: &mut TcpStream, inspect: Inspect, read: &mut Vec<u8>) -> io::Result<Option<Found>> {
    let mut deadline = Instant::now() + inspect.timeout;
    let mut hello = Reading::default();
    loop {
        if let Some(found) = decide(read, &mut hello, inspect) {
            return Ok(Some(found));
        }
        if read.len() >= MAX_INSPECTED {
            return Ok(Some(Found::default()));
        }
        let is_first = read.is_empty();
        let Ok(count) = timeout_at(deadline, stream.read_buf(read)).await else { return Ok(None) };
        if count? == 0 {
            // It has said all that it will say; what it was is what is there.
            return Ok(Some(Found::default()));
        }
        if let Some(limit) = inspect.once_begun.filter(|_| is_first) {
            deadline = Instant::now() + limit;
        }
    }
}

/// What is known by these bytes; none if more are needed.
fn decide(bytes: &[u8], hello: &mut Reading, inspect: Inspect) -> Option<Found> {
    const HANDSHAKE: u8 = 0x16;
    match bytes.first() {
        None => None,
        Some(&HANDSHAKE) if inspect.tls => tls(hello.read(bytes)),
        Some(_) if inspect.http => http(bytes),
        Some(_) => Some(Found::default()),
    }
}

/// What begins like TLS and is none is something else: the instance may know what to do with it.
fn tls(read: Read) -> Option<Found> {
    match read {
        Read::Whole(ClientHello { server_name, protocols }) => Some(Found { tls: true, server_name, protocols, first: Bytes::new() }),
        Read::Begun => None,
        Read::Other => Some(Found::default()),
    }
}

/// Whether it is HTTP, and which; none if more bytes are needed.
fn http(bytes: &[u8]) -> Option<Found> {
    let spoken = |protocol: &[u8]| Some(Found { protocols: vec![protocol.to_vec()], ..Found::default() });
    let length = bytes.len().min(HTTP2_PREFACE.len());
    if bytes[..length] == HTTP2_PREFACE[..length] {
        return if bytes.len() >= HTTP2_PREFACE.len() { spoken(b"h2c") } else { None };
    }
    let method = bytes.iter().position(|byte| *byte == b' ');
    let word = &bytes[..method.unwrap_or(bytes.len())];
    if word.is_empty() || word.len() > MAX_METHOD || !word.iter().all(u8::is_ascii_uppercase) {
        return Some(Found::default());
    }
    let line = bytes.iter().position(|byte| *byte == b'\n').map(|end| bytes[..end].trim_ascii_end())?;
    if line.ends_with(b" HTTP/1.1") {
        spoken(b"http/1.1")
    } else if line.ends_with(b" HTTP/1.0") {
        spoken(b"http/1.0")
    } else {
        Some(Found::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_told_by_its_first_line() {
        let protocol = |bytes: &[u8]| http(bytes).map(|found| found.protocols.first().cloned().unwrap_or_default());
        assert_eq!(protocol(b"GET / HTTP/1.1\r\nhost"), Some(b"http/1.1".to_vec()));
        assert_eq!(protocol(b"GET / HTTP/1.0\r\n"), Some(b"http/1.0".to_vec()));
        assert_eq!(protocol(HTTP2_PREFACE), Some(b"h2c".to_vec()));
        assert_eq!(protocol(b"PRI * HT"), None);
        assert_eq!(protocol(b"GET /"), None);
        assert_eq!(protocol(b"hello\n"), Some(vec![]));
        assert_eq!(protocol(b"HELLO\n"), Some(vec![]));
    }
}
