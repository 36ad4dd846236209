//! Messages whole: heads, bodies of any bytes in one part or several, trailers; and a client that sends and hears them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::DEADLINE;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What follows a head.
#[derive(Debug, Clone, Default)]
pub struct Content {
    parts: Vec<Bytes>,
    trailers: HeaderMap,
    streamed: bool,
}

impl Content {
    /// A body whose length is known beforehand.
    pub fn of(body: impl Into<Bytes>) -> Self {
        Self { parts: vec![body.into()], ..Self::default() }
    }

    /// A body whose length shows at its end: in chunks over HTTP/1.1.
    pub fn streamed(parts: &[&'static str]) -> Self {
        Self { parts: parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect(), streamed: true, ..Self::default() }
    }

    /// The same with trailers, so its length is not known beforehand.
    #[must_use]
    pub fn trailing(mut self, trailers: &[(&'static str, &'static str)]) -> Self {
        let field = |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        self.trailers.extend(trailers.iter().map(field));
        self.streamed = true;
        self
    }
}

/// A content on its way.
pub(crate) struct Frames {
    frames: VecDeque<Frame<Bytes>>,
    length: Option<u64>,
}

impl From<Content> for Frames {
    fn from(content: Content) -> Self {
        let Content { parts, trailers, streamed } = content;
        let length = (!streamed).then(|| parts.iter().map(|part| part.len() as u64).sum());
        let trailers = (!trailers.is_empty()).then(|| Frame::trailers(trailers));
        Self { frames: parts.into_iter().map(Frame::data).chain(trailers).collect(), length }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// An answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The trailers; empty where there are none.
    pub trailers: HeaderMap,
}

impl Told {
    /// All values of a header, with commas between them; empty if it is not there.
    pub fn header(&self, name: &str) -> String {
        joined(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// All values of a field, with commas between them.
pub(crate) fn joined(fields: &HeaderMap, name: &str) -> String {
    let values = fields.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.collect::<Vec<_>>().join(",")
}

/// Reads a body to its end.
///
/// # Errors
/// If it breaks off.
pub(crate) async fn whole(mut body: Incoming) -> hyper::Result<(Bytes, HeaderMap)> {
    let (mut data, mut trailers) = (vec![], HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(part) => data.extend_from_slice(&part),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((data.into(), trailers))
}

/// Sends a request, whose URI has the host, over a connection of its own, and hears the answer.
///
/// # Errors
/// If no whole answer comes.
pub async fn converse(address: SocketAddr, version: Version, request: Request<Content>) -> Result<Told, String> {
    let answer = async {
        let stream = TokioIo::new(TcpStream::connect(address).await?);
        let (head, body) = send(stream, version, request.map(Frames::from)).await?.into_parts();
        let (body, trailers) = whole(body).await?;
        Ok::<_, Error>(Told { status: head.status.as_u16(), headers: head.headers, body, trailers })
    };
    let answer = timeout(DEADLINE, answer).await;
    answer.map_err(|_| "no answer".to_owned())?.map_err(|error| format!("{error:?}"))
}

async fn send(stream: TokioIo<TcpStream>, version: Version, mut request: Request<Frames>) -> Result<Response<Incoming>, Error> {
    if version == Version::HTTP_2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        // Its errors are those of the request.
        tokio::spawn(connection);
        return Ok(sender.send_request(request).await?);
    }
    let host = request.uri().authority().ok_or("the URI has no host")?.as_str().to_owned();
    let path = request.uri().path_and_query().ok_or("the URI has no path")?.as_str().to_owned();
    *request.uri_mut() = path.parse()?;
    request.headers_mut().entry(HOST).or_insert(host.parse()?);
    let (mut sender, connection) = http1::handshake(stream).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
