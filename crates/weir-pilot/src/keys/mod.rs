//! The keys of issuers: fetched for the RequestAuthentications that name only where they are, and fetched again from time to time.
//!
//! No push waits for them: until they are there, proxies get a key that nobody has, so that tokens are refused and not let in.
//! Where keys cannot be fetched any more, the last ones stay.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use weir_api::{Diagnostic, FieldPath, Severity};
use weir_model::{KeyAddress, MeshSnapshot};

use crate::report::Source;
use crate::shared::Shared;
use fetch::fetch;
use get::Web;

mod fetch;
mod get;
mod reach;

/// How long a fetch may take, where no rule says so.
const LIMIT: Duration = Duration::from_secs(5);
/// The longest time that a rule can give it.
const LONGEST: Duration = Duration::from_secs(60);
/// After so long keys are fetched again, as istiod does.
const REFRESH: Duration = Duration::from_secs(20 * 60);
/// The first time after which a fetch that failed is tried again; each further one is twice as long, up to the time of a refresh.
const RETRY: Duration = Duration::from_secs(1);
/// So many fetches go on at once: each may hold a whole document, and a handshake.
const AT_ONCE: usize = 8;

/// How it stands with the keys at one address.
struct Known {
    /// When they are fetched next; none while that is being done.
    next: Option<Instant>,
    /// How often it has failed since it last succeeded.
    failures: u32,
    /// When they are let go of, if nobody needs them now: a policy that is written anew is away for a moment, and its keys may be
    /// out of reach just then.
    ends: Option<Instant>,
}

impl Known {
    /// When something is to be done about them.
    fn wakes(&self) -> Option<Instant> {
        self.ends.or(self.next)
    }
}

/// The fetches that go on, and what is fetched by each.
#[derive(Default)]
struct Fetches {
    tasks: JoinSet<Result<String, String>>,
    addresses: HashMap<Id, KeyAddress>,
}

impl Fetches {
    fn begin(&mut self, address: KeyAddress, fetched: impl Future<Output = Result<String, String>> + Send + 'static) {
        let id = self.tasks.spawn(fetched).id();
        self.addresses.insert(id, address);
    }

    /// The next one that ends, in whatever way; none if none goes on.
    async fn ended(&mut self) -> Option<(KeyAddress, Result<String, String>)> {
        let (id, fetched) = match self.tasks.join_next_with_id().await? {
            Ok(done) => done,
            Err(error) => (error.id(), Err(format!("the fetch broke off: {error}"))),
        };
        Some((self.addresses.remove(&id)?, fetched))
    }
}

/// Keeps keys fetched for as long as the mesh needs them.
pub(crate) async fn follow(shared: Arc<Shared>, mut mesh: watch::Receiver<Arc<MeshSnapshot>>) {
    let mut known: BTreeMap<KeyAddress, Known> = BTreeMap::new();
    let mut fetches = Fetches::default();
    let (web, turns) = (Arc::new(Web::from_environment()), Arc::new(Semaphore::new(AT_ONCE)));
    loop {
        let newest = mesh.borrow_and_update().clone();
        let wanted = newest.key_addresses();
        let now = Instant::now();
        note(&mut known, &wanted, now);
        forget(&shared, &known, &wanted);
        for (address, known) in known.iter_mut().filter(|(_, known)| known.ends.is_none() && known.next.is_some_and(|next| next <= now)) {
            known.next = None;
            let (own, limit, web, turns) = (address.clone(), limit(&newest, address), web.clone(), turns.clone());
            fetches.begin(address.clone(), async move {
                let _turn = turns.acquire().await.map_err(|error| error.to_string())?;
                fetch(&web, &own, limit).await
            });
        }
        let next = known.values().filter_map(Known::wakes).min();
        tokio::select! {
            changed = mesh.changed() => if changed.is_err() { return },
            Some((address, fetched)) = fetches.ended() => settle(&shared, &newest, &mut known, address, fetched),
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
    }
}

/// Notes which keys are needed now, and lets go of those that were not for long enough.
fn note(known: &mut BTreeMap<KeyAddress, Known>, wanted: &BTreeSet<KeyAddress>, now: Instant) {
    for (address, known) in known.iter_mut() {
        known.ends = (!wanted.contains(address)).then(|| known.ends.unwrap_or(now + REFRESH));
    }
    known.retain(|_, known| known.ends.is_none_or(|ends| now < ends));
    for address in wanted {
        known.entry(address.clone()).or_insert_with(|| Known { next: Some(now), failures: 0, ends: None });
    }
}

/// A time that is a little longer or shorter each time it is taken: what began together does not go on so.
fn about(time: Duration) -> Duration {
    time.mul_f64(0.9 + 0.2 * fastrand::f64())
}

fn settle(
    shared: &Shared,
    mesh: &MeshSnapshot,
    known: &mut BTreeMap<KeyAddress, Known>,
    address: KeyAddress,
    fetched: Result<String, String>,
) {
    let Some(known) = known.get_mut(&address) else { return };
    let source = Source::Configuration(format!("keys of {}", address.address()));
    match fetched {
        Ok(text) => {
            *known = Known { next: Some(Instant::now() + about(REFRESH)), failures: 0, ..*known };
            shared.report(&source, vec![]);
            let is_new = shared.keys.send_if_modified(|keys| {
                if keys.get(&address).is_some_and(|known| **known == *text) {
                    return false;
                }
                Arc::make_mut(keys).insert(address, text.into());
                true
            });
            if is_new {
                shared.changed.notify_one();
            }
        }
        Err(reason) => {
            let wait = RETRY.saturating_mul(1 << known.failures.min(16)).min(REFRESH);
            *known = Known { next: Some(Instant::now() + about(wait)), failures: known.failures.saturating_add(1), ..*known };
            if known.ends.is_some() {
                return;
            }
            let has_keys = shared.keys.borrow().contains_key(&address);
            let instead = if has_keys { "the last ones stay in force" } else { "until they can be, all of its tokens are refused" };
            let said = format!("the keys at {} cannot be fetched: {reason}; {instead}", address.address());
            shared.report(&source, findings(mesh, &address, &said));
        }
    }
}

/// Lets go of keys that are not known any more, and of what was said of those that nobody needs.
fn forget(shared: &Shared, known: &BTreeMap<KeyAddress, Known>, wanted: &BTreeSet<KeyAddress>) {
    for address in known.keys().filter(|address| !wanted.contains(*address)) {
        shared.forget_findings(&Source::Configuration(format!("keys of {}", address.address())));
    }
    shared.keys.send_if_modified(|keys| {
        let gone: Vec<KeyAddress> = keys.keys().filter(|address| !known.contains_key(*address)).cloned().collect();
        for address in &gone {
            Arc::make_mut(keys).remove(address);
        }
        !gone.is_empty()
    });
}

/// The rules that need the keys at an address, with their places.
fn rules<'m>(mesh: &'m MeshSnapshot, address: &KeyAddress) -> impl Iterator<Item = (&'m weir_model::RequestAuthentication, usize)> {
    let is_its = |rule| KeyAddress::of(rule).as_ref() == Some(address);
    let of = move |policy: &'m weir_model::RequestAuthentication| {
        let rules = policy.spec().into_iter().flat_map(|spec| &spec.jwt_rules).enumerate();
        rules.filter(move |(_, rule)| is_its(rule)).map(move |(index, _)| (policy, index)).collect::<Vec<_>>()
    };
    mesh.request_authentications.iter().flat_map(of)
}

fn findings(mesh: &MeshSnapshot, address: &KeyAddress, said: &str) -> Vec<Diagnostic> {
    let at = |index| FieldPath::default().key("spec").key("jwtRules").index(index);
    rules(mesh, address).map(|(policy, index)| policy.object.diagnostic(Severity::Warning, at(index), said)).collect()
}

/// The longest time that a rule gives, within reason: nobody holds a turn for hours.
fn limit(mesh: &MeshSnapshot, address: &KeyAddress) -> Duration {
    let timeout = |(policy, index): (&weir_model::RequestAuthentication, usize)| policy.spec()?.jwt_rules.get(index)?.timeout;
    rules(mesh, address).filter_map(timeout).map(|timeout| timeout.to_std()).max().unwrap_or(LIMIT).min(LONGEST)
}

#[cfg(test)]
mod tests;
