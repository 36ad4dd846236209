//! A check by a connection: that it can be made, or that certain bytes come over it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::checker::CheckedHost;
use super::failure::{CheckFailure, Result};
use super::payload;
use weir_config::health_check::TcpMethodPolicy;

use crate::tls::client::Offer;
use crate::upstream::transport::Transport;

/// An instance that says so much, and not what is waited for, will not.
const MAX_ANSWER: usize = 64 << 10;

/// One check.
pub(super) async fn check(policy: &TcpMethodPolicy, instance: &CheckedHost, kept: &mut Option<Transport>) -> Result {
    // One that the other side has closed meanwhile says nothing of the instance.
    let mut stream = match reusable(kept.take()) {
        Some(stream) => stream,
        None => instance.connect(Offer::Nothing).await?,
    };
    stream.write_all(&policy.send).await.map_err(CheckFailure::network)?;
    stream.flush().await.map_err(CheckFailure::network)?;
    if policy.receive.is_empty() {
        // Only whether a connection can be made: the next check makes another one.
        return Ok(());
    }
    let mut heard = vec![];
    while !payload::contains(&policy.receive, &heard) {
        if heard.len() > MAX_ANSWER {
            return Err(CheckFailure::answer("what is waited for is not in the answer"));
        }
        if stream.read_buf(&mut heard).await.map_err(CheckFailure::network)? == 0 {
            return Err(CheckFailure::network("the connection was closed before the answer came"));
        }
    }
    *kept = Some(stream);
    Ok(())
}

fn reusable(kept: Option<Transport>) -> Option<Transport> {
    let mut kept = kept?;
    kept.is_quiet().then_some(kept)
}
