//! The floor: a server that sends bytes which somebody else has made, to all who are connected, when it is told to. It does nothing
//! that a server by tonic can leave out.

use std::fs;
use std::io::BufRead;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use weir_xds::Message;
use weir_xds::discovery::DeltaDiscoveryResponse;

use crate::bare;
use crate::ordered::Ordered;

/// As what this program starts itself.
const WORD: &str = "helper-floor";
/// Streams may wait until they are looked at.
const WAITING: usize = 64;

/// Starts one at a port; each order sends the response to all who are connected, of whom it tells the number.
///
/// # Errors
/// If it does not serve.
pub(crate) fn start(port: u16, response: &[u8], work: &Path) -> anyhow::Result<Ordered> {
    let body = work.join("response");
    fs::write(&body, response)?;
    Ordered::start(&[WORD, &port.to_string(), &body.display().to_string()], &work.join("floor.log"))
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
