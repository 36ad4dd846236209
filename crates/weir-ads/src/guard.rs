//! A connection by which anybody may come: who is not let in leaves it soon, and so does who has nothing to ask any more. Otherwise whoever
//! answers the pings of HTTP/2 could keep the places of all others.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;

use crate::shown::Shown;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A stream of resources.
    Stream,
    /// A certificate.
    Certificate,
}

/// An answer to come: whether a caller is let in, or why not.
pub type Admission<'a> = Pin<Box<dyn Future<Output = Result<(), Status>> + Send + 'a>>;

/// Who lets callers in.
pub trait Guard: Send + Sync {
    /// Looks at what a caller shows, before anything of the call is read. Until there is an answer the call is not one that was let in.
    fn admit<'a>(&'a self, shown: &'a Shown, asked: Asked) -> Admission<'a>;
}

/// How long a connection may be there without a call that was let in.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From its beginning until the first.
    pub first: Duration,
    /// From the end of the last until the next.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: Duration::from_secs(10), idle: Duration::from_secs(300) }
    }
}

/// The guard of a connection, and the calls that were let in.
#[derive(Clone)]
pub(crate) struct Guarded {
    guard: Arc<dyn Guard>,
    calls: watch::Sender<Calls>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    under_way: usize,
    /// How many there were ever: one may come and go unseen.
    ever: u64,
}

/// A call for as long as it is under way.
pub(crate) struct UnderWay(watch::Sender<Calls>);

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnderWay")
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|calls| calls.under_way -= 1);
    }
}

impl Guarded {
    pub fn new(guard: Arc<dyn Guard>) -> Self {
        Self { guard, calls: watch::Sender::default() }
    }

    /// Lets a call in.
    ///
    /// # Errors
    /// Why not.
    pub async fn admit(&self, shown: &Shown, asked: Asked) -> Result<UnderWay, Status> {
        self.guard.admit(shown, asked).await?;
        self.calls.send_modify(|calls| *calls = Calls { under_way: calls.under_way + 1, ever: calls.ever + 1 });
        Ok(UnderWay(self.calls.clone()))
    }

    /// Waits until the connection has been there in vain for too long.
    pub async fn until_vain(&self, patience: Patience) {
        let (mut calls, mut seen, mut limit) = (self.calls.subscribe(), 0, patience.first);
        loop {
            let Ok(Ok(now)) = timeout(limit, calls.wait_for(|calls| calls.ever != seen)).await.map(|found| found.map(|calls| *calls))
            else {
                return;
            };
            (seen, limit) = (now.ever, patience.idle);
            // Its own sender is still there: this waits for nothing else.
            let Ok(now) = calls.wait_for(|calls| calls.under_way == 0).await.map(|calls| *calls) else { return };
            seen = seen.max(now.ever);
        }
    }
}
