//! The mesh's root in the Secrets of the pilot's namespace: `cacerts`, which somebody else has put there, or else `istio-ca-secret`, which is
//! made once, when there is neither. It is followed as a folder is; whoever wants another root puts the new one beside the old for a while.
//!
//! A root that is lost is never replaced without a word: its certificate is in `istio-ca-root-cert`, so that there was one. (Facts:
//! security/pkg/pki/ca and pilot/pkg/bootstrap/istio_ca.go of Istio.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ListParams, PostParams};
use kube::core::{NamespaceResourceScope, ObjectMeta};
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio_stream::StreamExt;
use weir_pilot::{Authority, AuthorityError, AuthorityFiles, Followed, Succession};
use zeroize::{Zeroize, Zeroizing};

use super::distribution::{NAME, OWNER, tells_of_kept_root};
use super::following::follow;
use super::{answer, status, words};

/// What somebody else puts there.
const GIVEN: &str = "cacerts";
/// What is made.
const OWN: &str = "istio-ca-secret";
/// Its type; Istio's.
const TYPE: &str = "istio.io/ca-root";
const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const CHAIN: &str = "cert-chain.pem";
const ROOTS: &str = "root-cert.pem";
const REVOKED: &str = "ca-crl.pem";
/// An API server that is away is tried again so often.
const AGAIN: Duration = Duration::from_secs(2);

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The API server does not tell of it, or does not take it.
    #[error("the mesh's root in the Secrets of {0} cannot be had: {1}")]
    Refused(String, String),
    /// It is there, and cannot be used.
    #[error(transparent)]
    Unusable(#[from] AuthorityError),
    /// There was one.
    #[error(
        "the mesh's root is lost: there is neither Secret {0}/{GIVEN} nor {0}/{OWN}, but ConfigMap {0}/{NAME} tells of one. Put the Secret back, or begin a \
         new mesh by deleting that ConfigMap"
    )]
    Lost(String),
}

/// A root that was found, or made.
#[derive(Debug)]
pub struct Root {
    secrets: Api<Secret>,
    namespace: String,
    authority: Authority,
    /// What tells it from others.
    mark: Mark,
    /// Whether somebody has put it there.
    is_given: bool,
}

/// Stands for the content of a Secret.
type Mark = Vec<u8>;

/// The files in a Secret.
#[derive(Clone)]
struct Found {
    files: AuthorityFiles,
    /// The Secret, as if it were a folder.
    place: PathBuf,
    mark: Mark,
}

/// Opens the root of a namespace's Secrets; makes one if there never was any. Waits for an API server that is away.
///
/// # Errors
/// If it is lost or cannot be used, or the API server refuses: a new one would be trusted by nobody who knows the old one.
pub async fn open(client: &Client, namespace: &str, trust_domain: &str) -> Result<Root, RootError> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let found = loop {
        let tried = find_or_make(client, &secrets, namespace, trust_domain).await;
        match tried {
            Err(Failed::Away(reason)) => {
                tracing::warn!("the mesh's root in the Secrets of {namespace} cannot be asked for, and is waited for: {reason}");
                tokio::time::sleep(AGAIN).await;
            }
            Err(Failed::For(error)) => return Err(error),
            Ok(found) => break found,
        }
    };
    let Found { files, place, mark } = found;
    tracing::info!("the mesh's authority is that of {}", place.display());
    let is_given = place.ends_with(GIVEN);
    Ok(Root { secrets, namespace: namespace.to_owned(), authority: files.into_authority(&place)?, mark, is_given })
}

impl Root {
    /// Follows what becomes of it, for as long as somebody looks.
    pub fn follow(self) -> Followed {
        let Self { secrets, namespace, authority, mark, is_given } = self;
        let (succession, followed) = authority.succeed();
        tokio::spawn(async move {
            tokio::select! {
                () = look(secrets, &namespace, (mark, is_given), &succession) => {}
                () = succession.closed() => {}
            }
        });
        followed
    }
}

/// Why something is not done now.
enum Failed {
    /// It may be the next time.
    Away(String),
    For(RootError),
}

async fn find_or_make(client: &Client, secrets: &Api<Secret>, namespace: &str, trust_domain: &str) -> Result<Found, Failed> {
    if let Some(found) = find(secrets, namespace).await? {
        return Ok(found);
    }
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let told = named(&config_maps, NAME).await.map_err(|error| failed(namespace, &error, &format!("list configmaps {NAME}")))?;
    if told.is_some_and(|told| tells_of_kept_root(&told)) {
        // Another pilot may have made it just now.
        return find(secrets, namespace).await?.ok_or_else(|| Failed::For(RootError::Lost(namespace.to_owned())));
    }
    make(secrets, namespace, trust_domain).await
}

/// The root that is there.
async fn find(secrets: &Api<Secret>, namespace: &str) -> Result<Option<Found>, Failed> {
    for name in [GIVEN, OWN] {
        let found = named(secrets, name).await.map_err(|error| failed(namespace, &error, "list secrets"))?;
        if let Some(found) = found {
            return read(found, namespace, name).map(Some).map_err(|error| Failed::For(error.into()));
        }
    }
    Ok(None)
}

/// Makes one, unless another pilot has done so meanwhile: what that has made is taken.
async fn make(secrets: &Api<Secret>, namespace: &str, trust_domain: &str) -> Result<Found, Failed> {
    let files = AuthorityFiles::new_root(trust_domain).map_err(|error| Failed::For(error.into()))?;
    let mut secret = written(&files);
    // By that whoever takes the control plane away knows that it is no other's.
    let owner = PostParams { field_manager: Some(OWNER.to_owned()), ..PostParams::default() };
    let made = answer(secrets.create(&owner, &secret), "what is written").await;
    wipe(&mut secret);
    match made {
        Ok(mut made) => {
            wipe(&mut made);
            tracing::info!("Secret {namespace}/{OWN} is there: the root of a new mesh");
        }
        Err(error) if status(&error) == Some(409) => {}
        Err(error) => return Err(failed(namespace, &error, "create secrets there")),
    }
    // As whoever comes next reads it.
    find(secrets, namespace).await?.ok_or_else(|| Failed::Away(format!("Secret {OWN} was made, and is not there")))
}

/// The object of a name, by a list of one: nobody need be allowed to get what he may list.
async fn named<K>(api: &Api<K>, name: &str) -> kube::Result<Option<K>>
where
    K: kube::Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
{
    let listed = answer(api.list(&ListParams::default().fields(&format!("metadata.name={name}"))), "what is there").await?;
    Ok(listed.items.into_iter().find(|object| object.meta().name.as_deref() == Some(name)))
}

fn failed(namespace: &str, error: &kube::Error, right: &str) -> Failed {
    let reason = words(error, right);
    match status(error) {
        Some(code) if (400..500).contains(&code) && code != 429 => Failed::For(RootError::Refused(namespace.to_owned(), reason)),
        _ => Failed::Away(reason),
    }
}

/// The files of a Secret. One that was made may have but what signs, which then is the root.
fn read(mut secret: Secret, namespace: &str, name: &str) -> Result<Found, AuthorityError> {
    let place = Path::new("Secret").join(namespace).join(name);
    let mut data = secret.data.take().unwrap_or_default();
    let mark = mark(&data);
    let mut take = |key: &str| data.remove(key).map(|ByteString(bytes)| bytes).filter(|bytes| !bytes.trim_ascii().is_empty());
    let missing = |key: &str| AuthorityError::Unusable(place.join(key), "is missing".to_owned());
    let certificate = take(CERTIFICATE).ok_or_else(|| missing(CERTIFICATE))?;
    let key = String::from_utf8(take(KEY).ok_or_else(|| missing(KEY))?);
    let key = Zeroizing::new(key.map_err(|error| {
        error.into_bytes().zeroize();
        AuthorityError::Unusable(place.join(KEY), "is not PEM".to_owned())
    })?);
    let mut or_itself = |key: &str| match take(key) {
        None if name == OWN => Ok(certificate.clone()),
        found => found.ok_or_else(|| missing(key)),
    };
    let (chain, roots) = (or_itself(CHAIN)?, or_itself(ROOTS)?);
    let revoked = take(REVOKED).unwrap_or_default();
    Ok(Found { files: AuthorityFiles { certificate, key, chain, roots, revoked }, place, mark })
}

fn mark(data: &BTreeMap<String, ByteString>) -> Mark {
    let mut context = Context::new(&SHA256);
    for key in [CERTIFICATE, KEY, CHAIN, ROOTS, REVOKED] {
        let content = data.get(key).map_or(&[][..], |ByteString(bytes)| bytes);
        context.update(&(content.len() as u64).to_be_bytes());
        context.update(content);
    }
    context.finish().as_ref().to_vec()
}

fn written(files: &AuthorityFiles) -> Secret {
    let entry = |name: &str, content: &[u8]| (name.to_owned(), ByteString(content.to_vec()));
    let entries = [entry(CERTIFICATE, &files.certificate), entry(KEY, files.key.as_bytes()), entry(ROOTS, &files.roots)];
    Secret {
        metadata: ObjectMeta { name: Some(OWN.to_owned()), ..ObjectMeta::default() },
        type_: Some(TYPE.to_owned()),
        data: Some(entries.into()),
        ..Secret::default()
    }
}

/// Leaves no key in memory that is free.
fn wipe(secret: &mut Secret) {
    secret.data.iter_mut().flat_map(BTreeMap::values_mut).for_each(|ByteString(bytes)| bytes.zeroize());
}

/// What is known of one Secret.
#[derive(Default)]
struct Known {
    now: Option<Result<Found, String>>,
    /// What a list has that is not complete.
    listed: Option<Result<Found, String>>,
    is_listed: bool,
}

impl Known {
    /// Takes news of it. Whether there may be something to do.
    fn take(&mut self, event: Event<Secret>, namespace: &str, name: &str) -> bool {
        let read = |secret| read(secret, namespace, name).map_err(|error| error.to_string());
        match event {
            Event::Init => self.listed = None,
            Event::InitApply(secret) => self.listed = Some(read(secret)),
            Event::InitDone => (self.now, self.is_listed) = (self.listed.take(), true),
            Event::Apply(secret) => self.now = Some(read(secret)),
            Event::Delete(_) => self.now = None,
        }
        self.is_listed
    }
}

/// Puts into force what becomes of the Secrets.
async fn look(secrets: Api<Secret>, namespace: &str, (mark, is_given): (Mark, bool), succession: &Succession) {
    let named = |name: &str| follow(secrets.clone(), Some(&format!("metadata.name={name}")));
    let (mut given, mut own) = (pin!(named(GIVEN)), pin!(named(OWN)));
    let (mut given_now, mut own_now) = (Known::default(), Known::default());
    let mut looker = Looker { namespace: namespace.to_owned(), in_force: mark, is_given, said: None };
    loop {
        let (event, known, name) = tokio::select! {
            Some(event) = given.next() => (event, &mut given_now, GIVEN),
            Some(event) = own.next() => (event, &mut own_now, OWN),
        };
        match event {
            Ok(event) => drop(known.take(event, namespace, name)),
            Err(error) => {
                tracing::debug!("Secret {namespace}/{name} cannot be followed now: {error}");
                continue;
            }
        }
        if given_now.is_listed && own_now.is_listed {
            // One that somebody has put there, and that is gone, is lost: the one that was made before it is no other version of it.
            let own = own_now.now.as_ref().filter(|_| !looker.is_given);
            looker.consider(given_now.now.as_ref().or(own), succession).await;
        }
    }
}

struct Looker {
    namespace: String,
    in_force: Mark,
    /// Whether that is what somebody has put there.
    is_given: bool,
    said: Option<String>,
}

impl Looker {
    async fn consider(&mut self, now: Option<&Result<Found, String>>, succession: &Succession) {
        let namespace = &self.namespace;
        let found = match now {
            Some(Ok(found)) if found.mark == self.in_force => return self.said = None,
            Some(Ok(found)) => found.clone(),
            Some(Err(error)) => {
                return self.say(format!("the mesh's authority has changed and cannot be used, the last one goes on: {error}"));
            }
            None => {
                return self.say(format!("the Secret of the mesh's authority is gone from {namespace}, the last one goes on: put it back"));
            }
        };
        let Found { files, place, mark } = found;
        let at = place.clone();
        // It is tried whether its signature leads to its root, which takes a while for a large key.
        let made = tokio::task::spawn_blocking(move || files.into_authority(&at).map_err(|error| error.to_string())).await;
        match made.unwrap_or_else(|_| Err("it cannot be read".to_owned())) {
            Ok(authority) => {
                tracing::info!("{}: the authority has changed, and is in force as it is now", place.display());
                succession.replace(authority, &place);
                (self.in_force, self.is_given, self.said) = (mark, place.ends_with(GIVEN), None);
            }
            Err(error) => self.say(format!("the mesh's authority has changed and cannot be used, the last one goes on: {error}")),
        }
    }

    fn say(&mut self, message: String) {
        if self.said.as_ref() != Some(&message) {
            tracing::error!("{message}");
            self.said = Some(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::Method;
    use serde_json::{Value, json};

    use super::super::scripted::{Scripted, refusal};
    use super::*;

    /// A namespace: its objects, by their kinds and names, and how it answers before it does what is asked.
    #[derive(Default)]
    struct State {
        objects: BTreeMap<String, Value>,
        refuses: Vec<u16>,
        /// What another pilot does before anything is made.
        meanwhile: Vec<(String, Value)>,
    }

    /// An API server that has these.
    fn server(state: &Arc<Mutex<State>>) -> Scripted {
        let state = state.clone();
        Scripted::new(move |method, path, body| {
            let mut state = state.lock().unwrap();
            let (folder, query) = path.split_once('?').unwrap_or((path, ""));
            let kind = folder.rsplit('/').next().unwrap().to_owned();
            assert_eq!(folder, format!("/api/v1/namespaces/istio-system/{kind}"));
            if let Some(code) = state.refuses.pop() {
                return refusal(code);
            }
            if *method == Method::POST {
                let meanwhile = std::mem::take(&mut state.meanwhile);
                state.objects.extend(meanwhile);
                let key = format!("{kind}/{}", body["metadata"]["name"].as_str().unwrap());
                if state.objects.contains_key(&key) {
                    return refusal(409);
                }
                state.objects.insert(key, body.clone());
                return (201, body.clone());
            }
            let name = query.split("metadata.name%3D").nth(1).unwrap().split('&').next().unwrap();
            let items: Vec<Value> = state.objects.get(&format!("{kind}/{name}")).cloned().into_iter().collect();
            (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}))
        })
    }

    async fn opened(state: &Arc<Mutex<State>>) -> Result<String, String> {
        let root = open(&server(state).client(), "istio-system", "td").await.map_err(|error| error.to_string())?;
        Ok(root.follow().root_certificates())
    }

    fn certificate(of: &AuthorityFiles) -> String {
        String::from_utf8(of.roots.clone()).unwrap().replace('\r', "")
    }

    fn secret(files: &AuthorityFiles, name: &str) -> (String, Value) {
        let mut object = serde_json::to_value(written(files)).unwrap();
        object["metadata"]["name"] = json!(name);
        (format!("secrets/{name}"), object)
    }

    fn told(annotations: Value) -> (String, Value) {
        let metadata = json!({"name": NAME, "annotations": annotations});
        (format!("configmaps/{NAME}"), json!({"metadata": metadata, "data": {"root-cert.pem": "x"}}))
    }

    #[tokio::test(start_paused = true)]
    async fn a_root_is_made_once_and_who_comes_second_takes_what_is_there() {
        let state = Arc::new(Mutex::new(State { refuses: vec![500, 503, 429], ..State::default() }));
        let own = opened(&state).await.unwrap();
        assert_eq!(state.lock().unwrap().objects["secrets/istio-ca-secret"]["type"], TYPE);
        assert_eq!(opened(&state).await, Ok(own.clone()), "the next start");
        // Another pilot is faster.
        let other = AuthorityFiles::new_root("td").unwrap();
        let state = Arc::new(Mutex::new(State { meanwhile: vec![secret(&other, OWN), told(json!({}))], ..State::default() }));
        assert_eq!(opened(&state).await, Ok(certificate(&other)));
        // What somebody has put there goes before.
        let mut given = secret(&AuthorityFiles::new_root("td").unwrap(), GIVEN);
        given.1["data"][CHAIN] = given.1["data"][ROOTS].clone();
        state.lock().unwrap().objects.extend([given]);
        let now = opened(&state).await.unwrap();
        assert!(now != certificate(&other) && !now.is_empty());
        // As Istio made it once.
        let mut bare = secret(&other, OWN);
        bare.1["data"].as_object_mut().unwrap().retain(|key, _| key == CERTIFICATE || key == KEY);
        let state = Arc::new(Mutex::new(State { objects: [bare].into(), ..State::default() }));
        assert_eq!(opened(&state).await, Ok(certificate(&other)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_root_that_is_lost_or_broken_is_an_error_and_never_another_root() {
        let files = || AuthorityFiles::new_root("td").unwrap();
        let without = |key: &str, name: &str| {
            let mut secret = secret(&files(), name);
            secret.1["data"].as_object_mut().unwrap().remove(key);
            secret
        };
        let mut mixed = secret(&files(), OWN);
        mixed.1["data"][KEY] = secret(&files(), OWN).1["data"][KEY].clone();
        let mut nonsense = secret(&files(), OWN);
        nonsense.1["data"][KEY] = json!("/////w==");
        for (attempt, objects, refuses, expected) in [
            ("lost", vec![told(json!({}))], vec![], "the mesh's root is lost"),
            ("lost, of a root that is kept", vec![told(json!({"weir.dev/root": "kept"}))], vec![], "the mesh's root is lost"),
            ("without its key", vec![without(KEY, OWN)], vec![], "Secret/istio-system/istio-ca-secret/ca-key.pem: is missing"),
            ("given in part", vec![without(ROOTS, GIVEN)], vec![], "cacerts/"),
            ("of another's key", vec![mixed], vec![], "ca-cert.pem"),
            ("no text", vec![nonsense], vec![], "ca-key.pem: is not PEM"),
            ("not allowed to look", vec![], vec![403], "let this account list secrets"),
            ("not allowed to make", vec![], vec![403, 0, 0, 0], "let this account create secrets"),
        ] {
            // The last one is refused first; zero is none.
            let state = Arc::new(Mutex::new(State { objects: objects.into_iter().collect(), ..State::default() }));
            let before = state.lock().unwrap().objects.clone();
            let refuses = refuses.clone();
            let inner = server(&state);
            let left = Arc::new(Mutex::new(refuses));
            let script = Scripted::new(move |method, path, body| match left.lock().unwrap().pop() {
                Some(code) if code > 0 => refusal(code),
                _ => inner.answer(method, path, body),
            });
            let refused = open(&script.client(), "istio-system", "td").await.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(refused.contains(expected), "{attempt}: {refused}");
            assert!(!refused.contains("PRIVATE"), "{refused}");
            assert_eq!(state.lock().unwrap().objects, before, "{attempt}");
        }
        // One that nobody kept was never to be found again.
        let state = Arc::new(Mutex::new(State { objects: [told(json!({"weir.dev/root": "ephemeral"}))].into(), ..State::default() }));
        assert!(opened(&state).await.is_ok());
    }
}
