//! Clients whose TLS handshake fails, and those whom rules keep out: the former are counted by what was at fault, and both are told in the
//! log, so that who is kept out is seen. Whoever tries again and again does not fill the log: each worker tells of one in a second, and how
//! many there were besides.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::thread::LocalKey;
use std::time::{Duration, Instant};

use crate::io::unix_socket;
use crate::stats::listener::WorkerListenerStats;
use crate::tls::refusal::{self, Fault};

/// So often a worker tells of one.
const PAUSE: Duration = Duration::from_secs(1);

/// When a worker told of one last, and how many it has not told of since.
type Told = Cell<(Option<Instant>, u64)>;

thread_local! {
    static OF_HANDSHAKES: Told = const { Cell::new((None, 0)) };
    static OF_RULES: Told = const { Cell::new((None, 0)) };
}

/// Whether to tell of one more, and of how many nobody was told meanwhile.
fn may_tell(told: &'static LocalKey<Told>, now: Instant) -> Option<u64> {
    let (last, more) = told.get();
    let tells = last.is_none_or(|last| now.duration_since(last) >= PAUSE);
    told.set(if tells { (Some(now), 0) } else { (last, more + 1) });
    tells.then_some(more)
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
    if let Some(more) = may_tell(&OF_HANDSHAKES, Instant::now()) {
        tracing::warn!(remote = %unix_socket::shown(remote), %local, more, "a client is not let in: {}", refusal::words_of(error));
    }
}

/// Tells of a connection that rules, or a service that was asked, do not let in.
pub(super) fn tell_by_rules(remote: SocketAddr, local: SocketAddr, why: &str) {
    if let Some(more) = may_tell(&OF_RULES, Instant::now()) {
        let (remote, local) = (unix_socket::shown(remote), unix_socket::shown(local));
        tracing::info!(%remote, %local, why, more, "a connection is not let in");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_tries_again_and_again_is_told_of_now_and_then() {
        thread_local! {
            static HERE: Told = const { Cell::new((None, 0)) };
        }
        let start = Instant::now();
        let at = |millis| may_tell(&HERE, start + Duration::from_millis(millis));
        assert_eq!([at(0), at(1), at(999), at(1000), at(1001), at(3000)], [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
