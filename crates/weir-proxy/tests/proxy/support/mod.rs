//! What the tests share: a proxy, its xDS server, and both sides of a conversation in HTTP/1.1 as it is written.

pub(crate) mod frames;
mod mesh;
mod secure;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir_ads::{Protocol, ResourceSet, stream};
use weir_config::memory::MemoryBound;
use weir_proxy::stats::requests::Identity;
use weir_proxy::{DataPlane, ProxyOptions};
use weir_xds::core::Node;

pub(crate) use mesh::{Told, cluster, routes, to};
pub(crate) use secure::{Authority, Credentials, SecureClient, SecureUpstream, secure};
pub(crate) use wire::{Upstream, Wire, in_time};

const ID: &str = "test";
/// For what is under way when a test has seen enough.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(10);
/// For connections whose listener or filter chain is gone.
pub(crate) const DRAIN_DURATION: std::time::Duration = std::time::Duration::from_millis(500);

/// How many connections there may be.
#[derive(Default)]
pub(crate) struct Limits {
    pub(crate) process: Option<u64>,
    pub(crate) listener: Option<u64>,
}

/// One proxy with one HTTP listener, and what it is told.
pub(crate) struct Proxy {
    plane: Arc<DataPlane>,
    address: std::net::SocketAddr,
    wanted: watch::Sender<Arc<ResourceSet>>,
    files: TempDir,
    /// Who looks after memory.
    watching: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// Starts a proxy with these routes, and returns when it serves.
    pub(crate) async fn start(routes: Value, clusters: &[Value]) -> Self {
        Self::with_manager(json!({}), routes, clusters).await
    }

    /// The same, with more fields of the connection manager.
    pub(crate) async fn with_manager(manager: Value, routes: Value, clusters: &[Value]) -> Self {
        Self::told(Told { manager, routes, clusters: clusters.to_vec(), ..Told::default() }).await
    }

    /// The same, told all of this.
    pub(crate) async fn told(told: Told) -> Self {
        let files = tempfile::tempdir().unwrap();
        let resources = mesh::resources(&told, &log_of(&files));
        Self::host(resources, files, Limits::default()).await
    }

    /// Starts a proxy whose listener passes bytes on to a cluster.
    pub(crate) async fn of_tcp(tcp: Value, clusters: &[Value]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let resources = mesh::tcp_resources(&tcp, &json!({}), clusters, &log_of(&files));
        Self::host(resources, files, Limits::default()).await
    }

    /// The same, with more fields of the listener.
    pub(crate) async fn with_listener(listener: &Value, clusters: &[Value]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let resources = mesh::tcp_resources(&json!({}), listener, clusters, &log_of(&files));
        Self::host(resources, files, Limits::default()).await
    }

    /// Starts a proxy that is told these resources, the first of whose listeners is its own.
    #[allow(dead_code, reason = "for the test of many certificates")]
    pub(crate) async fn of_resources(resources: ResourceSet) -> Self {
        Self::host(resources, tempfile::tempdir().unwrap(), Limits::default()).await
    }

    /// Tells it these resources instead.
    #[allow(dead_code, reason = "for the test of many certificates")]
    pub(crate) fn tell_resources(&self, resources: ResourceSet) {
        self.wanted.send_replace(Arc::new(resources));
    }

    /// Its listeners as they are in force.
    #[allow(dead_code, reason = "for the test of many certificates")]
    pub(crate) fn listeners(&self) -> Vec<Arc<weir_config::listener::Listener>> {
        self.plane.config(ID).unwrap().listeners.iter().map(|open| open.listener.clone()).collect()
    }

    /// The same, with limits of connections.
    pub(crate) async fn limited(told: Told, limits: Limits) -> Self {
        let files = tempfile::tempdir().unwrap();
        let resources = mesh::resources(&told, &log_of(&files));
        Self::host(resources, files, limits).await
    }

    async fn host(resources: ResourceSet, files: TempDir, limits: Limits) -> Self {
        let (wanted, watched) = watch::channel(Arc::new(resources));
        let plane = DataPlane::start(1, limits.process).unwrap();
        let connect = Arc::new(move || {
            let (client, server) = stream::pair(Protocol::Delta);
            tokio::spawn(mesh::serve(server, watched.clone()));
            let stream: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move { Ok(client) });
            stream
        });
        let node = Node { id: ID.to_owned(), ..Node::default() };
        let (identity, drain_duration) = (Identity::default(), DRAIN_DURATION);
        let listener_limits = limits.listener.into_iter().map(|most| ("listener".into(), most)).collect();
        let protocol = Protocol::Delta;
        plane.host(ProxyOptions {
            id: ID.into(),
            node,
            identity,
            drain_duration,
            listener_limits,
            protocol,
            connect,
            certification: None,
            names: None,
        });
        let mut status = plane.status(ID).unwrap();
        let listening = in_time("the proxy listens", status.wait_for(|status| status.ready && !status.listeners.is_empty())).await;
        let address = listening.unwrap().listeners[0].2;
        Self { plane, address, wanted, files, watching: Mutex::default() }
    }

    /// What it is hosted by.
    #[allow(dead_code, reason = "for the tests of its status")]
    pub(crate) fn plane(&self) -> Arc<DataPlane> {
        self.plane.clone()
    }

    /// Tells it other routes and clusters. When they are in force, only requests show.
    pub(crate) fn change(&self, routes: Value, clusters: &[Value]) {
        self.tell(&Told { routes, clusters: clusters.to_vec(), ..Told::default() });
    }

    /// The same of one with more fields of the connection manager.
    pub(crate) fn change_with_manager(&self, manager: &Value, routes: Value, clusters: &[Value]) {
        self.tell(&Told { manager: manager.clone(), routes, clusters: clusters.to_vec(), ..Told::default() });
    }

    /// Tells it that its TCP listener is to be another one.
    pub(crate) fn change_tcp(&self, tcp: &Value, clusters: &[Value]) {
        self.wanted.send_replace(Arc::new(mesh::tcp_resources(tcp, &json!({}), clusters, &log_of(&self.files))));
    }

    /// Takes its listener away.
    pub(crate) fn close(&self) {
        self.wanted.send_replace(Arc::default());
    }

    /// Bounds the memory that may be taken, until another bound is set.
    pub(crate) fn bound_memory(&self, bound: MemoryBound) {
        let watching = self.plane.bound_memory(bound);
        if let Some(before) = self.watching.lock().unwrap().replace(watching) {
            before.abort();
        }
    }

    /// How many connections clients have open.
    pub(crate) fn open_connections(&self) -> u64 {
        let config = self.plane.config(ID).unwrap();
        config.listeners.iter().map(|open| open.stats.of(0).downstream_cx_active.get()).sum()
    }

    /// Tells it all of this instead.
    pub(crate) fn tell(&self, told: &Told) {
        self.wanted.send_replace(Arc::new(mesh::resources(told, &log_of(&self.files))));
    }

    /// A client's connection to it.
    pub(crate) async fn connect(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// What its admin interface says.
    pub(crate) async fn ask_admin(&self, path: &str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(weir_proxy::admin::serve(listener, self.plane.clone(), Arc::new(|_, _| None)));
        let mut client = Wire::connect(address).await;
        client.say(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await;
        let answer = client.end().await;
        serving.abort();
        answer
    }

    /// Waits until a statistic of its listener has come to this: a client may see its end before that is counted.
    pub(crate) async fn counts(&self, name: &str, count: u64) {
        let comes_to_it = async {
            while self.listener_statistic(name).await != count {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        in_time(&format!("{name} is {count}"), comes_to_it).await;
    }

    /// A statistic of its listener.
    pub(crate) async fn listener_statistic(&self, name: &str) -> u64 {
        let statistics = self.ask_admin("/stats").await;
        let line = statistics.lines().find(|line| line.starts_with(&format!("{name}{{")));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("there is no {name}: {statistics}"))
    }

    /// Ends it, and returns the lines of its access log: status, response flags, details of the response.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.stop_within(DRAIN).await
    }

    /// The same, with another limit for what is under way.
    pub(crate) async fn stop_within(self, limit: std::time::Duration) -> Vec<String> {
        let log = log_of(&self.files);
        // Blocks: meanwhile the tasks of the test's own connections go on.
        tokio::task::spawn_blocking(move || self.plane.drain(limit)).await.unwrap();
        let log = std::fs::read_to_string(log).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

fn log_of(files: &TempDir) -> PathBuf {
    files.path().join("access.log")
}
