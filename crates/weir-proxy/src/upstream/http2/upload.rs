//! The body of a request on its way to an instance, beside the answer: neither waits for the other.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::task::AbortHandle;

use crate::io::http2::sending::Sending;
use crate::upstream::body::RequestBody;

/// A request on its way to an instance.
pub struct Upload {
    sending: Rc<RefCell<Sending<RequestBody>>>,
    /// The task that goes on with it, where not all of it was there at once.
    task: Option<AbortHandle>,
}

impl Upload {
    /// Begins with what follows a head that was sent.
    pub fn begin(sending: Sending<RequestBody>, cx: &mut Context<'_>) -> Self {
        let sending = Rc::new(RefCell::new(sending));
        let sent = sending.borrow_mut().poll(cx);
        let task = match sent {
            Poll::Pending => Some(tokio::task::spawn_local(go_on(sending.clone())).abort_handle()),
            Poll::Ready(Ok(())) => None,
            Poll::Ready(Err(_)) => {
                sending.borrow_mut().stop(CUT);
                None
            }
        };
        Self { sending, task }
    }

    /// Whether all of it has been handed over.
    pub fn has_ended(&self) -> bool {
        self.sending.borrow().has_ended()
    }

    /// Ends the stream as it is.
    pub fn cut(&self) {
        self.sending.borrow_mut().stop(CUT);
    }

    /// The stream itself, for another protocol; none while a body goes out on it.
    pub fn into_stream(self) -> Option<SendStream<Bytes>> {
        let sending = self.sending.clone();
        drop(self);
        Rc::try_unwrap(sending).ok().map(|sending| sending.into_inner().into_inner())
    }
}

/// How an instance is told that a request does not go on, or that its answer is not wanted any more: as Envoy says it.
const CUT: Reason = Reason::INTERNAL_ERROR;

async fn go_on(sending: Rc<RefCell<Sending<RequestBody>>>) {
    if poll_fn(|cx| sending.borrow_mut().poll(cx)).await.is_err() {
        sending.borrow_mut().stop(CUT);
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
