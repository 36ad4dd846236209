//! What is measured: each case once as Istio's configuration, for Weir and Envoy, and once as HAProxy's.

use std::fmt::Write;
use std::path::Path;

use crate::peers::nginx::Upstreams;

/// Where the port goes that the proxy listens on.
const PORT: &str = "@PORT@";
const GATEWAY: &str = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: @PORT@, name: http, protocol: HTTP}, hosts: ['*']}
";
const HAPROXY: &str = "\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend gateway
  bind 0.0.0.0:@PORT@
";

/// A configuration, in two languages, and what is asked of it.
#[derive(Debug)]
pub struct Case {
    /// Names its folder.
    pub name: &'static str,
    /// What is requested.
    pub path: String,
    istio: String,
    haproxy: String,
}

impl Case {
    /// Istio's resources, for a gateway at the port.
    pub fn istio(&self, port: u16) -> String {
        self.istio.replace(PORT, &port.to_string())
    }

    /// The same, with a server of the gateway at another port that speaks TLS. HAProxy has none.
    #[must_use]
    pub fn with_tls(mut self, port: u16, certificate: &Path, key: &Path) -> Self {
        let (certificate, key) = (certificate.display(), key.display());
        let tls = format!("{{mode: SIMPLE, serverCertificate: {certificate}, privateKey: {key}}}");
        let server = format!("  - {{port: {{number: {port}, name: https, protocol: HTTPS}}, hosts: ['*'], tls: {tls}}}\n");
        self.istio = self.istio.replacen(GATEWAY, &format!("{GATEWAY}{server}"), 1);
        self
    }

    /// HAProxy's file, for a frontend at the port.
    pub fn haproxy(&self, port: u16) -> String {
        self.haproxy.replace(PORT, &port.to_string())
    }
}

/// A rule that looks at a header and does not hold, then a split in halves.
pub fn split([v1, v2, v3]: &Upstreams) -> Case {
    let istio = format!(
        "{GATEWAY}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews, namespace: default}}
spec:
  hosts: [reviews.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {{number: 80, name: http, protocol: HTTP}}
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: {v1}}}, labels: {{version: v1}}}}
  - {{address: 127.0.0.1, ports: {{http: {v2}}}, labels: {{version: v2}}}}
  - {{address: 127.0.0.1, ports: {{http: {v3}}}, labels: {{version: v3}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: default}}
spec:
  host: reviews.test
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
  - {{name: v3, labels: {{version: v3}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: default}}
spec:
  hosts: ['*']
  gateways: [gw]
  http:
  - match:
    - headers: {{end-user: {{exact: jason}}}}
    route:
    - destination: {{host: reviews.test, subset: v2}}
  - route:
    - {{destination: {{host: reviews.test, subset: v1}}, weight: 50}}
    - {{destination: {{host: reviews.test, subset: v3}}, weight: 50}}
"
    );
    let haproxy = format!(
        "{HAPROXY}  use_backend jason if {{ req.hdr(end-user) -m str jason }}
  default_backend split
backend jason
  server v2 127.0.0.1:{v2}
backend split
  balance roundrobin
  server v1 127.0.0.1:{v1} weight 50
  server v3 127.0.0.1:{v3} weight 50
"
    );
    Case { name: "split", path: "/reviews/1".to_owned(), istio, haproxy }
}

/// As many prefix routes, each to a service of its own; the last one is asked for.
pub fn routes([upstream, ..]: &Upstreams, count: u32) -> Case {
    let (mut istio, mut rules) = (GATEWAY.to_owned(), String::new());
    let (mut haproxy, mut backends) = (HAPROXY.to_owned(), String::new());
    for route in 0..count {
        // Writing to a String does not fail.
        let _ = write!(
            istio,
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: r{route:05}, namespace: default}}
spec:
  hosts: [r{route:05}.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {upstream}}}]
  endpoints: [{{address: 127.0.0.1}}]
"
        );
        let _ = write!(
            rules,
            "
  - match: [{{uri: {{prefix: /r{route:05}/}}}}]
    route: [{{destination: {{host: r{route:05}.test}}}}]"
        );
        let _ = writeln!(haproxy, "  use_backend r{route:05} if {{ path_beg /r{route:05}/ }}");
        let _ = writeln!(backends, "backend r{route:05}\n  server only 127.0.0.1:{upstream}");
    }
    let _ = write!(
        istio,
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: routes, namespace: default}}
spec:
  hosts: ['*']
  gateways: [gw]
  http:{rules}
"
    );
    haproxy.push_str(&backends);
    let name = if count == 1 { "one-route" } else { "many-routes" };
    Case { name, path: format!("/r{:05}/", count.saturating_sub(1)), istio, haproxy }
}
