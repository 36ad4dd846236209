//! An answer on its way to a client: its head with what the connection needs to say, then its body, as far as the client takes it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use weir_http1::header::{self, HeaderName, from_map};
use weir_http1::{Length, encode};

use super::connection::Connection;
use crate::http::body::ResponseBody;
use crate::http::control::Control;
use crate::io::response::{Parts, Response};
use crate::io::{date, spare};

/// What an answer depends on of its request.
pub(super) struct Asked {
    pub(super) method: Method,
    /// The version that it is answered in.
    pub(super) version: Version,
    /// Whether the client wants the connection to go on.
    pub(super) persists: bool,
}

/// How an answer went.
pub(super) enum Written {
    /// All of it went out.
    Whole {
        /// Whether the connection may carry another.
        persists: bool,
    },
    /// The connection changes to another protocol.
    Upgraded,
    /// It broke off. Nothing but the end of the connection can say so.
    Broken,
}

/// A body is not what it was said to be.
struct Broken;

/// An answer whose head is written, and whose body follows.
pub(super) struct Writing {
    length: Length,
    /// What is missing of a length that was told.
    missing: u64,
    body: Option<ResponseBody>,
    /// Whether it broke off.
    broken: bool,
    persists: bool,
    upgraded: bool,
}

/// Notes since when the client has taken nothing of what waits for it.
fn note_progress<S>(connection: &Connection<S>, control: &Control, pending: bool) {
    let mut wire = connection.wire.borrow_mut();
    let moved = wire.has_moved();
    if !pending || wire.is_flushed() {
        control.stalled_since.set(None);
    } else if moved || control.stalled_since.get().is_none() {
        control.stalled_since.set(Some(Instant::now()));
    }
}

/// How long the body of an answer is, as the client is told (RFC 9112, 6.3).
fn length(asked: &Asked, parts: &Parts, body: &ResponseBody) -> Length {
    let none = asked.method == Method::HEAD
        || parts.status.is_informational()
        || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match body.size_hint().exact() {
        _ if none => Length::None,
        // Who has taken the length away from an instance's answer does not want it told.
        Some(1..) if body.is_of_instance() && !parts.headers.contains_key(header::CONTENT_LENGTH) => in_doubt(asked.version),
        Some(length) => Length::Exact(length),
        None => in_doubt(asked.version),
    }
}

/// How a body ends whose length is not told.
fn in_doubt(version: Version) -> Length {
    if version == Version::HTTP_11 { Length::Chunked } else { Length::UntilClose }
}

/// Writes the head, in Envoy's order. Whether the connection persists after the answer.
fn write_head<S>(connection: &Connection<S>, asked: &Asked, parts: &Parts, length: Length) -> bool {
    let Parts { status, headers, spelling, reason } = parts;
    let (case, spelling) = (connection.case, spelling.as_ref());
    let mut wire = connection.wire.borrow_mut();
    let out = wire.out();
    out.reserve(512);
    match reason {
        None => encode::status_line(asked.version, *status, out),
        Some(reason) => encode::status_line_with(asked.version, *status, reason.as_bytes(), out),
    }
    if let Length::Exact(length) = length {
        encode::number(&header::CONTENT_LENGTH, length, case, spelling, out);
    }
    let (mut dated, mut told, mut server, mut said) = (false, false, None, None);
    for (name, value) in headers {
        match *name {
            header::DATE => dated = true,
            header::TRANSFER_ENCODING => continue,
            // What the body itself tells goes before what the head says; what has none keeps what it would have had.
            header::CONTENT_LENGTH if length != Length::None => continue,
            header::CONTENT_LENGTH => told = true,
            header::SERVER if server.is_none() => {
                server = Some(value);
                continue;
            }
            header::CONNECTION if said.is_none() => {
                said = Some(value);
                continue;
            }
            _ => {}
        }
        encode::line(name, value, case, spelling, out);
    }
    let mut write = |name: &HeaderName, value: &[u8]| encode::field(name, value, case, spelling, out);
    if !dated {
        write(&header::DATE, date::now().as_bytes());
    }
    if let Some(server) = server {
        write(&header::SERVER, server.as_bytes());
    }
    let closes = said.is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(b"close"));
    let persists = asked.persists && !closes && length != Length::UntilClose;
    match said {
        Some(said) => write(&header::CONNECTION, said.as_bytes()),
        None if !persists => write(&header::CONNECTION, b"close"),
        None if asked.version < Version::HTTP_11 => write(&header::CONNECTION, b"keep-alive"),
        None => {}
    }
    if length == Length::Chunked || length == Length::None && !told && would_be_chunked(asked, *status) {
        write(&header::TRANSFER_ENCODING, b"chunked");
    }
    out.extend_from_slice(encode::HEAD_END);
    persists
}

/// Whether the answer to a HEAD says that the one to a GET would come in chunks, as Envoy's do.
fn would_be_chunked(asked: &Asked, status: StatusCode) -> bool {
    let has_body = !status.is_informational() && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    asked.method == Method::HEAD && asked.version == Version::HTTP_11 && has_body
}

impl Writing {
    /// Writes the head of an answer.
    pub(super) fn begin<S>(connection: &Connection<S>, asked: &Asked, response: Response<ResponseBody>) -> Self {
        connection.answering.set(true);
        let (parts, body) = response.into_parts();
        let length = length(asked, &parts, &body);
        let persists = write_head(connection, asked, &parts, length);
        let upgraded = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        spare::give_map(parts.headers);
        Self { length, missing: length.exact().unwrap_or(0), body: Some(body), broken: false, persists, upgraded }
    }

    /// Writes the body.
    ///
    /// # Errors
    /// If the client does not take it.
    pub(super) async fn finish<S>(mut self, connection: &Connection<S>, control: &Control) -> io::Result<Written>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let whole = poll_fn(|cx| {
            let written = self.poll(connection, cx);
            note_progress(connection, control, written.is_pending());
            written
        });
        Ok(match (whole.await?, self.upgraded) {
            (true, true) => Written::Upgraded,
            (true, false) => Written::Whole { persists: self.persists },
            (false, _) => Written::Broken,
        })
    }

    /// Writes as much as the client takes and the body has. Whether all of it went out, once nothing more comes.
    fn poll<S: AsyncRead + AsyncWrite + Unpin>(&mut self, connection: &Connection<S>, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let waits = self.fill(connection, cx).unwrap_or_else(|Broken| {
                // What came before is still good, and goes out.
                (self.broken, self.body) = (true, None);
                true
            });
            match connection.wire.borrow_mut().poll_flush(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if self.body.is_none() => return Poll::Ready(Ok(!self.broken)),
                Poll::Ready(Ok(())) if !waits => continue,
                _ if self.body.is_none() => return Poll::Pending,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            // Somebody who waits for the rest of an answer is looked after, in case nobody waits any more.
            return match connection.poll_gone(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Poll::Pending => Poll::Pending,
            };
        }
    }

    /// Takes parts of the body as long as there is room; whether the body has no more now.
    fn fill<S>(&mut self, connection: &Connection<S>, cx: &mut Context<'_>) -> Result<bool, Broken> {
        while connection.wire.borrow().has_room() {
            let Some(body) = &mut self.body else { return Ok(true) };
            if !body.is_end_stream() {
                match Pin::new(body).poll_frame(cx) {
                    Poll::Pending => return Ok(true),
                    Poll::Ready(Some(Err(_))) => return Err(Broken),
                    Poll::Ready(Some(Ok(frame))) => self.write(connection, frame)?,
                    Poll::Ready(None) => self.end(connection, None)?,
                }
            }
            if self.body.as_ref().is_some_and(Body::is_end_stream) {
                self.end(connection, None)?;
            }
        }
        Ok(false)
    }

    fn write<S>(&mut self, connection: &Connection<S>, frame: Frame<Bytes>) -> Result<(), Broken> {
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => return Ok(()),
            Ok(data) => data,
            Err(frame) => return self.end(connection, Some(frame)),
        };
        let mut wire = connection.wire.borrow_mut();
        match self.length {
            Length::None => {}
            Length::UntilClose => wire.data(data),
            Length::Exact(_) => {
                // More than was told would be the beginning of the next answer.
                self.missing = self.missing.checked_sub(data.len() as u64).ok_or(Broken)?;
                wire.data(data);
            }
            Length::Chunked => {
                encode::chunk_size(data.len(), wire.out());
                wire.data(data);
                wire.out().extend_from_slice(encode::CHUNK_END);
            }
        }
        Ok(())
    }

    /// The body has ended, and is let go: whoever it came from need not wait until the client has all.
    fn end<S>(&mut self, connection: &Connection<S>, last: Option<Frame<Bytes>>) -> Result<(), Broken> {
        if self.missing > 0 && self.length != Length::None {
            return Err(Broken);
        }
        if self.length == Length::Chunked {
            let trailers = last.and_then(|frame| frame.into_trailers().ok()).map(from_map);
            encode::last_chunk(trailers.as_ref(), connection.case, connection.wire.borrow_mut().out());
        }
        self.body = None;
        Ok(())
    }
}
