//! Serves xDS where it was asked for.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::net::UnixListener;
use weir_ads::certificates::Certificates;
use weir_ads::grpc;
use weir_pilot::Pilot;
use weir_proxy::listener::paths;

use super::process::bind;
use crate::cli::XdsAddress;

/// Secrets pass there: nobody else of this machine may read them.
const MODE: u32 = 0o600;

/// Paths at which xDS is served; they are removed with it.
#[derive(Debug, Default)]
pub(crate) struct Served {
    paths: Vec<(PathBuf, paths::Identity)>,
    /// Where, as people read it.
    pub places: Vec<String>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.paths.iter().for_each(|(path, identity)| paths::remove(path, *identity));
    }
}

/// Serves a pilot's proxies at all of these places; certificates, if asked for so, only at those that are Unix sockets.
///
/// # Errors
/// If one of them cannot be had.
pub(crate) async fn serve_xds(
    pilot: &Pilot,
    certificates: &Certificates,
    addresses: &[XdsAddress],
    secrets_only_at_sockets: bool,
) -> anyhow::Result<Served> {
    let mut served = Served::default();
    for address in addresses {
        let (listener, place): (grpc::Listener, String) = match address {
            XdsAddress::Tcp(address) => {
                let listener = bind(*address, "xDS", "--xds").await?;
                let place = listener.local_addr()?.to_string();
                let listener = if secrets_only_at_sockets { grpc::Listener::Untrusted(listener) } else { listener.into() };
                (listener, place)
            }
            XdsAddress::Unix(path) => (at_path(path, &mut served)?.into(), format!("unix:{}", path.display())),
        };
        served.places.push(place);
        tokio::spawn(grpc::server::serve(listener, pilot.services(certificates.clone())));
    }
    Ok(served)
}

fn at_path(path: &Path, served: &mut Served) -> anyhow::Result<UnixListener> {
    let failed = || format!("xDS cannot be served at {}; name another path with --xds", path.display());
    let (socket, identity) = paths::open(path, MODE).with_context(failed)?;
    served.paths.extend(identity.map(|identity| (path.to_owned(), identity)));
    UnixListener::from_std(socket).with_context(failed)
}
