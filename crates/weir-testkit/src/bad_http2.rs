//! Instances that misbehave over HTTP/2: what to do with each stream, in order.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::peer::own_address;
use crate::wait::DEADLINE;

/// What an instance does with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamAct {
    /// Answers 200 with this body.
    Answer(&'static str),
    /// Begins an answer with this body, and does not end it.
    Half(&'static str),
    /// Begins an answer, and resets the stream.
    HalfThenReset(Reason),
    /// Resets it.
    Reset(Reason),
    /// Answers when the test says [`BadHttp2Peer::go_on`].
    Hold(&'static str),
    /// Says that it takes no more streams, and answers when the test says so.
    GoAwayThenHold(&'static str),
    /// Ends the connection with an error at once.
    GoAwayNow(Reason),
    /// Ends the connection without a word.
    Close,
}

/// An instance that speaks HTTP/2 and does what its script says.
pub struct BadHttp2Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    script: Vec<StreamAct>,
    max_streams: Option<u32>,
    connections: watch::Sender<usize>,
    streams: watch::Sender<usize>,
    released: watch::Sender<bool>,
}

impl BadHttp2Peer {
    /// An instance with an act for each stream, in their order; the last is for all that follow. It allows so many
    /// streams of a connection at once.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start(script: &[StreamAct], max_streams: Option<u32>) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).await.expect("a peer's address is its own");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Shared {
            script: script.to_vec(),
            max_streams,
            connections: watch::Sender::default(),
            streams: watch::Sender::default(),
            released: watch::Sender::default(),
        };
        let shared = Arc::new(shared);
        let task = tokio::spawn(serve(listener, shared.clone()));
        Self { address, shared, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// How many streams it has accepted.
    pub fn streams(&self) -> usize {
        *self.shared.streams.borrow()
    }

    /// Waits until it has accepted so many streams.
    ///
    /// # Panics
    /// If they do not come.
    pub async fn has_streams(&self, streams: usize) {
        let mut count = self.shared.streams.subscribe();
        let reached = timeout(DEADLINE, count.wait_for(|count| *count >= streams)).await;
        reached.expect("the streams come in time").expect("a peer does not go away");
    }

    /// Answers what is held back, and all that comes from now on.
    pub fn go_on(&self) {
        self.shared.released.send_replace(true);
    }
}

impl Drop for BadHttp2Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.send_modify(|count| *count += 1);
        connections.spawn(converse(stream, shared.clone()));
    }
}

/// What a stream asks of its connection.
#[derive(Default)]
struct Orders {
    changed: Notify,
    order: watch::Sender<Option<StreamAct>>,
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let mut builder = server::Builder::new();
    if let Some(max) = shared.max_streams {
        builder.max_concurrent_streams(max);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let orders = Arc::new(Orders::default());
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = orders.changed.notified() => match orders.order.send_replace(None) {
                Some(StreamAct::GoAwayThenHold(_)) => connection.graceful_shutdown(),
                Some(StreamAct::GoAwayNow(reason)) => connection.abrupt_shutdown(reason),
                Some(StreamAct::Close) => return,
                _ => {}
            },
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { break };
                let mut number = 0;
                shared.streams.send_modify(|count| { *count += 1; number = *count; });
                let act = shared.script.get(number - 1).or(shared.script.last()).copied().unwrap_or(StreamAct::Answer(""));
                streams.spawn(answer(request, respond, act, shared.clone(), orders.clone()));
            }
        }
    }
    let _ = poll_fn(|cx| connection.poll_closed(cx)).await;
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    act: StreamAct,
    shared: Arc<Shared>,
    orders: Arc<Orders>,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    let ask = || {
        orders.order.send_replace(Some(act));
        orders.changed.notify_one();
    };
    match act {
        StreamAct::Answer(text) => {
            while let Some(part) = body.data().await {
                body.flow_control().release_capacity(part?.len())?;
            }
            respond.send_response(Response::new(()), false)?.send_data(text.into(), true)
        }
        StreamAct::Half(text) => {
            let mut half = respond.send_response(Response::new(()), false)?;
            half.send_data(text.into(), false)?;
            std::future::pending().await
        }
        StreamAct::HalfThenReset(reason) => {
            let mut half = respond.send_response(Response::new(()), false)?;
            half.send_data("half".into(), false)?;
            // A reset overtakes what waits to be sent.
            let mut released = shared.released.subscribe();
            let _ = released.wait_for(|released| *released).await;
            half.send_reset(reason);
            Ok(())
        }
        StreamAct::Reset(reason) => {
            respond.send_reset(reason);
            Ok(())
        }
        StreamAct::Hold(text) | StreamAct::GoAwayThenHold(text) => {
            if act != StreamAct::Hold(text) {
                ask();
            }
            let mut released = shared.released.subscribe();
            let _ = released.wait_for(|released| *released).await;
            respond.send_response(Response::new(()), false)?.send_data(text.into(), true)
        }
        StreamAct::GoAwayNow(_) | StreamAct::Close => {
            ask();
            std::future::pending().await
        }
    }
}
