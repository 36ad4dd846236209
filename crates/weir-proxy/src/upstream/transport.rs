//! What a connection to an instance is made of: a socket as it is, or TLS over it; and which kept connection may carry a request.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir_config::cluster::HostNames;
use weir_config::head::Head;
use weir_config::proxy_protocol::ProxyVersion;
use weir_routing::action::Priority;
use weir_routing::without_port;

use crate::exchange::{ConnectionInfo, Ends};
use crate::io::proxy_protocol::{self, Client};
use crate::io::transparent::Source;
use crate::io::unix_socket;
use crate::tls::client::{ClientTransport, Offer};
use crate::tls::transports::Way;

/// A connection to an instance.
#[derive(Debug)]
pub enum Transport {
    /// As it is.
    Plain(TcpStream),
    /// Inside TLS; and what was shown in its handshake.
    Tls(Box<TlsStream<TcpStream>>, Arc<Ends>),
}

/// What decides whether a kept connection may carry a request: the TLS that it was made with, for which host, and the priority of
/// the requests. Plaintext is for every host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TransportKey {
    /// Whose limits the connection counts against.
    pub(super) priority: Priority,
    tls: Option<TlsKey>,
    /// Who is told of at its beginning, where that is asked for: the connection is that client's alone.
    announced: Option<Box<Announced>>,
    /// In whose name it is made, where it is not this process's own: it is for clients of that address alone.
    source: Option<Box<Source>>,
}

/// What a header of the PROXY protocol tells.
#[derive(Debug, Clone, PartialEq)]
struct Announced {
    version: ProxyVersion,
    /// None where the connection is made for no client.
    client: Option<Client>,
}

#[derive(Debug, Clone)]
struct TlsKey {
    tls: Arc<ClientTransport>,
    offer: Offer,
    /// What takes the place of all that would be offered by ALPN.
    alpn: Arc<[Vec<u8>]>,
    /// The server name that is asked for.
    sni: Option<Arc<str>>,
    /// The host that the certificate must be for.
    host: Option<Arc<str>>,
}

impl PartialEq for TlsKey {
    fn eq(&self, other: &Self) -> bool {
        let Self { tls, offer, alpn, sni, host } = self;
        Arc::ptr_eq(tls, &other.tls) && *offer == other.offer && *alpn == other.alpn && *sni == other.sni && *host == other.host
    }
}

impl TransportKey {
    /// For connections whose host nobody names: bytes, and health checks. `own_name` is what the instance calls itself.
    pub fn of_instance(way: &Way, offer: Offer, own_name: Option<&Arc<str>>) -> Self {
        let tls = way.tls.as_ref().map(|tls| {
            let sni = own_name.filter(|_| tls.policy.sni_of_endpoint).or(tls.policy.sni.as_ref()).cloned();
            let host = sni.clone().filter(|_| tls.policy.verifies_sni);
            TlsKey { tls: tls.clone(), offer, alpn: Arc::default(), sni, host }
        });
        Self {
            priority: Priority::default(),
            tls,
            announced: way.proxy_protocol.map(|version| Box::new(Announced { version, client: None })),
            source: None,
        }
    }

    /// For a request, whose host may be the name that is asked for.
    pub fn of_request(way: &Way, offer: Offer, own_name: Option<&Arc<str>>, names: &HostNames, head: &Head) -> Self {
        let mut key = Self::of_instance(way, offer, own_name);
        let Some(tls) = &mut key.tls else { return key };
        if !names.sni && !names.verify {
            return key;
        }
        let host = named_host(names, head);
        let is_address = host.parse::<IpAddr>().is_ok();
        let host: Option<Arc<str>> = (!host.is_empty()).then(|| host.into());
        if names.sni && !is_address && host.is_some() {
            tls.sni.clone_from(&host);
            if tls.tls.policy.verifies_sni {
                tls.host.clone_from(&host);
            }
        }
        if names.verify && host.is_some() {
            tls.host = host;
        }
        key
    }

    /// The same for requests of a priority.
    #[must_use]
    pub(super) fn for_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The same, offering these protocols by ALPN, if there are any.
    #[must_use]
    pub fn offering(mut self, alpn: &[Vec<u8>]) -> Self {
        if let Some(tls) = self.tls.as_mut().filter(|_| !alpn.is_empty()) {
            tls.alpn = alpn.into();
        }
        self
    }

    /// The same for a client, who is told of where that is asked for, or in whose name it is made.
    #[must_use]
    pub fn for_client(mut self, connection: &ConnectionInfo) -> Self {
        self.source = connection.source.map(Box::new);
        if let Some(announced) = &mut self.announced {
            // Of who came by a Unix socket there is no address to tell.
            let is_told = unix_socket::path(connection.remote).is_none();
            announced.client = is_told.then_some(Client { remote: connection.remote, local: connection.local });
        }
        self
    }

    /// The client that the connection is for alone.
    pub(super) fn client(&self) -> Option<SocketAddr> {
        let announced = || Some(self.announced.as_deref()?.client?.remote);
        self.source.as_ref().map(|source| source.address).or_else(announced)
    }

    /// In whose name an instance at this address is called; none if in this process's own: where the two are of different families, or
    /// the instance is at loopback, from where no answer finds the way to another address.
    pub(super) fn source(&self, address: SocketAddr) -> Option<Source> {
        let is_reached = |source: &Source| {
            let alike = source.address.is_ipv4() == address.is_ipv4();
            alike && (source.address.ip().is_loopback() || !address.ip().is_loopback())
        };
        self.source.as_deref().copied().filter(is_reached)
    }

    /// Whether it is TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether it is made in this way.
    pub(super) fn is_of(&self, way: &Way) -> bool {
        self.tls.as_ref().map(|key| Arc::as_ptr(&key.tls)) == way.tls.as_ref().map(Arc::as_ptr)
            && self.announced.as_ref().map(|announced| announced.version) == way.proxy_protocol
    }

    /// Says who the client is, where that is asked for.
    ///
    /// # Errors
    /// If the other side closes the connection at once.
    pub(super) async fn announce(&self, stream: &mut TcpStream) -> io::Result<()> {
        let Some(Announced { version, client }) = self.announced.as_deref() else { return Ok(()) };
        // Sockets of paths have none.
        let own = stream.local_addr().and_then(|remote| Ok(Client { remote, local: stream.peer_addr()? })).ok();
        stream.write_all(&proxy_protocol::write(*version, *client, own)).await
    }

    /// Makes a connection of a new socket.
    ///
    /// # Errors
    /// If the handshake fails, or a secret that it needs is missing.
    pub(super) async fn secure(&self, stream: TcpStream, address: SocketAddr) -> io::Result<Transport> {
        let Some(key) = &self.tls else { return Ok(Transport::Plain(stream)) };
        key.tls.ready()?;
        let config = key.tls.config(key.offer, &key.alpn, key.host.as_ref()).ok_or_else(|| io::Error::other("no configuration for it"))?;
        let name = match &key.sni {
            Some(name) => ServerName::try_from(name.to_string()).map_err(|_| io::Error::other(format!("`{name}` is no server name")))?,
            // An address is not sent as the name of a server.
            None => ServerName::from(address.ip()),
        };
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let seen = key.tls.seen(stream.get_ref().1.peer_certificates());
        Ok(Transport::Tls(Box::new(stream), Arc::new(Ends::new(seen.own_uris, seen.peer))))
    }
}

/// The host that a request names, without its port.
fn named_host<'h>(names: &HostNames, head: &'h Head) -> &'h str {
    let header = names.header.as_ref().and_then(|name| head.headers.get(name)).and_then(|value| value.to_str().ok());
    let authority = header.filter(|value| !value.is_empty()).unwrap_or_else(|| head.authority());
    without_port(authority).trim_start_matches('[').trim_end_matches(']')
}

impl Transport {
    /// The socket beneath.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream, _) => stream.get_ref().0,
        }
    }

    /// Our address.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.socket().local_addr().ok()
    }

    /// What was shown in its handshake, if it had one.
    pub fn ends(&self) -> Option<Arc<Ends>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(_, ends) => Some(ends.clone()),
        }
    }

    /// Whether HTTP/2 was agreed on.
    pub fn agreed_on_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream, _) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Whether the other side has not closed it, nor sent what nobody asked for. Only where an event says that there is something is
    /// the system asked what. What TLS itself says meanwhile, a ticket for another session, is no answer.
    pub fn is_quiet(&mut self) -> bool {
        let heard = self.socket().poll_read_ready(&mut Context::from_waker(Waker::noop()));
        if heard.is_pending() {
            return true;
        }
        match self {
            Self::Plain(_) => matches!(self.peek(), Err(error) if error.kind() == io::ErrorKind::WouldBlock),
            Self::Tls(stream, _) => is_quiet(stream),
        }
    }

    /// How many bytes could be read of the socket, at most one.
    pub(super) fn peek(&self) -> io::Result<usize> {
        SockRef::from(self.socket()).peek(&mut [MaybeUninit::uninit()])
    }
}

/// Takes in what has come meanwhile: whether that was TLS's own matter only.
fn is_quiet(stream: &mut TlsStream<TcpStream>) -> bool {
    let (socket, session) = stream.get_mut();
    let socket = SockRef::from(&*socket);
    loop {
        match session.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
            _ => return false,
        }
        match session.read_tls(&mut &*socket) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Ok(0) | Err(_) => return false,
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream, _) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream, _) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
impl TransportKey {
    /// For connections in the name of this client.
    pub(super) fn in_the_name_of(client: &str) -> Self {
        let address = SocketAddr::new(client.parse().expect("an address"), 0);
        Self { source: Some(Box::new(Source { address, mark: 1337 })), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_called_in_its_clients_name_where_its_answers_find_the_way() {
        for (client, instance, expected) in [
            ("10.0.0.1", "10.0.0.2:80", true),
            ("10.0.0.1", "127.0.0.1:80", false),
            ("127.0.0.2", "127.0.0.1:80", true),
            ("10.0.0.1", "[fd00::1]:80", false),
            ("fd00::2", "[fd00::1]:80", true),
            ("fd00::2", "[::1]:80", false),
        ] {
            let source = TransportKey::in_the_name_of(client).source(instance.parse().expect("an address"));
            assert_eq!(source.is_some(), expected, "{client} {instance}");
        }
        assert_eq!(TransportKey::default().source(([10, 0, 0, 2], 80).into()), None);
    }
}
