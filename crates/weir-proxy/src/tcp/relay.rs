//! Passing bytes both ways, until both sides have ended.
//!
//! Between two sockets nothing is held while nothing is sent: all connections of a worker share one buffer, and
//! only what the other side does not take at once is kept.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::exchange::Exchange;
use crate::io::watched::Watched;

/// What is read at a time.
const BUFFER: usize = 64 << 10;
/// What is kept for each direction where a buffer cannot be shared.
const SMALL_BUFFER: usize = 16 << 10;

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
    /// The client broke off.
    Client,
    /// The instance broke off.
    Upstream,
}

/// Passes bytes between two sockets; `first` was read of the client's already. Counts them on the exchange.
pub async fn relay(client: &TcpStream, first: Bytes, upstream: &TcpStream, exchange: &Exchange, idle: Option<Duration>) -> End {
    let active = Cell::new(Instant::now());
    let up = async {
        if !first.is_empty() {
            exchange.bytes_received.set(exchange.bytes_received.get() + first.len() as u64);
            write_all(upstream, &first).await.map_err(Side::To)?;
        }
        pump(client, upstream, &exchange.bytes_received, &active).await
    };
    let down = pump(upstream, client, &exchange.bytes_sent, &active);
    let both = async {
        match tokio::try_join!(async { up.await.map_err(|error| error.end(true)) }, async { down.await.map_err(|error| error.end(false)) })
        {
            Ok(_) => End::Both,
            Err(end) => end,
        }
    };
    match idle {
        None => both.await,
        Some(limit) => tokio::select! { end = both => end, () = silence(&active, limit) => End::Idle },
    }
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

/// Passes bytes one way, and then the end.
async fn pump(from: &TcpStream, to: &TcpStream, count: &Cell<u64>, active: &Cell<Instant>) -> Result<(), Side> {
    loop {
        from.readable().await.map_err(Side::From)?;
        match pass_once(from, to)? {
            Passed::Nothing => {}
            Passed::End => {
                let _ = socket2::SockRef::from(to).shutdown(std::net::Shutdown::Write);
                return Ok(());
            }
            Passed::Bytes(length, rest) => {
                count.set(count.get() + length as u64);
                active.set(Instant::now());
                if !rest.is_empty() {
                    write_all(to, &rest).await.map_err(Side::To)?;
                }
            }
        }
    }
}

enum Passed {
    Nothing,
    End,
    /// So many were read; these are still to be written.
    Bytes(usize, Vec<u8>),
}

fn pass_once(from: &TcpStream, to: &TcpStream) -> Result<Passed, Side> {
    SHARED.with_borrow_mut(|buffer| {
        let length = match from.try_read(buffer) {
            Ok(0) => return Ok(Passed::End),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Passed::Nothing),
            Err(error) => return Err(Side::From(error)),
        };
        let written = match to.try_write(&buffer[..length]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(Side::To(error)),
        };
        Ok(Passed::Bytes(length, buffer[written..length].to_vec()))
    })
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ends when nothing was sent for so long.
async fn silence(active: &Cell<Instant>, limit: Duration) {
    loop {
        let end = active.get() + limit;
        if Instant::now() >= end {
            return;
        }
        tokio::time::sleep_until(end.into()).await;
    }
}

/// Passes bytes between streams of any kind. Counts them on the exchange.
pub async fn copy(
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: impl AsyncRead + AsyncWrite + Unpin,
    exchange: &Exchange,
    idle: Option<Duration>,
) -> End {
    let active = Cell::new(Instant::now());
    let (client_broke, upstream_broke) = (Cell::new(false), Cell::new(false));
    let mut client = Watched::new(client, &exchange.bytes_received, &active, &client_broke);
    let mut upstream = Watched::new(upstream, &exchange.bytes_sent, &active, &upstream_broke);
    let both = async {
        let copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, SMALL_BUFFER, SMALL_BUFFER).await;
        match copied {
            Ok(_) => client.shutdown().await.map_or(End::Client, |()| End::Both),
            Err(_) if upstream_broke.get() => End::Upstream,
            Err(_) => End::Client,
        }
    };
    match idle {
        None => both.await,
        Some(limit) => tokio::select! { end = both => end, () = silence(&active, limit) => End::Idle },
    }
}
