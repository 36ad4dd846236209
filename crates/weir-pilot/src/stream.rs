//! Serves one proxy, for as long as its stream lives.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::OwnedSemaphorePermit;
use weir_ads::{Event, Protocol, Request, Server, ServerStream};
use weir_model::{MeshSnapshot, WorkloadKey};
use weir_xds::core::Node;
use weir_xds::resource::ResourceType;

use crate::following::Following;
use crate::node::Abilities;
use crate::shared::{ProxyStatus, Shared, Standing};
use crate::status::{Resources, Sync};
use crate::workloads::registration::Registration;
use crate::{node, status};

/// So long one that has just come may keep others waiting.
const ADMISSION: Duration = Duration::from_millis(100);

/// Serves a stream until it ends.
pub(crate) async fn serve(stream: ServerStream, shared: Arc<Shared>) {
    let mut session = Session {
        protocol: stream.protocol,
        server: Server::new(stream.protocol),
        following: None,
        admitted: None,
        registered: None,
        health: None,
        standing: Standing::default(),
        shared,
    };
    session.run(stream).await;
    if let Some(key) = session.registered.take() {
        session.shared.clone().leave(key);
    }
    if let Some(Following { proxy, .. }) = &session.following {
        tracing::debug!(proxy = %proxy.id, "a proxy left");
        session.shared.forget(&proxy.id, &session.standing);
    }
}

struct Session {
    protocol: Protocol,
    server: Server,
    /// The proxy, once it has introduced itself.
    following: Option<Following>,
    /// While it gets its first resources, others wait that come after it: those that are there already go first.
    admitted: Option<(OwnedSemaphorePermit, Instant)>,
    /// The WorkloadEntry of a proxy that registered its instance itself.
    registered: Option<WorkloadKey>,
    /// What it told of its workload.
    health: Option<Result<(), String>>,
    /// What is told of the proxy.
    standing: Standing,
    shared: Arc<Shared>,
}

impl Session {
    async fn run(&mut self, mut stream: ServerStream) {
        loop {
            while let Some(push) = self.server.next(Instant::now()) {
                let kind = push.kind;
                self.tell(|status| status.types.sent(kind));
                if stream.responses.send(push).await.is_err() {
                    return;
                }
            }
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
                mesh = newer(&mut self.following) => match mesh {
                    Some(mesh) => self.take_over(&mesh).await,
                    None => false,
                },
                () = later => true,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// When to look again though nothing happened.
    fn deadline(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.admitted.take_if(|(_, until)| *until <= now || self.server.is_settled());
        let admitted = self.admitted.as_ref().map(|(_, until)| *until);
        self.server.deadline(now).into_iter().chain(admitted).min()
    }

    /// Takes a message; false if the stream is of no use.
    async fn receive(&mut self, request: &Request) -> bool {
        let is_first = self.following.is_none();
        if is_first {
            let node = node_of(request).ok_or_else(|| "the first message names no node".to_owned());
            if let Err(reason) = node.and_then(|node| self.introduce(node)) {
                tracing::warn!("an xDS stream was refused: {reason}");
                return false;
            }
            let Ok(permit) = self.shared.admission.clone().acquire_owned().await else { return false };
            self.admitted = Some((permit, Instant::now() + ADMISSION));
            let mesh = self.shared.mesh.borrow().clone();
            if !self.follow(&mesh).await {
                return false;
            }
        }
        match self.server.receive(request) {
            Event::Refused(kind, reason) => {
                let proxy = self.following.as_ref().map_or("", |following| &following.proxy.id);
                tracing::warn!(%proxy, ?kind, "a proxy refused what it was sent: {reason}");
                self.tell(|status| {
                    status.refused.insert(kind, reason);
                    status.types.set(kind, Sync::Refused);
                });
            }
            Event::Health(health) => {
                self.health = Some(health);
                self.tell_health();
            }
            Event::Accepted(kind) => self.accepted(kind),
            Event::Subscribed(kind) => {
                self.tell(|status| status.types.asked(kind));
                self.let_go(kind);
            }
            Event::Passed => {}
        }
        if is_first {
            // Not before it has asked: who is to get nothing has all of it.
            self.tell_version();
            self.following.iter().for_each(|following| self.shared.come(&following.proxy.id, &self.standing));
        }
        true
    }

    /// The proxy took what it was sent last of a type. It may have refused something before that it has nothing better for yet.
    fn accepted(&self, kind: ResourceType) {
        let sync = if self.server.is_refused(kind) { Sync::Refused } else { Sync::Synced };
        self.tell(|status| {
            if sync == Sync::Synced {
                status.refused.remove(&kind);
            }
            status.types.set(kind, sync);
        });
    }

    /// The proxy asks for other resources of a type, perhaps not for what it refused any more.
    fn let_go(&self, kind: ResourceType) {
        let stands = self.standing.lock().unwrap_or_else(PoisonError::into_inner).types.of(kind);
        if stands.is_some_and(|(sync, _)| sync == Sync::Refused) && !self.server.is_refused(kind) {
            self.accepted(kind);
        }
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
        self.tell(|status| {
            status.program = status::program(node);
            status.cluster = status::cluster(node);
            status.since = Some(SystemTime::now());
        });
        let mesh = self.shared.mesh.borrow().clone();
        self.following = Some(Following::new(proxy, Abilities::of(node, self.protocol), &mesh, &self.shared));
        Ok(())
    }

    /// Takes over a snapshot of the mesh; false if that cannot be done.
    async fn follow(&mut self, mesh: &Arc<MeshSnapshot>) -> bool {
        let Some(following) = &mut self.following else { return true };
        let Some(followed) = following.follow(mesh, &mut self.server, &self.shared).await else { return false };
        let has_no_probe = followed.is_concerned && mesh.probe_of(&following.proxy).is_none();
        if has_no_probe {
            // What was told does not hold for a probe that may come.
            self.health = None;
        }
        if followed.is_concerned {
            self.tell_health();
        }
        true
    }

    /// Passes on what the proxy told of its workload, to whatever workloads that are now.
    fn tell_health(&self) {
        if let (Some(following), Some(health)) = (&self.following, &self.health) {
            self.shared.report_health(&following.proxy, self.registered.as_ref(), health);
        }
    }

    /// Takes over a snapshot of the mesh, and tells so; false if that cannot be done.
    async fn take_over(&mut self, mesh: &Arc<MeshSnapshot>) -> bool {
        let followed = self.follow(mesh).await;
        self.tell_version();
        followed
    }

    /// Tells which configuration the proxy should have now.
    fn tell_version(&self) {
        let version = self.following.as_ref().map_or(0, |following| following.version);
        let resources = Resources(self.server.target().clone());
        self.tell(|status| {
            status.version = version;
            status.resources = resources;
        });
    }

    /// Changes what is told of the proxy. Whether it has answered everything is told with it: nobody sees a part.
    fn tell(&self, change: impl FnOnce(&mut ProxyStatus)) {
        let mut status = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status);
        status.is_settled = self.server.is_settled();
        if status.is_settled {
            status.answered = status.version;
        }
    }
}

/// The next snapshot for a proxy; never, before it has introduced itself.
async fn newer(following: &mut Option<Following>) -> Option<Arc<MeshSnapshot>> {
    match following {
        Some(following) => following.newer().await,
        None => std::future::pending().await,
    }
}

fn node_of(request: &Request) -> Option<&Node> {
    match request {
        Request::Delta(request) => request.node.as_ref(),
        Request::State(request) => request.node.as_ref(),
    }
}
