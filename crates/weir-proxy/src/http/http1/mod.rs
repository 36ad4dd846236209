//! A client's connection of HTTP/1.1, from one request to the next. One task does it all: it reads heads, handles requests, reads
//! their bodies when they are asked for, and writes the answers.

mod answer;
mod connection;

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use http::{Method, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use weir_config::head::{self, Received, Refusal, Target};
use weir_http1::header::{self, HeaderValue, Headers};
use weir_http1::{framing, request};

use super::HttpRuntime;
use super::body::ResponseBody;
use super::connection::Failed;
use super::control::Control;
use super::handle::{self, Handling};
use crate::exchange::ConnectionInfo;
use crate::io::client::{ByteStream, Incoming};
use crate::io::response::Response;
use answer::{Asked, Writing, Written};
use connection::{Connection, Next, Upgraded};

type Shared<S> = Rc<Connection<S>>;

/// What a client's connection shares with all its requests.
struct Server {
    info: Rc<ConnectionInfo>,
    http: Rc<HttpRuntime>,
    control: Rc<Control>,
}

/// Serves a connection to its end. `read` was read of it already.
///
/// # Errors
/// If it breaks off.
pub(super) fn serve<S>(
    stream: S,
    read: BytesMut,
    info: Rc<ConnectionInfo>,
    http: Rc<HttpRuntime>,
    control: Rc<Control>,
) -> impl Future<Output = Result<(), Failed>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // Not an async function: it would keep the room of its arguments.
    let connection = Rc::new(Connection::new(stream, read, &http.config));
    let server = Server { info, http, control };
    async move { Ok(server.serve(&connection).await?) }
}

/// To whoever begins a request and does not go on (Envoy's words).
const LATE: Refusal = Refusal {
    status: StatusCode::REQUEST_TIMEOUT,
    details: "request_header_timeout",
    body: "request header timeout",
    malformed: false,
    location: None,
};

/// A request that has begun.
struct Begun {
    asked: Asked,
    handling: Handling,
    /// Who waits for the connection to change to another protocol.
    to_other: Option<oneshot::Sender<Box<dyn ByteStream>>>,
}

impl Server {
    /// Serves one request after the other.
    async fn serve<S>(&self, connection: &Shared<S>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let patience = loop {
            let begun = match connection.next(&self.control).await {
                Next::Head(head) => self.begin(connection, head),
                Next::Bad(fault) => self.refuse(head::refusal_of(fault)),
                Next::Late => self.refuse(LATE),
                Next::Over if self.control.has_expired() => break self.http.config.delayed_close,
                Next::Over | Next::Nothing => return Ok(()),
            };
            self.control.streams.set(1);
            let written = self.finish(connection, begun).await?;
            self.control.streams.set(0);
            match written {
                Written::Whole { persists: true } if connection.is_at_end() => {}
                Written::Whole { .. } => {
                    let lingers = self.control.lingers.get() || connection.is_unread();
                    break self.http.config.delayed_close.filter(|_| lingers);
                }
                Written::Upgraded => return Ok(()),
                // As with Envoy the client may end it first. The length that it was told says that something is missing.
                Written::Broken => break self.http.config.delayed_close,
            }
        };
        connection.close(patience).await
    }

    /// Begins to handle a request. All that only this needs is gone when it returns: a connection has no room for it.
    fn begin<S>(&self, connection: &Shared<S>, head: request::Head) -> Begun
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let config = &self.http.config;
        let length = match framing::of_request(head.version, &head.headers) {
            Ok(length) => length,
            Err(fault) => return self.refuse(head::refusal_of(fault)),
        };
        connection.begin(head.version, length);
        self.control.count(config);
        let asked = Asked {
            method: head.method.clone(),
            version: if config.http10 { head.version } else { Version::HTTP_11 },
            persists: persists(head.version, &head.headers),
        };
        let (to_other, on_upgrade) = head.headers.contains_key(header::UPGRADE).then(oneshot::channel).unzip();
        let request::Head { method, target, version, headers, spelling } = head;
        let received = Received { method, target: Target::Line(text_of(target)), version, headers, spelling };
        let incoming = Incoming::Http1(connection.clone());
        let handling = handle::handle(self.http.clone(), self.info.clone(), self.control.clone(), received, incoming, on_upgrade);
        Begun { asked, handling, to_other }
    }

    /// Answers what is no request.
    fn refuse(&self, refusal: Refusal) -> Begun {
        self.control.count(&self.http.config);
        let asked = Asked { method: Method::GET, version: Version::HTTP_11, persists: false };
        let handling = handle::refuse_unread(self.http.clone(), self.info.clone(), self.control.clone(), refusal);
        Begun { asked, handling, to_other: None }
    }

    /// Waits for the answer, and writes it.
    async fn finish<S>(&self, connection: &Shared<S>, begun: Begun) -> io::Result<Written>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Begun { asked, handling, to_other } = begun;
        let writing = self.answered(connection, &asked, handling).await.ok_or(io::ErrorKind::ConnectionReset)?;
        let written = writing.finish(connection, &self.control).await?;
        if let (Written::Upgraded, Some(to_other)) = (&written, to_other) {
            // Nobody waits for it who could not tell the instance.
            drop(to_other.send(Box::new(Upgraded(connection.clone()))));
        }
        Ok(written)
    }

    /// Handles a request, unless its client goes away meanwhile; its answer, whose head is written.
    async fn answered<S>(&self, connection: &Shared<S>, asked: &Asked, mut handling: Handling) -> Option<Writing>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        poll_fn(|cx| match handling.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(self.write_head(connection, asked, response))),
            Poll::Pending => connection.poll_gone(cx).map(|()| None),
        })
        .await
    }

    fn write_head<S>(&self, connection: &Connection<S>, asked: &Asked, mut response: Response<ResponseBody>) -> Writing {
        if self.control.is_finishing() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Writing::begin(connection, asked, response)
    }
}

/// A target as a text. What is none is refused as any is that is not of ASCII.
fn text_of(target: Vec<u8>) -> String {
    String::from_utf8(target).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Whether a client wants its connection to go on (RFC 9112, 9.3).
fn persists(version: Version, headers: &Headers) -> bool {
    let mut says = (false, false);
    if headers.contains_key(header::CONNECTION) {
        let values = headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        for word in values.map(<[u8]>::trim_ascii) {
            says.0 |= word.eq_ignore_ascii_case(b"close");
            says.1 |= word.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    !says.0 && (version == Version::HTTP_11 || says.1)
}
