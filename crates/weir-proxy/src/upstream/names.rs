//! Hosts that requests name, looked up when they come
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/http_proxy>). The resolver remembers its answers for
//! as long as they may be believed.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use weir_routing::without_port;

/// Looks names up for one worker.
pub struct Names(Option<TokioResolver>);

impl Default for Names {
    fn default() -> Self {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        if let Err(error) = &resolver {
            tracing::error!(%error, "the system's name service cannot be used; hosts that requests name are not found");
        }
        Self(resolver.ok())
    }
}

impl Names {
    /// The address of an authority; without a port of its own, at this one. An IPv4 address goes before one of IPv6.
    pub async fn find(&self, authority: &str, port: u16) -> Option<SocketAddr> {
        let host = without_port(authority);
        let port = match authority.get(host.len()..).and_then(|rest| rest.strip_prefix(':')) {
            Some(written) => written.parse().ok()?,
            None => port,
        };
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Some(SocketAddr::new(ip, port));
        }
        let found = self.0.as_ref()?.lookup_ip(host).await;
        match found {
            Ok(found) => found.iter().min_by_key(IpAddr::is_ipv6).map(|ip| SocketAddr::new(ip, port)),
            Err(error) => {
                tracing::debug!(%error, "{host} cannot be resolved");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_its_own_name() {
        let nobody = Names(None);
        let cases = [
            ("10.0.0.1", Some("10.0.0.1:80")),
            ("10.0.0.1:81", Some("10.0.0.1:81")),
            ("[::1]:81", Some("[::1]:81")),
            ("[::1]", Some("[::1]:80")),
            ("10.0.0.1:99999", None),
            ("a.test", None),
        ];
        for (authority, expected) in cases {
            assert_eq!(nobody.find(authority, 80).await.map(|address| address.to_string()).as_deref(), expected, "{authority}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let found = Names::default().find("localhost:81", 80).await;
        assert_eq!(found.map(|address| (address.ip().is_loopback(), address.port())), Some((true, 81)));
    }
}
