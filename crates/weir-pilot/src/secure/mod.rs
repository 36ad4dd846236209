//! Serves proxies of other machines: by TLS, with a certificate of the mesh ([`identity`]), whoever they are. What they show is looked at
//! here, as far as it is a certificate ([`clients`]); whether it is enough, at each of their calls, so that they are told in words.

mod clients;
mod identity;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use weir_ads::grpc::server::{self, Services};
use weir_ads::{Peer, Shown};

use crate::authority::Followed;
use crate::refusals::Refusals;
pub use identity::PilotNames;
use identity::ShownIdentity;

/// So long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// So many connections there may be: more are closed at once.
const CONNECTIONS: usize = 10_000;
/// After an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
struct Serving {
    identity: ShownIdentity,
    authority: Followed,
    services: Services,
    refusals: Arc<Refusals>,
}

/// Accepts connections until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, names: PilotNames, authority: Followed, services: Services, refusals: Arc<Refusals>) {
    let identity = ShownIdentity::new(names, authority.clone());
    let serving = Arc::new(Serving { identity, authority, services, refusals });
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: those in use must be closed first.
                tracing::debug!(%error, "cannot accept a connection of another machine");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            serving.refusals.failed_handshake(peer, "there are too many connections");
            continue;
        };
        let serving = serving.clone();
        tokio::spawn(async move {
            if let Err(reason) = serving.connection(socket, peer).await {
                serving.refusals.failed_handshake(peer, reason);
            }
            drop(place);
        });
    }
}

impl Serving {
    async fn connection(&self, socket: TcpStream, peer: SocketAddr) -> Result<(), String> {
        let local = socket.local_addr().and_then(|local| socket.set_nodelay(true).map(|()| local)).map_err(|error| error.to_string())?;
        let config = self.identity.config(local.ip()).await?;
        let accepting = TlsAcceptor::from(config).accept(socket);
        let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake did not come to an end"));
        let stream = timeout(HANDSHAKE, accepting).await.unwrap_or_else(late).map_err(|error| error.to_string())?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        let begun = self.authority.judge(chain).await;
        let shown = Shown { peer, certificate: begun.certificate.clone(), token: None };
        tokio::select! {
            () = server::connection(stream, self.services.clone(), Peer::Tls(Arc::new(shown))) => {}
            () = begun.ended() => tracing::debug!(%peer, "a connection has outlived its certificate"),
        }
        Ok(())
    }
}
