//! An address that stays while who serves there is now one and now another, as a Service's does in a cluster.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The address, until this is dropped.
pub(crate) struct Relay {
    pub address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// One that leads there.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a socket has an address");
        let target = Arc::new(Mutex::new(target));
        let accepting = tokio::spawn(accept(listener, target.clone()));
        Self { address, target, accepting }
    }

    /// Connections that come from now on lead there; the others stay where they are.
    pub fn turn(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: Arc<Mutex<SocketAddr>>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let target = *target.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::spawn(async move {
            // Where nobody serves, the connection just ends.
            let Ok(mut far) = TcpStream::connect(target).await else { return };
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
