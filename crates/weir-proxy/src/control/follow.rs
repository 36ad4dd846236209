//! Follows an xDS server for one proxy instance, for as long as the instance lives.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use weir_ads::{Client, ClientStream, Protocol, Request, Response, Update};
use weir_xds::Any;
use weir_xds::core::Node;
use weir_xds::resource::ResourceType;

use super::dns::{Names, Resolved};
use super::state::State;
use weir_config::unsupported;

use crate::worker::world::ProxyConfig;

/// Pauses between attempts to reach a server: from the first to the last.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How soon a refused listener is tried again: its address may have become free.
const LISTENER_RETRY: Duration = Duration::from_millis(500);

/// Opens a stream to the server.
pub type Connect = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<ClientStream, String>> + Send>> + Send + Sync>;

/// How an instance stands, for the admin interface.
#[derive(Debug, Default, Clone)]
pub struct Status {
    /// Whether a server has told it anything yet, and all of that is in force.
    pub ready: bool,
    /// Whether a stream to the server is open.
    pub connected: bool,
    /// What was refused: type, name and reason.
    pub refused: HashMap<(ResourceType, Arc<str>), String>,
    /// Everything as it was received.
    pub raw: HashMap<ResourceType, HashMap<Arc<str>, Any>>,
    /// Its open listeners: name, address that was asked for, address that is open.
    pub listeners: Vec<(Arc<str>, std::net::SocketAddr, std::net::SocketAddr)>,
}

/// What follows a server.
pub struct Follower {
    id: Arc<str>,
    client: Client,
    state: State,
    names: Names,
    resolved: mpsc::Receiver<Resolved>,
    status: watch::Sender<Status>,
    /// Types of which something has been received.
    heard: Vec<ResourceType>,
    refused: HashMap<(ResourceType, Arc<str>), (String, Any)>,
    publish: Box<dyn Fn(ProxyConfig) + Send>,
}

impl Follower {
    /// For an instance; `publish` gets each new configuration.
    pub fn new(
        id: Arc<str>,
        node: Node,
        protocol: Protocol,
        state: State,
        status: watch::Sender<Status>,
        publish: Box<dyn Fn(ProxyConfig) + Send>,
    ) -> Self {
        let mut client = Client::new(protocol, node);
        client.want_all(ResourceType::Cluster);
        client.want_all(ResourceType::Listener);
        let (names, resolved) = Names::new();
        Self { id, client, state, names, resolved, status, heard: vec![], refused: HashMap::new(), publish }
    }

    /// Follows until the task is dropped.
    pub async fn run(mut self, connect: Connect) {
        let mut pause = MIN_PAUSE;
        loop {
            match connect().await {
                Ok(stream) => {
                    let began = Instant::now();
                    self.status.send_modify(|status| status.connected = true);
                    self.follow(stream).await;
                    self.status.send_modify(|status| status.connected = false);
                    if began.elapsed() > MAX_PAUSE {
                        pause = MIN_PAUSE;
                    }
                    tracing::warn!(proxy = %self.id, "the xDS stream ended; what it told stays in force");
                }
                Err(error) => tracing::warn!(proxy = %self.id, "{error}"),
            }
            self.wait(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Waits, while names are still resolved and instances checked.
    async fn wait(&mut self, pause: Duration) {
        let end = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                Some((name, addresses)) = self.resolved.recv() => self.state.resolved(&name, addresses),
                () = self.state.told.first.notified() => self.state.follow_checks(),
                () = tokio::time::sleep_until(end) => return,
            }
            self.bring_into_force();
        }
    }

    async fn follow(&mut self, mut stream: ClientStream) {
        let mut workload = self.state.told.workload.subscribe();
        let mut first = self.client.connect();
        first.extend(workload.borrow_and_update().clone().map(|health| self.client.health(&health)));
        for request in first {
            if stream.requests.send(request).await.is_err() {
                return;
            }
        }
        loop {
            let deadline = self.deadline();
            let requests = tokio::select! {
                response = stream.responses.recv() => match response {
                    Some(response) => self.take(response),
                    None => return,
                },
                Some((name, addresses)) = self.resolved.recv() => {
                    self.state.resolved(&name, addresses);
                    vec![]
                }
                () = self.state.told.first.notified() => {
                    self.state.follow_checks();
                    vec![]
                }
                Ok(()) = workload.changed() => {
                    let health = workload.borrow_and_update().clone();
                    health.map(|health| self.client.health(&health)).into_iter().collect()
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    self.retry_listeners();
                    vec![]
                }
            };
            self.bring_into_force();
            for request in requests {
                if stream.requests.send(request).await.is_err() {
                    return;
                }
            }
        }
    }

    fn deadline(&self) -> Instant {
        const FAR: Duration = Duration::from_secs(3600);
        let retry = self.refused.keys().any(|(kind, _)| *kind == ResourceType::Listener);
        let pause = if retry { LISTENER_RETRY } else { FAR };
        let end = Instant::now() + pause;
        self.state.deadline().map_or(end, |deadline| deadline.min(end))
    }

    /// Takes a response; what is to be sent for it.
    fn take(&mut self, response: Response) -> Vec<Request> {
        let Some(update) = self.client.receive(response) else { return vec![] };
        tracing::debug!(proxy = %self.id, kind = update.kind.name(), changed = update.upserts.len(), removed = update.removals.len(), "xDS");
        let refused = self.state.take(&update);
        self.note(&update, &refused);
        if !self.heard.contains(&update.kind) {
            self.heard.push(update.kind);
        }
        let mut requests = vec![self.client.answer(&update, &refused)];
        for kind in [ResourceType::Endpoint, ResourceType::Secret, ResourceType::Route] {
            requests.extend(self.client.want(kind, self.state.wanted(kind)));
        }
        self.names.follow(&self.state.names());
        requests
    }

    /// Says what was refused, and what of the rest is not carried out.
    fn note(&mut self, update: &Update, refused: &[(Arc<str>, String)]) {
        for name in &update.removals {
            self.refused.remove(&(update.kind, name.clone()));
        }
        for (name, body) in &update.upserts {
            let key = (update.kind, name.clone());
            match refused.iter().find(|(bad, _)| bad == name) {
                Some((_, reason)) => {
                    tracing::error!(proxy = %self.id, "{} {name} is refused: {reason}", update.kind.name());
                    self.refused.insert(key, (reason.clone(), body.clone()));
                }
                None => {
                    self.refused.remove(&key);
                    for unsupported in unsupported::report(body) {
                        tracing::warn!(proxy = %self.id, "{} {name}: {unsupported}", update.kind.name());
                    }
                }
            }
        }
    }

    /// Tries refused listeners again, if the reason was their address.
    fn retry_listeners(&mut self) {
        let listeners = self.refused.iter().filter(|((kind, _), _)| *kind == ResourceType::Listener);
        let bodies: Vec<(Arc<str>, Any)> = listeners.map(|((_, name), (_, body))| (name.clone(), body.clone())).collect();
        for (name, body) in bodies {
            if self.state.retry(ResourceType::Listener, &name, &body).is_ok() {
                tracing::info!(proxy = %self.id, "listener {name} is open now");
                self.refused.remove(&(ResourceType::Listener, name));
            }
        }
    }

    fn bring_into_force(&mut self) {
        let config = self.state.build(Instant::now());
        (self.publish)(config);
        let heard = [ResourceType::Cluster, ResourceType::Listener].iter().all(|kind| self.heard.contains(kind));
        let ready = heard && self.state.is_settled();
        self.status.send_modify(|status| {
            status.ready |= ready;
            status.raw.clone_from(&self.state.raw);
            status.listeners = self.state.open_listeners();
            status.refused = self.refused.iter().map(|(key, (reason, _))| (key.clone(), reason.clone())).collect();
        });
    }
}
