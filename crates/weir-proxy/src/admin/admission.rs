//! Who is answered at all.
//!
//! At a loopback address whoever is on this machine asks, and web pages that its browser shows: these come under a name of their own, which
//! somebody lets lead here (DNS rebinding), and are told nothing. At other addresses everybody asks who can reach them, and hears no
//! more than whether the process is ready, and what it has counted.

use std::net::IpAddr;

use http::Request;
use http::header::HOST;
use http::uri::Authority;

/// What anybody may ask for.
const OPEN: [&str; 4] = ["/ready", "/metrics", "/stats", "/stats/prometheus"];

/// Whether a request is answered that has come to an address of this machine.
///
/// # Errors
/// Why not, for whoever asks.
pub(super) fn admit<B>(request: &Request<B>, local: IpAddr) -> Result<(), &'static str> {
    let path = request.uri().path();
    if !local.to_canonical().is_loopback() {
        return if OPEN.contains(&path) {
            Ok(())
        } else {
            Err("at this address only /ready and metrics are told: ask at a loopback address\n")
        };
    }
    let of_header = request.headers().get_all(HOST).iter().map(|host| host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()));
    let mut named = request.uri().authority().cloned().map(Some).into_iter().chain(of_header).peekable();
    if named.peek().is_some() && named.all(|host| host.is_some_and(|host| is_loopback(host.host()))) {
        return Ok(());
    }
    Err("only who asks for localhost, or a loopback address, is answered here\n")
}

/// Whether a host is a loopback address, or the name of one.
fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(local: &str, target: &str, hosts: &[&str]) -> bool {
        let mut request = Request::get(target).body(()).unwrap();
        for host in hosts {
            request.headers_mut().append(HOST, host.parse().unwrap());
        }
        admit(&request, local.parse().unwrap()).is_ok()
    }

    #[test]
    fn at_a_loopback_address_who_names_one_is_answered() {
        for host in ["localhost", "LocalHost:15000", "localhost.:1", "127.0.0.1:15000", "127.8.0.1", "[::1]:15000", "[::ffff:127.0.0.1]"] {
            for local in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
                assert!(of(local, "/config_dump", &[host]), "{host}");
            }
        }
        for host in
            ["evil.example:15000", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1:15000", "[fd00::1]", "0.0.0.0", "", "a b"]
        {
            for path in ["/config_dump", "/ready", "/metrics"] {
                assert!(!of("127.0.0.1", path, &[host]), "{host}");
            }
        }
        assert!(!of("127.0.0.1", "/config_dump", &[]), "nobody is named");
        assert!(!of("127.0.0.1", "/config_dump", &["localhost", "evil.example"]));
        assert!(!of("127.0.0.1", "http://evil.example/config_dump", &["localhost"]));
        assert!(of("127.0.0.1", "http://localhost/config_dump", &["localhost"]));
    }

    #[test]
    fn at_other_addresses_only_readiness_and_metrics_are_told() {
        for local in ["10.0.0.1", "fd00::1", "::ffff:10.0.0.1"] {
            for path in ["/ready", "/metrics", "/stats", "/stats/prometheus?usedonly"] {
                assert!(of(local, path, &["metrics.example:15000"]), "{path}");
            }
            for path in
                ["/", "/config_dump", "/clusters", "/listeners", "/weir/resources", "/debug/syncz", "/ready/", "//ready", "/stats/x"]
            {
                assert!(!of(local, path, &["localhost"]), "{path}");
            }
        }
    }
}
