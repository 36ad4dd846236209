//! Captured questions of DNS: the mesh is reached by its names, and services without an address by those that they are given.

use weir_testkit::{Captured, DataPlane, until};

use super::{MARK, OLD, RESOURCES, curl, gets, text};
use crate::support::over_each_data_plane;

over_each_data_plane!(the_mesh_is_reached_by_its_names, services_of_one_port_are_told_apart_by_the_addresses_that_they_are_given);

/// The port of all databases.
const PORT: u16 = 5432;

async fn the_mesh_is_reached_by_its_names(plane: DataPlane) {
    let Some(mesh) = Captured::start_answering_dns(plane, &[("mesh.yaml", RESOURCES)], &format!("{MARK}\n")).await else { return };
    for host in ["server.default.svc.cluster.local", "server.default", "server", "SERVER.default.svc"] {
        let url = OLD.replace("10.96.0.10", host);
        until(host, async || gets(&mesh.client, &url).await).await;
    }
}

/// A service of TCP that has no address, and one instance at the stranger's.
fn database(name: &str, port: u16) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{name}.test]
  resolution: STATIC
  ports: [{{number: {PORT}, name: tcp, protocol: TCP, targetPort: {port}}}]
  endpoints: [{{address: {}}}]
",
        Captured::STRANGER
    )
}

async fn services_of_one_port_are_told_apart_by_the_addresses_that_they_are_given(plane: DataPlane) {
    let databases = [("first", 8081), ("second", 8082)];
    let resources = databases.map(|(name, port)| database(name, port)).concat();
    let Some(mesh) = Captured::start_answering_dns(plane, &[("mesh.yaml", RESOURCES), ("databases.yaml", &resources)], MARK).await else {
        return;
    };
    let _applications = databases.map(|(name, port)| mesh.serve_outside(port, &format!("this is {name}")));
    for (name, _) in databases {
        let url = format!("http://{name}.test:{PORT}/page");
        until(name, async || curl(&mesh.client, &url).await.status.success()).await;
        for family in ["-4", "-6"] {
            let answer = mesh.client.run(&["curl", "-sSv", family, "--max-time", "10", &url]).await;
            let (page, told) = (text(&answer.stdout), text(&answer.stderr));
            let given = if family == "-4" { "240.240." } else { "2001:2::f0f0:" };
            assert!(page == format!("this is {name}") && told.contains(given), "{family} {url}: {page} {told}");
        }
    }
    // One that comes does not move those that are there.
    let before = curl_addresses(&mesh, "first").await;
    mesh.write("third.yaml", &database("third", 8081));
    until("third", async || curl(&mesh.client, &format!("http://third.test:{PORT}/page")).await.status.success()).await;
    assert_eq!(curl_addresses(&mesh, "first").await, before);
}

/// Which address curl connects to.
async fn curl_addresses(mesh: &Captured, name: &str) -> String {
    let url = format!("http://{name}.test:{PORT}/page");
    mesh.client.must(&["curl", "-sS4", "--max-time", "10", "-o", "/dev/null", "-w", "%{remote_ip}", &url]).await
}
