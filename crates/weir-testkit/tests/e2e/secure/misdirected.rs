//! Requests that come by the connection of another server of the same port.

use weir_testkit::{DataPlane, Layout, Mesh, Peer, Protocol, free_port, service_at, until};

use super::{Files, said, servers};
use crate::support::over_each_data_plane;

over_each_data_plane!(a_host_of_another_server_with_the_same_certificate_is_misdirected);

async fn a_host_of_another_server_with_the_same_certificate_is_misdirected(plane: DataPlane) {
    let (layout, port, files, peer) = (Layout::new(), free_port(), Files::new(), Peer::http("a").await);
    files.authority.certify(&["one.test", "two.test"]).write_with_key(files.path(), "one");
    files.certify("three.test");
    let shared = files.tls("one.test");
    let servers = servers(port, &[("one.test", shared.clone()), ("two.test", shared), ("three.test", files.tls("three.test"))]);
    let resources = service_at("shop", layout.http, &[&peer], Protocol::Http) + &servers;
    let _mesh = Mesh::start(plane, layout, &[("shop.yaml", &resources)]).await;
    let mut client = Mesh::at(port, "one.test").trusting_all_of(&files.authority);
    until("the server answers", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
    for (host, status) in
        [("two.test", 421), ("TWO.test", 421), ("two.test:1", 421), ("three.test", 404), ("four.test", 404), ("one.test", 200)]
    {
        assert_eq!(client.get("/", &[("host", host)]).await.unwrap().status, status, "{host}");
    }
    // As browsers do it.
    let (ca, to) = (files.path().join("ca.pem"), format!("one.test:{port}:127.0.0.1:{port}"));
    let (ca, url) = (ca.display().to_string(), format!("https://one.test:{port}/"));
    let asked = [
        "-sS",
        "--http2",
        "--cacert",
        &ca,
        "--connect-to",
        &to,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{http_version}",
        "-H",
        "Host: two.test",
        &url,
    ];
    assert_eq!(said("curl", &asked, "").await, "421 2");
}
