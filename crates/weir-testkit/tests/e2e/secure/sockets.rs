//! Listeners and instances at Unix sockets.

use std::path::Path;

use tempfile::TempDir;
use tokio::net::{TcpStream, UnixListener};
use weir_testkit::{DataPlane, Layout, Mesh, Peer, Protocol, free_port, service_at, until};

use super::said;
use crate::support::over_each_data_plane;

over_each_data_plane!(a_sidecar_listens_at_a_socket_and_sends_to_one);

/// What an instance accepts at a path as well.
fn also_at(path: &Path, peer: &Peer) {
    let (listener, address) = (UnixListener::bind(path).unwrap(), peer.address());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(address).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
}

async fn a_sidecar_listens_at_a_socket_and_sends_to_one(plane: DataPlane) {
    let (layout, port, folder) = (Layout::new(), free_port(), TempDir::new().unwrap());
    let (app, far) = (Peer::http("app").await, Peer::http("far").await);
    let path = |name: &str| folder.path().join(name).display().to_string();
    also_at(&folder.path().join("app"), &app);
    also_at(&folder.path().join("far"), &far);
    let text = format!(
        "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: far, namespace: default}}
spec:
  hosts: [far.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 8080, name: http, protocol: HTTP}}]
  endpoints: [{{address: 'unix://{far}'}}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: a, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: client}}}}
  ingress:
  - {{port: {{number: {port}, name: http, protocol: HTTP}}, bind: 127.0.0.1, captureMode: NONE, defaultEndpoint: 'unix://{app}'}}
  egress:
  - {{port: {{protocol: HTTP, name: out}}, bind: 'unix://{out}', captureMode: NONE, hosts: ['*/*']}}
",
        far = path("far"),
        app = path("app"),
        out = path("out"),
    );
    let near = Peer::http("near").await;
    let resources = service_at("near", layout.http, &[&near], Protocol::Http) + &text;
    let mesh =
        Mesh::start_with_log(plane, layout, "%DOWNSTREAM_REMOTE_ADDRESS% to %DOWNSTREAM_LOCAL_ADDRESS%", &[("a.yaml", &resources)]).await;
    let mut inbound = Mesh::at(port, "app");
    until("the workload answers at its socket", async || inbound.get("/", &[]).await.is_ok_and(|answer| answer.is_from("app"))).await;
    // The port of the host says which service is meant.
    let ask = async |host: &str| said("curl", &["-sS", "-i", "--unix-socket", &path("out"), &format!("http://{host}/")], "").await;
    let near_host = format!("near:{}", layout.http);
    for (host, instance) in [("far:8080", "far"), ("far.default.svc.cluster.local:8080", "far"), (near_host.as_str(), "near")] {
        until(host, async || ask(host).await.contains(&format!("x-instance: {instance}"))).await;
    }
    // Who comes by the socket has no address, and is known by its path.
    let line = format!("{out} to {out}", out = path("out"));
    until("clients at the socket are told by its path", async || mesh.log().contains(&line)).await;
}
