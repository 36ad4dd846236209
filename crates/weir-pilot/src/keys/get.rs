//! One document of the web, as keys of issuers are published: a plain GET, within limits.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::reach::{Named, blocked, refusal};

/// The longest document.
const MOST: usize = 1 << 20;
/// So often it may be elsewhere.
const REDIRECTS: usize = 5;

/// Where systems keep the authorities that everybody trusts.
const ROOTS: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// The web as the pilot sees it.
pub(super) struct Web {
    /// Whom it trusts to name servers; what the system trusts without.
    roots: Option<PathBuf>,
    /// Where nobody is asked.
    blocked: Result<Vec<IpNet>, String>,
    /// Read when it is first needed. A file that cannot be read yet is looked for again.
    tls: OnceLock<Arc<ClientConfig>>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Document {
    pub text: String,
    /// What it may lead to.
    pub names: Named,
}

/// What was answered.
enum Answer {
    Document(String),
    Elsewhere(String),
}

/// An address, taken apart.
struct Address {
    uri: Uri,
    host: String,
    port: u16,
    is_secure: bool,
}

impl Address {
    fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("{text} is no address: {error}"))?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return Err(format!("{text} is no address")) };
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            other => return Err(format!("{other} is not spoken here")),
        };
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { uri, host, port, is_secure })
    }
}

impl Web {
    /// As the environment says: whom to trust by `SSL_CERT_FILE`.
    pub fn from_environment() -> Self {
        let roots = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        Self { roots, blocked: blocked(), tls: OnceLock::new() }
    }

    /// The text at an address.
    ///
    /// # Errors
    /// Says why there is none.
    pub async fn get(&self, address: &str, named: Named, limit: Duration) -> Result<Document, String> {
        let all = async {
            let (mut address, mut named) = (address.to_owned(), named);
            for _ in 0..=REDIRECTS {
                let target = Address::parse(&address)?;
                // What was asked for by TLS comes by TLS, and so does all that it leads to.
                if matches!(named, Named::ByAnswer { secure: true, .. }) && !target.is_secure {
                    return Err(format!("it leads to {address}, which anybody could answer"));
                }
                let (answer, from) = self.once(&target, named).await?;
                named = Named::ByAnswer { secure: target.is_secure, local: from.to_canonical().is_loopback() };
                match answer {
                    Answer::Document(text) => return Ok(Document { text, names: named }),
                    Answer::Elsewhere(next) => address = next,
                }
            }
            Err(format!("it is still elsewhere after {REDIRECTS} redirects"))
        };
        timeout(limit, all).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }

    /// Asks once. Tells who has answered too.
    async fn once(&self, address: &Address, named: Named) -> Result<(Answer, IpAddr), String> {
        let Address { uri, host, port, is_secure } = address;
        let stream = self.connect(host, *port, named).await.map_err(|error| format!("{host}:{port}: {error}"))?;
        let from = stream.peer_addr().map_err(|error| format!("{host}:{port}: {error}"))?.ip();
        if !is_secure {
            return Ok((ask(stream, uri).await?, from));
        }
        let name = ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
        let stream = TlsConnector::from(self.tls()?).connect(name, stream).await.map_err(|error| format!("{host}:{port}: {error}"))?;
        Ok((ask(stream, uri).await?, from))
    }

    /// Connects to one of the addresses that a name has, of those that may be asked: a name that is looked up twice may lead
    /// elsewhere the second time.
    async fn connect(&self, host: &str, port: u16, named: Named) -> Result<TcpStream, String> {
        let blocked = self.blocked.as_deref().map_err(String::clone)?;
        let found: Vec<SocketAddr> = lookup_host((host, port)).await.map_err(|error| error.to_string())?.collect();
        let mut reason = "it has no address".to_owned();
        for address in found {
            match refusal(address.ip(), named, blocked) {
                Some(refused) => reason = refused,
                None => match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => reason = error.to_string(),
                },
            }
        }
        Err(reason)
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(known) = self.tls.get() {
            return Ok(known.clone());
        }
        let of_system = || ROOTS.into_iter().map(Path::new).find(|path| path.exists());
        let file = self.roots.as_deref().or_else(of_system);
        let file = file.ok_or("the system names no authorities that servers are certified by; SSL_CERT_FILE can name some")?;
        let read = trusting(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(self.tls.get_or_init(|| read).clone())
    }
}

/// TLS with servers that the authorities of a file have certified.
fn trusting(file: &Path) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(file).map_err(|error| error.to_string())?;
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    if roots.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, uri: &Uri) -> Result<Answer, String> {
    let wrong = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    let connection = tokio::spawn(connection);
    let asked = async {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path).header(HOST, host).header(USER_AGENT, "weir").header(ACCEPT, "application/json");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(wrong)?;
        if answer.status().is_redirection()
            && let Some(next) = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok())
        {
            return Ok(Answer::Elsewhere(resolved(uri, next)));
        }
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(|error| error.to_string())?;
        String::from_utf8(body.to_bytes().into()).map(Answer::Document).map_err(|_| "the answer is no text".to_owned())
    };
    let answer = asked.await;
    connection.abort();
    answer
}

/// An address that may be within the site of another one.
fn resolved(base: &Uri, next: &str) -> String {
    match (next.strip_prefix('/'), base.scheme_str(), base.authority()) {
        (Some(rest), Some(scheme), Some(authority)) if !rest.starts_with('/') => format!("{scheme}://{authority}{next}"),
        _ => next.to_owned(),
    }
}

#[cfg(test)]
mod tests;
