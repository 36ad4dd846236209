//! Workloads tell each other which they are: over Weir's proxies, with certificates of the mesh between them. Stock Envoys have no filter for
//! it, and get none.

use std::collections::BTreeSet;

use weir_testkit::{Certified, Client, DataPlane, ECHO, Made, MeshAuthority, until};

use crate::mutual_tls::start;
use crate::support::over_each_data_plane;

over_each_data_plane!(nobody_is_told_who_should_not_be);

const TOLD: &str = "x-envoy-peer-metadata";
/// The workload `liar` of the namespace `default`.
const LIAR: &str = "ChYKCU5BTUVTUEFDRRIJGgdkZWZhdWx0ChcKDVdPUktMT0FEX05BTUUSBhoEbGlhcg==";

/// Who has asked whom, as this reporter counts them: labels of requests that went well.
fn counted(metrics: &[String], reporter: &str, labels: &[&str]) -> BTreeSet<Vec<String>> {
    let label = |line: &str, name: &str| {
        let value = line.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        value.map(|(value, _)| value.to_owned()).unwrap_or_default()
    };
    let counts =
        |line: &&String| line.starts_with("istio_requests_total{") && label(line, "reporter") == reporter && line.contains(r#"code="200""#);
    metrics.iter().filter(counts).map(|line| labels.iter().map(|name| label(line, name)).collect()).collect()
}

#[tokio::test]
async fn a_workload_counts_which_workloads_have_asked_it() {
    let authority = MeshAuthority::new();
    let started = start(DataPlane::Weir, "PERMISSIVE", &authority, "1h").await;
    let address = (Certified::APPLICATION, started.port);
    started.mesh.outside("app.test").get("/", &[]).await.unwrap();
    // In plaintext, and by who is of the mesh, but of another namespace.
    Client::to(address, "app").get("/", &[(TOLD, LIAR)]).await.unwrap();
    let bob = Made { id: Some("spiffe://cluster.local/ns/other/sa/bob"), from: -1, until: 1, by_revoked: false };
    Client::to(address, "app").showing(authority.make(bob)).get("/", &[(TOLD, LIAR)]).await.unwrap();
    let labels = ["source_workload", "source_workload_namespace", "source_canonical_service", "source_cluster", "source_principal"];
    let row = |row: [&str; 5]| row.map(str::to_owned).to_vec();
    let expected: BTreeSet<Vec<String>> = [
        row(["client", "default", "client", "Kubernetes", "spiffe://cluster.local/ns/default/sa/default"]),
        row(["ingressgateway", "istio-system", "ingressgateway", "Kubernetes", "spiffe://cluster.local/ns/istio-system/sa/default"]),
        row(["unknown", "unknown", "unknown", "unknown", "spiffe://cluster.local/ns/other/sa/bob"]),
        row(["unknown", "unknown", "unknown", "unknown", "unknown"]),
    ]
    .into();
    until("the application's sidecar names its clients", async || {
        counted(&started.mesh.metrics().await, "destination", &labels) == expected
    })
    .await;
}

async fn nobody_is_told_who_should_not_be(plane: DataPlane) {
    let started = start(plane, "STRICT", &MeshAuthority::new(), "1h").await;
    let headers = [(ECHO, "1"), (TOLD, "forged"), ("x-envoy-peer-metadata-id", "forged")];
    for mut client in [started.mesh.outside("app.test"), started.mesh.inside("app")] {
        let answer = client.get("/", &headers).await.unwrap();
        let to_application = answer.seen().unwrap().values(TOLD);
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with(TOLD)), "{answer:?}");
        // To Envoy they are headers as any other.
        assert_eq!(to_application.is_empty(), plane == DataPlane::Weir, "{to_application:?}");
    }
    assert_eq!(started.mesh.refusals(), Vec::<String>::new());
}
