//! Server and client over a real connection, by both protocols.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use weir_ads::grpc;
use weir_ads::{Client, Protocol, Resource, ResourceSet, Server, ServerStream};
use weir_xds::cluster::Cluster;
use weir_xds::core::Node;
use weir_xds::resource::ResourceType;

/// So many clusters make a response of many pieces.
const CLUSTERS: usize = 2000;

fn clusters() -> Arc<ResourceSet> {
    let mut set = ResourceSet::default();
    for number in 0..CLUSTERS {
        let name = format!("outbound|80||service-{number}");
        let size = if number == 7 { 100_000 } else { 200 };
        let cluster = Cluster { name: name.clone(), alt_stat_name: "x".repeat(size), ..Default::default() };
        set.insert(ResourceType::Cluster, name, Resource::new(&cluster));
    }
    Arc::new(set)
}

async fn serve(mut stream: ServerStream, set: Arc<ResourceSet>) {
    let mut server = Server::new(stream.protocol);
    server.set(set);
    while let Some(request) = stream.requests.recv().await {
        server.receive(&request);
        while let Some(push) = server.next(Instant::now()) {
            if stream.responses.send(push).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_client_gets_what_there_is_over_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    gets_all(listener.into(), &address).await;
}

#[tokio::test]
async fn a_client_gets_what_there_is_over_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("weir-ads-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    gets_all(listener.into(), &format!("unix:{}", path.display())).await;
    gets_nothing(&format!("unix://{}/no/such", path.display())).await;
    std::fs::remove_file(&path).unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_gets_what_there_is_over_a_name_of_the_abstract_namespace() {
    let name = format!("weir-ads-{}", std::process::id());
    let listener = UnixListener::bind(format!("\0{name}")).unwrap();
    gets_all(listener.into(), &format!("unix:@{name}")).await;
}

/// Whether a server takes a client for one of its own user.
async fn is_own(listener: grpc::Listener, address: &str) -> bool {
    let (sender, mut streams) = mpsc::channel(1);
    tokio::spawn(grpc::server::accept(listener, sender));
    let _client = grpc::client::connect(address, Protocol::Delta).await.unwrap();
    streams.recv().await.unwrap().peer.is_own()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_comes_from_this_machine_is_known_by_the_user() {
    let path = std::env::temp_dir().join(format!("weir-ads-own-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    assert!(is_own(listener.into(), &format!("unix:{}", path.display())).await);
    std::fs::remove_file(&path).unwrap();
    for at in ["127.0.0.1:0", "[::]:0"] {
        let Ok(listener) = TcpListener::bind(at).await else { continue };
        let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        assert!(is_own(listener.into(), &address).await, "{at}");
    }
    // Where only sockets are trusted, nobody is who comes by an address.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    assert!(!is_own(grpc::Listener::Untrusted(listener), &address).await);
}

async fn gets_nothing(server: &str) {
    let error = grpc::client::connect(server, Protocol::Delta).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot connect to the xDS server {server}: ")), "{error}");
}

async fn gets_all(listener: grpc::Listener, address: &str) {
    let (sender, mut streams) = mpsc::channel(1);
    tokio::spawn(grpc::server::accept(listener, sender));
    let set = clusters();
    let serving = set.clone();
    tokio::spawn(async move {
        while let Some(stream) = streams.recv().await {
            tokio::spawn(serve(stream, serving.clone()));
        }
    });
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let mut client = Client::new(protocol, Node { id: "a".to_owned(), ..Default::default() });
        client.want_all(ResourceType::Cluster);
        let mut stream = grpc::client::connect(address, protocol).await.unwrap();
        for request in client.connect() {
            stream.requests.send(request).await.unwrap();
        }
        let response = tokio::time::timeout(Duration::from_secs(30), stream.responses.recv()).await.unwrap().unwrap();
        let update = client.receive(response).unwrap();
        let got: BTreeSet<_> = update.upserts.iter().map(|(name, body)| (name.clone(), body.value.clone())).collect();
        let expected = set.of(ResourceType::Cluster).map(|(name, resource)| (name.clone(), resource.body.value.clone()));
        assert!(got == expected.collect(), "{protocol:?}");
        stream.requests.send(client.answer(&update, &[])).await.unwrap();
    }
}
