//! A pilot on another machine. It is reached over TLS, and known by the mesh's root and the name that it is called by; it is shown the
//! proxy's own certificate, or until there is one a token.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir_ads::certificates::{IstioCertificateRequest, IstioCertificateResponse};
use weir_ads::grpc::client::{self, Connection};
use weir_ads::{ClientStream, Protocol, Token};

use super::certificate::{Issued, certificates};

/// So long a pilot may take to accept, and as long again for the handshake.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is spoken inside.
const HTTP2: &[u8] = b"h2";

/// The newest certificate of a proxy, for the connections to its pilot.
#[derive(Debug, Default)]
pub struct Presented(RwLock<Option<Arc<Newest>>>);

#[derive(Debug)]
struct Newest {
    certified: Arc<CertifiedKey>,
    ends: SystemTime,
    /// The authorities that came with it: the root may be another one now.
    roots: Arc<RootCertStore>,
}

impl Presented {
    /// Takes a certificate that was found to hold.
    pub(super) fn put(&self, issued: &Issued, ends: SystemTime) -> Result<(), String> {
        let certified = Arc::new(issued.certified(certificates(&issued.chain)?)?);
        let newest = Newest { certified, ends, roots: roots(&issued.authorities)? };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(newest));
        Ok(())
    }

    /// The one that holds now.
    fn get(&self) -> Option<Arc<Newest>> {
        let newest = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        newest.filter(|newest| newest.ends > SystemTime::now())
    }
}

/// Shows this certificate, or none.
#[derive(Debug)]
struct Show(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Show {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// A pilot on another machine.
#[derive(Debug)]
pub struct RemotePilot {
    /// `HOST:PORT`
    server: String,
    /// What its certificate must be for.
    name: ServerName<'static>,
    shows: Shows,
    presented: Arc<Presented>,
}

/// By what a proxy and a pilot know each other before there is a certificate.
#[derive(Debug)]
enum Shows {
    /// As it was given once.
    Given { roots: Arc<RootCertStore>, token: Option<Token> },
    /// As it stands in files, which others replace in time.
    Files { roots: PathBuf, token: PathBuf, last: Mutex<Arc<RootCertStore>> },
}

impl Shows {
    /// What holds now: the roots, and the token.
    fn now(&self) -> Result<(Arc<RootCertStore>, Option<Token>), String> {
        let (path, token, last) = match self {
            Self::Given { roots, token } => return Ok((roots.clone(), token.clone())),
            Self::Files { roots, token, last } => (roots, token, last),
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match read(path).and_then(|text| roots(&text)) {
            Ok(roots) => *last = roots,
            Err(reason) => tracing::warn!("{}: {reason}; what stood there last is trusted", path.display()),
        }
        let token = read(token).map_err(|reason| format!("{}: {reason}", token.display()))?;
        Ok((last.clone(), Some(Token::new(token.trim()))))
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))
}

impl RemotePilot {
    /// The one at an address, which shows a certificate for that name (or address) of these authorities (PEM).
    ///
    /// # Errors
    /// If the name is none, or there are no authorities.
    pub fn new(server: &str, name: &str, authorities: &str, token: Option<Token>) -> Result<Self, String> {
        let parsed = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is neither a name nor an address"))?;
        let shows = Shows::Given { roots: roots(authorities)?, token };
        Ok(Self { server: server.to_owned(), name: parsed, shows, presented: Arc::default() })
    }

    /// The same where the authorities and the token stand in files. They are read for each connection: a kubelet writes another token long before
    /// the old one ends, and other authorities when the mesh has them.
    ///
    /// # Errors
    /// If the name is none, or a file is not there, or is not what it should be.
    pub fn of_files(server: &str, name: &str, authorities: &Path, token: &Path) -> Result<Self, String> {
        let of = |path: &Path, reason: String| format!("{}: {reason}", path.display());
        let text = read(authorities).map_err(|reason| of(authorities, reason))?;
        let first = roots(&text).map_err(|reason| of(authorities, reason))?;
        let shows = Shows::Files { roots: authorities.to_owned(), token: token.to_owned(), last: Mutex::new(first) };
        shows.now()?;
        Ok(Self { shows, ..Self::new(server, name, &text, None)? })
    }

    /// Where each certificate of the proxy is to be put.
    pub fn presented(&self) -> Arc<Presented> {
        self.presented.clone()
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// If the pilot cannot be reached, or is another one; in words for whoever has started the proxy.
    pub async fn connect(&self, protocol: Protocol) -> Result<ClientStream, String> {
        let (socket, token) = self.dial().await?;
        let connection = Connection { socket, server: &self.server, token: token.as_ref() };
        connection.connect(protocol).await.map_err(|error| told(&error))
    }

    /// Asks for a certificate, or for word of changes.
    ///
    /// # Errors
    /// If the pilot cannot be reached, is another one, or refuses.
    pub async fn certify(&self, request: IstioCertificateRequest) -> Result<IstioCertificateResponse, String> {
        let (socket, token) = self.dial().await?;
        let connection = Connection { socket, server: &self.server, token: token.as_ref() };
        connection.create_certificate(request).await.map_err(|error| told(&error))
    }

    /// A connection, and the token that is to be shown there: none where a certificate was.
    async fn dial(&self) -> Result<(TlsStream<TcpStream>, Option<Token>), String> {
        let newest = self.presented.get();
        let (trusted, token) = match &newest {
            Some(newest) => (newest.roots.clone(), None),
            None => self.shows.now()?,
        };
        let shown = Show(newest.map(|newest| newest.certified.clone()));
        let config = ClientConfig::builder_with_provider(crate::tls::provider()).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?.with_root_certificates(trusted);
        let mut config = config.with_client_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![HTTP2.to_vec()];
        // Each connection shows who it is.
        config.resumption = rustls::client::Resumption::disabled();
        let unreachable = |error: io::Error| format!("the pilot at {} cannot be reached: {error}", self.server);
        let socket = timeout(PATIENCE, TcpStream::connect(&self.server)).await.unwrap_or_else(late).map_err(unreachable)?;
        socket.set_nodelay(true).map_err(unreachable)?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(self.name.clone(), socket);
        let stream = timeout(PATIENCE, connecting).await.unwrap_or_else(late);
        Ok((stream.map_err(|error| self.words(&error, SystemTime::now()))?, token))
    }

    /// What is wrong with who answers, and what would help.
    fn words(&self, error: &io::Error, now: SystemTime) -> String {
        let Self { server, name, .. } = self;
        let who = format!("who answers at {server}");
        let clock = httpdate::fmt_http_date(now);
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(reason)) = tls else {
            return format!("{who} is no pilot that serves by TLS: {error}");
        };
        match reason {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "{who} is not of this mesh: its certificate is not of the root that was given; it is another pilot, or the root is another one now"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("{who} has no certificate for {:?}: start the pilot with `--tls-name {}`", name.to_str(), name.to_str())
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("{who} has a certificate that does not hold yet: is this machine's clock right? It says {clock}")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("{who} has a certificate that has ended: is this machine's clock right? It says {clock}")
            }
            reason => format!("{who} has a certificate that does not hold: {reason}"),
        }
    }
}

fn late<T>(_: Elapsed) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

/// What a pilot refuses, in its words.
fn told(error: &client::Error) -> String {
    match error {
        client::Error::Refused(server, status) if !status.message().is_empty() => {
            format!("the pilot at {server} refuses: {}", status.message())
        }
        error => error.to_string(),
    }
}

/// The authorities of a text.
fn roots(pem: &str) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let wrong = |error: &dyn std::fmt::Display| format!("the mesh's root cannot be used: {error}");
        roots.add(root.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() { Err("there is no root of the mesh".to_owned()) } else { Ok(Arc::new(roots)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn what_is_wrong_with_a_pilot_is_said_and_what_would_help() {
        let pilot = RemotePilot::new("pilot.example:15012", "pilot.example", &root(), None).unwrap();
        for (reason, expected) in [
            (CertificateError::UnknownIssuer, "is not of this mesh"),
            (CertificateError::NotValidForName, "--tls-name pilot.example"),
            (CertificateError::NotValidYet, "is this machine's clock right? It says Thu, 01 Jan 1970"),
            (CertificateError::Expired, "is this machine's clock right?"),
            (CertificateError::Revoked, "does not hold"),
        ] {
            let error = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(reason));
            let said = pilot.words(&error, SystemTime::UNIX_EPOCH);
            assert!(said.contains("who answers at pilot.example:15012") && said.contains(expected), "{said}");
        }
        let said = pilot.words(&io::Error::other("reset"), SystemTime::UNIX_EPOCH);
        assert!(said.contains("is no pilot that serves by TLS: reset"), "{said}");
    }

    #[test]
    fn what_stands_in_files_is_what_stands_there_now() {
        let folder = tempfile::tempdir().unwrap();
        let [roots, token] = ["root-cert.pem", "token"].map(|name| folder.path().join(name));
        let of = || RemotePilot::of_files("pilot.example:15012", "pilot.example", &roots, &token);
        let put = |path: &Path, text: &str| fs::write(path, text).unwrap();
        assert!(of().unwrap_err().contains("root-cert.pem: it cannot be read"));
        put(&roots, "nonsense");
        assert!(of().unwrap_err().contains("root-cert.pem: there is no root"));
        put(&roots, &root());
        assert!(of().unwrap_err().contains("token: it cannot be read"));
        put(&token, "first\n");
        let pilot = of().unwrap();
        let now = || pilot.shows.now().map(|(roots, token)| (roots.len(), token.unwrap().text().to_owned()));
        assert_eq!(now(), Ok((1, "first".to_owned())));
        put(&token, "second");
        put(&roots, &(root() + &root()));
        assert_eq!(now(), Ok((2, "second".to_owned())));
        // Between two versions there may be none.
        fs::remove_file(&roots).unwrap();
        assert_eq!(now(), Ok((2, "second".to_owned())));
        fs::remove_file(&token).unwrap();
        assert!(now().unwrap_err().contains("token: it cannot be read"));
    }

    #[test]
    fn a_pilot_has_a_name_and_a_root() {
        let of = |name: &str, root: &str| RemotePilot::new("pilot:1", name, root, None).err().unwrap_or_default();
        assert_eq!(of("192.0.2.1", &root()), "");
        assert_eq!(of("pilot.example", &(root() + &root())), "");
        assert!(of("a b", &root()).contains("neither a name nor an address"));
        assert!(of("pilot.example", "").contains("no root"));
    }
}
