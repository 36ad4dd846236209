//! A request, or an answer, as a script sees it while it runs. What scripts hold of it are weak references, which count only as long as
//! it runs for them, and most of them only until it waits: as in Envoy a script cannot keep them for later, or for another request.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bytes::Bytes;
use mlua::Error;
use weir_http1::Headers;
use weir_http1::header;
use weir_xds::prost_types::Struct;

use super::call::{Answered, HttpCall};
use super::limits::KEPT;
use crate::exchange::Exchange;
use crate::http::HttpRuntime;
use crate::http::call::{RouteAnswer, find};
use crate::http::control::Control;
use crate::http::local_reply::LocalReply;
use crate::http::router::routes::Found;
use crate::io::response::Parts;

/// What is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// A request.
    Request,
    /// An answer.
    Response,
}

/// What a script waits for.
pub(super) enum Waiting {
    /// The whole body.
    Body,
    /// The next part of the body, as it passes.
    Chunk,
    /// What follows the body.
    Trailers,
    /// The answer to a request of its own.
    Call(Box<HttpCall>),
}

/// A request or an answer.
pub(super) struct Stream {
    pub(super) side: Side,
    pub(super) http: Rc<HttpRuntime>,
    pub(super) exchange: Rc<Exchange>,
    pub(super) control: Rc<Control>,
    /// What the filter is called.
    pub(super) filter: Arc<str>,
    pub(super) context: Option<Arc<Struct>>,
    /// Whether a change of headers has the request routed anew.
    pub(super) clear_route_cache: bool,
    /// The route, as long as it has it of its call.
    pub(super) route: RefCell<Option<RouteAnswer>>,
    /// The head of an answer; a request's is the exchange's.
    pub(super) head: RefCell<Parts>,
    /// The body, once it is there as a whole.
    pub(super) body: RefCell<Option<Bytes>>,
    /// The part that passes.
    pub(super) chunk: RefCell<Option<Bytes>>,
    /// Whether the script has not been given it yet.
    pub(super) chunk_is_new: Cell<bool>,
    pub(super) trailers: RefCell<Option<Headers>>,
    pub(super) waiting: RefCell<Option<Waiting>>,
    /// What the script has answered.
    pub(super) reply: RefCell<Option<LocalReply>>,
    /// What a request of its own was answered.
    pub(super) answer: RefCell<Option<Answered>>,
    /// The public keys that it has made known.
    pub(super) keys: RefCell<BTreeSet<Vec<u8>>>,
    /// Whether the head has gone on.
    pub(super) continued: Cell<bool>,
    /// Whether nothing more comes.
    pub(super) ended: Cell<bool>,
    /// Whether parts of the body have passed.
    pub(super) streamed: Cell<bool>,
    /// Whether what passes must be as long as was told.
    pub(super) length_told: Cell<bool>,
    /// Whether its headers are being gone over.
    pub(super) iterating: Cell<bool>,
    /// Whether something was refused that Envoy would have done. A script that fails after that might have stopped the request.
    pub(super) refused: Cell<bool>,
    /// What is kept for it outside of Lua, whose limits do not see that.
    kept: Cell<usize>,
    running: Cell<bool>,
    /// How often it has waited.
    pauses: Cell<u32>,
}

/// What belongs to a stream and can be used as long as it runs without a pause.
#[derive(Clone)]
pub(super) struct Life {
    stream: Weak<Stream>,
    pauses: u32,
}

/// A script has kept what it may not keep.
fn dead() -> Error {
    Error::runtime("object used outside of proper scope")
}

impl Life {
    /// Of a stream that runs.
    pub(super) fn new(stream: &Rc<Stream>) -> Self {
        Self { stream: Rc::downgrade(stream), pauses: stream.pauses.get() }
    }

    /// The stream.
    ///
    /// # Errors
    /// If it does not run, or has waited.
    pub(super) fn stream(&self) -> mlua::Result<Rc<Stream>> {
        let stream = self.stream.upgrade().filter(|stream| stream.running.get() && stream.pauses.get() == self.pauses);
        stream.ok_or_else(dead)
    }
}

/// What a script is given: `request_handle` or `response_handle`.
pub(super) struct Handle(Weak<Stream>);

impl Handle {
    /// Of a stream.
    pub(super) fn new(stream: &Rc<Stream>) -> Self {
        Self(Rc::downgrade(stream))
    }

    /// The stream.
    ///
    /// # Errors
    /// If it does not run.
    pub(super) fn stream(&self) -> mlua::Result<Rc<Stream>> {
        self.0.upgrade().filter(|stream| stream.running.get()).ok_or_else(dead)
    }
}

/// What a stream is made of.
pub(super) struct Passing {
    pub(super) side: Side,
    pub(super) http: Rc<HttpRuntime>,
    pub(super) exchange: Rc<Exchange>,
    pub(super) control: Rc<Control>,
    pub(super) filter: Arc<str>,
    pub(super) context: Option<Arc<Struct>>,
    pub(super) clear_route_cache: bool,
    /// Whether nothing follows the head.
    pub(super) ended: bool,
}

impl Stream {
    pub(super) fn new(passing: Passing) -> Rc<Self> {
        let Passing { side, http, exchange, control, filter, context, clear_route_cache, ended } = passing;
        Rc::new(Self {
            side,
            http,
            exchange,
            control,
            filter,
            context,
            clear_route_cache,
            route: RefCell::default(),
            head: RefCell::default(),
            body: RefCell::default(),
            chunk: RefCell::default(),
            chunk_is_new: Cell::default(),
            trailers: RefCell::default(),
            waiting: RefCell::default(),
            reply: RefCell::default(),
            answer: RefCell::default(),
            keys: RefCell::default(),
            continued: Cell::default(),
            ended: Cell::new(ended),
            streamed: Cell::default(),
            length_told: Cell::default(),
            iterating: Cell::default(),
            refused: Cell::default(),
            kept: Cell::default(),
            running: Cell::default(),
            pauses: Cell::default(),
        })
    }

    /// It runs from now on.
    pub(super) fn begin(&self) {
        self.waiting.take();
        self.running.set(true);
    }

    /// It waits from now on, or has ended: what was given out before counts no more.
    pub(super) fn pause(&self) {
        self.running.set(false);
        self.iterating.set(false);
        self.pauses.set(self.pauses.get().wrapping_add(1));
    }

    /// Takes something in that is kept outside of Lua.
    ///
    /// # Errors
    /// If that is too much.
    pub(super) fn spend(&self, bytes: usize) -> mlua::Result<()> {
        let kept = self.kept.get().saturating_add(bytes);
        if kept > KEPT {
            return Err(self.refuse("the script has set too much"));
        }
        self.kept.set(kept);
        Ok(())
    }

    /// What it may not do here, and could with Envoy.
    pub(super) fn refuse(&self, why: &str) -> Error {
        self.refused.set(true);
        Error::runtime(why)
    }

    /// Whatever fails here would not with Envoy.
    pub(super) fn refused_if<T>(&self, done: mlua::Result<T>) -> mlua::Result<T> {
        done.inspect_err(|_| self.refused.set(true))
    }

    /// Whether it waits for something that holds the head back, too.
    pub(super) fn waits_for_all(&self) -> bool {
        matches!(&*self.waiting.borrow(), Some(Waiting::Body | Waiting::Call(_)))
    }

    /// The whole body is there.
    pub(super) fn take_in(&self, data: Bytes, trailers: Option<Headers>) {
        self.ended.set(true);
        self.body.replace(Some(data));
        self.trailers.replace(trailers);
    }

    /// The head goes on.
    pub(super) fn go_on(&self) {
        let told = match self.side {
            Side::Request => self.exchange.request.borrow().headers.contains_key(header::CONTENT_LENGTH),
            Side::Response => self.head.borrow().headers.contains_key(header::CONTENT_LENGTH),
        };
        self.continued.set(true);
        self.length_told.set(told);
    }

    /// The request is routed anew when somebody asks.
    pub(super) fn clear_route(&self) {
        if self.side == Side::Request && !self.continued.get() && self.route.take().is_some() {
            self.exchange.matched.take();
        }
    }

    /// The route, if there is one.
    pub(super) fn with_route<T>(&self, look: impl FnOnce(&Found) -> T) -> Option<T> {
        let mut route = self.route.borrow_mut();
        if route.is_none() && self.side == Side::Request {
            *route = Some(find(&self.http, &self.exchange));
        }
        match &*route {
            Some(RouteAnswer::Route(found)) => Some(look(found)),
            _ => None,
        }
    }
}

#[cfg(test)]
impl Life {
    /// Of a stream that is gone.
    pub(super) fn of_nothing(stream: Weak<Stream>) -> Self {
        Self { stream, pauses: 0 }
    }
}
