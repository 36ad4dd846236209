//! Asks the application of one's own pod.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpSocket, TcpStream};
use tonic::metadata::MetadataMap;
use weir_ads::grpc::Channel;

use super::fetch::{Fetched, fetch};
use super::probers::{Prober, Question};
use super::redirects::{self, Place};
use super::trusting;
use crate::checks;

/// So much of an application's answer is handed to the kubelet, which logs no more.
const SHOWN: usize = 10 << 10;
/// And so much of it is read, so that the connection ends well; then it is cut.
const READ: usize = 1 << 20;
/// What of a request is about its connection, and not handed on.
const OF_CONNECTION: [HeaderName; 5] = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Where the application of one's own pod is reached.
#[derive(Debug, Clone, Copy)]
pub struct Application {
    /// The pod's address, or loopback.
    pub address: IpAddr,
    /// The address that it is called from, by which the kernel knows that a call is the sidecar's own and not to be captured: 127.0.0.6
    /// or `::6`. None where nothing is captured.
    pub from: Option<IpAddr>,
}

impl Application {
    /// The application of a pod whose traffic is captured, or is not.
    pub fn of_pod(address: IpAddr, captured: bool) -> Self {
        let own: IpAddr = if address.is_ipv4() { [127, 0, 0, 6].into() } else { [0, 0, 0, 0, 0, 0, 0, 6].into() };
        Self { address, from: captured.then_some(own) }
    }

    /// A connection to one of its ports.
    pub(super) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        socket.connect(SocketAddr::new(self.address, port)).await
    }

    /// What a probe finds: a status, and what the application says.
    pub(super) async fn ask(&self, prober: &Prober, asked: &HeaderMap, status_port: u16) -> (StatusCode, Bytes) {
        match tokio::time::timeout(prober.timeout, self.ask_in_time(prober, asked, status_port)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(problem)) => failed(&problem),
            Err(_) => failed(&format!("no answer from port {} within {}", prober.port, shown(prober.timeout))),
        }
    }

    async fn ask_in_time(&self, prober: &Prober, asked: &HeaderMap, status_port: u16) -> Result<(StatusCode, Bytes), String> {
        match &prober.question {
            Question::Tcp => self.reach(prober.port).await.map(|_| (StatusCode::OK, Bytes::new())),
            Question::Grpc { service } => self.ask_health(self.reach(prober.port).await?, prober.port, service).await,
            Question::Http { path, tls } => {
                let place = Place { port: prober.port, tls: *tls, path: path.clone(), named: None };
                self.ask_http(place, asked, status_port).await
            }
        }
    }

    /// Asks by HTTP, and goes where it is sent.
    async fn ask_http(&self, mut place: Place, asked: &HeaderMap, status_port: u16) -> Result<(StatusCode, Bytes), String> {
        let own = [Some(self.address), kubelets(asked)];
        let is_this_host = |host: &str| host.trim_matches(['[', ']']).parse().is_ok_and(|host: IpAddr| own.contains(&Some(host)));
        let usual = self.host(asked, place.port, status_port);
        for _ in 0..redirects::MOST {
            let host = place.named.as_ref().and_then(|named| HeaderValue::from_str(named.as_str()).ok()).unwrap_or_else(|| usual.clone());
            let request = request(&place.path, asked, host).ok_or("its path is no path of HTTP")?;
            let stream = self.reach(place.port).await?;
            let Fetched { status, location, body } = match place.tls {
                false => fetch(stream, request, READ).await?,
                true => fetch(trusting::connect(stream).await.map_err(|error| unreachable(place.port, &error))?, request, READ).await?,
            };
            let next = location.filter(|_| redirects::sends_on(status)).map(|location| place.follow(&location, is_this_host));
            match next {
                Some(Some(next)) => place = next,
                // It leads out of the pod, or nowhere: whoever says so is well, as for the kubelet.
                Some(None) => return Ok((StatusCode::OK, Bytes::new())),
                None if status.is_redirection() => return Ok((StatusCode::OK, Bytes::new())),
                // What is too long to be read to its end says enough with its status.
                None => return Ok((status, body.map(|body| body.slice(..body.len().min(SHOWN))).unwrap_or_default())),
            }
        }
        Err(format!("it was still sent on after {} redirects", redirects::MOST))
    }

    async fn reach(&self, port: u16) -> Result<TcpStream, String> {
        self.connect(port).await.map_err(|error| unreachable(port, &error))
    }

    /// The host that the kubelet names, with the application's port where it names the status port.
    fn host(&self, asked: &HeaderMap, port: u16, status_port: u16) -> HeaderValue {
        let named = asked.get(HOST).and_then(|host| host.to_str().ok());
        let of_status = format!(":{status_port}");
        let host = match named {
            Some(named) => named.strip_suffix(&of_status).map_or_else(|| named.to_owned(), |host| format!("{host}:{port}")),
            None => SocketAddr::new(self.address, port).to_string(),
        };
        HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static("localhost"))
    }

    async fn ask_health(&self, stream: TcpStream, port: u16, service: &str) -> Result<(StatusCode, Bytes), String> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let driver = tokio::spawn(connection);
        let origin = Uri::builder().scheme("http").authority(SocketAddr::new(self.address, port).to_string()).path_and_query("/").build();
        let origin = origin.map_err(|error| error.to_string())?;
        let found = checks::ask_health(Channel::new(sender), origin, MetadataMap::new(), service.to_owned()).await;
        driver.abort();
        found.map(|()| (StatusCode::OK, Bytes::new())).map_err(|failure| failure.reason)
    }
}

fn failed(problem: &str) -> (StatusCode, Bytes) {
    (StatusCode::INTERNAL_SERVER_ERROR, Bytes::from(problem.to_owned() + "\n"))
}

fn shown(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

fn request(path: &str, asked: &HeaderMap, host: HeaderValue) -> Option<Request<Empty<Bytes>>> {
    let mut request = Request::new(Empty::new());
    let path: PathAndQuery = path.parse().ok()?;
    *request.uri_mut() = Uri::from(path);
    *request.headers_mut() = asked.clone();
    OF_CONNECTION.iter().for_each(|name| drop(request.headers_mut().remove(name)));
    request.headers_mut().insert(HOST, host);
    Some(request)
}

/// The address by which the kubelet calls the pod, if it names one.
fn kubelets(asked: &HeaderMap) -> Option<IpAddr> {
    let named: Authority = asked.get(HOST)?.to_str().ok()?.parse().ok()?;
    named.host().trim_matches(['[', ']']).parse().ok()
}

fn unreachable(port: u16, error: &io::Error) -> String {
    format!("port {port} of the application: {error}")
}

/// Reads an address as a part of a URI.
pub(super) fn authority(address: SocketAddr) -> Option<Authority> {
    address.to_string().parse().ok()
}
