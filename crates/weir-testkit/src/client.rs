//! Clients of a mesh.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::authority::Shown;
use crate::certificate::{Authority, Certificate};
use crate::payload::{self, Payload};
use crate::seen::Seen;
use crate::wait::DEADLINE;

/// The time for bodies that are large on purpose.
const TRANSFER: Duration = Duration::from_secs(300);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client with one connection, which is kept, and opened again when the proxy has closed it.
pub struct Client {
    address: SocketAddr,
    host: String,
    tls: Option<TlsConnector>,
    connection: Option<SendRequest<Payload>>,
    opened: usize,
}

/// What a client saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Who answered; empty if no [`Peer`](crate::Peer) did.
    pub instance: String,
    /// The body: a proxy's own answer says there what is wrong.
    pub body: String,
    /// The headers.
    pub headers: HeaderMap,
}

/// An answer as far as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heard {
    /// The status; 0 if none came.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
    /// Whether it came to its end.
    pub whole: bool,
}

impl Heard {
    /// A header's text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Answer {
    /// Whether this instance answered, and well.
    pub fn is_from(&self, instance: &str) -> bool {
        self.status == 200 && self.instance == instance
    }

    /// All values of a header, in their order.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    /// The request as it reached the instance, if that was asked to say so: see [`ECHO`](crate::ECHO).
    pub fn seen(&self) -> Option<Seen> {
        Seen::read(&self.body)
    }
}

impl Client {
    /// A client that asks the proxy at this address for this host.
    pub(crate) fn new(address: SocketAddr, host: &str) -> Self {
        Self { address, host: host.to_owned(), tls: None, connection: None, opened: 0 }
    }

    /// The same over TLS, if the proxy shows this certificate.
    ///
    /// # Panics
    /// If the certificate is none.
    #[must_use]
    pub fn trusting(self, certificate: &Certificate) -> Self {
        self.trusting_der(certificate.der())
    }

    /// The same over TLS, if the proxy shows a certificate that this authority vouches for.
    ///
    /// # Panics
    /// If the authority's certificate is none.
    #[must_use]
    pub fn trusting_all_of(self, authority: &Authority) -> Self {
        self.trusting_der(authority.der())
    }

    fn trusting_der(mut self, der: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(der).expect("a certificate that was just made is good");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("the provider knows TLS 1.3").with_root_certificates(roots).with_no_client_auth();
        self.tls = Some(TlsConnector::from(Arc::new(config)));
        self
    }

    /// A client of this host at this address.
    pub fn to(address: impl Into<SocketAddr>, host: &str) -> Self {
        Self::new(address.into(), host)
    }

    /// The same over TLS, showing this certificate, whatever the proxy shows.
    #[must_use]
    pub fn showing(mut self, shown: Shown) -> Self {
        self.tls = Some(TlsConnector::from(Arc::new(shown.client())));
        self
    }

    /// How many connections it has opened so far.
    pub fn opened(&self) -> usize {
        self.opened
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// If no whole answer came.
    ///
    /// # Panics
    /// If the path or the headers are none.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        self.ask("GET", path, headers).await
    }

    /// Sends a request without a body. A header that is named twice is sent twice; a `host` among them is sent instead of
    /// the client's own.
    ///
    /// # Errors
    /// If no whole answer came.
    ///
    /// # Panics
    /// If the method, the path or the headers are none.
    pub async fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", &self.host);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = async {
            let (head, body) = self.send(request.body(Payload::EMPTY)?).await?.into_parts();
            let body = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
            let instance = head.headers.get("x-instance").and_then(|value| value.to_str().ok()).unwrap_or_default();
            Ok::<_, Error>(Answer { status: head.status.as_u16(), instance: instance.to_owned(), body, headers: head.headers })
        };
        in_time(DEADLINE, answer).await
    }

    /// Sends a request with so many bytes, and returns what comes of an answer.
    ///
    /// # Panics
    /// If the path or the headers are none, or if the answer does not come to an end, good or bad.
    pub async fn hear(&mut self, method: Method, path: &str, headers: &[(&str, &str)], length: u64) -> Heard {
        self.hear_telling(method, path, headers, length, oneshot::channel().0).await
    }

    /// The same; `begun` is told when the first part of the answer's body has come.
    ///
    /// # Panics
    /// If the path or the headers are none, or if the answer does not come to an end, good or bad.
    pub async fn hear_telling(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        length: u64,
        begun: oneshot::Sender<()>,
    ) -> Heard {
        let mut begun = Some(begun);
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Payload::of(length)).expect("the request is one");
        let mut heard = Heard::default();
        let hearing = async {
            let (head, mut body) = self.send(request).await?.into_parts();
            (heard.status, heard.headers) = (head.status.as_u16(), head.headers);
            while let Some(frame) = body.frame().await {
                let frame = frame?;
                if let Some(begun) = begun.take() {
                    // Not everybody wants to know.
                    let _ = begun.send(());
                }
                if let Ok(part) = frame.into_data() {
                    heard.body.push_str(&String::from_utf8_lossy(&part));
                }
            }
            heard.whole = true;
            Ok::<_, Error>(())
        };
        let _ = timeout(DEADLINE, hearing).await.expect("an answer ends in time");
        heard
    }

    /// Asks for a path, and says how long the answer is, which may be longer than memory.
    ///
    /// # Errors
    /// If no whole answer came, or its status is not 200.
    pub async fn download(&mut self, path: &str) -> Result<u64, String> {
        let request = self.request(Method::GET, path);
        let answer = async {
            let body = self.send_well(request.body(Payload::EMPTY)?).await?;
            payload::length(body).await.ok_or_else(|| Error::from("the answer ended too early"))
        };
        in_time(TRANSFER, answer).await
    }

    /// Sends so many bytes, and returns the answer.
    ///
    /// # Errors
    /// If no whole answer came, or its status is not 200.
    pub async fn upload(&mut self, path: &str, length: u64) -> Result<String, String> {
        let request = self.request(Method::POST, path);
        let answer = async {
            let body = self.send_well(request.body(Payload::of(length))?).await?;
            Ok(String::from_utf8(body.collect().await?.to_bytes().to_vec())?)
        };
        in_time(TRANSFER, answer).await
    }

    async fn send_well(&mut self, request: Request<Payload>) -> Result<Incoming, Error> {
        let answer = self.send(request).await?;
        let status = answer.status();
        if status == 200 { Ok(answer.into_body()) } else { Err(status.to_string().into()) }
    }

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        Request::builder().method(method).uri(path).header("host", &self.host)
    }

    async fn send(&mut self, request: Request<Payload>) -> Result<Response<Incoming>, Error> {
        let mut kept = self.connection.take();
        // The proxy may have closed it meanwhile.
        if let Some(connection) = &mut kept
            && connection.ready().await.is_err()
        {
            kept = None;
        }
        let mut connection = match kept {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let answer = connection.send_request(request).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn connect(&mut self) -> Result<SendRequest<Payload>, Error> {
        let stream = TcpStream::connect(self.address).await?;
        self.opened += 1;
        match &self.tls {
            None => handshake(stream).await,
            Some(connector) => {
                // A server name has no port.
                let name = self.host.split(':').next().unwrap_or_default().to_owned();
                handshake(connector.connect(ServerName::try_from(name)?, stream).await?).await
            }
        }
    }
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Result<SendRequest<Payload>, Error> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its errors are those of the requests.
    tokio::spawn(connection);
    Ok(sender)
}

async fn in_time<T>(limit: Duration, answer: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    let answer = timeout(limit, answer).await;
    answer.map_err(|_| "no answer".to_owned())?.map_err(|error| format!("{error:?}"))
}

/// Whom a TCP connection reached; nobody's name is empty.
pub async fn tcp_greeting(address: SocketAddr) -> String {
    let mut name = String::new();
    let greeted = async { TcpStream::connect(address).await?.read_to_string(&mut name).await };
    // A connection that is refused or reset reached nobody, as one that ends without a word.
    let _ = timeout(DEADLINE, greeted).await;
    name
}

/// Whom a connection reached that begins as TLS, with this server name; nobody's name is empty.
///
/// Only the first message of a handshake is sent. What passes TLS on has seen enough then, and a [`Peer`](crate::Peer) of
/// TCP answers with its name, in plain text.
///
/// # Panics
/// If the server name is none.
pub async fn tls_greeting(address: SocketAddr, server_name: Option<&str>) -> String {
    let hello = client_hello(server_name);
    let mut name = String::new();
    let greeted = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&hello).await?;
        stream.read_to_string(&mut name).await
    };
    let _ = timeout(DEADLINE, greeted).await;
    name
}

/// The first message of a client; without a server name if it names none.
fn client_hello(server_name: Option<&str>) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.expect("the provider knows TLS 1.3").with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.enable_sni = server_name.is_some();
    let name = ServerName::try_from(server_name.unwrap_or("nobody.test").to_owned()).expect("a test's server name is good");
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a client has all that it needs");
    let mut hello = vec![];
    connection.write_tls(&mut hello).expect("a vector takes all that is written");
    hello
}
