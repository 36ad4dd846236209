//! Serves one proxy, for as long as its stream lives.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, watch};
use weir_ads::{Event, Push, Request, Server, ServerStream};
use weir_model::{MeshSnapshot, WorkloadKey};
use weir_xds::core::Node;

use crate::following::Following;
use crate::shared::{ProxyStatus, Shared};
use crate::status::{Resources, Sync};
use crate::workloads::registration::Registration;
use crate::{node, status};

/// So long one that has just come may keep others waiting.
const ADMISSION: Duration = Duration::from_millis(100);

/// Serves a stream until it ends.
pub(crate) async fn serve(stream: ServerStream, shared: Arc<Shared>) {
    let mesh = shared.mesh.subscribe();
    let mut session = Session {
        server: Server::new(stream.protocol),
        mesh,
        following: None,
        number: 0,
        admitted: None,
        held: None,
        registered: None,
        health: None,
        teller: 0,
        told_of: vec![],
        status: ProxyStatus::default(),
        told: None,
        shared,
    };
    session.run(stream).await;
    if let Some(key) = session.registered.take() {
        session.shared.clone().leave(key);
    }
    if let Some(Following { proxy, .. }) = &session.following {
        tracing::debug!(proxy = %proxy.id, "a proxy left");
        session.shared.clone().fall_silent(&proxy.id, session.teller);
        session.shared.forget(&proxy.id, session.number);
    }
}

struct Session {
    server: Server,
    mesh: watch::Receiver<Arc<MeshSnapshot>>,
    /// The proxy, once it has introduced itself.
    following: Option<Following>,
    /// Which of the proxy's streams this is.
    number: u64,
    /// While it gets its first resources, others wait that come after it: those that are there already go first.
    admitted: Option<(OwnedSemaphorePermit, Instant)>,
    /// Until when it is sent nothing: it came back with a configuration that may be better than what is known.
    held: Option<tokio::time::Instant>,
    /// The WorkloadEntry of a proxy that registered its instance itself.
    registered: Option<WorkloadKey>,
    /// What it told of its workload.
    health: Option<Result<(), String>>,
    /// Which of the streams that tell such things this is.
    teller: u64,
    /// The workloads of which it was passed on.
    told_of: Vec<WorkloadKey>,
    status: ProxyStatus,
    /// The status that was told last.
    told: Option<ProxyStatus>,
    shared: Arc<Shared>,
}

impl Session {
    async fn run(&mut self, mut stream: ServerStream) {
        loop {
            while let Some(push) = self.next() {
                self.status.types.sent(push.kind);
                if stream.responses.send(push).await.is_err() {
                    return;
                }
            }
            self.tell_status();
            let deadline = self.deadline();
            let later = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let goes_on = tokio::select! {
                request = stream.requests.recv() => match request {
                    Some(request) => self.receive(&request).await,
                    None => false,
                },
                changed = self.mesh.changed() => changed.is_ok() && self.follow().await,
                () = later => true,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// What to send next.
    fn next(&mut self) -> Option<Push> {
        self.held.take_if(|until| *until <= tokio::time::Instant::now());
        if self.held.is_some() { None } else { self.server.next(Instant::now()) }
    }

    /// When to look again though nothing happened.
    fn deadline(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.admitted.take_if(|(_, until)| *until <= now || self.status.is_settled);
        let admitted = self.admitted.as_ref().map(|(_, until)| *until);
        let held = self.held.map(tokio::time::Instant::into_std);
        self.server.deadline(now).into_iter().chain(admitted).chain(held).min()
    }

    /// Takes a message; false if the stream is of no use.
    async fn receive(&mut self, request: &Request) -> bool {
        if self.following.is_none() {
            let node = node_of(request).ok_or_else(|| "the first message names no node".to_owned());
            if let Err(reason) = node.and_then(|node| self.introduce(node)) {
                tracing::warn!("an xDS stream was refused: {reason}");
                return false;
            }
            let Ok(permit) = self.shared.admission.clone().acquire_owned().await else { return false };
            self.held = self.shared.incomplete_until().filter(|_| comes_back(request));
            let until = Instant::now() + if self.held.is_some() { Duration::ZERO } else { ADMISSION };
            self.admitted = Some((permit, until));
            if !self.follow().await {
                return false;
            }
        }
        match self.server.receive(request) {
            Event::Refused(kind, reason) => {
                let proxy = self.following.as_ref().map_or("", |following| &following.proxy.id);
                tracing::warn!(%proxy, ?kind, "a proxy refused what it was sent: {reason}");
                self.status.refused.insert(kind, reason);
                self.status.types.set(kind, Sync::Refused);
            }
            Event::Health(health) => {
                self.health = Some(health);
                self.told_of.clear();
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
        self.teller = self.shared.workloads().come(&proxy.id);
        self.number = self.shared.come(&proxy.id);
        let runs_commands = node.user_agent_name == node::AGENT;
        let mesh = self.mesh.borrow().clone();
        self.following = Some(Following::new(proxy, runs_commands, &mesh, &self.shared));
        self.status.program = status::program(node);
        self.status.cluster = status::cluster(node);
        self.status.since = Some(SystemTime::now());
        Ok(())
    }

    /// Takes over the newest mesh; false if that cannot be done.
    async fn follow(&mut self) -> bool {
        let Some(following) = &mut self.following else { return true };
        let mesh = self.mesh.borrow_and_update().clone();
        let Some(followed) = following.follow(&mesh, &mut self.server, &self.shared).await else { return false };
        self.status.version = mesh.version;
        self.status.resources = Resources(self.server.target().clone());
        if followed.is_concerned {
            if mesh.probe_of(&following.proxy).is_none() {
                // What was told does not hold for a probe that may come.
                self.health = None;
            }
            self.tell_health();
        }
        true
    }

    /// Passes on what the proxy told of its workload, to whatever workloads that are now. Those that know it are not told again: what
    /// others tell of them meanwhile would go back and forth.
    fn tell_health(&mut self) {
        let (Some(following), Some(health)) = (&self.following, &self.health) else { return };
        let keys = self.shared.spoken_for(&following.proxy, self.registered.as_ref());
        let is_heeded = self.shared.report_health((&following.proxy.id, self.teller), &keys, &self.told_of, health);
        self.told_of = if is_heeded { keys } else { vec![] };
    }

    fn tell_status(&mut self) {
        self.status.is_settled = self.server.is_settled();
        if self.status.is_settled {
            self.status.answered = self.status.version;
        }
        let Some(following) = &self.following else { return };
        if self.told.as_ref() != Some(&self.status) {
            self.shared.set_status(&following.proxy.id, self.number, self.status.clone());
            self.told = Some(self.status.clone());
        }
    }
}

/// Whether a proxy has a configuration when it comes, by its first message.
fn comes_back(request: &Request) -> bool {
    match request {
        Request::Delta(request) => !request.initial_resource_versions.is_empty(),
        Request::State(request) => !request.version_info.is_empty(),
    }
}

fn node_of(request: &Request) -> Option<&Node> {
    match request {
        Request::Delta(request) => request.node.as_ref(),
        Request::State(request) => request.node.as_ref(),
    }
}
