//! Serves proxies of other machines: by TLS, with a certificate of the mesh ([`identity`]), whoever they are. What they show is looked at
//! here, as far as it is a certificate ([`clients`]); whether it is enough, at each of their calls ([`door`]), so that they are told in
//! words. Who has not shown enough for any does not stay.

mod clients;
mod door;
mod identity;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use weir_ads::grpc::server::{self, Services};
use weir_ads::{Patience, Shown};

use crate::authority::Followed;
use crate::shared::Shared;
use crate::shares::{Shares, place_of};
use door::Door;
pub use identity::PilotNames;
use identity::ShownIdentity;

/// So long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves proxies of other machines. All clones share their connections.
#[derive(Clone)]
pub struct Secure(Arc<Serving>);

/// What all connections share.
struct Serving {
    identity: ShownIdentity,
    authority: Followed,
    services: Services,
    shared: Arc<Shared>,
    door: Arc<Door>,
    /// The places of connections, by where they come from.
    places: Shares<IpAddr>,
}

impl Secure {
    pub(crate) fn new(names: PilotNames, authority: &Followed, services: Services, shared: Arc<Shared>, connections: usize) -> Self {
        let (identity, door) = (ShownIdentity::new(names, authority.clone()), Arc::new(Door(shared.clone())));
        Self(Arc::new(Serving { identity, authority: authority.clone(), services, shared, door, places: Shares::of(connections) }))
    }

    /// Accepts connections until the task is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let Self(serving) = self;
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
            let Some(place) = serving.places.take(place_of(peer.ip())) else {
                serving.shared.refusals.failed_handshake(peer, "there are too many connections, of all or from there");
                continue;
            };
            let serving = serving.clone();
            tokio::spawn(async move {
                if let Err(reason) = serving.connection(socket, peer).await {
                    serving.shared.refusals.failed_handshake(peer, reason);
                }
                drop(place);
            });
        }
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
            () = server::guarded(stream, self.services.clone(), shown, self.door.clone(), Patience::default()) => {}
            () = begun.ended() => tracing::debug!(%peer, "a connection has outlived its certificate"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::sync::watch;

    use super::*;
    use crate::{Authority, Options, Pilot};

    #[tokio::test]
    async fn one_peer_does_not_take_the_places_of_all_others() {
        let (_keep, catalog) = watch::channel(Arc::default());
        let pilot = Pilot::start(catalog, Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let authority = Authority::in_memory("td").unwrap().follow();
        let serving = tokio::spawn(pilot.secure(PilotNames::default(), &authority, 16).serve(listener));
        let mut first = vec![];
        for _ in 0..2 {
            first.push(TcpStream::connect(address).await.unwrap());
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        // It says nothing, and hears nothing but that it has ended.
        assert_eq!(third.read(&mut [0]).await.unwrap_or_default(), 0);
        assert!(first.iter().all(|first| first.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)));
        serving.abort();
    }
}
