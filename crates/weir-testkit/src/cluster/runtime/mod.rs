//! A container runtime, as a kubelet asks for one by the Container Runtime Interface (CRI, `k8s.io/cri-api`): a sandbox is namespaces of
//! its own (network, processes, host name), a container a process in them, and an image a name for a program.
//!
//! | | |
//! |---|---|
//! | `server` | gRPC: which method is which function |
//! | `pods` | all sandboxes and containers: what is made, asked for and removed |
//! | `sandbox`, `container` | one of each: how it is started and ended |
//! | `security` | as whom a process runs, and what it may |
//! | `exec` | a second process in a container |
//! | `logs` | what containers say, in the form that a kubelet reads |
//! | `images` | which names there are, and which programs they mean |
//!
//! All of it runs on a thread of its own, so that a test may take its time. Every process that is started ends with that thread, however
//! that ends: the kernel ends a sandbox's first process, and with that all others of the sandbox.

mod container;
mod exec;
mod images;
mod logs;
mod pods;
mod process;
mod sandbox;
mod security;
mod server;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

pub use images::Image;
use images::Images;
use pods::Pods;

/// The messages of the interface.
#[allow(missing_docs, dead_code, clippy::all, clippy::pedantic, reason = "generated, more than is asked for here")]
mod cri {
    include!(concat!(env!("OUT_DIR"), "/runtime.v1.rs"));
}

/// The machine that containers run on: its mounts and its network are those of a process.
#[derive(Debug, Clone)]
pub(super) struct Host {
    /// The process that is in its namespaces for as long as it lasts.
    pub id: u32,
    /// A folder of a file system in memory that only those see who are in them.
    pub folder: PathBuf,
    /// The bridge that Pods are at, and the address that the host has there.
    pub bridge: (&'static str, &'static str),
}

impl Host {
    /// A file of the host's, as this process reaches it.
    pub fn reach(&self, path: &Path) -> PathBuf {
        Path::new("/proc").join(self.id.to_string()).join("root").join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The file of its mount namespace.
    fn mounts(&self) -> String {
        format!("/proc/{}/ns/mnt", self.id)
    }
}

/// A runtime that serves, until this is dropped: then its containers have ended.
pub(super) struct Runtime {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Serves at a socket, with these images.
    ///
    /// # Panics
    /// If it cannot.
    pub fn start(socket: &Path, host: Host, images: Vec<Image>) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket can be made");
        listener.set_nonblocking(true).expect("a socket need not block");
        let pods = Arc::new(Pods::new(host, Images::new(images)));
        let (stop, stopped) = oneshot::channel();
        // A thread is in its maker's network namespace: that of the cluster.
        let thread = thread::spawn(move || serve(listener, &pods, stopped));
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        // If it has panicked, that has been said.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(listener: UnixListener, pods: &Arc<Pods>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::from_std(listener).expect("a listener can be waited for");
        tokio::select! {
            () = server::serve(listener, pods.clone()) => {}
            _ = stopped => {}
        }
        pods.end().await;
    });
}
