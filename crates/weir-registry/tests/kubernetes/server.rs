//! An API server that does as a test tells it. Of each resource it keeps the objects and what became of them since the first version; it
//! lists them in pages, and tells those who watch.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

type Body = BoxBody<Bytes, io::Error>;
type Watcher = mpsc::UnboundedSender<io::Result<Bytes>>;

/// The path of VirtualServices in their newest version.
pub const RULES: &str = "/apis/networking.istio.io/v1/virtualservices";

/// A resource, by its path.
#[derive(Default)]
struct Resource {
    objects: BTreeMap<String, Value>,
    /// What happened, each thing with its version.
    history: Vec<(u64, Value)>,
    /// Versions up to this are forgotten.
    forgotten: u64,
    watchers: Vec<Watcher>,
    /// What is answered instead of anything.
    refused: Option<u16>,
    /// How often it was listed, a page each, and watched.
    pub asked: (usize, usize),
}

#[derive(Default)]
struct State {
    version: u64,
    resources: BTreeMap<String, Resource>,
    /// The most that a page holds, whatever is asked for.
    page: Option<usize>,
    /// What somebody before it answers to whatever is asked.
    refused: Option<u16>,
}

/// An API server.
pub struct Server {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    running: Option<JoinSet<()>>,
}

impl Server {
    pub async fn start() -> Self {
        let mut server = Self { address: (Ipv4Addr::LOCALHOST, 0).into(), state: Arc::default(), running: None };
        server.state().version = 1;
        server.come_back().await;
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn with<T>(&self, path: &str, change: impl FnOnce(&mut Resource) -> T) -> T {
        change(self.state().resources.entry(path.to_owned()).or_default())
    }

    /// It listens, at the place where it last did.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let state = self.state.clone();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let state = state.clone();
                let answer = service_fn(move |request| {
                    let answer = answer(&mut state.lock().unwrap(), &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                connections.spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await;
                });
            }
        });
        self.running = Some(running);
    }

    /// It is gone at once, as one is that crashes.
    pub async fn go_away(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
        self.state().resources.values_mut().for_each(|resource| resource.watchers.clear());
    }

    /// Puts an object, and tells who watches.
    pub fn put(&self, path: &str, object: Value) {
        self.change(path, "MODIFIED", object);
    }

    pub fn delete(&self, path: &str, object: Value) {
        self.change(path, "DELETED", object);
    }

    fn change(&self, path: &str, what: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let name = format!("{}/{}", object["metadata"]["namespace"], object["metadata"]["name"]);
        let resource = state.resources.entry(path.to_owned()).or_default();
        match what {
            "DELETED" => drop(resource.objects.remove(&name)),
            _ => drop(resource.objects.insert(name, object.clone())),
        }
        let event = json!({"type": what, "object": object});
        resource.history.push((version, event.clone()));
        resource.watchers.retain(|watcher| watcher.send(Ok(line(&event))).is_ok());
    }

    /// Answers nothing but this status from now on; none heals it.
    pub fn refuse(&self, path: &str, status: Option<u16>) {
        self.with(path, |resource| resource.refused = status);
    }

    /// Somebody before it answers with this status, in words of his own, whatever is asked; none lets requests pass.
    pub fn stand_before(&self, status: Option<u16>) {
        self.state().refused = status;
    }

    /// Ends all watches of a resource, as a server does when their time is over.
    pub fn end_watches(&self, path: &str) {
        self.with(path, |resource| resource.watchers.clear());
    }

    /// The same in the middle of an answer.
    pub fn break_watches(&self, path: &str) {
        let broken = || io::Error::other("broken");
        self.with(path, |resource| resource.watchers.drain(..).for_each(|watcher| drop(watcher.send(Err(broken())))));
    }

    /// Sends these bytes to all watches of a resource.
    pub fn say(&self, path: &str, bytes: &str) {
        let bytes = Bytes::from(bytes.to_owned());
        self.with(path, |resource| resource.watchers.iter().for_each(|watcher| drop(watcher.send(Ok(bytes.clone())))));
    }

    /// Forgets what happened so far: a watch that asks for it is told so.
    pub fn forget(&self, path: &str) {
        let version = self.state().version;
        self.with(path, |resource| resource.forgotten = version);
    }

    /// Lists no more than so many objects at once.
    pub fn page(&self, most: usize) {
        self.state().page = Some(most);
    }

    /// How often a resource was listed, page by page, and watched.
    pub fn asked(&self, path: &str) -> (usize, usize) {
        self.with(path, |resource| resource.asked)
    }

    /// How many watch a resource.
    pub fn watchers(&self, path: &str) -> usize {
        self.with(path, |resource| {
            resource.watchers.retain(|watcher| !watcher.is_closed());
            resource.watchers.len()
        })
    }
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}

fn answer(state: &mut State, request: &Request<Incoming>) -> Response<Body> {
    let query: BTreeMap<&str, &str> =
        request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
    let (version, page, refused) = (state.version, state.page, state.refused);
    let resource = state.resources.entry(request.uri().path().to_owned()).or_default();
    let is_watch = query.contains_key("watch");
    let asked = if is_watch { &mut resource.asked.1 } else { &mut resource.asked.0 };
    *asked += 1;
    if let Some(status) = refused {
        return respond(status, "<html>no such page</html>".to_owned());
    }
    if request.uri().path() == "/apis" {
        return respond(200, json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}).to_string());
    }
    if let Some(status) = resource.refused {
        let message = json!({"kind": "Status", "status": "Failure", "code": status, "message": "refused", "reason": "Refused"});
        return respond(status, message.to_string());
    }
    if !is_watch {
        let list = list(resource, version, page, &query);
        let is_table = request.headers().get("accept").is_some_and(|form| form.to_str().unwrap().starts_with("application/json;as=Table;"));
        return respond(200, if is_table { table(&list) } else { list }.to_string());
    }
    let since: u64 = query["resourceVersion"].parse().unwrap();
    if since < resource.forgotten {
        let gone = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old resource version"});
        return respond(200, format!("{}\n", json!({"type": "ERROR", "object": gone})));
    }
    let (sender, events) = mpsc::unbounded_channel();
    for (_, event) in resource.history.iter().filter(|(version, _)| *version > since) {
        sender.send(Ok(line(event))).unwrap();
    }
    resource.watchers.push(sender);
    let frames = UnboundedReceiverStream::new(events).map(|bytes| bytes.map(Frame::data));
    Response::new(BodyExt::boxed(StreamBody::new(frames)))
}

fn list(resource: &Resource, version: u64, page: Option<usize>, query: &BTreeMap<&str, &str>) -> Value {
    let begin: usize = query.get("continue").map_or(0, |token| token.parse().unwrap());
    let items: Vec<&Value> = resource.objects.values().skip(begin).take(page.unwrap_or(usize::MAX)).collect();
    let end = begin + items.len();
    let mut list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}, "items": items});
    if end < resource.objects.len() {
        list["metadata"]["continue"] = json!(end.to_string());
    }
    list
}

/// A list as the table that kubectl asks for.
fn table(list: &Value) -> Value {
    let column = |name: &str, priority: u8| json!({"name": name, "type": "string", "priority": priority});
    let row = |object: &Value| {
        let cells = json!([object["metadata"]["name"], "5m", object["spec"]["hosts"].to_string()]);
        json!({"cells": cells, "object": {"metadata": object["metadata"]}})
    };
    let rows: Vec<Value> = list["items"].as_array().unwrap().iter().map(row).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list["metadata"], "rows": rows,
        "columnDefinitions": [column("Name", 0), column("Age", 0), column("Hosts", 1)]})
}

fn respond(status: u16, text: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}
