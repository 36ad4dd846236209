//! hyper, given the same bytes in the same pieces. There is no runtime and no socket: each read gives a piece at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::ReadBufCursor;
use hyper::{Method, Request, Response, client, server, service};

use weir_http1::Headers;
use weir_http1::header::from_map;

use crate::seen::{Message, Seen, Side};

/// Has hyper read what comes in these pieces, and then ends.
pub fn read(side: Side, pieces: &[Vec<u8>]) -> Seen {
    match side {
        Side::Requests => requests(pieces),
        Side::Answers { head } => answers(head, pieces),
    }
}

type Messages = Rc<RefCell<Vec<Message>>>;

fn requests(pieces: &[Vec<u8>]) -> Seen {
    let messages = Messages::default();
    let service = service::service_fn(|request: Request<Incoming>| {
        let messages = messages.clone();
        async move {
            let first = format!("{} {}", request.method(), request.uri());
            note(first, from_map(request.headers().clone()), request.into_body(), &messages).await;
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let wire = Wire::new(pieces, true);
    let mut connection = pin!(server::conn::http1::Builder::new().half_close(true).serve_connection(wire, service));
    let ended = run(&mut |context| connection.as_mut().poll(context));
    let error = told(ended);
    let messages = messages.borrow().clone();
    let clean = error.is_empty() && messages.iter().all(|message| message.complete);
    Seen { messages, clean, error, ..Seen::default() }
}

fn answers(head: bool, pieces: &[Vec<u8>]) -> Seen {
    let messages = Messages::default();
    let wire = Wire::new(pieces, false);
    let fed = wire.fed.clone();
    let mut handshake = pin!(client::conn::http1::handshake::<_, Empty<Bytes>>(wire));
    let (mut send, mut connection) =
        run(&mut |context| handshake.as_mut().poll(context)).expect("it waits for nothing").expect("it cannot fail");
    let method = if head { Method::HEAD } else { Method::GET };
    let request = Request::builder().method(method).uri("/").body(Empty::new()).expect("valid");
    let mut failed = String::new();
    {
        let mut exchange = pin!(async {
            let answer = send.send_request(request).await?;
            note(answer.status().as_str().to_owned(), from_map(answer.headers().clone()), answer.into_body(), &messages).await;
            Ok::<_, hyper::Error>(())
        });
        let (mut answered, mut ended) = (None, false);
        run(&mut |context| {
            ended = ended || connection.poll_without_shutdown(context).is_ready();
            if answered.is_none()
                && let Poll::Ready(result) = exchange.as_mut().poll(context)
            {
                answered = Some(result);
            }
            if ended && answered.is_some() { Poll::Ready(()) } else { Poll::Pending }
        });
        if let Some(Err(error)) = answered {
            failed = chain(&error);
        }
    }
    let left = connection.into_parts().read_buf.len();
    let fed = *fed.borrow();
    let rest = pieces.iter().map(Vec::len).sum::<usize>() - fed + left;
    let messages = messages.borrow().clone();
    let clean = failed.is_empty() && !messages.is_empty() && messages.iter().all(|message| message.complete);
    Seen { messages, clean, rest, error: failed, ..Seen::default() }
}

/// Reads the body of a message, and notes what comes of it.
async fn note(first: String, fields: Headers, mut body: Incoming, messages: &Messages) {
    messages.borrow_mut().push(Message { first, fields, body: vec![], trailers: None, complete: false });
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return };
        let mut messages = messages.borrow_mut();
        let message = messages.last_mut().expect("there is one");
        match frame.into_data() {
            Ok(data) => message.body.extend_from_slice(&data),
            Err(frame) => message.trailers = frame.into_trailers().ok().map(from_map),
        }
    }
    messages.borrow_mut().last_mut().expect("there is one").complete = true;
}

fn told(ended: Option<Result<(), hyper::Error>>) -> String {
    match ended {
        Some(Ok(())) => String::new(),
        Some(Err(error)) => chain(&error),
        None => "it waits".to_owned(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source))).unwrap_or_default();
    format!("{error}{source}")
}

/// Polls until it is ready, or nothing would wake it: `None`.
fn run<T>(poll: &mut dyn FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(woken.clone());
    while woken.0.swap(false, Ordering::Relaxed) {
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
    }
    None
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection that brings these pieces, and swallows what is written.
struct Wire {
    pieces: VecDeque<Bytes>,
    fed: Rc<RefCell<usize>>,
    /// Whether the peer speaks: an instance waits for a request.
    speaks: bool,
    reader: Option<Waker>,
}

impl Wire {
    fn new(pieces: &[Vec<u8>], speaks: bool) -> Self {
        let pieces = pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| Bytes::copy_from_slice(piece)).collect();
        Self { pieces, fed: Rc::default(), speaks, reader: None }
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.speaks {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop_front() {
            let part = piece.split_to(piece.len().min(buffer.remaining()));
            buffer.put_slice(&part);
            *self.fed.borrow_mut() += part.len();
            if !piece.is_empty() {
                self.pieces.push_front(piece);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.speaks = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
