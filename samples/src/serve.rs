//! The accept loop that all applications share: connections until somebody says stop, then the end of each in its own time.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long to let connections go before the next try, when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Tells a connection that it should end after the work in hand.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<()>);

impl Stop {
    /// Resolves when it is time to stop.
    pub(crate) async fn requested(&mut self) {
        // Nothing is ever sent: the sender's end is the message.
        while self.0.changed().await.is_ok() {}
    }
}

/// Runs `connection` for each that comes in until `shutdown` resolves, closes the listener, and waits for the
/// connections that are still open. Dropping the future ends them at once.
pub(crate) async fn accept<C, F>(listener: TcpListener, shutdown: impl Future<Output = ()> + Send, connection: C)
where
    C: Fn(TcpStream, SocketAddr, Stop) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (running, stop) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Only costs latency if it fails, and the next read or write reports a connection that is gone.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(connection(stream, peer, Stop(stop.clone())));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    drop(running);
    while connections.join_next().await.is_some() {}
}
