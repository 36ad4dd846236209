//! Memory does not grow with what passes through.

use weir_testkit::{BYTES, Client, DataPlane, LENGTH, Layout, Mesh, Peer, Protocol};

use crate::support::{HOST, ROUTES, all_to, client_of_gateway};

const MIB: u64 = 1024 * 1024;
const LARGE: u64 = 1024 * MIB;
/// So much may a process hold whatever it forwards; a body that is kept would be eight times that.
const HELD: u64 = 128 * MIB;

const CONNECTIONS: usize = 1_000;
/// All of them take less than 20 MiB; this is a build without optimisation, on whatever machine.
const ALL_CONNECTIONS: u64 = 32 * MIB;

async fn mesh(peer: &Peer) -> Mesh {
    let layout = Layout::new();
    let service = layout.service("shop", &[peer], Protocol::Http);
    Mesh::start(DataPlane::Weir, layout, &[("shop.yaml", &service), (ROUTES, &all_to("v1"))]).await
}

#[tokio::test]
async fn bodies_of_a_gibibyte_pass_through_in_constant_memory() {
    let peer = Peer::http("v1").await;
    let mut mesh = mesh(&peer).await;
    let mut client = client_of_gateway(&mesh).await;

    assert_eq!(client.download(&format!("{BYTES}{LARGE}")).await.unwrap(), LARGE);
    let download = mesh.weir().peak_memory();
    assert_eq!(client.upload(LENGTH, LARGE).await.unwrap(), LARGE.to_string());
    let upload = mesh.weir().peak_memory();

    eprintln!("peaks: {} MiB with the download, {} MiB with the upload as well", download / MIB, upload / MIB);
    assert!(upload < HELD, "{} MiB", upload / MIB);
}

#[tokio::test]
async fn a_thousand_idle_connections_cost_little() {
    let peer = Peer::http("v1").await;
    let mut mesh = mesh(&peer).await;
    let _first = client_of_gateway(&mesh).await;
    let before = mesh.weir().memory();
    let mut clients: Vec<Client> = std::iter::repeat_with(|| mesh.outside(HOST)).take(CONNECTIONS).collect();
    for client in &mut clients {
        assert!(client.get("/", &[]).await.unwrap().is_from("v1"));
    }
    let after = mesh.weir().memory();

    let cost = after.saturating_sub(before);
    eprintln!("{CONNECTIONS} connections that were used once and are idle: {} KiB", cost / 1024);
    assert!(clients.iter().all(|client| client.opened() == 1));
    assert!(cost < ALL_CONNECTIONS, "{} MiB", cost / MIB);
}
