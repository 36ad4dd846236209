//! Keeps the configurations of one kind as they must be, so that the API server knows who answers: the `caBundle` of those webhooks that call us,
//! whoever changes it; and of those that validate, that nothing passes them any more once they have been seen to work.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::{Error, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use weir_pilot::Followed;
use weir_registry::kubernetes::BackOff;

use super::bundle::{Bundle, Judged};
use super::certificate::Called;
use super::configuration::{Change, Configuration, Hook};
use super::follow::Known;
use super::proof::Prover;

/// So long roots stay in a bundle that are none any more, or not ours.
const GRACE: Duration = Duration::from_secs(600);
/// Nothing has to be done before somebody says so.
const LONG: Duration = Duration::from_secs(3600);
/// After a proof that failed.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(15);
/// One that fails for so long is told.
const TOLD: Duration = Duration::from_secs(2);

/// Keeps them.
pub(super) struct Keeper<K> {
    api: Api<K>,
    known: watch::Receiver<Known<Configuration>>,
    called: Arc<Called>,
    authority: Followed,
    bundle: Bundle,
    /// When former roots are left out.
    forget: Option<Instant>,
    /// Since when others' roots are in a bundle, by the configuration's name.
    others: BTreeMap<String, Instant>,
    prover: Option<Prover>,
    proof_wait: Duration,
    /// When a bundle may be written again: whoever overwrites it each time must not keep the API server busy.
    writing: BTreeMap<String, (BackOff, Instant)>,
    back_off: BackOff,
    /// What was said last of each.
    said: BTreeMap<String, String>,
}

impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug> Keeper<K> {
    /// One of these configurations; with a prover, of such that validate.
    pub fn new(
        api: Api<K>,
        known: watch::Receiver<Known<Configuration>>,
        called: Arc<Called>,
        authority: Followed,
        prover: Option<Prover>,
    ) -> Self {
        let bundle = Bundle::of(authority.root_certificates());
        let (others, writing, said) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (proof_wait, back_off) = (SHORTEST, BackOff::new());
        Self { api, known, called, authority, bundle, forget: None, others, prover, proof_wait, writing, back_off, said }
    }

    /// Keeps them, for ever.
    pub async fn keep(mut self) {
        loop {
            let again = self.look().await;
            tokio::select! {
                () = sleep_until(again) => {}
                true = self.authority.changed() => {
                    self.bundle.change(self.authority.root_certificates());
                    self.forget = Some(Instant::now() + GRACE);
                }
                Ok(()) = self.known.changed() => {}
            }
        }
    }

    /// Looks at all of them, and changes what must be changed. When to look again, if nobody says anything before.
    async fn look(&mut self) -> Instant {
        let mut again = Instant::now() + LONG;
        if self.forget.is_some_and(|forget| forget <= Instant::now()) {
            self.bundle.forget();
            self.forget = None;
        }
        again = self.forget.map_or(again, |forget| forget.min(again));
        let known = self.known.borrow_and_update().clone().unwrap_or_default();
        self.others.retain(|name, _| known.contains_key(name));
        self.writing.retain(|name, _| known.contains_key(name));
        self.said.retain(|name, _| known.contains_key(name));
        for (name, configuration) in known.iter() {
            let own: Vec<&Hook> = configuration.hooks.iter().filter(|hook| self.called.is_us(&hook.host)).collect();
            let next = self.keep_one(name, configuration, &own).await;
            again = next.map_or(again, |next| next.min(again));
        }
        again
    }

    async fn keep_one(&mut self, name: &str, configuration: &Configuration, own: &[&Hook]) -> Option<Instant> {
        let now = Instant::now();
        let since = self.others.get(name).copied().unwrap_or(now);
        let judged: Vec<Judged> = own.iter().map(|hook| self.bundle.judge(hook.bundle.as_ref(), since + GRACE > now)).collect();
        let has_others = judged.contains(&Judged::More);
        match has_others {
            true => drop(self.others.insert(name.to_owned(), since)),
            false => drop(self.others.remove(name)),
        }
        let change = |judged: &Judged| Change { bundle: (*judged == Judged::Wrong).then(|| self.bundle.text()), fail: false };
        if let Some(patch) = configuration.patch(own.iter().copied().zip(judged.iter().map(change))) {
            return match self.may_write(name, now) {
                Ok(()) => self.patch(name, patch, "the caBundle is the mesh's roots").await,
                Err(later) => Some(later),
            };
        }
        let next = has_others.then_some(since + GRACE);
        let proved = self.prove(name, own).await;
        match proved {
            Proved::Nothing => next,
            Proved::Later(later) => Some(next.map_or(later, |next| next.min(later))),
            Proved::Works => {
                let change = |hook: &&Hook| Change { bundle: None, fail: !hook.fails };
                let patch = configuration.patch(own.iter().map(|hook| (*hook, change(hook))))?;
                self.patch(name, patch, "it was seen to work: what it does not answer is refused from now on").await
            }
        }
    }

    /// Whether a bundle may be written now; else when.
    fn may_write(&mut self, name: &str, now: Instant) -> Result<(), Instant> {
        let (back_off, next) = self.writing.entry(name.to_owned()).or_insert_with(|| (BackOff::new(), now));
        if *next > now {
            return Err(*next);
        }
        *next = now + back_off.broke(std::time::Instant::now());
        Ok(())
    }

    /// Whether webhooks work by which something may pass as yet.
    async fn prove(&mut self, name: &str, own: &[&Hook]) -> Proved {
        let Some(prover) = &self.prover else { return Proved::Nothing };
        let open: Vec<&&Hook> = own.iter().filter(|hook| !hook.fails).collect();
        if open.is_empty() {
            return Proved::Nothing;
        }
        for hook in open {
            if let Err(reason) = prover.prove(&hook.objects).await {
                let wait = self.proof_wait;
                // At first the API server has not heard of the caBundle yet.
                if wait >= TOLD {
                    self.say(name, format!("is not seen to work yet, and lets pass what it does not answer: {reason}"));
                }
                self.proof_wait = (wait * 2).min(LONGEST);
                return Proved::Later(Instant::now() + wait);
            }
        }
        self.proof_wait = SHORTEST;
        Proved::Works
    }

    /// Changes one; when to try again, if it could not be.
    async fn patch(&mut self, name: &str, patch: serde_json::Value, what: &str) -> Option<Instant> {
        match self.api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => {
                tracing::info!("{} {name}: {what}", K::kind(&()));
                self.said.remove(name);
                None
            }
            // Somebody was faster: it is told, and looked at again.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Some(self.later()),
            Err(error) => {
                self.say(name, format!("cannot be changed, so that the API server may not know who answers: {error}"));
                Some(self.later())
            }
        }
    }

    fn later(&mut self) -> Instant {
        Instant::now() + self.back_off.broke(std::time::Instant::now())
    }

    fn say(&mut self, name: &str, message: String) {
        if self.said.get(name) != Some(&message) {
            tracing::warn!("{} {name} {message}", K::kind(&()));
            self.said.insert(name.to_owned(), message);
        }
    }
}

/// What a proof has shown.
enum Proved {
    /// There is nothing to prove.
    Nothing,
    /// They work.
    Works,
    /// They do not, or not yet: it is tried again then.
    Later(Instant),
}
