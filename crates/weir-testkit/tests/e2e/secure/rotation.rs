//! Certificates that change while clients come and go: nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weir_testkit::{Certificate, DataPlane, Layout, Mesh, Peer, Protocol, free_port, service_at, until};

use super::{Files, servers};
use crate::support::{over_each_data_plane, rotations};

over_each_data_plane!(no_client_notices_that_certificates_change);

/// How long after another.
const EVERY: Duration = Duration::from_secs(5);
/// How long it may take until a new one is shown: files are looked at every second.
const IN_FORCE: Duration = Duration::from_secs(4);

/// One stands in files, the other in a Secret.
const HOSTS: [&str; 2] = ["file.test", "secret.test"];

/// The certificate that is shown for a host.
async fn shown(port: u16, host: &str, authority: &str) -> Option<CertificateDer<'static>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    stream.get_ref().1.peer_certificates()?.first().cloned().map(CertificateDer::into_owned)
}

/// What clients have seen.
#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    failures: AtomicUsize,
    over: AtomicBool,
}

/// Asks again and again, by one connection or by a new one each time.
async fn ask(port: u16, host: &'static str, files: Arc<Files>, keeps: bool, seen: Arc<Seen>) {
    let new = || Mesh::at(port, host).trusting_all_of(&files.authority);
    let mut client = new();
    while !seen.over.load(Ordering::Relaxed) {
        let answer = client.get("/", &[]).await;
        seen.requests.fetch_add(1, Ordering::Relaxed);
        if !answer.as_ref().is_ok_and(|answer| answer.is_from("a")) {
            eprintln!("{host}: {answer:?}");
            seen.failures.fetch_add(1, Ordering::Relaxed);
        }
        if !keeps {
            client = new();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Nobody has closed the connection.
    assert!(!keeps || client.opened() == 1, "{host}: {} connections", client.opened());
}

fn rotate(mesh: &Mesh, files: &Files) -> [Certificate; 2] {
    let stored = files.authority.certify(&[HOSTS[1]]);
    mesh.write("secret.yaml", &stored.secret("stored"));
    [files.certify(HOSTS[0]), stored]
}

async fn no_client_notices_that_certificates_change(plane: DataPlane) {
    let (layout, port, files, peer) = (Layout::new(), free_port(), Arc::new(Files::new()), Peer::http("a").await);
    let servers = servers(port, &[(HOSTS[0], files.tls(HOSTS[0])), (HOSTS[1], "{mode: SIMPLE, credentialName: stored}".to_owned())]);
    let resources = service_at("shop", layout.http, &[&peer], Protocol::Http) + &servers;
    files.certify(HOSTS[0]);
    let stored = files.authority.certify(&[HOSTS[1]]).secret("stored");
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &resources), ("secret.yaml", &stored)]).await;
    for host in HOSTS {
        let mut client = Mesh::at(port, host).trusting_all_of(&files.authority);
        until(host, async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
    }
    let seen = Arc::new(Seen::default());
    let clients = HOSTS.iter().flat_map(|host| [true, false, false].map(|keeps| ask(port, host, files.clone(), keeps, seen.clone())));
    let clients: Vec<_> = clients.map(tokio::spawn).collect();
    for _ in 0..rotations() {
        let began = Instant::now();
        let new = rotate(&mesh, &files);
        for (host, new) in HOSTS.iter().zip(&new) {
            let new = CertificateDer::from_pem_slice(new.pem().as_bytes()).unwrap();
            until("the new certificate is shown", async || shown(port, host, &files.authority.pem()).await.as_ref() == Some(&new)).await;
        }
        assert!(began.elapsed() < IN_FORCE, "{:?}", began.elapsed());
        tokio::time::sleep(EVERY.saturating_sub(began.elapsed())).await;
    }
    seen.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let (requests, failures) = (seen.requests.load(Ordering::Relaxed), seen.failures.load(Ordering::Relaxed));
    eprintln!("{plane:?}: {requests} requests while certificates changed {} times, {failures} failed", rotations());
    assert!(requests > 100 && failures == 0, "{failures} of {requests} failed");
}
