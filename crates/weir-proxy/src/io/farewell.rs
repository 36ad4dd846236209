//! The end of a connection that carried another protocol than HTTP: as Envoy does it, its client may end it first.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// So long a client has for what has still to go out, the end of its TLS session among it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Ends a connection. With `patience` its client is given so much time to read what came, and to end it itself: what it still sends
/// would make the system answer with a reset, which takes away what it has not read yet.
pub async fn see_off(mut client: impl AsyncRead + AsyncWrite + Unpin, patience: Option<Duration>) {
    let flush = poll_fn(|cx| Pin::new(&mut client).poll_flush(cx));
    if timeout(patience.unwrap_or(LAST_WORDS), flush).await.is_ok_and(|flushed| flushed.is_ok())
        && let Some(patience) = patience
    {
        let _ = timeout(patience, discard(&mut client)).await;
    }
    // Whoever is gone cannot be told.
    let _ = timeout(LAST_WORDS, poll_fn(|cx| Pin::new(&mut client).poll_shutdown(cx))).await;
}

/// Answers a connection, whatever it says, and ends it. Its client is told of the end at once, and is given time to read.
pub async fn answer(mut client: impl AsyncRead + AsyncWrite + Unpin, answer: Bytes) {
    let said = async {
        client.write_all(&answer).await?;
        client.shutdown().await
    };
    if timeout(LAST_WORDS, said).await.is_ok_and(|said| said.is_ok()) {
        let _ = timeout(LAST_WORDS, discard(&mut client)).await;
    }
}

/// So long who is not let in may say nothing.
const SILENCE: Duration = Duration::from_secs(15);

/// So much of what has come from who is not let in is read before the connection ends.
const HEARD: usize = 16 * 1024;

/// Ends a connection that is not let in, once its client has said anything, and after a delay. What has come is read: the system
/// answers what is left unread with a reset.
pub async fn refuse(mut client: impl AsyncRead + AsyncWrite + Unpin, delay: Option<Duration>) {
    let mut room = [0; 1024];
    let mut heard = timeout(SILENCE, client.read(&mut room)).await.map_or(0, |read| read.unwrap_or(0));
    while heard > 0 && heard < HEARD {
        // What is not there yet is not waited for.
        match timeout(Duration::ZERO, client.read(&mut room)).await {
            Ok(Ok(read)) if read > 0 => heard += read,
            _ => break,
        }
    }
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
}

/// Reads to the end, for nobody.
async fn discard(client: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut room = vec![0; 4096];
    while client.read(&mut room).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn what_has_come_from_who_is_not_let_in_is_read() {
        for (sent, left) in [(1_usize, 0_usize), (5000, 0), (HEARD + 4096, 4096)] {
            let (mut ours, mut theirs) = duplex(2 * HEARD);
            theirs.write_all(&vec![b'a'; sent]).await.expect("there is room");
            refuse(&mut ours, None).await;
            drop(theirs);
            let mut rest = vec![];
            ours.read_to_end(&mut rest).await.expect("it was ended in order");
            assert_eq!(rest.len(), left, "{sent}");
        }
    }

    #[tokio::test]
    async fn a_client_is_waited_for_and_not_for_ever() {
        const PATIENCE: Duration = Duration::from_millis(200);
        for (patience, client_ends) in [(None, false), (Some(PATIENCE), false), (Some(10 * PATIENCE), true)] {
            let (ours, mut theirs) = duplex(64);
            let start = Instant::now();
            theirs.write_all(b"still talking").await.expect("there is room");
            let held = (!client_ends).then_some(theirs);
            see_off(ours, patience).await;
            assert_eq!(start.elapsed() >= PATIENCE, patience.is_some() && !client_ends, "{patience:?} {client_ends}");
            drop(held);
        }
    }
}
