//! Clients that ask once, and then hold their connection.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir_bench::cases::{Case, Certificate, Protocol};
use weir_bench::handshakes::HOST;
use weir_bench::load::answer_length;

/// What a connection and its only request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Opens connections; they live on its runtime.
pub(super) struct Client {
    runtime: Runtime,
    tls: TlsConnector,
}

/// A connection that is open for as long as this is here.
#[expect(dead_code, reason = "it is held, and nothing more")]
pub(super) enum Held {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Http2(SendRequest<Bytes>),
}

impl Client {
    pub fn new(certificate: &Certificate) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&certificate.certificate)?)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Opens as many connections, one after the other, and asks once on each.
    ///
    /// # Errors
    /// If one is not answered well.
    pub fn open(&self, case: &Case, port: u16, count: u32) -> anyhow::Result<Vec<Held>> {
        self.runtime.block_on(async {
            let mut held = vec![];
            for number in 0..count {
                let one = tokio::time::timeout(TIMEOUT, self.open_one(case, port)).await.context("no answer in time").flatten();
                held.push(one.with_context(|| format!("connection {number} of {count}"))?);
            }
            Ok(held)
        })
    }

    /// Leaves the proxy alone, and goes on with what HTTP/2 has to say.
    pub fn wait(&self, time: Duration) {
        // Made on the runtime, whose clock it takes.
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    async fn open_one(&self, case: &Case, port: u16) -> anyhow::Result<Held> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        Ok(match case.downstream {
            Protocol::Http1 => {
                ask(&mut stream, &case.path).await?;
                Held::Plain(stream)
            }
            Protocol::Tls | Protocol::Http2Tls => {
                let mut stream = self.tls.connect(ServerName::try_from(HOST)?, stream).await?;
                ask(&mut stream, &case.path).await?;
                Held::Tls(Box::new(stream))
            }
            Protocol::Http2 => Held::Http2(ask_by_http2(stream, &case.path).await?),
        })
    }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> anyhow::Result<()> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await?;
    let (mut buffer, mut filled) = (vec![0; 4096], 0);
    loop {
        let count = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
        ensure!(count > 0, "the answer ends early, or is too long");
        filled += count;
        if answer_length(buffer.get(..filled).unwrap_or_default())? == Some(filled) {
            return Ok(());
        }
    }
}

async fn ask_by_http2(stream: TcpStream, path: &str) -> anyhow::Result<SendRequest<Bytes>> {
    let (send, connection) = h2::client::handshake(stream).await?;
    // Ends with what is returned here; a proxy that is ended first is no fault.
    tokio::spawn(connection);
    let mut send = send.ready().await?;
    let request = Request::get(format!("http://{HOST}{path}")).body(())?;
    let (response, _) = send.send_request(request, true)?;
    let mut response = response.await?;
    ensure!(response.status() == 200, "the answer was {}", response.status());
    while let Some(data) = response.body_mut().data().await {
        data?;
    }
    Ok(send)
}
