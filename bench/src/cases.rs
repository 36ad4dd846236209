//! What is measured: each case told once as Istio's configuration, for Weir and Envoy, once as HAProxy's and once as nginx's.

mod haproxy;
mod istio;
mod nginx;
mod sidecars;

use std::path::PathBuf;

use crate::handshakes::HOST;

/// The ports of v1, v2 and v3 of the upstream.
pub type Upstreams = [u16; 3];

/// Where the upstream's answer has a body of 128 bytes; elsewhere it is as short as can be.
pub const LONGER_PATH: &str = "/longer";
/// Where the upstream's answer has a body of 64 KiB.
pub const LARGE_PATH: &str = "/large";

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// With keep-alive.
    Http1,
    /// Without TLS, by prior knowledge.
    Http2,
    /// HTTP/1.1 over TLS; of clients only.
    Tls,
    /// HTTP/2 over TLS; of clients only.
    Http2Tls,
}

/// How long clients keep their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// All the time.
    Kept,
    /// For one request; sessions of TLS are resumed.
    Resumed,
    /// For one request, with a whole handshake.
    New,
}

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// A GET.
    Nothing,
    /// A POST of 64 KiB.
    Large,
    /// A call of gRPC with one small message.
    Grpc,
}

/// A certificate for [`Protocol::Tls`], in files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// In PEM, as the others are.
    pub certificate: PathBuf,
    /// Of the certificate.
    pub key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub both: PathBuf,
}

/// How requests are routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    /// A rule that looks at a header and does not hold, then a split in halves.
    Split,
    /// As many prefix routes, each to a service of its own; the last one is asked for.
    Prefixes(u32),
    /// None: all connections go to one service, as bytes.
    Bytes,
    /// From one sidecar to another, and by TLS between them.
    Sidecars,
}

/// The workloads that have [sidecars](Case::mutual_tls), the client first: their names, and their addresses of this machine.
pub(crate) const WORKLOADS: [(&str, &str); 2] = [("client", "127.0.0.10"), ("server", "127.0.0.20")];

/// A configuration, in three languages, and what is asked of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// Names its folder.
    pub name: &'static str,
    /// As tables call it.
    pub title: String,
    /// What is requested.
    pub path: String,
    /// What a request carries.
    pub body: Body,
    /// What clients speak.
    pub downstream: Protocol,
    /// How long they keep their connections.
    pub connections: Connections,
    upstream: Protocol,
    /// Whether requests pass a script.
    has_script: bool,
    rules: Rules,
    /// How many rules say who may ask, of which the last lets the request in; none lets everybody in.
    authorization: u32,
    certificate: Option<Certificate>,
    upstreams: Upstreams,
}

impl Case {
    fn new(name: &'static str, title: &str, rules: Rules, upstreams: Upstreams) -> Self {
        let path = match rules {
            Rules::Split | Rules::Bytes | Rules::Sidecars => "/reviews/1".to_owned(),
            Rules::Prefixes(count) => format!("/r{:05}/", count.saturating_sub(1)),
        };
        let (body, http1) = (Body::Nothing, Protocol::Http1);
        let title = title.to_owned();
        let connections = Connections::Kept;
        Self {
            name,
            title,
            path,
            body,
            downstream: http1,
            connections,
            upstream: http1,
            has_script: false,
            rules,
            authorization: 0,
            certificate: None,
            upstreams,
        }
    }

    /// HTTP/1.1, a header match and a split.
    pub fn split(upstreams: Upstreams) -> Self {
        Self::new("split", "a header match and a 50/50 split", Rules::Split, upstreams)
    }

    /// The same, and so many rules of an AuthorizationPolicy.
    pub fn authorized(upstreams: Upstreams, rules: u32) -> Self {
        Self { authorization: rules, ..Self::new("authorized", "a split, and rules that say who may ask", Rules::Split, upstreams) }
    }

    /// HTTP/1.1, one prefix route.
    pub fn only_route(upstreams: Upstreams) -> Self {
        Self::new("only-route", "the only prefix route", Rules::Prefixes(1), upstreams)
    }

    /// HTTP/1.1, one prefix route, and a script in Lua that adds a header to each request.
    pub fn script(upstreams: Upstreams) -> Self {
        Self { has_script: true, ..Self::new("lua", "a script in Lua that adds a header", Rules::Prefixes(1), upstreams) }
    }

    /// HTTP/1.1, the last of many prefix routes.
    pub fn last_route(upstreams: Upstreams, count: u32) -> Self {
        let title = format!("the last of {} prefix routes", thousands(count));
        Self::new("last-route", &title, Rules::Prefixes(count), upstreams)
    }

    /// HTTP/2 on both sides.
    pub fn http2(upstreams: Upstreams) -> Self {
        Self { downstream: Protocol::Http2, upstream: Protocol::Http2, ..Self::new("http2", "HTTP/2", Rules::Split, upstreams) }
    }

    /// Unary calls of gRPC.
    pub fn grpc(upstreams: Upstreams) -> Self {
        Self {
            name: "grpc",
            title: "gRPC, unary".to_owned(),
            path: "/reviews.Reviews/Get".to_owned(),
            body: Body::Grpc,
            ..Self::http2(upstreams)
        }
    }

    /// HTTP/1.1, large answers.
    pub fn large_answers(upstreams: Upstreams) -> Self {
        Self { path: LARGE_PATH.to_owned(), ..Self::new("large-answers", "answers of 64 KiB", Rules::Split, upstreams) }
    }

    /// HTTP/1.1, large requests.
    pub fn large_requests(upstreams: Upstreams) -> Self {
        Self { body: Body::Large, ..Self::new("large-requests", "requests of 64 KiB", Rules::Split, upstreams) }
    }

    /// The only prefix route, by TLS, for clients that keep their connections or do not.
    pub fn over_tls(upstreams: Upstreams, downstream: Protocol, connections: Connections, certificate: &Certificate) -> Self {
        let (name, title) = match (downstream, connections) {
            (Protocol::Http2Tls, _) => ("tls-http2", "HTTP/2 over TLS"),
            (_, Connections::Kept) => ("tls-kept", "HTTP/1.1 over TLS"),
            (_, Connections::Resumed) => ("tls-resumed", "TLS, a session resumed for each request"),
            (_, Connections::New) => ("tls-new", "TLS, a new handshake for each request"),
        };
        Self { downstream, connections, certificate: Some(certificate.clone()), ..Self::new(name, title, Rules::Prefixes(1), upstreams) }
    }

    /// HTTP/1.1 through two sidecars, which speak TLS to each other and know each other by their certificates.
    pub fn mutual_tls(upstreams: Upstreams) -> Self {
        Self::new("mtls", "mTLS between two sidecars, both together", Rules::Sidecars, upstreams)
    }

    /// Whether a request passes two sidecars, and no gateway.
    pub fn has_sidecars(&self) -> bool {
        self.rules == Rules::Sidecars
    }

    /// Whether only those can be asked that follow the pilot.
    pub fn needs_pilot(&self) -> bool {
        self.has_script || self.has_sidecars()
    }

    /// The host that clients must ask for: sidecars know services by their names, where a gateway takes whatever comes.
    pub(crate) fn host(&self) -> Option<&'static str> {
        self.has_sidecars().then_some(HOST)
    }

    /// Bytes, in small parts or in large ones.
    pub fn bytes(upstreams: Upstreams, are_large: bool) -> Self {
        match are_large {
            false => Self::new("tcp-small", "TCP, small requests and answers", Rules::Bytes, upstreams),
            true => Self { path: LARGE_PATH.to_owned(), ..Self::new("tcp-bulk", "TCP, answers of 64 KiB", Rules::Bytes, upstreams) },
        }
    }

    /// Ten routes, for clients that do nothing after their first request.
    pub fn idle(upstreams: Upstreams, downstream: Protocol, certificate: &Certificate) -> Self {
        let (name, title) = match downstream {
            Protocol::Http1 => ("idle-http1", "HTTP/1.1"),
            Protocol::Http2 => ("idle-http2", "HTTP/2"),
            Protocol::Tls | Protocol::Http2Tls => ("idle-tls", "HTTP/1.1 over TLS"),
        };
        Self { downstream, certificate: Some(certificate.clone()), ..Self::new(name, title, Rules::Prefixes(10), upstreams) }
    }

    /// Where a relay goes, which knows no routes.
    pub(crate) fn first_upstream(&self) -> u16 {
        self.upstreams[0]
    }

    /// The certificate that clients see, if they speak TLS.
    fn tls(&self) -> Option<&Certificate> {
        self.certificate.as_ref().filter(|_| matches!(self.downstream, Protocol::Tls | Protocol::Http2Tls))
    }
}

/// With a comma where a reader wants one.
fn thousands(count: u32) -> String {
    if count < 1_000 { count.to_string() } else { format!("{},{:03}", count / 1_000, count % 1_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_route_is_asked_for() {
        let case = Case::last_route([1, 2, 3], 10_000);
        assert_eq!((case.title.as_str(), case.path.as_str()), ("the last of 10,000 prefix routes", "/r09999/"));
        assert!(case.istio(80).contains("prefix: /r09999/"));
        assert!(case.haproxy(80).contains("path_beg /r09999/"));
        assert!(case.nginx(80, "/work".as_ref()).contains("location /r09999/ "));
    }

    #[test]
    fn the_last_rule_lets_the_request_in() {
        let case = Case { path: LONGER_PATH.to_owned(), ..Case::authorized([1, 2, 3], 100) };
        let text = case.istio(80);
        assert_eq!(
            (text.matches("\n  - to:").count() + text.matches("\n  - from:").count(), text.matches("paths: [/longer]").count()),
            (100, 1)
        );
        assert!(!Case::split([1, 2, 3]).istio(80).contains("AuthorizationPolicy"));
    }

    #[test]
    fn a_script_stands_before_the_router_of_the_gateway() {
        let resources = |case: Case| case.istio(80);
        assert!(resources(Case::script([1, 2, 3])).contains("envoy.filters.http.lua"));
        assert!(!resources(Case::only_route([1, 2, 3])).contains("EnvoyFilter"));
    }

    #[test]
    fn each_sidecar_has_a_port_of_its_own_address() {
        let case = Case::mutual_tls([1, 2, 3]);
        let resources = case.istio(80);
        assert!(case.needs_pilot() && !resources.contains("kind: Gateway"));
        for part in ["bind: 127.0.0.1,", "bind: 127.0.0.20", "defaultEndpoint: '127.0.0.1:1'", "mode: STRICT", "hosts: [bench.test]"] {
            assert!(resources.contains(part), "{part}");
        }
    }

    #[test]
    fn bytes_go_to_one_service() {
        let case = Case::bytes([1, 2, 3], true);
        assert!(case.istio(80).contains("protocol: TCP") && case.istio(80).contains("  tcp:"));
        assert!(case.haproxy(80).contains("mode tcp"));
        assert!(case.nginx(80, "/work".as_ref()).contains("stream {"));
    }

    #[test]
    fn only_clients_of_tls_see_a_certificate() {
        let certificate = Certificate { certificate: "c.pem".into(), key: "k.pem".into(), both: "b.pem".into() };
        let told = |downstream| {
            let case = Case::idle([1, 2, 3], downstream, &certificate);
            [case.istio(80).contains("c.pem"), case.haproxy(80).contains("b.pem"), case.nginx(80, "/work".as_ref()).contains("k.pem")]
        };
        assert_eq!(told(Protocol::Tls), [true; 3]);
        assert_eq!(told(Protocol::Http2), [false; 3]);
    }
}
