//! One stream of a connection to an instance: a request, up to the head of its answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use h2::RecvStream;
use h2::client::ResponseFuture;
use h2::ext::Protocol;
use http::{Request, Response, StatusCode};
use http_body::Body;
use weir_http1::header::from_map;

use super::upload::Upload;
use super::{Http2Connection, Shared, failure};
use crate::exchange::failure::FailureKind;
use crate::io::http2::sending::Sending;
use crate::stats::cluster::Tally;
use crate::upstream::body::RequestBody;
use crate::upstream::interim::Interim;

/// Marks a request that bytes follow which are no body of a message: a tunnel's.
#[derive(Debug, Clone, Copy)]
pub struct OpenEnded;

/// A stream of a connection; counts as long as it lives. What is under way on it then is given up.
pub struct StreamGuard {
    shared: Rc<Shared>,
    upload: Option<Upload>,
    end: End,
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The answer may still go on.
    Open,
    /// The answer is there.
    Answered,
    /// There is nothing to give up any more.
    Over,
}

/// Why a request got no answer.
#[derive(Debug)]
pub struct SendError {
    /// What went wrong.
    pub kind: FailureKind,
    /// Whether the connection takes no more, and nothing of the request was sent.
    pub unsent: bool,
}

impl StreamGuard {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self { shared, upload: None, end: End::Open }
    }

    /// The answer has come to its end. A request that has not is not needed any more.
    pub fn answered(&mut self) {
        if self.end == End::Open {
            self.end = End::Answered;
        }
    }

    /// It has come to its end, good or bad.
    pub fn ended(&mut self) {
        self.end = End::Over;
    }

    /// What goes out on it, for somebody else.
    pub fn take_upload(&mut self) -> Option<Upload> {
        self.upload.take()
    }

    /// Where it is counted.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Sends a request, and waits for the head of its answer.
    ///
    /// # Errors
    /// If there is none.
    pub async fn send(
        &mut self,
        connection: &Http2Connection,
        request: Request<()>,
        body: RequestBody,
        interim: &mut Interim,
    ) -> Result<Response<RecvStream>, SendError> {
        let asks_for_protocol = request.extensions().get::<Protocol>().is_some();
        let for_other = asks_for_protocol || request.extensions().get::<OpenEnded>().is_some();
        if asks_for_protocol && !connection.takes_connect().await {
            // As an instance answers that does not know it.
            return Err(SendError { kind: FailureKind::Reset, unsent: false });
        }
        let is_over = !for_other && body.is_end_stream();
        let sent = connection.sender.borrow_mut().send_request(request, is_over);
        let (mut answer, stream) = sent.map_err(|error| match error.is_reset() || error.is_go_away() || error.is_io() {
            true => SendError { kind: failure::kind(&error), unsent: true },
            // It has headers that HTTP/2 does not know, or the connection has no number for it any more.
            false => SendError { kind: FailureKind::Unsendable, unsent: false },
        })?;
        // What follows an upgrade is for the other protocol.
        let body = Some(body).filter(|_| !is_over && !for_other);
        let mut sending = Some(Sending::new(stream, body, is_over));
        poll_fn(|cx| {
            if let Some(sending) = sending.take() {
                self.upload = Some(Upload::begin(sending, cx));
            }
            poll_answer(&mut answer, interim, cx)
        })
        .await
        .map_err(|kind| SendError { kind, unsent: false })
    }
}

/// Passes on interim answers until the last one is there.
fn poll_answer(
    answer: &mut ResponseFuture,
    interim: &mut Interim,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<RecvStream>, FailureKind>> {
    let kind = |error: h2::Error| failure::kind(&error);
    while let Some(early) = ready!(answer.poll_informational(cx)) {
        let early = early.map_err(kind)?;
        if early.status() == StatusCode::SWITCHING_PROTOCOLS {
            // HTTP/2 has no such answer (RFC 9113, 8.6).
            return Poll::Ready(Err(FailureKind::Protocol));
        }
        interim.pass(early.status(), &from_map(early.headers().clone()));
    }
    Pin::new(answer).poll(cx).map_err(kind)
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let Shared { streams, in_use, limit, idle_since, closed, counted, tally, freed, .. } = &*self.shared;
        if streams.get() >= limit.get() {
            freed.notify_one();
        }
        streams.set(streams.get().saturating_sub(1));
        if streams.get() == 0 {
            idle_since.set(Instant::now());
            let unused = in_use.borrow_mut().take();
            drop(unused);
        }
        if let Some((counted, _)) = &mut *counted.borrow_mut() {
            counted.finish();
        }
        let given_up = match self.end {
            End::Open => true,
            End::Answered => self.upload.as_ref().is_some_and(|upload| !upload.has_ended()),
            End::Over => false,
        };
        if given_up && !closed.get() {
            tally.rq_tx_reset.add(1);
        }
        if let Some(upload) = self.upload.as_ref().filter(|_| given_up) {
            upload.cut();
        }
    }
}
