//! What has arrived of a request's body when its answer is ready, though nobody asked for the rest: read, it need not end the
//! client's connection. Envoy reads while it waits for something else, and so has it by then.

use std::future::poll_fn;
use std::task::{Context, Poll};

/// So often in a row nothing may be there: the connection hands on what it has read when it gets its turn.
const TURNS: u32 = 3;
/// More than this is not read for nobody.
const LIMIT: usize = 1 << 20;

/// Reads what is there, without waiting for more. `next` gives the length of each part, and nothing at the end.
pub async fn read_arrived(mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<usize>>) {
    let (mut read, mut empty) = (0, 0);
    poll_fn(|cx| {
        loop {
            match next(cx) {
                Poll::Ready(Some(length)) if read <= LIMIT => (read, empty) = (read + length, 0),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if empty == TURNS => return Poll::Ready(()),
                Poll::Pending => {
                    empty += 1;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_there_is_read_and_nothing_is_waited_for() {
        let mut script = vec![Poll::Ready(Some(3)), Poll::Pending, Poll::Ready(Some(2)), Poll::Ready(None)].into_iter();
        let mut read = 0;
        read_arrived(|_| {
            let part = script.next().expect("it is not asked again");
            if let Poll::Ready(Some(length)) = part {
                read += length;
            }
            part
        })
        .await;
        assert_eq!((read, script.len()), (5, 0));
        read_arrived(|_| Poll::Pending).await;
        let mut parts = 0;
        read_arrived(|_| {
            parts += 1;
            Poll::Ready(Some(LIMIT / 4))
        })
        .await;
        assert_eq!(parts, 6);
    }
}
