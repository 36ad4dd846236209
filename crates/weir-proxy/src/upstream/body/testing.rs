//! Bodies for tests, as a client writes them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, Version};
use http_body::Frame;
use weir_http1::header::{HeaderName, HeaderValue, Headers, from_map, to_map};
use weir_http1::{BodyReader, HeadReader, Limits, Part, framing, request};

use super::Inbound;
use super::step::BodyStep;
use crate::exchange::failure::{FailureKind, Refused};
use crate::exchange::{ConnectionInfo, Exchange, LastHeard};
use crate::io::client::{BodyFault, Client, Incoming, Waiting};

/// A client that has written all that it writes, and waits.
struct Written(RefCell<(BodyReader, BytesMut)>);

impl Client for Written {
    fn poll_part(&self, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let (reader, input) = &mut *self.0.borrow_mut();
        match reader.read(input) {
            Ok(Some(Part::Data(data))) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(Some(Part::Trailers(trailers))) => Poll::Ready(Some(Ok(Frame::trailers(to_map(&trailers))))),
            Ok(None) if reader.is_done() => Poll::Ready(None),
            Ok(None) => Poll::Pending,
            Err(_) => Poll::Ready(Some(Err(BodyFault::Malformed))),
        }
    }

    fn is_done(&self) -> bool {
        self.0.borrow().0.is_done()
    }

    fn missing(&self) -> Option<u64> {
        self.0.borrow().0.missing()
    }
}

impl Waiting for Written {
    fn interim(&self, _: StatusCode, _: &Headers) {}
}

/// The body of a request that a client writes so, head and all.
pub(crate) async fn inbound(written: Vec<u8>) -> Inbound {
    let (limits, mut input) = (Limits::default(), BytesMut::from(&written[..]));
    let head = request::take(&mut HeadReader::default(), &mut input, Headers::new, &limits, false);
    let head = head.expect("it is a request").expect("it is there");
    let length = framing::of_request(Version::HTTP_11, &head.headers).expect("it has an end");
    Inbound::new(Incoming::Http1(Rc::new(Written(RefCell::new((BodyReader::new(length, limits), input))))))
}

/// A body that is written in these chunks, with these trailers.
pub(crate) async fn chunked(chunks: &[Vec<u8>], trailers: &[(&str, &str)]) -> Inbound {
    let mut written = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        written.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        written.extend_from_slice(chunk);
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        written.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    written.extend_from_slice(b"\r\n");
    inbound(written).await
}

/// A body of known length.
pub(crate) async fn sized(body: &str) -> Inbound {
    inbound(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()).await
}

/// A body whose second chunk is none.
pub(crate) async fn malformed() -> Inbound {
    inbound(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n".to_vec()).await
}

/// Reads a body to its end: data, trailers.
pub(crate) async fn read(body: &mut Inbound) -> Result<(Vec<u8>, Option<Headers>), FailureKind> {
    let (mut data, mut trailers) = (vec![], None);
    while let Some(frame) = poll_fn(|cx| body.poll(cx)).await {
        match frame?.into_data() {
            Ok(part) => data.extend_from_slice(&part),
            Err(frame) => trailers = frame.into_trailers().ok().map(from_map),
        }
    }
    Ok((data, trailers))
}

/// An exchange of nobody.
pub(crate) fn exchange() -> Rc<Exchange> {
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let connection = ConnectionInfo {
        id: 0,
        local: nobody,
        original_destination: None,
        remote: nobody,
        direct_remote: nobody,
        source: None,
        server_name: None,
        tls_version: None,
        ends: None,
        heard: LastHeard::default(),
    };
    Rc::new(Exchange::new(Rc::new(connection), Some(Version::HTTP_11), false))
}

/// Fields.
pub(crate) fn fields(pairs: &[(&'static str, &'static str)]) -> Headers {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// Writes each byte twice, two words at the end, and a trailer.
pub(crate) struct Twice;

impl BodyStep for Twice {
    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        Ok(part.iter().flat_map(|byte| [*byte, *byte]).collect())
    }

    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        let mut trailers = trailers.unwrap_or_default();
        trailers.append("x-steps", HeaderValue::from_static("twice"));
        Ok((Bytes::from_static(b"the end"), Some(trailers)))
    }
}

/// Holds back all that comes, and takes the trailers away.
#[derive(Default)]
pub(crate) struct Hold(pub(crate) Vec<u8>);

impl BodyStep for Hold {
    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        self.0.extend_from_slice(&part);
        Ok(Bytes::new())
    }

    fn end(&mut self, _: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        Ok((std::mem::take(&mut self.0).into(), None))
    }
}

/// Gives one byte at a time.
#[derive(Default)]
pub(crate) struct Bytewise(Bytes);

impl BodyStep for Bytewise {
    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        assert!(self.0.is_empty(), "the part before has not passed");
        self.0 = part;
        self.more().map(Option::unwrap_or_default)
    }

    fn more(&mut self) -> Result<Option<Bytes>, Refused> {
        Ok((!self.0.is_empty()).then(|| self.0.split_to(1)))
    }

    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        assert!(self.0.is_empty(), "the part before has not passed");
        Ok((Bytes::new(), trailers))
    }
}

/// Refuses what is longer than so many bytes.
pub(crate) struct AtMost(pub(crate) usize);

impl BodyStep for AtMost {
    fn keeps_length(&self) -> bool {
        true
    }

    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        self.0 = self.0.checked_sub(part.len()).ok_or(Refused { details: "too_long", body: "too long" })?;
        Ok(part)
    }

    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        Ok((Bytes::new(), trailers))
    }
}
