//! HTTP/1.1 connections to an instance.
//!
//! A connection is not a task of its own: whoever uses it drives it, the future of the request and then the
//! body of the answer. So an exchange is one task from end to end, and nothing is woken twice.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use weir_http1::header::{self, from_map, to_map};

use weir_config::cluster::Http1Options;
use weir_config::head::Head;
use weir_http1::{BodyReader, Case, Fault, HeadReader, Length, Limits, Part, answer, encode, framing};

use super::body::RequestBody;
use super::counted::Counted;
use super::framing::Framed;
use super::interim::Interim;
use super::lane::ConnectionPermit;
use super::socket::Socket;
use super::transport::{Transport, TransportKey};
use crate::exchange::Ends;
use crate::exchange::failure::FailureKind;
use crate::io::prefixed::Prefixed;
use crate::io::response::Parts;
use crate::io::spare;
use crate::io::wire::{Want, Wire};
use crate::stats::cluster::Tally;

/// A connection that is ready for a request, or busy with one.
pub struct Http1Connection {
    wire: Wire<Socket>,
    head: HeadReader,
    limits: Limits,
    case: Case,
    /// What is still to be sent of the request.
    request: Option<Sending>,
    /// The body of the answer.
    answer: BodyReader,
    /// Whether another request may follow this answer.
    persists: bool,
    /// Whether the request asks for another protocol.
    asks_for_other: bool,
    /// Which requests it may carry.
    pub key: TransportKey,
    /// Our address.
    pub local: SocketAddr,
    /// What was shown in its TLS handshake.
    pub ends: Option<Arc<Ends>>,
    /// How many requests it has carried.
    pub requests: u32,
    /// Since when it is open.
    pub opened: Instant,
    /// Since when it has carried none. Where the limit is not short, that is noted by who looks for it now and then: most carry the
    /// next request before, and to read the clock for each answer is not free.
    pub idle_since: Option<Instant>,
    /// Whether trailers pass.
    pub trailers: bool,
    /// How much is read at once of an answer's body.
    pub part: usize,
    /// How it is counted.
    pub counted: Counted,
    /// What it takes of its cluster's limit, where there is one.
    pub permit: Option<ConnectionPermit>,
}

/// What is read at once of an answer's body, where nothing else is said.
pub const LARGEST_PART: usize = 64 << 10;

/// The rest of a request.
struct Sending {
    body: RequestBody,
    framed: Framed,
    /// What is missing of the length that was told.
    missing: u64,
}

/// A connection that carries another protocol, as statistics and limits see it.
pub struct StillOpen {
    counted: Counted,
    #[expect(dead_code, reason = "given back when it is dropped")]
    permit: Option<ConnectionPermit>,
}

impl StillOpen {
    /// Both sides have said all.
    pub fn finish(mut self) {
        self.counted.finish();
    }
}

/// Why a request got no answer.
#[derive(Debug)]
pub struct SendError {
    /// What went wrong.
    pub kind: FailureKind,
    /// Whether nothing of the request was written.
    pub unsent: bool,
    /// Whether the answer had begun.
    pub begun: bool,
}

/// Why an answer broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenOff {
    /// Its connection ended before it did.
    Closed,
    /// It is not HTTP.
    Malformed,
    /// The request did not come to its end.
    Request,
}

impl Http1Connection {
    /// A connection on a new socket.
    pub fn open(stream: Transport, key: TransportKey, options: Http1Options, tally: Tally, permit: Option<ConnectionPermit>) -> Self {
        let local = stream.local_address().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let limits = Limits { bytes: options.max_header_bytes, fields: options.max_headers };
        let ends = stream.ends();
        Self {
            wire: Wire::new(Socket::new(stream), BytesMut::new()),
            head: HeadReader::default(),
            limits,
            case: options.letter_case,
            request: None,
            answer: BodyReader::new(Length::None, limits),
            persists: true,
            asks_for_other: false,
            key,
            local,
            ends,
            requests: 0,
            opened: Instant::now(),
            idle_since: None,
            trailers: options.trailers,
            part: LARGEST_PART,
            counted: Counted::new(tally),
            permit,
        }
    }

    /// Sends a request; the head of the answer comes back, and what follows it is [`poll_body`](Self::poll_body)'s matter.
    ///
    /// # Errors
    /// If the connection ends before the answer begins, or what comes is none.
    pub fn send<'c>(
        &'c mut self,
        head: &Head,
        body: RequestBody,
        framed: Framed,
        interim: &'c mut Interim,
    ) -> impl Future<Output = Result<Parts, SendError>> + use<'c> {
        self.requests += 1;
        self.part = LARGEST_PART;
        self.counted.begin();
        let before = (self.wire.stream.read, self.wire.stream.written);
        // The head is written at once: it is large, and is not to be carried along by one future after the other.
        write_head(head, framed, self.case, self.wire.out());
        let missing = if let Framed::Length(length) = framed { length } else { 0 };
        self.request = (!body.is_end_stream()).then_some(Sending { body, framed, missing });
        let method = head.method.clone();
        self.asks_for_other = head.upgrade.is_some();
        async move {
            let answered = poll_fn(|cx| self.poll_answer(&method, interim, cx)).await;
            answered.map_err(|kind| {
                let Socket { read, written, .. } = self.wire.stream;
                SendError { kind, unsent: written == before.1, begun: read != before.0 }
            })
        }
    }

    fn poll_answer(&mut self, method: &Method, interim: &mut Interim, cx: &mut Context<'_>) -> Poll<Result<Parts, FailureKind>> {
        let keep_spelling = self.case == Case::Preserve;
        loop {
            self.send_more(cx)?;
            let Self { wire, head: reader, limits, .. } = self;
            let head = match answer::take(reader, &mut wire.input, spare::map, limits, keep_spelling) {
                Ok(Some(head)) => Some(head),
                Ok(None) if answer::may_begin(&wire.input) => {
                    match ready!(wire.poll_head(cx, |bytes| answer::at_once(reader, bytes, spare::map, limits, keep_spelling))) {
                        Ok((1.., head)) => head,
                        Ok((0, _)) | Err(_) => return Poll::Ready(Err(FailureKind::Closed)),
                    }
                }
                Ok(None) | Err(_) => return Poll::Ready(Err(FailureKind::Protocol)),
            };
            let Some(head) = head else { continue };
            match self.note_head(head, method, interim) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(_) => return Poll::Ready(Err(FailureKind::Protocol)),
            }
        }
    }

    /// Takes note of a head; none if it is that of an interim answer.
    fn note_head(&mut self, head: answer::Head, method: &Method, interim: &mut Interim) -> Result<Option<Parts>, Fault> {
        let length = framing::of_answer(method, head.status, &head.headers)?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS && !self.asks_for_other {
            // Nobody knows what would follow.
            return Err(Fault::FirstLine);
        }
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            interim.pass(head.status, &head.headers);
            return Ok(None);
        }
        self.persists = head.keeps_alive() && length != Length::UntilClose && head.status != StatusCode::SWITCHING_PROTOCOLS;
        self.answer = BodyReader::new(length, self.limits);
        let answer::Head { status, headers, spelling, .. } = head;
        Ok(Some(Parts { status, headers, spelling, reason: None }))
    }

    /// Sends what there is of the request, as far as that goes without waiting.
    ///
    /// # Errors
    /// If the request broke off. That the instance takes no more of it is none: it may have answered.
    fn send_more(&mut self, cx: &mut Context<'_>) -> Result<(), FailureKind> {
        loop {
            let waits = self.fill(cx)?;
            match self.wire.poll_flush(cx) {
                Poll::Ready(Ok(())) if !waits => {}
                Poll::Ready(Err(_)) => {
                    self.persists = false;
                    self.request = None;
                    return Ok(());
                }
                _ => return Ok(()),
            }
        }
    }

    /// Takes parts of the request as long as there is room; whether it has no more now.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, FailureKind> {
        while let Some(Sending { body, framed, missing }) = &mut self.request {
            if !self.wire.has_room() {
                return Ok(false);
            }
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(frame) => frame.transpose().map_err(|_| FailureKind::ClientGone)?,
            };
            let (data, trailers, last) = match frame.map(Frame::into_data) {
                Some(Ok(data)) => (data, None, false),
                Some(Err(frame)) => (Bytes::new(), frame.into_trailers().ok().map(from_map), true),
                None => (Bytes::new(), None, true),
            };
            let is_over = last || body.is_end_stream();
            if !data.is_empty() {
                if *framed == Framed::Chunks {
                    encode::chunk_size(data.len(), self.wire.out());
                    self.wire.data(data);
                    self.wire.out().extend_from_slice(encode::CHUNK_END);
                } else {
                    // More than was told would be the beginning of another request.
                    *missing = missing.checked_sub(data.len() as u64).ok_or(FailureKind::ClientGone)?;
                    self.wire.data(data);
                }
            }
            if is_over {
                match framed {
                    Framed::Chunks => encode::last_chunk(trailers.as_ref(), self.case, self.wire.out()),
                    _ if *missing > 0 => return Err(FailureKind::ClientGone),
                    Framed::Nothing | Framed::Length(_) => {}
                }
                self.request = None;
            }
        }
        Ok(true)
    }

    /// The next part of the answer's body; none behind the last. The rest of the request goes out meanwhile.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            if self.request.is_some() || !self.wire.is_flushed() {
                self.send_more(cx).map_err(|_| BrokenOff::Request)?;
            }
            match self.answer.read(&mut self.wire.input) {
                Ok(Some(Part::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Some(Part::Trailers(trailers))) => return Poll::Ready(Some(Ok(Frame::trailers(to_map(&trailers))))),
                Ok(None) if self.answer.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(_) => return Poll::Ready(Some(Err(BrokenOff::Malformed))),
            }
            match ready!(self.wire.poll_fill(cx, Want::Body(Some(self.answer.missing().unwrap_or(u64::MAX).min(self.part as u64))))) {
                Ok(1..) => {}
                Ok(0) if self.answer.end().is_ok() => {}
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(BrokenOff::Closed))),
            }
        }
    }

    /// Whether all of the answer has been read.
    pub fn has_ended(&self) -> bool {
        self.answer.is_done()
    }

    /// How much of the answer's body is missing, where that is known.
    pub fn missing(&self) -> Option<u64> {
        self.answer.missing()
    }

    /// The socket, once the answer has agreed to another protocol; what was read behind the answer comes first. As long as bytes
    /// pass it stays one of its cluster's connections.
    pub fn into_stream(self) -> (impl AsyncRead + AsyncWrite + Unpin, StillOpen) {
        let Self { wire, counted, permit, .. } = self;
        (Prefixed::new(wire.input.freeze(), wire.stream), StillOpen { counted, permit })
    }

    /// Whether it can take another request, now that the last answer has been read.
    pub fn is_reusable(&self) -> bool {
        let Wire { input, ended, .. } = &self.wire;
        // What nobody asked for would be taken for the next answer.
        self.persists && self.request.is_none() && self.answer.is_done() && input.is_empty() && !ended && self.wire.is_flushed()
    }

    /// Gives back the memory that an idle connection does not need.
    pub fn rest(&mut self) {
        self.wire.rest();
    }

    /// Whether the other side has not closed it, nor sent what nobody asked for.
    pub fn is_alive(&mut self) -> bool {
        self.wire.stream.is_quiet()
    }
}

/// Writes the head of a request, with the framing that its body needs.
fn write_head(head: &Head, framed: Framed, case: Case, out: &mut Vec<u8>) {
    let spelling = head.spelling.as_ref();
    out.reserve(1024);
    encode::request_line(&head.method, head.path.as_bytes(), out);
    let mut says_connection = false;
    for (name, value) in &head.headers {
        match *name {
            header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::UPGRADE => continue,
            header::CONNECTION => says_connection = true,
            _ => {}
        }
        encode::line(name, value, case, spelling, out);
    }
    if let Some(protocol) = &head.upgrade {
        if !says_connection {
            encode::field(&header::CONNECTION, b"Upgrade", case, spelling, out);
        }
        encode::field(&header::UPGRADE, protocol.as_bytes(), case, spelling, out);
    }
    match framed {
        Framed::Nothing => {}
        Framed::Length(length) => encode::number(&header::CONTENT_LENGTH, length, case, spelling, out),
        Framed::Chunks => encode::field(&header::TRANSFER_ENCODING, b"chunked", case, spelling, out),
    }
    out.extend_from_slice(encode::HEAD_END);
}
