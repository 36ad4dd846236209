//! Cases as Istio's resources, for Weir and Envoy.

use std::fmt::Write;

use super::{Body, Case, Protocol, Rules};

/// An EnvoyFilter, as people publish them.
const SCRIPT: &str = "---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: script, namespace: default}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: GATEWAY
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.lua
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code:
            inline_string: |
              function envoy_on_request(request_handle)
                request_handle:headers():add(\"x-script\", \"was here\")
              end
";

impl Case {
    /// Istio's resources, for a gateway at the port.
    pub(crate) fn istio(&self, port: u16) -> String {
        if self.has_sidecars() {
            return self.sidecars(port);
        }
        let mut resources = self.gateway(port);
        match self.rules {
            Rules::Split => resources.push_str(&self.split_rules()),
            Rules::Prefixes(count) => self.prefix_rules(count, &mut resources),
            Rules::Bytes => resources.push_str(&self.tcp_rules()),
            Rules::Sidecars => {}
        }
        if self.authorization > 0 {
            resources.push_str(&self.authorization_rules());
        }
        if self.has_script {
            resources.push_str(SCRIPT);
        }
        resources
    }

    /// Rules of the kinds that people write many of: of a path, of a host, and of where clients are.
    fn authorization_rules(&self) -> String {
        let rule = |number: u32| match number % 3 {
            _ if number + 1 == self.authorization => format!("to: [{{operation: {{methods: [GET], paths: [{}]}}}}]", self.path),
            0 => format!("to: [{{operation: {{methods: [GET], paths: [/p{number}, '/p{number}/*']}}}}]"),
            1 => format!("to: [{{operation: {{hosts: [h{number}.test, '*.h{number}.test']}}}}]"),
            _ => format!("from: [{{source: {{ipBlocks: [10.{number}.0.0/16]}}}}]"),
        };
        let rules: String = (0..self.authorization).map(|number| format!("\n  - {}", rule(number))).collect();
        format!(
            "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: who, namespace: istio-system}}
spec:
  selector: {{matchLabels: {{istio: ingressgateway}}}}
  rules:{rules}
"
        )
    }

    fn gateway(&self, port: u16) -> String {
        let (protocol, tls) = match (self.downstream, self.tls()) {
            (Protocol::Http2, _) => ("HTTP2", String::new()),
            _ if self.rules == Rules::Bytes => ("TCP", String::new()),
            (_, None) => ("HTTP", String::new()),
            (_, Some(tls)) => {
                let (certificate, key) = (tls.certificate.display(), tls.key.display());
                ("HTTPS", format!(", tls: {{mode: SIMPLE, serverCertificate: {certificate}, privateKey: {key}}}"))
            }
        };
        format!(
            "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gw, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: {port}, name: public, protocol: {protocol}}}, hosts: ['*']{tls}}}
"
        )
    }

    /// What services speak, as a ServiceEntry says it.
    fn service_protocol(&self) -> &'static str {
        match (self.upstream, self.body) {
            (Protocol::Http2, Body::Grpc) => "GRPC",
            (Protocol::Http2, _) => "HTTP2",
            _ => "HTTP",
        }
    }

    fn tcp_rules(&self) -> String {
        let [upstream, ..] = self.upstreams;
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: bytes, namespace: default}}
spec:
  hosts: [bytes.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: main, protocol: TCP, targetPort: {upstream}}}]
  endpoints: [{{address: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: bytes, namespace: default}}
spec:
  hosts: ['*']
  gateways: [gw]
  tcp:
  - route: [{{destination: {{host: bytes.test}}}}]
"
        )
    }

    fn split_rules(&self) -> String {
        let ([v1, v2, v3], protocol) = (self.upstreams, self.service_protocol());
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews, namespace: default}}
spec:
  hosts: [reviews.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {{number: 80, name: main, protocol: {protocol}}}
  endpoints:
  - {{address: 127.0.0.1, ports: {{main: {v1}}}, labels: {{version: v1}}}}
  - {{address: 127.0.0.1, ports: {{main: {v2}}}, labels: {{version: v2}}}}
  - {{address: 127.0.0.1, ports: {{main: {v3}}}, labels: {{version: v3}}}}
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
        )
    }

    fn prefix_rules(&self, count: u32, resources: &mut String) {
        let ([upstream, ..], protocol) = (self.upstreams, self.service_protocol());
        let mut rules = String::new();
        for route in 0..count {
            // Writing to a String does not fail.
            let _ = write!(
                resources,
                "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: r{route:05}, namespace: default}}
spec:
  hosts: [r{route:05}.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: main, protocol: {protocol}, targetPort: {upstream}}}]
  endpoints: [{{address: 127.0.0.1}}]
"
            );
            let _ = write!(
                rules,
                "
  - match: [{{uri: {{prefix: /r{route:05}/}}}}]
    route: [{{destination: {{host: r{route:05}.test}}}}]"
            );
        }
        let _ = write!(
            resources,
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
    }
}
