//! Whether a proxy may have the keys of the Secrets that its configuration names: where a cluster says who may read Secrets, only if its account
//! may. The file-based mesh has nobody to ask, and gives to each what it is configured for.
//!
//! Until it is known, and while the answer is no, the proxy has all but these: the other side's authorities, and the names of files.
//! (Facts: pilot/pkg/credentials/kube of Istio.)

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use weir_model::Identity;

/// How soon somebody is asked again who did not answer.
const AGAIN: Duration = Duration::from_secs(5);
/// So long a gateway that comes waits for the answer before it has everything else.
const FIRST: Duration = Duration::from_secs(2);

/// Whether an account may have keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// It may.
    pub is_allowed: bool,
    /// Until when that is taken for so.
    pub until: Instant,
}

/// An answer to come; an error says why there is none.
pub type Judging = Pin<Box<dyn Future<Output = Result<Verdict, String>> + Send>>;

/// Says who may have the keys of Secrets.
pub trait KeyAccess: Send + Sync {
    /// Whether an account may have those of its own namespace. It is asked for each proxy, and bounds itself how often that comes to whoever
    /// is behind it. Once it was polled it must come to an end by itself: who waits may stop looking, and keep it.
    fn judge(&self, identity: &Identity) -> Judging;
}

/// Whether one proxy may have keys, as far as that is known.
pub(crate) struct Permission {
    access: Arc<dyn KeyAccess>,
    identity: Identity,
    is_given: bool,
    /// Whether it is known that it may not.
    is_refused: bool,
    /// When to ask again.
    until: Instant,
    asking: Option<Judging>,
    /// Whether there are keys that it would be given.
    pub is_needed: bool,
    was_told: bool,
}

impl Permission {
    /// Of an account of which nothing is known.
    pub fn new(access: Arc<dyn KeyAccess>, identity: Identity) -> Self {
        Self {
            access,
            identity,
            is_given: false,
            is_refused: false,
            until: Instant::now(),
            asking: None,
            is_needed: false,
            was_told: false,
        }
    }

    /// Whether it may have them.
    pub fn is_given(&self) -> bool {
        self.is_given
    }

    /// Asks before it is known whether there are any keys, and waits a while for the answer.
    pub async fn ask_first(&mut self) {
        let _ = tokio::time::timeout(FIRST, self.ask()).await;
    }

    /// Waits until more is known than was, or it is otherwise; for ever where nothing depends on it. Nothing is lost where somebody stops waiting.
    pub async fn changed(&mut self) {
        loop {
            if !self.is_needed {
                return std::future::pending().await;
            }
            sleep_until(self.until).await;
            let was = (self.is_given, self.is_refused);
            self.ask().await;
            if (self.is_given, self.is_refused) != was {
                return;
            }
        }
    }

    /// Asks. Who does not answer leaves it as it was: keys do not change, either, while nobody tells of them.
    async fn ask(&mut self) {
        let asking = self.asking.get_or_insert_with(|| self.access.judge(&self.identity));
        let answer = asking.await;
        self.asking = None;
        match answer {
            Ok(Verdict { is_allowed, until }) => (self.is_given, self.is_refused, self.until) = (is_allowed, !is_allowed, until),
            Err(reason) => {
                self.until = Instant::now() + AGAIN;
                tracing::debug!("whether {} may have keys is not known: {reason}", self.identity);
            }
        }
    }

    /// Tells, once, who gets no keys.
    pub fn tell(&mut self, proxy: &str) {
        let Identity { namespace, account } = &self.identity;
        if self.is_refused && self.is_needed && !std::mem::replace(&mut self.was_told, true) {
            tracing::warn!(
                "{proxy} is given none of the keys in Secrets of {namespace}: its account may not list them, as `kubectl auth can-i list secrets -n \
                 {namespace} --as system:serviceaccount:{namespace}:{account}` says"
            );
        }
        self.was_told &= self.is_refused;
    }
}

#[cfg(test)]
mod tests;
