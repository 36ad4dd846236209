//! One proxy of either data plane that does what a test writes as xDS.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hyper::{Request, Version};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::content::{Content, Told, converse};
use crate::envoy::Envoy;
use crate::mesh::{DataPlane, is_ready, local};
use crate::process::Process;
use crate::wait::until;
use crate::xds::{self, Xds};
use crate::{binaries, envoy, ports, statistics};

/// A proxy with one HTTP listener, and no control plane but the test.
pub struct LoneProxy {
    #[expect(dead_code, reason = "it ends when it is dropped")]
    process: Process,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    refused: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
    work: TempDir,
}

impl LoneProxy {
    /// Starts a proxy, and waits until it does what it is told.
    ///
    /// # Panics
    /// If it cannot be started, or refuses something.
    pub async fn start(plane: DataPlane, told: &Xds) -> Self {
        let proxy = Self::start_with_refusals(plane, told).await;
        assert_eq!(proxy.refused(), [""; 0], "the proxy refuses what it is told");
        proxy
    }

    /// The same, but it may refuse its resources: then it does not listen.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start_with_refusals(plane: DataPlane, told: &Xds) -> Self {
        let work = tempfile::tempdir().expect("there is room for a folder");
        let (address, refused) = (local(ports::free()), Arc::default());
        let resources = Arc::new(told.resources(address.port(), &log_of(work.path())));
        let listener = TcpListener::bind(local(0)).await.expect("there is a port for a server");
        let server = listener.local_addr().expect("a listener has an address");
        let serving = tokio::spawn(serve(listener, resources, Arc::clone(&refused)));
        let (process, admin): (Process, Box<dyn Fn() -> Option<SocketAddr>>) = match plane {
            DataPlane::Weir => start_weir(server, work.path()),
            DataPlane::Envoy => {
                let Envoy { process, admin, .. } = envoy::start_lone(server, work.path());
                (process, Box::new(move || envoy::read_admin(&admin)))
            }
        };
        let mut proxy = Self { process, address, admin: None, refused, serving, work };
        until("the proxy is ready", async || {
            proxy.admin = admin();
            proxy.is_decided().await
        })
        .await;
        proxy
    }

    /// Whether it serves, or has refused to.
    async fn is_decided(&self) -> bool {
        !self.refused().is_empty() || (is_ready(self.admin).await && TcpStream::connect(self.address).await.is_ok())
    }

    /// What it has refused so far, in its own words.
    ///
    /// # Panics
    /// If the server has panicked.
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().expect("nobody panics here").clone()
    }

    /// Asks it over HTTP/1.1.
    ///
    /// # Errors
    /// If no whole answer comes.
    pub async fn ask(&self, request: Request<Content>) -> Result<Told, String> {
        converse(self.address, Version::HTTP_11, request).await
    }

    /// Asks it over HTTP/2.
    ///
    /// # Errors
    /// If no whole answer comes.
    pub async fn ask_http2(&self, request: Request<Content>) -> Result<Told, String> {
        converse(self.address, Version::HTTP_2, request).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has counted, by the names that Prometheus is told; what differs by its labels alone is summed.
    ///
    /// # Panics
    /// If it does not tell.
    pub async fn statistics(&self) -> BTreeMap<String, u64> {
        let admin = self.admin.expect("it was ready");
        let told = Client::new(admin, "localhost").get("/stats/prometheus", &[]).await.expect("it tells what it has counted");
        statistics::sums(&told.body)
    }

    /// The lines of its access log, once there are so many: status, response flags, details of the response, cluster.
    ///
    /// # Panics
    /// If there are not.
    pub async fn log(&self, lines: usize) -> Vec<String> {
        let read = || fs::read_to_string(log_of(self.work.path())).unwrap_or_default();
        until("all requests are logged", async || read().lines().count() >= lines && read().ends_with('\n')).await;
        read().lines().map(str::to_owned).collect()
    }
}

impl Drop for LoneProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Accepts the proxy's streams.
async fn serve(listener: TcpListener, resources: Arc<weir_ads::ResourceSet>, refused: Arc<Mutex<Vec<String>>>) {
    let (sender, mut streams) = mpsc::channel(1);
    let serving = async {
        while let Some(stream) = streams.recv().await {
            tokio::spawn(xds::serve(stream, Arc::clone(&resources), Arc::clone(&refused)));
        }
    };
    tokio::select! {
        _ = weir_ads::grpc::server::accept(listener, sender) => {}
        () = serving => {}
    }
}

fn start_weir(server: SocketAddr, work: &Path) -> (Process, Box<dyn Fn() -> Option<SocketAddr>>) {
    let (config, admin) = (work.join("weir.yaml"), local(ports::free()));
    fs::write(&config, envoy::bootstrap_of_sidecar(server)).expect("a bootstrap can be written");
    let (config, named) = (config.display().to_string(), admin.to_string());
    let arguments = ["proxy", "-c", &config, "--admin", &named, "--workers", "1"];
    (Process::start(binaries::weir(), &arguments, work.join("weir.log")), Box::new(move || Some(admin)))
}

fn log_of(work: &Path) -> PathBuf {
    work.join("access.log")
}
