//! Certificates that cannot be used: only their own hosts are not served.

use weir_testkit::{Client, DataPlane, Layout, Mesh, Peer, Protocol, free_port, service_at, until};

use super::{Files, servers};
use crate::support::over_each_data_plane;

over_each_data_plane!(a_certificate_that_cannot_be_used_keeps_only_its_own_host_from_being_served);

const HOSTS: [&str; 5] = ["good.test", "missing.test", "broken.test", "stranger.test", "nosecret.test"];

async fn is_served(client: &mut Client) -> bool {
    client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))
}

async fn a_certificate_that_cannot_be_used_keeps_only_its_own_host_from_being_served(plane: DataPlane) {
    let (layout, port, files, peer) = (Layout::new(), free_port(), Files::new(), Peer::http("a").await);
    for host in ["good.test", "broken.test", "stranger.test"] {
        files.certify(host);
    }
    std::fs::write(files.path().join("broken.pem"), "no certificate").unwrap();
    std::fs::write(files.path().join("stranger.key"), files.authority.certify(&["stranger.test"]).key_pem()).unwrap();
    let tls = |host: &str| if host == "nosecret.test" { "{mode: SIMPLE, credentialName: none}".to_owned() } else { files.tls(host) };
    let all: Vec<(&str, String)> = HOSTS.iter().map(|host| (*host, tls(host))).collect();
    let resources = service_at("shop", layout.http, &[&peer], Protocol::Http) + &servers(port, &all);
    let mut mesh = Mesh::start(plane, layout, &[("shop.yaml", &resources)]).await;
    let client = |host: &str| Mesh::at(port, host).trusting_all_of(&files.authority);
    let mut good = client("good.test");
    until("the other host is served", async || is_served(&mut good).await).await;
    for host in &HOSTS[1..] {
        assert!(!is_served(&mut client(host)).await, "{host}");
    }
    if plane == DataPlane::Weir {
        let log = mesh.weir().said();
        for words in [
            "missing.pem: No such file",
            "certificate_chain: holds no certificate",
            "private_key: is not the key of the certificate",
            "there is no Secret istio-system/none",
        ] {
            assert!(log.contains(words), "{words}:\n{log}");
        }
    }
    // They are served when there is one that can be used.
    for host in ["missing.test", "broken.test", "stranger.test"] {
        files.certify(host);
        let mut client = client(host);
        until(host, async || is_served(&mut client).await).await;
    }
    assert!(is_served(&mut good).await);
}
