//! An API server for tests, without sockets: what it holds is in memory, so that a test's clock may stand still.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower_service::Service;

/// How it answers whatever it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As an API server does.
    Well,
    /// With this status.
    Refuses(u16),
    /// Not at all.
    Hangs,
}

#[derive(Default)]
struct State {
    version: u64,
    /// By the paths of the objects.
    objects: BTreeMap<String, Value>,
    /// Who watches a list, by its path.
    watchers: Vec<(String, mpsc::UnboundedSender<Bytes>)>,
    /// Who watched a list, and is told nothing any more.
    silenced: Vec<mpsc::UnboundedSender<Bytes>>,
    /// What changed something: `PATCH /api/…`.
    writes: Vec<String>,
    /// How often it was asked for anything but a list or a watch.
    asked: usize,
    mood: Option<Mood>,
    /// What somebody else puts there just before the next patch is taken.
    overtaking: Option<(String, Value)>,
}

/// It, and all who ask it.
#[derive(Clone, Default)]
pub(crate) struct ApiServer(Arc<Mutex<State>>);

impl ApiServer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Somebody who asks it.
    pub fn client(&self) -> Client {
        Client::new(Asked { server: self.clone(), mood: Arc::default() }, "default")
    }

    /// The same, whose way to it can be cut.
    pub fn client_with(&self, mood: &Arc<Mutex<Option<Mood>>>) -> Client {
        Client::new(Asked { server: self.clone(), mood: mood.clone() }, "default")
    }

    pub fn be(&self, mood: Mood) {
        self.state().mood = Some(mood);
    }

    /// Puts an object there, as somebody else does.
    pub fn put(&self, path: &str, object: Value) {
        self.state().put(path, object);
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    /// All objects whose paths begin so.
    pub fn under(&self, path: &str) -> Vec<Value> {
        self.state().objects.iter().filter(|(name, _)| name.starts_with(path)).map(|(_, object)| object.clone()).collect()
    }

    /// Somebody else puts an object there just before the next patch is taken.
    pub fn overtake(&self, path: &str, object: Value) {
        self.state().overtaking = Some((path.to_owned(), object));
    }

    /// Tells those nothing any more who watch this list, and does not let them know.
    pub fn silence(&self, list: &str) {
        let mut state = self.state();
        let silenced: Vec<_> = state.watchers.extract_if(.., |(watched, _)| watched == list).map(|(_, watcher)| watcher).collect();
        state.silenced.extend(silenced);
    }

    /// How often it was asked for anything but a list or a watch since this was last asked.
    pub fn take_asked(&self) -> usize {
        std::mem::take(&mut self.state().asked)
    }

    /// What was written since this was last asked.
    pub fn take_writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state().writes)
    }
}

impl State {
    fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        let line = Bytes::from(format!("{}\n", json!({"type": "MODIFIED", "object": object})));
        let lists = [path.rsplit_once('/').map_or("", |(list, _)| list).to_owned(), in_all_namespaces(path)];
        self.watchers.retain(|(watched, watcher)| !lists.contains(watched) || watcher.send(line.clone()).is_ok());
        object
    }

    fn answer(&mut self, method: &Method, path: &str, query: &str, body: Value) -> Response<BoxBody<Bytes, Infallible>> {
        if query.contains("watch=") {
            let (sender, receiver) = mpsc::unbounded_channel();
            self.watchers.push((path.to_owned(), sender));
            let frames = UnboundedReceiverStream::new(receiver).map(|line| Ok(http_body::Frame::data(line)));
            return Response::new(BodyExt::boxed(StreamBody::new(frames)));
        }
        let (path, is_status) = path.strip_suffix("/status").map_or((path, false), |path| (path, true));
        if let Some((path, object)) = self.overtaking.take_if(|_| *method == Method::PATCH) {
            self.put(&path, object);
        }
        if *method != Method::GET {
            self.writes.push(format!("{method} {path}"));
        }
        let known = self.objects.get(path).cloned();
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        match (method, known) {
            (&Method::POST, _) => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                match self.objects.contains_key(&path) {
                    true => refused(409),
                    false => json_answer(&self.put(&path, body)),
                }
            }
            (&Method::GET, Some(object)) => json_answer(&object),
            (&Method::GET, None) if is_list(path) => {
                let all = format!("{path}/");
                let of_list = |name: &str| name.starts_with(&all) || in_all_namespaces(name) == path;
                let is_selected = |object: &&Value| !query.contains(NOT_ENDED) || !has_ended(object);
                let found = self.objects.iter().filter(|(name, _)| of_list(name)).map(|(_, object)| object);
                let items: Vec<&Value> = found.filter(is_selected).collect();
                json_answer(&json!({"metadata": {"resourceVersion": self.version.to_string()}, "items": items}))
            }
            // An apply makes what is not there.
            (&Method::PATCH, None) if query.contains("force=true") => json_answer(&self.put(path, body)),
            (&Method::DELETE, Some(known)) => {
                let expected = &body["preconditions"]["resourceVersion"];
                if !expected.is_null() && *expected != version(&known) {
                    return refused(409);
                }
                self.objects.remove(path);
                json_answer(&known)
            }
            (_, None) => refused(404),
            (_, Some(known)) if !version(&body).is_null() && version(&body) != version(&known) => refused(409),
            (&Method::PUT, Some(_)) => json_answer(&self.put(path, body)),
            (&Method::PATCH, Some(known)) => {
                let mut next = known.clone();
                if is_status {
                    merge(&mut next["status"], &body["status"]);
                } else {
                    merge(&mut next, &body);
                }
                json_answer(&if next == known { known } else { self.put(path, next) })
            }
            _ => refused(405),
        }
    }
}

/// The one selection of fields that it knows, but for names: pods that have not ended.
const NOT_ENDED: &str = "fieldSelector=status.phase!=Succeeded,status.phase!=Failed";

fn has_ended(object: &Value) -> bool {
    matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Whether a path is that of a list: its last part is a plural.
fn is_list(path: &str) -> bool {
    path.ends_with('s') && !path.contains("/leases/")
}

/// The path of the list of all namespaces that an object is on.
fn in_all_namespaces(path: &str) -> String {
    let Some((list, _)) = path.rsplit_once('/') else { return String::new() };
    match list.split_once("/namespaces/").and_then(|(group, rest)| Some((group, rest.split_once('/')?.1))) {
        Some((group, plural)) => format!("{group}/{plural}"),
        None => list.to_owned(),
    }
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in fields {
        match value {
            Value::Null => drop(into.as_object_mut().and_then(|object| object.remove(name))),
            value => merge(&mut into[name], value),
        }
    }
}

fn json_answer(value: &Value) -> Response<BoxBody<Bytes, Infallible>> {
    Response::new(Full::from(value.to_string()).boxed())
}

fn refused(code: u16) -> Response<BoxBody<Bytes, Infallible>> {
    let reason = if code == 404 { "NotFound" } else { "Other" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "no"});
    let mut answer = json_answer(&status);
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}

/// The way of one who asks.
struct Asked {
    server: ApiServer,
    mood: Arc<Mutex<Option<Mood>>>,
}

impl Service<Request<Body>> for Asked {
    type Response = Response<BoxBody<Bytes, Infallible>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (server, own) = (self.server.clone(), self.mood.clone());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let is_followed = head.method == Method::GET && is_list(head.uri.path());
            server.state().asked += usize::from(!is_followed);
            let mood = own.lock().unwrap().or(server.state().mood).unwrap_or(Mood::Well);
            match mood {
                Mood::Hangs => std::future::pending().await,
                Mood::Refuses(code) => Ok(refused(code)),
                Mood::Well => Ok(server.state().answer(&head.method, head.uri.path(), head.uri.query().unwrap_or_default(), body)),
            }
        })
    }
}
