//! A mesh under load whose configuration changes: nobody notices, and the end is orderly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::interval;
use weir_testkit::{Client, DataPlane, Layout, Mesh, Peer, Protocol, until};

use crate::support::{HOST, ROUTES, all_to, client_of_gateway, until_from};

const CONNECTIONS: usize = 64;
const REWRITES: usize = 60;
const PAUSE: Duration = Duration::from_millis(500);
/// A save is in force within 200 ms on a machine that is not busy; here all of it is, and others may be as well.
const IN_FORCE: Duration = Duration::from_secs(3);
/// An orderly end takes 5 s at most, on such a machine.
const ENDED: Duration = Duration::from_secs(15);

/// What one client of many has seen.
struct Seen {
    requests: usize,
    connections: usize,
    failed: Vec<String>,
}

#[tokio::test]
async fn under_load_no_request_fails_while_rules_change_nor_when_the_process_ends() {
    let (layout, peers) = (Layout::new(), [Peer::http("v1").await, Peer::http("v2").await]);
    let service = layout.service("shop", &[&peers[0], &peers[1]], Protocol::Http);
    let mut mesh = Mesh::start(DataPlane::Weir, layout, &[("shop.yaml", &service), (ROUTES, &all_to("v1"))]).await;
    let mut probe = client_of_gateway(&mesh).await;
    let load = Arc::new(Load::default());
    let clients = load.start(&mesh).await;

    let mut delays = rewrite_again_and_again(&mesh, &mut probe).await;
    delays.sort();
    eprintln!("a save is in force after {:?}, {:?} at most", delays[delays.len() / 2], delays[delays.len() - 1]);
    assert!(delays[delays.len() - 1] < IN_FORCE, "{delays:?}");

    load.stop.store(true, Ordering::Relaxed);
    let seen = clients.join_all().await;
    let requests: usize = seen.iter().map(|client| client.requests).sum();
    eprintln!("{requests} requests");
    for client in &seen {
        assert!(client.failed.is_empty(), "{:?}", client.failed);
        assert_eq!(client.connections, 1, "a connection was closed");
    }
    end_under_load(&mut mesh).await;
}

/// Clients that ask again and again.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Load {
    /// Starts the clients, and waits until each was answered once.
    async fn start(self: &Arc<Self>, mesh: &Mesh) -> JoinSet<Seen> {
        let clients = std::iter::repeat_with(|| self.clone().ask(mesh.outside(HOST))).take(CONNECTIONS);
        let clients: JoinSet<Seen> = clients.collect();
        until("each client is answered", async || self.answered.load(Ordering::Relaxed) == CONNECTIONS).await;
        clients
    }

    /// Asks until told to stop, or until it is answered no more.
    async fn ask(self: Arc<Self>, mut client: Client) -> Seen {
        let (mut requests, mut failed) = (0, vec![]);
        while !self.stop.load(Ordering::Relaxed) && failed.is_empty() {
            match client.get("/", &[]).await {
                Ok(answer) if answer.is_from("v1") || answer.is_from("v2") => requests += 1,
                other => failed.push(format!("{other:?}")),
            }
            if requests == 1 {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        Seen { requests, connections: client.opened(), failed }
    }
}

/// How long each new version took to be in force.
async fn rewrite_again_and_again(mesh: &Mesh, probe: &mut Client) -> Vec<Duration> {
    let mut pause = interval(PAUSE);
    let mut delays = vec![];
    for rewrite in 0..REWRITES {
        pause.tick().await;
        let version = if rewrite % 2 == 0 { "v2" } else { "v1" };
        let saved = Instant::now();
        mesh.write(ROUTES, &all_to(version));
        until_from(probe, version).await;
        delays.push(saved.elapsed());
    }
    delays
}

/// Every request that was taken is answered, and then the process ends well.
async fn end_under_load(mesh: &mut Mesh) {
    let clients = Arc::new(Load::default()).start(mesh).await;
    let gateway = mesh.gateway();
    let begun = Instant::now();
    mesh.weir().signal("INT").await;
    let seen = clients.join_all().await;
    let status = mesh.weir().ended().await;
    eprintln!("ended after {:?}", begun.elapsed());
    assert!(status.success() && begun.elapsed() < ENDED, "{status} after {:?}", begun.elapsed());
    // On the connection that it had, no client lost a request. A new one is refused, or reset if the kernel had let it in
    // when the listener closed.
    for client in seen.iter().filter(|client| client.connections == 1) {
        // What fails later is an error of hyper's, not of the system's alone.
        let while_connecting = |failed: &String| failed.starts_with("Err(\"Os {");
        assert!(client.failed.iter().all(while_connecting), "a request was lost: {:?}", client.failed);
    }
    until("nobody listens", async || tokio::net::TcpStream::connect(gateway).await.is_err()).await;
}
