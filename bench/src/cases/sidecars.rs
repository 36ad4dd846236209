//! The case of two sidecars as Istio's resources.

use super::{Case, WORKLOADS};
use crate::handshakes::HOST;

impl Case {
    /// A service whose only instance has a sidecar, and a client with another: each listens at this port, the one for what its client
    /// sends, the other, at an address of its own, for what comes to the instance. Plain text is refused between the two.
    pub(super) fn sidecars(&self, port: u16) -> String {
        let [(client, client_address), (server, server_address)] = WORKLOADS;
        let workload = |name: &str, address: &str| {
            format!(
                "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: default}}
spec: {{address: {address}, labels: {{app: {name}}}, serviceAccount: {name}}}
---
"
            )
        };
        format!(
            "{}{}apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {client}, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: {client}}}}}
  egress:
  - {{port: {{number: {port}, name: http, protocol: HTTP}}, bind: 127.0.0.1, captureMode: NONE, hosts: ['*/*']}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {server}, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: {server}}}}}
  egress: [{{hosts: ['~/*']}}]
  ingress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: {server_address}
    captureMode: NONE
    defaultEndpoint: '127.0.0.1:{upstream}'
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: bench, namespace: default}}
spec:
  hosts: [{HOST}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
  workloadSelector: {{labels: {{app: {server}}}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: default}}
spec: {{mtls: {{mode: STRICT}}}}
",
            workload(client, client_address),
            workload(server, server_address),
            upstream = self.first_upstream(),
        )
    }
}
