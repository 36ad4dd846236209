//! A new connection of TLS for each request: its handshake is whole, or resumes a session.
//!
//! The client does as little as it can: it believes whatever certificate it is shown, since it shares its core with the upstream.

use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::h2load::{CONCURRENCY, Load};
use crate::process::{Core, Process};
use crate::{helpers, load};

/// The name that is asked for.
pub const HOST: &str = "bench.test";
/// It may take so much longer than it was told to.
const GRACE: Duration = Duration::from_secs(60);

/// What is asked for, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Of the proxy.
    pub port: u16,
    /// What is requested, by HTTP/1.1.
    pub path: String,
    /// How long.
    pub seconds: u16,
    /// Whether sessions are resumed.
    pub resumes: bool,
}

/// Carries out a plan in a process of its own, on the core of the others.
///
/// # Errors
/// If a handshake or an answer is not good.
pub fn measure(plan: &Plan, work: &Path) -> anyhow::Result<Load> {
    let arguments = helpers::handshake_arguments(plan);
    let mut process = Process::start(Core::Others, &std::env::current_exe()?, arguments, work.join("handshakes.log"))?;
    process.wait(Duration::from_secs(plan.seconds.into()) + GRACE).context("handshakes")?;
    let said = process.output()?;
    let numbers: Vec<f64> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>().with_context(|| said.clone())?;
    let [requests, p99] = numbers[..] else { bail!("two numbers are expected: {said}") };
    Ok(Load { requests, per_second: requests / f64::from(plan.seconds), p99 })
}

impl Plan {
    pub(crate) fn words(&self) -> [String; 4] {
        [self.port.to_string(), self.path.clone(), self.seconds.to_string(), self.resumes.to_string()]
    }

    pub(crate) fn parse(words: &[String]) -> anyhow::Result<Self> {
        let [port, path, seconds, resumes] = words else { bail!("port, path, seconds and whether to resume are expected") };
        Ok(Self { port: port.parse()?, path: path.clone(), seconds: seconds.parse()?, resumes: resumes.parse()? })
    }
}

/// Sends, and prints what [`measure`] reads.
#[expect(clippy::print_stdout, reason = "the answer to the process that started this one")]
pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut took = tokio::task::LocalSet::new().block_on(&runtime, flood(plan))?;
    took.sort_unstable();
    let p99 = took.get(took.len().saturating_sub(1) * 99 / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    println!("{} {p99}", took.len());
    Ok(())
}

/// How long each connection took.
async fn flood(plan: &Plan) -> anyhow::Result<Vec<Duration>> {
    let (plan, until) = (Rc::new(plan.clone()), Instant::now() + Duration::from_secs(plan.seconds.into()));
    let clients: Vec<_> = (0..CONCURRENCY).map(|_| tokio::task::spawn_local(client(plan.clone(), until))).collect();
    let mut took = vec![];
    for client in clients {
        took.extend(client.await??);
    }
    Ok(took)
}

/// One connection after the other.
async fn client(plan: Rc<Plan>, until: Instant) -> anyhow::Result<Vec<Duration>> {
    // With sessions of its own, as other clients have.
    let connector = TlsConnector::from(Arc::new(config(plan.resumes)?));
    let request = format!("GET {} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n", plan.path);
    let mut took = vec![];
    while Instant::now() < until {
        let start = Instant::now();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, plan.port)).await?;
        stream.set_nodelay(true)?;
        let mut stream = connector.connect(ServerName::try_from(HOST)?, stream).await?;
        let kind = stream.get_ref().1.handshake_kind();
        let is_resumed = kind == Some(HandshakeKind::Resumed);
        ensure!(is_resumed == (plan.resumes && !took.is_empty()), "connection {}: {kind:?}", took.len());
        stream.write_all(request.as_bytes()).await?;
        let mut answer = vec![];
        stream.read_to_end(&mut answer).await?;
        ensure!(load::answer_length(&answer)? == Some(answer.len()), "an answer ends early");
        took.push(start.elapsed());
    }
    Ok(took)
}

fn config(resumes: bool) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Credulous(provider))).with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

/// Believes everything.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_told_in_words() {
        let plan = Plan { port: 1, path: "/".to_owned(), seconds: 2, resumes: true };
        assert_eq!(Plan::parse(&plan.words()).unwrap(), plan);
        assert!(Plan::parse(&[]).is_err());
    }
}
