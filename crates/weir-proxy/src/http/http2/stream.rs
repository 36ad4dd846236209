//! One stream of a client's connection: a request, and its answer. Each is a task of its own, so that none waits for another.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, StatusCode};
use http_body::Body;
use tokio::sync::oneshot;
use weir_http1::header::{self, HeaderValue, Headers};

use super::head::{self, Asked};
use super::{Server, extended_connect};
use crate::http::body::ResponseBody;
use crate::http::control::Control;
use crate::http::handle::{self, Handling};
use crate::io::client::{ByteStream, Http2Stream, Incoming, Left, Waiting};
use crate::io::date;
use crate::io::http2::bytes::StreamBytes;
use crate::io::http2::queue::Queue;
use crate::io::http2::receiving::{Receiving, TrailerLimits};
use crate::io::http2::sending::{Sending, Stopped};
use crate::io::response::{Parts, Response};
use crate::io::spare;
use crate::stats::http2::Http2Stats;

/// Who waits for the answer of a stream.
struct Responder {
    stream: RefCell<SendResponse<Bytes>>,
    answered: Cell<bool>,
    /// How the client leaves, if it does.
    left: Rc<Cell<Left>>,
}

impl Waiting for Responder {
    fn interim(&self, status: StatusCode, headers: &Headers) {
        if !self.answered.get() {
            // Whoever has gone away is told nothing.
            let _ = self.stream.borrow_mut().send_informational(head::answer(status, headers));
        }
    }
}

/// Begins to handle a request; what is left is a task.
pub(super) fn begin(server: &Server, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    server.control.count(&server.http.config);
    let responder = Rc::new(Responder { stream: RefCell::new(respond), answered: Cell::default(), left: Rc::default() });
    let config = &server.http.config;
    let limits = TrailerLimits { fields: config.max_headers, bytes: config.max_header_bytes };
    let Asked { received, body, extended } = head::request(request, limits);
    let client = Rc::downgrade(&responder) as Weak<dyn Waiting>;
    let (body, tunnel, on_upgrade) = if extended {
        let (to_other, on_upgrade) = oneshot::channel();
        (None, Some(Tunnel { body, to_other }), Some(on_upgrade))
    } else {
        (Some(body), None, None)
    };
    let incoming = Incoming::Http2(Http2Stream { body, client, left: responder.left.clone() });
    let handling = handle::handle(server.http.clone(), server.info.clone(), server.control.clone(), received, incoming, on_upgrade);
    let open = OpenStream::new(server.control.clone());
    tokio::task::spawn_local(serve(responder, handling, tunnel, server.stats.clone(), server.queue.clone(), open));
}

/// What a stream becomes when the instance agrees to another protocol.
struct Tunnel {
    body: Receiving,
    /// Who waits for it.
    to_other: oneshot::Sender<Box<dyn ByteStream>>,
}

/// A stream as its connection counts it.
struct OpenStream(Rc<Control>);

impl OpenStream {
    fn new(control: Rc<Control>) -> Self {
        control.streams.set(control.streams.get() + 1);
        Self(control)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        if self.0.streams.get() == 0 {
            // It is idle from now on, and not since it began.
            self.0.last_request.set(Some(Instant::now()));
        }
    }
}

async fn serve(
    responder: Rc<Responder>,
    handling: Handling,
    tunnel: Option<Tunnel>,
    stats: Arc<Http2Stats>,
    queue: Rc<Queue>,
    _open: OpenStream,
) {
    let Some(response) = responder.unless_reset(handling).await else { return };
    let (mut parts, body) = response.into_parts();
    if let Some(Tunnel { body: receiving, to_other }) = tunnel
        && extended_connect::settle(&mut parts)
    {
        if let Some(sending) = responder.answer(parts, false) {
            // Nobody waits for it who could not tell the instance.
            drop(to_other.send(Box::new(StreamBytes::new(receiving.into_inner(), sending, responder.left.clone()))));
        }
        return;
    }
    settle_length(&mut parts, &body);
    let is_over = body.is_end_stream();
    let Some(stream) = responder.answer(parts, is_over) else { return };
    let left = responder.left.clone();
    // What is left unread of a request ends when nobody holds its stream any more.
    drop(responder);
    if !is_over {
        send(Sending::new(stream, Some(body), false).within(queue), &left, &stats).await;
    }
}

impl Responder {
    /// Handles a request, unless its client goes away meanwhile.
    async fn unless_reset(&self, mut handling: Handling) -> Option<Response<ResponseBody>> {
        poll_fn(|cx| match handling.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => self.stream.borrow_mut().poll_reset(cx).map(|reset| {
                self.left.set(reset.map(Left::by).unwrap_or_default());
                None
            }),
        })
        .await
    }

    /// Sends the head of the answer.
    fn answer(&self, parts: Parts, is_over: bool) -> Option<SendStream<Bytes>> {
        self.answered.set(true);
        let mut stream = self.stream.borrow_mut();
        let Parts { status, mut headers, .. } = parts;
        headers.insert_if_absent(header::DATE, date::now);
        let answer = head::answer(status, &headers);
        spare::give_map(headers);
        match stream.send_response(answer, is_over) {
            Ok(sending) => Some(sending),
            Err(error) => {
                tracing::debug!(%error, "an answer could not be sent");
                stream.send_reset(Reason::INTERNAL_ERROR);
                None
            }
        }
    }
}

/// Tells the length of a body of ours. That of an instance's is told if its head tells it.
fn settle_length(parts: &mut Parts, body: &ResponseBody) {
    if !body.is_of_instance()
        && !body.is_end_stream()
        && let Some(length) = body.size_hint().exact()
    {
        parts.headers.insert_if_absent(header::CONTENT_LENGTH, || HeaderValue::from(length));
    }
}

/// Sends the body of the answer. While the client takes nothing of it, the limits of its time still hold.
async fn send(mut sending: Sending<ResponseBody>, left: &Cell<Left>, stats: &Http2Stats) {
    let sent = poll_fn(|cx| match sending.poll(cx) {
        Poll::Pending => match sending.held_up() {
            Some(body) => body.poll_expired(cx).map(|broken| {
                stats.tx_flush_timeout.add(1);
                Err(Stopped::ByBody(broken))
            }),
            None => Poll::Pending,
        },
        sent => sent,
    });
    if let Err(stopped) = sent.await {
        if let Stopped::ByPeer(Some(reason)) = stopped {
            left.set(Left::by(reason));
        }
        sending.stop(Reason::INTERNAL_ERROR);
    }
}
