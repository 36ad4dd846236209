//! A check by a connection: that it can be made, or that certain bytes come over it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::checker::CheckedHost;
use super::failure::{CheckFailure, Result};
use super::payload;
use weir_config::health_check::TcpMethodPolicy;

/// An instance that says so much, and not what is waited for, will not.
const MAX_ANSWER: usize = 64 << 10;

/// One check.
pub(super) async fn check(policy: &TcpMethodPolicy, instance: &CheckedHost, kept: &mut Option<TcpStream>) -> Result {
    // One that the other side has closed meanwhile says nothing of the instance.
    let mut stream = match kept.take().filter(is_open) {
        Some(stream) => stream,
        None => instance.connect().await?,
    };
    stream.write_all(&policy.send).await.map_err(CheckFailure::network)?;
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

fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    matches!(stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
