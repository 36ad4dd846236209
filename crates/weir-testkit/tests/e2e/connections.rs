//! What the mesh says of clients' connections (`connectionSettings`).

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use weir_testkit::{DataPlane, Layout, Mesh, Peer, Protocol, until};

use crate::support::{HOST, ROUTES, client_of_gateway, gateway_routes, over_each_data_plane};

over_each_data_plane!(a_gateway_at_the_edge_is_careful_with_its_clients);

const EDGE: &str = "accessLogFile: ''\nenableTracing: false\n\
    defaultConfig: {connectionSettings: {profile: EDGE, listenerConnectionLimit: 3}}\n";

/// Whether the other side keeps a connection on which nothing is said.
async fn is_kept(connection: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_millis(300), connection.read(&mut [0])).await.is_err()
}

async fn a_gateway_at_the_edge_is_careful_with_its_clients(plane: DataPlane) {
    let (layout, one) = (Layout::new(), Peer::http("v1").await);
    let gateway = layout.gateway;
    let service = layout.service("shop", &[&one], Protocol::Http);
    let routes = gateway_routes("    - {destination: {host: shop}}\n");
    let mesh = Mesh::start_with(plane, layout, EDGE, &[("shop.yaml", &service), (ROUTES, &routes)]).await;
    let mut client = client_of_gateway(&mesh).await;
    let answer = client.get("/a%2Fb?c", &[]).await.unwrap();
    assert_eq!((answer.status, &answer.headers["location"]), (307, &"/a/b?c".parse().unwrap()));
    let answer = client.get("/", &[("x_test", "1")]).await.unwrap();
    assert_eq!(answer.status, 400, "a header with an underscore");
    drop(client);

    let open = || TcpStream::connect(("127.0.0.1", gateway));
    let mut held = vec![];
    until("so many connections are kept", async || {
        let mut connection = open().await.unwrap();
        if is_kept(&mut connection).await {
            held.push(connection);
        }
        held.len() == 3
    })
    .await;
    for _ in 0..2 {
        assert!(!is_kept(&mut open().await.unwrap()).await, "one too many");
    }
    drop(held);
    let mut client = mesh.outside(HOST);
    until("there is room again", async || client.get("/", &[]).await.is_ok_and(|answer| answer.status == 200)).await;
}
