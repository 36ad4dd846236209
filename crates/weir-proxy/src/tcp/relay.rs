//! Passing bytes both ways between streams of any kind, until both sides have ended.
//!
//! Nothing is held while nothing is sent: all connections of a worker share one buffer, and only what the other side does not
//! take at once is kept.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::exchange::Exchange;
use crate::io::fairness::spend;

/// What is read at a time.
const BUFFER: usize = 64 << 10;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// Why bytes no longer pass.
#[derive(Debug)]
pub enum End {
    /// Both sides have ended in good order.
    Both,
    /// Nothing was sent for too long.
    Idle,
    /// It lasted longer than it may.
    TooLong,
    /// The client broke off, or was the first to end where that ends both.
    Client,
    /// The instance broke off.
    Upstream,
    /// The instance was the first to end, in good order, where that ends both.
    UpstreamFirst,
}

/// Passes bytes between a client and an instance, and counts them on the exchange. Silence ends it after `idle`.
pub async fn relay(
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: impl AsyncRead + AsyncWrite + Unpin,
    exchange: &Exchange,
    idle: Option<Duration>,
) -> End {
    exchange.active.set(idle.map(|_| Instant::now()));
    let both = pass(client, upstream, exchange, Until::BothEnd);
    match idle {
        None => both.await,
        Some(limit) => tokio::select! { end = both => end, () = exchange.silence(limit) => End::Idle },
    }
}

/// How long bytes pass.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To the end of both sides.
    BothEnd,
    /// To the end of the instance. What it has sent is passed on before, and the client is told.
    UpstreamEnds,
    /// To the end of either. What it has sent is passed on before; the client is not told, for it is still to be
    /// [seen off](crate::io::farewell).
    OneEnds,
}

/// Passes bytes, and counts them on the exchange; tells why they no longer pass.
pub async fn pass(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut upstream: impl AsyncRead + AsyncWrite + Unpin,
    exchange: &Exchange,
    until: Until,
) -> End {
    let (mut up, mut down) = (OneWay::default(), OneWay { is_silent: until == Until::OneEnds, ..OneWay::default() });
    poll_fn(|cx| {
        let sent = up.poll(cx, &mut client, &mut upstream, &exchange.bytes_received, exchange);
        let has_ended = sent.is_ready();
        match sent {
            Poll::Ready(Err(broken)) => return Poll::Ready(broken.end(true)),
            Poll::Ready(Ok(())) if until == Until::OneEnds => return Poll::Ready(End::Client),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        match down.poll(cx, &mut upstream, &mut client, &exchange.bytes_sent, exchange) {
            Poll::Ready(Err(broken)) => Poll::Ready(broken.end(false)),
            Poll::Ready(Ok(())) if until != Until::BothEnd => Poll::Ready(End::UpstreamFirst),
            Poll::Ready(Ok(())) if has_ended => Poll::Ready(End::Both),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Which side an error is of, as seen by one direction.
enum Side {
    From(io::Error),
    To(io::Error),
}

impl Side {
    fn end(self, from_client: bool) -> End {
        let (error, of_client) = match self {
            Self::From(error) => (error, from_client),
            Self::To(error) => (error, !from_client),
        };
        tracing::trace!(%error, of_client, "a TCP connection broke off");
        if of_client { End::Client } else { End::Upstream }
    }
}

/// How far one direction is.
#[derive(Debug, Default)]
struct OneWay {
    /// What was read and is still to be written.
    rest: Vec<u8>,
    /// How much of it has been written.
    written: usize,
    /// Whether the other side has been given all that was written.
    flushed: bool,
    /// Whether the other side is not told of the end.
    is_silent: bool,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// There is nothing more to read; the other side is still to be told.
    Ending,
    Ended,
}

impl OneWay {
    /// Passes on what there is; ready when the end has been passed on, too.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        count: &Cell<u64>,
        exchange: &Exchange,
    ) -> Poll<Result<(), Side>> {
        loop {
            ready!(self.poll_rest(cx, to, exchange)).map_err(Side::To)?;
            if self.state == State::Ending {
                if !self.is_silent {
                    // Whoever cannot be told any more has ended already.
                    let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                }
                self.state = State::Ended;
            }
            if self.state == State::Ended {
                return Poll::Ready(Ok(()));
            }
            match self.poll_once(cx, from, to) {
                Poll::Ready(Ok(0)) => self.state = State::Ending,
                Poll::Ready(Ok(length)) => {
                    count.set(count.get() + length as u64);
                    exchange.is_active();
                }
                Poll::Ready(Err(side)) => return Poll::Ready(Err(side)),
                Poll::Pending => {
                    // Streams of TLS hold back what they were given.
                    if !self.flushed {
                        self.flushed = Pin::new(&mut *to).poll_flush(cx).map_err(Side::To)?.is_ready();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes what was read before.
    fn poll_rest(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin), exchange: &Exchange) -> Poll<io::Result<()>> {
        while let Some(rest) = self.rest.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *to).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += length,
            }
            exchange.is_active();
        }
        // A buffer that was needed once is not kept.
        self.rest = vec![];
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes what is taken at once; how much was read.
    fn poll_once(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<usize, Side>> {
        SHARED.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(from).poll_read(cx, &mut buffer)).map_err(Side::From)?;
            let read = buffer.filled();
            spend(cx, read.len());
            if read.is_empty() {
                return Poll::Ready(Ok(0));
            }
            self.flushed = false;
            let written = match Pin::new(to).poll_write(cx, read) {
                Poll::Ready(written) => written.map_err(Side::To)?,
                Poll::Pending => 0,
            };
            self.rest = read.get(written..).unwrap_or_default().to_vec();
            Poll::Ready(Ok(read.len()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::exchange::{ConnectionInfo, LastHeard};

    /// The ends of a client and of an instance, with a relay of streams that hold few bytes between them.
    async fn between<T>(idle: Option<Duration>, talk: impl AsyncFnOnce(DuplexStream, DuplexStream) -> T) -> (End, T, (u64, u64)) {
        let address = ([127, 0, 0, 1], 80).into();
        let info = ConnectionInfo {
            id: 0,
            local: address,
            original_destination: None,
            remote: address,
            direct_remote: address,
            source: None,
            server_name: None,
            tls_version: None,
            ends: None,
            heard: LastHeard::default(),
        };
        let exchange = Exchange::new(Rc::new(info), None, false);
        let ((client, near), (far, instance)) = (duplex(7), duplex(5));
        let (end, said) = tokio::join!(relay(near, far, &exchange, idle), talk(client, instance));
        (end, said, (exchange.bytes_received.get(), exchange.bytes_sent.get()))
    }

    #[tokio::test]
    async fn streams_that_take_little_at_a_time_lose_nothing() {
        let (end, heard, counted) = between(None, async |mut client: DuplexStream, mut instance: DuplexStream| {
            let saying = async {
                client.write_all(&[b'x'; 10_000]).await.unwrap();
                client.shutdown().await.unwrap();
                let mut answer = vec![];
                client.read_to_end(&mut answer).await.unwrap();
                answer.len()
            };
            let hearing = async {
                let mut heard = vec![];
                instance.read_to_end(&mut heard).await.unwrap();
                instance.write_all(&[b'y'; 3000]).await.unwrap();
                instance.shutdown().await.unwrap();
                heard.len()
            };
            tokio::join!(hearing, saying)
        })
        .await;
        assert!(matches!(end, End::Both), "{end:?}");
        assert_eq!((heard, counted), ((10_000, 3000), (10_000, 3000)));
    }

    #[tokio::test]
    async fn silence_ends_streams_of_any_kind() {
        let limit = Duration::from_millis(200);
        let (end, (), counted) = between(Some(limit), async |mut client: DuplexStream, mut instance: DuplexStream| {
            client.write_all(b"hello").await.unwrap();
            let mut heard = vec![];
            instance.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"hello");
        })
        .await;
        assert!(matches!(end, End::Idle), "{end:?}");
        assert_eq!(counted, (5, 0));
    }
}
