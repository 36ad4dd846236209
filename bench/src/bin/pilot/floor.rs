//! The floor: a server that sends bytes which somebody else has made, to all who are connected, when it is told to. It does nothing
//! that a server by tonic can leave out.

use std::fs::{self, File};
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use weir_bench::process::pause;
use weir_xds::Message;
use weir_xds::discovery::DeltaDiscoveryResponse;

use crate::bare;

/// As what this program starts itself.
const WORD: &str = "helper-floor";
const PATIENCE: Duration = Duration::from_secs(30);
/// Streams may wait until they are looked at.
const WAITING: usize = 64;

/// A floor in a process of its own, so that its time is counted.
pub(crate) struct Floor {
    child: Child,
    orders: ChildStdin,
    log: std::path::PathBuf,
}

impl Floor {
    /// Starts it, and waits until it serves.
    ///
    /// # Errors
    /// If it does not.
    pub fn start(port: u16, response: &[u8], work: &Path) -> anyhow::Result<Self> {
        let (body, log) = (work.join("response"), work.join("floor.log"));
        fs::write(&body, response)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(WORD).arg(port.to_string()).arg(&body).stdin(Stdio::piped()).stdout(File::create(&log)?);
        let mut child = command.spawn()?;
        let orders = child.stdin.take().context("it takes no orders")?;
        let floor = Self { child, orders, log };
        floor.has(0)?;
        Ok(floor)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until so many are connected.
    ///
    /// # Errors
    /// If they are not in time.
    pub fn has(&self, count: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        let line = count.to_string();
        while !fs::read_to_string(&self.log)?.lines().any(|said| said == line) {
            ensure!(begun.elapsed() < PATIENCE, "the floor has not {count} streams after {PATIENCE:?}");
            pause();
        }
        Ok(())
    }

    /// Sends the bytes to all.
    ///
    /// # Errors
    /// If it has ended.
    pub fn send(&mut self) -> anyhow::Result<String> {
        self.orders.write_all(b"\n")?;
        self.orders.flush()?;
        Ok(String::new())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the floor, if that is what this process was started for.
pub(crate) fn run() -> Option<anyhow::Result<()>> {
    let mut words = std::env::args().skip(1);
    (words.next()? == WORD).then(|| {
        let (port, body) = words.next().zip(words.next()).context("a port and a file are to be named")?;
        let response = DeltaDiscoveryResponse::decode(fs::read(body)?.into())?;
        serve(port.parse()?, &response)
    })
}

type Streams = Arc<Mutex<Vec<mpsc::Sender<DeltaDiscoveryResponse>>>>;

fn serve(port: u16, response: &DeltaDiscoveryResponse) -> anyhow::Result<()> {
    // As many threads as the pilot's control plane has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let streams = Streams::default();
    let (callers, mut called) = mpsc::channel(WAITING);
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port)))?;
    runtime.spawn(bare::accept(listener, callers));
    println!("0");
    let known = streams.clone();
    runtime.spawn(async move {
        while let Some(stream) = called.recv().await {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.push(stream);
            println!("{}", known.len());
        }
    });
    for order in std::io::stdin().lock().lines() {
        order?;
        let all = streams.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for stream in all {
            let response = response.clone();
            runtime.spawn(async move { stream.send(response).await });
        }
    }
    Ok(())
}
