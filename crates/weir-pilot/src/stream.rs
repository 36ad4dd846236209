//! Serves one proxy, for as long as its stream lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use tokio::sync::watch;
use weir_ads::{Event, Request, Server, ServerStream};
use weir_api::Diagnostic;
use weir_model::{MeshSnapshot, Proxy, WorkloadKey};
use weir_translate::translate;
use weir_xds::core::Node;

use crate::shared::{ProxyStatus, Shared};
use crate::status::Sync;
use crate::workloads::registration::Registration;
use crate::{node, resources, status};

/// Serves a stream until it ends.
pub(crate) async fn serve(stream: ServerStream, shared: Arc<Shared>) {
    let mesh = shared.mesh.subscribe();
    let mut session = Session {
        server: Server::new(stream.protocol),
        mesh,
        proxy: None,
        labels: BTreeMap::new(),
        registered: None,
        health: None,
        runs_commands: false,
        status: ProxyStatus::default(),
        shared,
    };
    session.run(stream).await;
    if let Some(key) = session.registered.take() {
        session.shared.clone().leave(key);
    }
    if let Some(proxy) = &session.proxy {
        tracing::debug!(proxy = %proxy.id, "a proxy left");
        session.shared.forget(&proxy.id, &session.status);
    }
}

struct Session {
    server: Server,
    mesh: watch::Receiver<Arc<MeshSnapshot>>,
    proxy: Option<Proxy>,
    /// The labels that it came with.
    labels: BTreeMap<String, String>,
    /// The WorkloadEntry of a proxy that registered its instance itself.
    registered: Option<WorkloadKey>,
    /// What it told of its workload.
    health: Option<Result<(), String>>,
    /// Whether it understands checks by commands: only Weir's proxies do.
    runs_commands: bool,
    status: ProxyStatus,
    shared: Arc<Shared>,
}

impl Session {
    async fn run(&mut self, mut stream: ServerStream) {
        loop {
            while let Some(response) = self.server.next(Instant::now()) {
                self.status.types.sent(&response);
                if stream.responses.send(response).await.is_err() {
                    return;
                }
            }
            self.tell_status();
            let deadline = self.server.deadline(Instant::now());
            let later = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                request = stream.requests.recv() => {
                    let Some(request) = request else { return };
                    if !self.receive(&request) {
                        return;
                    }
                }
                changed = self.mesh.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.translate();
                }
                () = later => {}
            }
        }
    }

    /// Takes a message; false if the stream is of no use.
    fn receive(&mut self, request: &Request) -> bool {
        if self.proxy.is_none() {
            let node = node_of(request).ok_or_else(|| "the first message names no node".to_owned());
            if let Err(reason) = node.and_then(|node| self.introduce(node)) {
                tracing::warn!("an xDS stream was refused: {reason}");
                return false;
            }
            self.translate();
        }
        match self.server.receive(request) {
            Event::Refused(kind, reason) => {
                let proxy = self.proxy.as_ref().map_or("", |proxy| &proxy.id);
                tracing::warn!(%proxy, ?kind, "a proxy refused what it was sent: {reason}");
                self.status.refused.insert(kind, reason);
                self.status.types.set(kind, Sync::Refused);
            }
            Event::Health(health) => {
                self.health = Some(health);
                self.tell_health();
            }
            Event::Accepted(kind) => {
                self.status.refused.remove(&kind);
                self.status.types.set(kind, Sync::Synced);
            }
            Event::Subscribed(kind) => self.status.types.asked(kind),
            Event::Passed => {}
        }
        true
    }

    /// Takes what a proxy says of itself.
    fn introduce(&mut self, node: &Node) -> Result<(), String> {
        let proxy = node::recognize(node)?;
        if let Some(registration) = Registration::read(node, &proxy) {
            let key = registration.key();
            self.shared.register(&proxy, registration)?;
            self.registered = Some(key);
        }
        tracing::debug!(proxy = %proxy.id, "a proxy came");
        self.runs_commands = node.user_agent_name == node::AGENT;
        self.labels.clone_from(&proxy.labels);
        self.proxy = Some(proxy);
        self.status.program = status::program(node);
        self.status.cluster = status::cluster(node);
        self.status.since = Some(SystemTime::now());
        Ok(())
    }

    /// Translates the newest mesh for the proxy.
    fn translate(&mut self) {
        let Some(proxy) = &mut self.proxy else { return };
        let mesh = {
            let mesh = self.mesh.borrow_and_update();
            self.status.version = self.shared.version.load(Ordering::Relaxed);
            mesh.clone()
        };
        take_labels(proxy, &self.labels, &mesh);
        if mesh.probe_of(proxy).is_none() {
            // What was told does not hold for a probe that may come.
            self.health = None;
        }
        let mut translation = translate(&mesh, proxy);
        if !self.runs_commands {
            let before = translation.clusters.len();
            translation.clusters.retain(|cluster| !resources::runs_commands(cluster));
            if translation.clusters.len() < before {
                let message = format!("{} cannot probe its workload by a command, only Weir's proxies can: it gets no requests", proxy.id);
                translation.findings.push(Diagnostic::warning(message));
            }
        }
        self.status.resources = Arc::new(resources::pack(&translation));
        self.server.set(self.status.resources.clone());
        self.shared.report(&proxy.id, std::mem::take(&mut translation.findings));
        self.tell_health();
    }

    /// Passes on what the proxy told of its workload, to whatever workloads that are now.
    fn tell_health(&self) {
        if let (Some(proxy), Some(health)) = (&self.proxy, &self.health) {
            self.shared.report_health(proxy, self.registered.as_ref(), health);
        }
    }

    fn tell_status(&mut self) {
        self.status.is_settled = self.server.is_settled();
        if self.status.is_settled {
            self.status.answered = self.status.version;
        }
        if let Some(proxy) = &self.proxy {
            self.shared.set_status(&proxy.id, self.status.clone());
        }
    }
}

fn node_of(request: &Request) -> Option<&Node> {
    match request {
        Request::Delta(request) => request.node.as_ref(),
        Request::State(request) => request.node.as_ref(),
    }
}

/// A sidecar has the labels that its workload has now, whatever they were when it came; without a workload, those that it came with.
fn take_labels(proxy: &mut Proxy, own: &BTreeMap<String, String>, mesh: &MeshSnapshot) {
    let workload = mesh.workload_of(proxy);
    proxy.labels.clone_from(workload.as_ref().map_or(own, |workload| &workload.labels));
}
