//! The upstream: as cheap as can be, so that core 1 has time for the load. It serves HTTP/1.1 and HTTP/2, and calls of gRPC.

mod http1;
mod http2;

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::cases::{LARGE_PATH, LONGER_PATH, Upstreams};
use crate::peers::HELPER_DEADLINE;
use crate::process::{Core, Process};
use crate::{helpers, load, ports};

const SHORT: usize = 2;
const LONGER: usize = 128;
const LARGE: usize = 64 * 1024;

/// The upstream, serving until it is dropped: one process for v1, v2 and v3.
#[derive(Debug)]
pub struct Origin {
    /// Where it listens.
    pub ports: Upstreams,
    process: Process,
}

impl Origin {
    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// If it does not.
    pub fn start(work: &Path) -> anyhow::Result<Self> {
        let ports: Upstreams = ports::free()?;
        let arguments = helpers::origin_arguments(ports);
        let mut process = Process::start(Core::Others, &std::env::current_exe()?, arguments, work.join("origin.log"))?;
        load::wait_for_listener(&mut process, ports[2], HELPER_DEADLINE).context("the upstream")?;
        Ok(Self { ports, process })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

/// Serves until it is killed.
pub(crate) fn run(ports: Upstreams) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut listeners = vec![];
        for port in ports {
            listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?);
        }
        let accepting: Vec<_> = listeners.into_iter().map(|listener| spawn_local(accept(listener))).collect();
        for task in accepting {
            task.await??;
        }
        Ok(())
    })
}

async fn accept(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        spawn_local(async move {
            // Each end of a connection but the plain one is of interest to who reads the log.
            if let Err(error) = serve(stream).await {
                eprintln!("origin: {error:#}");
            }
        });
    }
}

/// By the first byte: no method of HTTP/1.1 that is used here begins as the preface of HTTP/2 does, by `PRI`.
async fn serve(stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; 2];
    while stream.peek(&mut first).await? == 1 {}
    if first == *b"PR" { http2::serve(stream).await } else { http1::serve(stream).await }
}

/// What stands at a path: as many bytes.
fn length(path: &str) -> usize {
    match path {
        LARGE_PATH => LARGE,
        LONGER_PATH => LONGER,
        _ => SHORT,
    }
}
