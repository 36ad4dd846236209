//! Connections that are kept: each has one answer, and then nothing is sent.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use weir_bench::peers::nginx::BODY;

/// The name in the certificate, and what is asked for.
pub(crate) const HOST: &str = "bench.test";
const DEADLINE: Duration = Duration::from_secs(10);

/// What is spoken on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Http1,
    Http2,
    /// HTTP/1.1 below it.
    Tls(Arc<ClientConfig>),
}

impl Kind {
    /// TLS with a server of this certificate.
    ///
    /// # Errors
    /// If it is no certificate.
    pub fn tls(certificate: CertificateDer<'static>) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Self::Tls(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    }

    /// As tables call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Tls(_) => "TLS and HTTP/1.1",
        }
    }

    /// Opens a connection and waits for one answer. It is idle then, for as long as it is held.
    ///
    /// # Errors
    /// If the answer is not good.
    pub fn open(&self, port: u16, path: &str) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("no further connection (ulimit -n?)")?;
        stream.set_read_timeout(Some(DEADLINE))?;
        match self {
            Self::Http1 => http1(&mut stream, path)?,
            Self::Http2 => http2(&mut stream, path)?,
            Self::Tls(config) => {
                let mut session = ClientConnection::new(config.clone(), ServerName::try_from(HOST)?)?;
                http1(&mut Stream::new(&mut session, &mut stream), path)?;
            }
        }
        Ok(stream)
    }
}

fn http1(stream: &mut (impl Read + Write), path: &str) -> anyhow::Result<()> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n")?;
    let (mut answer, mut part) = (vec![], [0; 4096]);
    while !answer.ends_with(format!("\r\n\r\n{BODY}").as_bytes()) {
        let read = stream.read(&mut part)?;
        ensure!(read > 0, "the answer has no end: {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..read]);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "not good: {:?}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// The type of a frame that holds the head of a message, and flags: it ends its stream, it is the whole head.
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const SETTINGS: u8 = 4;

/// RFC 9113, as little as can be.
fn http2(stream: &mut (impl Read + Write), path: &str) -> anyhow::Result<()> {
    // `:method: GET` and `:scheme: http` have numbers in HPACK, `:path` and `:authority` have names with numbers.
    let mut head = vec![0x82, 0x86];
    for (name, value) in [(0x04, path), (0x01, HOST)] {
        head.extend([name, u8::try_from(value.len())?]);
        head.extend(value.as_bytes());
    }
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head))?;
    loop {
        let mut start = [0; 9];
        stream.read_exact(&mut start).context("HTTP/2")?;
        let [a, b, c, _, flags, .., stream_id] = start;
        let mut rest = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut rest)?;
        if stream_id == 1 && flags & END_STREAM != 0 {
            ensure!(rest == BODY.as_bytes() || rest.is_empty(), "not good: {:?}", String::from_utf8_lossy(&rest));
            return Ok(());
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    // None is longer than 255 bytes.
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    frame.extend(payload);
    frame
}
