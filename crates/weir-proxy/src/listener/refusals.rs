//! Clients whose TLS handshake fails: counted by what was at fault, and told in the log, so that who is kept out is seen. Whoever tries
//! again and again does not fill the log: each worker tells of one in a second, and how many there were besides.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::io::unix_socket;
use crate::stats::listener::WorkerListenerStats;
use crate::tls::refusal::{self, Fault};

/// So often a worker tells of one.
const PAUSE: Duration = Duration::from_secs(1);

thread_local! {
    /// When this worker told of one last, and how many it has not told of since.
    static TOLD: Cell<(Option<Instant>, u64)> = const { Cell::new((None, 0)) };
}

/// Counts a handshake that failed. One that the client broke off is none of ours.
pub(super) fn count(stats: &WorkerListenerStats, error: &io::Error) {
    if !refusal::is_of_tls(error) {
        return;
    }
    stats.ssl_connection_error.add(1);
    match refusal::fault(error) {
        Some(Fault::Chain) => stats.ssl_fail_verify_error.add(1),
        Some(Fault::Names) => stats.ssl_fail_verify_san.add(1),
        Some(Fault::Hash) => stats.ssl_fail_verify_cert_hash.add(1),
        None if refusal::is_without_certificate(error) => stats.ssl_fail_verify_no_cert.add(1),
        None => {}
    }
}

/// Tells of a client whose certificate is not accepted, or who has none.
pub(super) fn tell(remote: SocketAddr, local: SocketAddr, error: &io::Error) {
    if refusal::fault(error).is_none() && !refusal::is_without_certificate(error) {
        return;
    }
    let now = Instant::now();
    match TOLD.get() {
        (Some(last), more) if now.duration_since(last) < PAUSE => TOLD.set((Some(last), more + 1)),
        (_, more) => {
            TOLD.set((Some(now), 0));
            tracing::warn!(remote = %unix_socket::shown(remote), %local, more, "a client is not let in: {}", refusal::words_of(error));
        }
    }
}
