//! The keys of issuers: fetched for the RequestAuthentications that name only where they are, and fetched again from time to time.
//!
//! No push waits for them: until they are there, proxies get a key that nobody has, so that tokens are refused and not let in.
//! Where keys cannot be fetched any more, the last ones stay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use weir_api::keys::check_key_set;
use weir_api::{Diagnostic, FieldPath, Severity};
use weir_model::{KeyAddress, MeshSnapshot};

use crate::shared::Shared;

mod get;

/// How long a fetch may take, where no rule says so.
const LIMIT: Duration = Duration::from_secs(5);
/// After so long keys are fetched again, as istiod does.
const REFRESH: Duration = Duration::from_secs(20 * 60);
/// The first time after which a fetch that failed is tried again; each further one is twice as long, up to the time of a refresh.
const RETRY: Duration = Duration::from_secs(1);

/// How it stands with the keys at one address.
struct Known {
    /// When they are fetched next; none while that is being done.
    next: Option<Instant>,
    /// How often it has failed since it last succeeded.
    failures: u32,
}

/// Keeps keys fetched for as long as the mesh needs them.
pub(crate) async fn follow(shared: Arc<Shared>, mut mesh: watch::Receiver<Arc<MeshSnapshot>>) {
    let mut known: BTreeMap<KeyAddress, Known> = BTreeMap::new();
    let mut fetches = JoinSet::new();
    loop {
        let newest = mesh.borrow_and_update().clone();
        let wanted = newest.key_addresses();
        known.retain(|address, _| wanted.contains(address));
        for address in &wanted {
            known.entry(address.clone()).or_insert_with(|| Known { next: Some(Instant::now()), failures: 0 });
        }
        forget(&shared, &wanted);
        let now = Instant::now();
        for (address, known) in known.iter_mut().filter(|(_, known)| known.next.is_some_and(|next| next <= now)) {
            known.next = None;
            let (address, limit) = (address.clone(), limit(&newest, address));
            fetches.spawn(async move {
                let fetched = fetch(&address, limit).await;
                (address, fetched)
            });
        }
        let next = known.values().filter_map(|known| known.next).min();
        tokio::select! {
            changed = mesh.changed() => if changed.is_err() { return },
            Some(done) = fetches.join_next() => if let Ok((address, fetched)) = done {
                settle(&shared, &newest, &mut known, address, fetched);
            },
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
    }
}

fn settle(
    shared: &Shared,
    mesh: &MeshSnapshot,
    known: &mut BTreeMap<KeyAddress, Known>,
    address: KeyAddress,
    fetched: Result<String, String>,
) {
    let Some(known) = known.get_mut(&address) else { return };
    let source = format!("keys of {}", address.address());
    match fetched {
        Ok(text) => {
            *known = Known { next: Some(Instant::now() + REFRESH), failures: 0 };
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
            *known = Known { next: Some(Instant::now() + wait), failures: known.failures.saturating_add(1) };
            let has_keys = shared.keys.borrow().contains_key(&address);
            let instead = if has_keys { "the last ones stay in force" } else { "until they can be, all of its tokens are refused" };
            let said = format!("the keys at {} cannot be fetched: {reason}; {instead}", address.address());
            shared.report(&source, findings(mesh, &address, &said));
        }
    }
}

/// Lets go of keys that nobody needs any more.
fn forget(shared: &Shared, wanted: &BTreeSet<KeyAddress>) {
    shared.keys.send_if_modified(|keys| {
        let gone: Vec<KeyAddress> = keys.keys().filter(|address| !wanted.contains(*address)).cloned().collect();
        for address in &gone {
            Arc::make_mut(keys).remove(address);
            shared.forget_findings(&format!("keys of {}", address.address()));
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

/// The longest time that a rule gives.
fn limit(mesh: &MeshSnapshot, address: &KeyAddress) -> Duration {
    let timeout = |(policy, index): (&weir_model::RequestAuthentication, usize)| policy.spec()?.jwt_rules.get(index)?.timeout;
    rules(mesh, address).filter_map(timeout).map(|timeout| timeout.to_std()).max().unwrap_or(LIMIT)
}

/// A set of keys, if that is what is there: proxies would refuse their whole configuration for what is none.
async fn fetch(address: &KeyAddress, limit: Duration) -> Result<String, String> {
    let keys = match address {
        KeyAddress::Keys(address) => address.clone(),
        KeyAddress::Issuer(_) => keys_of(&get::get(&address.address(), limit).await?)?,
    };
    let text = get::get(&keys, limit).await?;
    check_key_set(&text).map_err(|wrong| format!("{keys}: {wrong}"))?;
    Ok(text)
}

/// Where an OpenID configuration says that keys are.
fn keys_of(configuration: &str) -> Result<String, String> {
    let configuration: serde_json::Value =
        serde_json::from_str(configuration).map_err(|error| format!("its configuration is no JSON: {error}"))?;
    let address = configuration.get("jwks_uri").and_then(serde_json::Value::as_str);
    address.map(str::to_owned).ok_or_else(|| "its configuration names no `jwks_uri`".to_owned())
}
