//! Follows an xDS server for one proxy, for as long as that is hosted.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use weir_ads::{Client, ClientStream, Protocol, Request, Response, Update, is_among};
use weir_xds::Any;
use weir_xds::core::Node;
use weir_xds::resource::ResourceType;

use super::dns::{Names, Resolved};
use super::received::Received;
use super::refusal::ResourceRefusal;
use super::state::{LISTENER_RETRY, State};
use weir_config::unsupported;

use crate::tls::files;
use crate::tls::secrets::OwnSecrets;
use crate::worker::world::ProxySnapshot;

/// Pauses between attempts to reach a server: from the first to the last.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(5);

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
    /// Everything that was accepted, as it was received.
    pub received: Received,
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
    /// Why which resources are refused.
    refused: HashMap<(ResourceType, Arc<str>), ResourceRefusal>,
    refused_changed: bool,
    /// Listeners that were accepted and are not open yet, and why.
    shut: HashMap<Arc<str>, String>,
    /// Listeners whose address could not be opened yet, and when they are tried again.
    waiting: HashMap<Arc<str>, Any>,
    retry_at: Option<Instant>,
    /// When files are looked at again.
    files_at: Instant,
    publish: Box<dyn Fn(ProxySnapshot) + Send>,
    /// Its own certificate of the mesh, as it comes.
    certificate: watch::Receiver<Option<OwnSecrets>>,
}

/// What is asked for by name.
const BY_NAME: [ResourceType; 5] =
    [ResourceType::Endpoint, ResourceType::Secret, ResourceType::Extension, ResourceType::Route, ResourceType::VirtualHost];

impl Follower {
    /// For an instance; `publish` gets each new configuration.
    pub fn new(
        id: Arc<str>,
        node: Node,
        protocol: Protocol,
        state: State,
        status: watch::Sender<Status>,
        publish: Box<dyn Fn(ProxySnapshot) + Send>,
    ) -> Self {
        let mut client = Client::new(protocol, node);
        client.want_all(ResourceType::Cluster);
        client.want_all(ResourceType::Listener);
        if state.names.is_some() {
            client.want_all(ResourceType::NameTable);
        }
        let (names, resolved) = Names::new();
        status.send_modify(|status| status.received = state.received.clone());
        Self {
            id,
            client,
            state,
            names,
            resolved,
            status,
            heard: vec![],
            refused: HashMap::new(),
            refused_changed: false,
            shut: HashMap::new(),
            waiting: HashMap::new(),
            retry_at: None,
            files_at: Instant::now(),
            publish,
            certificate: watch::channel(None).1,
        }
    }

    /// Lets the proxy have its certificate of the mesh by itself.
    #[must_use]
    pub fn with_certificate(mut self, certificate: watch::Receiver<Option<OwnSecrets>>) -> Self {
        self.state.expect_certificate();
        self.certificate = certificate;
        self
    }

    /// Follows until the task is dropped.
    pub async fn run(mut self, connect: Connect) {
        let mut pause = MIN_PAUSE;
        loop {
            match self.meanwhile(connect()).await {
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
            self.meanwhile(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Waits for something; meanwhile names are resolved, instances checked, and what waits comes into force.
    async fn meanwhile<T>(&mut self, done: impl Future<Output = T>) -> T {
        tokio::pin!(done);
        loop {
            tokio::select! {
                done = &mut done => return done,
                // What is wanted now stands in the first requests of the next stream.
                () = self.event() => drop(self.bring_into_force()),
            }
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
            let mut requests = tokio::select! {
                response = stream.responses.recv() => match response {
                    Some(response) => self.take(response),
                    None => return,
                },
                Ok(()) = workload.changed() => {
                    let health = workload.borrow_and_update().clone();
                    health.map(|health| self.client.health(&health)).into_iter().collect()
                }
                () = self.event() => vec![],
            };
            requests.extend(self.bring_into_force());
            for request in requests {
                if stream.requests.send(request).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Waits for what happens without the server, and takes it in.
    async fn event(&mut self) {
        let deadline = self.deadline();
        tokio::select! {
            Some((name, addresses)) = self.resolved.recv() => self.state.resolved(&name, addresses),
            () = self.state.told.first.notified() => self.state.follow_checks(),
            Ok(()) = self.certificate.changed() => {
                let newest = self.certificate.borrow_and_update().clone();
                newest.into_iter().for_each(|own| self.state.take_certificate(own));
            }
            () = tokio::time::sleep_until(deadline.into()) => {
                self.retry_listeners(Instant::now());
                self.look_at_files(Instant::now());
            }
        }
    }

    fn deadline(&self) -> Instant {
        const FAR: Duration = Duration::from_secs(3600);
        let files_at = self.state.has_files().then_some(self.files_at);
        let deadlines = [self.retry_at, self.state.deadline(), files_at];
        deadlines.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + FAR)
    }

    /// Takes a response; what is to be sent for it.
    fn take(&mut self, response: Response) -> Vec<Request> {
        let Some(update) = self.client.receive(response) else { return vec![] };
        tracing::debug!(proxy = %self.id, kind = update.kind.name(), changed = update.upserts.len(), removed = update.removals.len(), "xDS");
        let refused: HashMap<Arc<str>, ResourceRefusal> = self.state.take(&update).into_iter().collect();
        self.note(&update, &refused);
        if !self.heard.contains(&update.kind) {
            self.heard.push(update.kind);
        }
        let reasons: Vec<(Arc<str>, String)> = refused.iter().map(|(name, refusal)| (name.clone(), refusal.reason().to_owned())).collect();
        let mut requests = vec![self.client.answer(&update, &reasons)];
        requests.extend(self.ask());
        requests
    }

    /// Asks for what is wanted by name now, and forgets what is not any more; what is to be sent for it.
    fn ask(&mut self) -> Vec<Request> {
        let mut requests = vec![];
        for kind in BY_NAME {
            let wanted = self.state.wanted(kind);
            let before = self.refused.len();
            self.refused.retain(|(of, name), _| *of != kind || is_among(&wanted, kind, name));
            self.refused_changed |= self.refused.len() != before;
            requests.extend(self.client.want(kind, wanted));
        }
        self.state.forget_unwanted();
        self.names.follow(&self.state.names());
        self.state.wants_differ = false;
        requests
    }

    /// Says what was refused, and what of the rest is not carried out.
    fn note(&mut self, update: &Update, refused: &HashMap<Arc<str>, ResourceRefusal>) {
        for name in &update.removals {
            self.forget_refusal(update.kind, name);
        }
        for (name, body) in &update.upserts {
            self.forget_refusal(update.kind, name);
            match refused.get(name) {
                Some(refusal) => {
                    tracing::error!(proxy = %self.id, "{} {name} is refused: {}", update.kind.name(), refusal.reason());
                    self.refused_changed = true;
                    self.refused.insert((update.kind, name.clone()), refusal.clone());
                    if refusal.may_pass() && update.kind == ResourceType::Listener {
                        self.waiting.insert(name.clone(), body.clone());
                    }
                }
                None => {
                    for unsupported in unsupported::report(body) {
                        tracing::warn!(proxy = %self.id, "{} {name}: {unsupported}", update.kind.name());
                    }
                }
            }
        }
        self.plan_retry();
    }

    /// Takes in what secrets their files hold now.
    fn look_at_files(&mut self, now: Instant) {
        if now < self.files_at || !self.state.has_files() {
            return;
        }
        for name in self.state.read_files_again() {
            self.forget_refusal(ResourceType::Secret, &name);
        }
        self.files_at = now + files::INTERVAL;
    }

    fn forget_refusal(&mut self, kind: ResourceType, name: &Arc<str>) {
        self.refused_changed |= self.refused.remove(&(kind, name.clone())).is_some();
        if kind == ResourceType::Listener {
            self.waiting.remove(name);
        }
    }

    /// When listeners are tried again. What else happens does not put it off.
    fn plan_retry(&mut self) {
        self.retry_at = match self.retry_at {
            _ if self.waiting.is_empty() => None,
            None => Some(Instant::now() + LISTENER_RETRY),
            planned => planned,
        };
    }

    /// Tries listeners again whose address could not be opened, when it is time for that.
    fn retry_listeners(&mut self, now: Instant) {
        if self.retry_at.is_none_or(|at| now < at) {
            return;
        }
        for (name, body) in std::mem::take(&mut self.waiting) {
            match self.state.retry_listener(&name, &body) {
                Ok(()) => {
                    tracing::info!(proxy = %self.id, "listener {name} is open now");
                    self.client.accepted_late(ResourceType::Listener, &name);
                    self.forget_refusal(ResourceType::Listener, &name);
                }
                Err(refusal) if refusal.may_pass() => drop(self.waiting.insert(name, body)),
                Err(refusal) => {
                    self.refused_changed = true;
                    self.refused.insert((ResourceType::Listener, name), refusal);
                }
            }
        }
        self.retry_at = None;
        self.plan_retry();
    }

    /// Notes what has been accepted after all, and which of the accepted listeners are not open.
    fn note_what_is_late(&mut self) {
        for name in std::mem::take(&mut self.state.accepted_late) {
            tracing::info!(proxy = %self.id, "the configuration of {name} is accepted now");
            self.client.accepted_late(ResourceType::Extension, &name);
            self.forget_refusal(ResourceType::Extension, &name);
        }
        let shut = self.state.shut_listeners();
        self.refused_changed |= shut != self.shut;
        self.shut = shut;
    }

    /// Tells the workers and the status what is new; what is to be sent to the server for it.
    fn bring_into_force(&mut self) -> Vec<Request> {
        let config = self.state.build(Instant::now());
        self.note_what_is_late();
        let requests = if self.state.wants_differ { self.ask() } else { vec![] };
        let has_changed = config.is_some();
        if let Some(config) = config {
            (self.publish)(config);
        }
        let heard = [ResourceType::Cluster, ResourceType::Listener].iter().all(|kind| self.heard.contains(kind));
        let ready = heard && self.state.is_settled();
        let refused_changed = std::mem::take(&mut self.refused_changed);
        self.status.send_if_modified(|status| {
            let is_news = has_changed || refused_changed || (ready && !status.ready);
            status.ready |= ready;
            if has_changed {
                status.listeners = self.state.open_listeners();
            }
            if refused_changed {
                let shut = self.shut.iter().map(|(name, reason)| ((ResourceType::Listener, name.clone()), reason.clone()));
                let refused = self.refused.iter().map(|(key, refusal)| (key.clone(), refusal.reason().to_owned()));
                status.refused = shut.chain(refused).collect();
            }
            is_news
        });
        requests
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_xds::core::TypedExtensionConfig;
    use weir_xds::discovery::DeltaDiscoveryResponse;
    use weir_xds::listener::Listener;
    use weir_xds::route::RouteConfiguration;

    use super::*;
    use crate::listener::sockets::Sockets;

    fn follower() -> Follower {
        let state = State::new("test".into(), 1, Arc::new(Sockets::new(1)));
        Follower::new("test".into(), Node::default(), Protocol::Delta, state, watch::Sender::default(), Box::new(|_| {}))
    }

    /// A response with one resource.
    fn response<M: weir_xds::Message + weir_xds::Name + Default>(name: &str, body: serde_json::Value) -> Response {
        let body = Any::pack(&weir_xds::json::from_value::<M>(body).expect("valid"));
        let type_url = body.type_url.clone();
        let (name, version) = (name.to_owned(), "1".to_owned());
        let resource = weir_xds::discovery::Resource { name, version, resource: Some(body), ..Default::default() };
        Response::Delta(DeltaDiscoveryResponse { type_url, resources: vec![resource], ..Default::default() })
    }

    /// An HTTP listener whose routes come under the name of `r`.
    fn http_listener(port: u16) -> Response {
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "statPrefix": "p",
            "rds": {"routeConfigName": "r", "configSource": {"ads": {}}},
            "httpFilters": [{"name": "router", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        });
        let listener = json!({
            "name": "l",
            "address": {"socketAddress": {"address": "127.0.0.1", "portValue": port}},
            "filterChains": [{"filters": [{"name": "http", "typedConfig": manager}]}],
        });
        response::<Listener>("l", listener)
    }

    fn asks_for(requests: &[Request], kind: ResourceType) -> Vec<String> {
        let delta = requests.iter().filter_map(|request| match request {
            Request::Delta(request) if request.type_url == kind.type_url() => Some(request.resource_names_subscribe.clone()),
            _ => None,
        });
        delta.flatten().collect()
    }

    #[tokio::test]
    async fn a_listener_that_opens_late_is_served_with_its_routes() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut follower = follower();
        let requests = follower.take(http_listener(holder.local_addr().expect("an address").port()));
        assert_eq!(asks_for(&requests, ResourceType::Route), Vec::<String>::new());
        assert!(follower.bring_into_force().is_empty());
        drop(holder);
        follower.retry_listeners(Instant::now() + LISTENER_RETRY);
        assert_eq!(asks_for(&follower.bring_into_force(), ResourceType::Route), ["r"]);
        follower.take(response::<RouteConfiguration>("r", json!({"name": "r"})));
        follower.bring_into_force();
        assert_eq!(follower.status.borrow().listeners.len(), 1);
        assert!(follower.bring_into_force().is_empty(), "it is asked for once");
    }

    #[tokio::test]
    async fn a_listener_that_is_shut_though_its_configuration_came_is_told_of() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let tcp = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        let source = json!({"configSource": {"ads": {}}, "typeUrls": [tcp]});
        let listener = json!({
            "name": "l",
            "address": {"socketAddress": {"address": "127.0.0.1", "portValue": holder.local_addr().expect("an address").port()}},
            "filterChains": [{"filters": [{"name": "x", "configDiscovery": source}]}],
        });
        let mut follower = follower();
        follower.take(response::<Listener>("l", listener));
        let config = json!({"name": "x", "typedConfig": {"@type": tcp, "statPrefix": "p", "cluster": "c"}});
        follower.take(response::<TypedExtensionConfig>("x", config));
        follower.bring_into_force();
        assert_eq!(follower.status.borrow().refused.keys().cloned().collect::<Vec<_>>(), [(ResourceType::Listener, "l".into())]);
        assert!(follower.waiting.is_empty());
        drop(holder);
        tokio::time::sleep(LISTENER_RETRY).await;
        follower.bring_into_force();
        assert_eq!((follower.status.borrow().refused.len(), follower.status.borrow().listeners.len()), (0, 1));
    }

    /// What the next server is told of listeners.
    fn told(follower: &mut Follower) -> Vec<(String, String)> {
        let requests = follower.client.connect().into_iter().filter_map(|request| match request {
            Request::Delta(request) if request.type_url == ResourceType::Listener.type_url() => Some(request.initial_resource_versions),
            _ => None,
        });
        requests.flatten().collect()
    }

    #[tokio::test]
    async fn a_listener_that_opens_late_is_told_to_the_next_server_before_and_after() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut follower = follower();
        follower.take(http_listener(holder.local_addr().expect("an address").port()));
        assert_eq!(told(&mut follower), [("l".to_owned(), String::new())]);
        drop(holder);
        follower.retry_listeners(Instant::now() + LISTENER_RETRY);
        assert_eq!(told(&mut follower), [("l".to_owned(), "1".to_owned())]);
    }

    #[tokio::test]
    async fn only_listeners_whose_address_may_open_later_are_tried_again() {
        let mut follower = follower();
        let name: Arc<str> = "l".into();
        let update = Update::of(ResourceType::Listener, vec![(name.clone(), Any::default())], vec![]);
        let extension = Update::of(ResourceType::Extension, vec![(name.clone(), Any::default())], vec![]);
        let (wrong, not_now) = (ResourceRefusal::Wrong("no".to_owned()), ResourceRefusal::NotNow("not now".to_owned()));
        for (refusal, again) in [(&wrong, false), (&not_now, true), (&wrong, false)] {
            follower.note(&update, &HashMap::from([(name.clone(), refusal.clone())]));
            assert_eq!(follower.retry_at.is_some(), again, "{refusal:?}");
        }
        follower.note(&extension, &HashMap::from([(name.clone(), not_now)]));
        assert_eq!(follower.retry_at, None, "it is no listener");
    }
}
