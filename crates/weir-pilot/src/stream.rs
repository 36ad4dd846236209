//! Serves one proxy, for as long as its stream lives.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use weir_ads::stream::Responses;
use weir_ads::{Event, Peer, Protocol, Push, Request, Server, ServerStream};
use weir_model::{MeshSnapshot, Proxy, ProxyKind, WorkloadKey};
use weir_xds::core::Node;
use weir_xds::resource::ResourceType;

use crate::access::Permission;
use crate::following::Following;
use crate::node::Abilities;
use crate::plaintext::{is_about_secrets, without_secrets};
use crate::refusals::{Count, Refused};
use crate::remote::Remote;
use crate::shared::{ProxyStatus, Shared, Standing};
use crate::status::{Resources, Sync};
use crate::workloads::registration::Registration;
use crate::{node, remote, status};

/// So long one that has just come may keep others waiting.
const ADMISSION: Duration = Duration::from_millis(100);
/// So long one may read nothing while there is something for it. What is under way besides is more than most messages.
const UNREAD: Duration = Duration::from_secs(30);

/// Serves a stream until it ends.
pub(crate) async fn serve(mut stream: ServerStream, shared: Arc<Shared>) {
    let remote = match remote::admit(&stream.peer, &shared).await {
        Ok(remote) => remote,
        Err(refused) => {
            shared.refusals.refuse_stream(refused.count, refused.status.message());
            return stream.responses.end(refused.status);
        }
    };
    let mut session = Session {
        protocol: stream.protocol,
        // Nobody reads along, and who it is was shown.
        may_have_secrets: remote.is_some().then_some(true),
        peer: stream.peer.clone(),
        permission: remote.as_ref().and_then(|remote| {
            let access = shared.key_access.get()?.clone();
            Some(Permission::new(access, remote.identity().clone()))
        }),
        remote,
        is_companion: false,
        was_warned: false,
        has_asked: false,
        server: Server::new(stream.protocol),
        following: None,
        admitted: None,
        held: None,
        registered: None,
        health: None,
        teller: 0,
        told_of: vec![],
        standing: Standing::default(),
        shared,
    };
    let ended = session.run(&mut stream).await;
    if let Err(refused) = ended {
        session.shared.refusals.refuse_stream(refused.count, refused.status.message());
        stream.responses.end(refused.status);
    }
    if let Some(key) = session.registered.take() {
        session.shared.clone().leave(key);
    }
    if let Some(Following { proxy, .. }) = session.following.as_ref().filter(|_| !session.is_companion) {
        tracing::debug!(proxy = %proxy.id, "a proxy left");
        session.shared.clone().fall_silent(&proxy.id, session.teller);
        session.shared.forget(&proxy.id, &session.standing);
    }
}

/// Whether a stream goes on: an error ends it with a reason, `false` without.
type GoesOn = Result<bool, Refused>;

struct Session {
    protocol: Protocol,
    /// Who is at the other end.
    peer: Peer,
    /// Who that is, where it has come from another machine.
    remote: Option<Remote>,
    /// Whether it may have keys, where that is somebody else's to say.
    permission: Option<Permission>,
    /// Whether it is not the proxy, but asks for the names of the mesh on its behalf.
    is_companion: bool,
    /// Whether certificates are for it: looked at when it first asks for some.
    may_have_secrets: Option<bool>,
    /// Whether it was told that they are not.
    was_warned: bool,
    /// Whether it has asked for anything that it may have.
    has_asked: bool,
    server: Server,
    /// The proxy, once it has introduced itself.
    following: Option<Following>,
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
    /// What is told of the proxy.
    standing: Standing,
    shared: Arc<Shared>,
}

impl Session {
    async fn run(&mut self, stream: &mut ServerStream) -> Result<(), Refused> {
        loop {
            self.remote.as_ref().map_or(Ok(()), |remote| remote.still_holds(self.proxy()))?;
            while let Some(push) = self.next() {
                let kind = push.kind;
                self.tell(|status| status.types.sent(kind));
                if !self.send(push, &stream.responses).await? {
                    return Ok(());
                }
            }
            let later = until(self.deadline());
            let goes_on = tokio::select! {
                request = stream.requests.recv() => match request {
                    Some(request) if is_about_secrets(&request) && !self.may_have_secrets() => self.receive_without_secrets(&request).await?,
                    Some(request) => self.receive(&request).await?,
                    None => false,
                },
                mesh = newer(&mut self.following) => match mesh {
                    Some(mesh) => {
                        self.remote.iter().zip(self.proxy()).try_for_each(|(remote, proxy)| remote.is_still_his(proxy, &mesh))?;
                        self.take_over(&mesh).await
                    }
                    None => false,
                },
                () = changed(&mut self.permission) => {
                    self.permit();
                    true
                }
                () = later => true,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Gives the proxy the keys that it may have now, or takes them away.
    fn permit(&mut self) {
        if let (Some(permission), Some(following)) = (&mut self.permission, &mut self.following) {
            following.keep_keys_back(!permission.is_given(), &mut self.server);
            permission.tell(&following.proxy.id);
            self.tell_version();
        }
    }

    /// The proxy, once it has introduced itself.
    fn proxy(&self) -> Option<&Proxy> {
        self.following.as_ref().map(|following| &following.proxy)
    }

    /// What to send next.
    fn next(&mut self) -> Option<Push> {
        self.held.take_if(|until| *until <= tokio::time::Instant::now());
        if self.held.is_some() { None } else { self.server.next(Instant::now()) }
    }

    /// Sends a response; false if the stream is of no use. Who does not read it keeps nobody waiting that comes after it, is let go after a
    /// while, and before that when what it has shown ends.
    async fn send(&mut self, push: Push, responses: &Responses) -> GoesOn {
        let (sending, unread) = (responses.send(push), tokio::time::sleep(UNREAD));
        tokio::pin!(sending, unread);
        loop {
            let admitted = self.admitted.as_ref().map(|(_, until)| *until);
            let ends = self.remote.as_ref().map(|remote| remote.ends(Instant::now()));
            tokio::select! {
                biased;
                sent = &mut sending => return Ok(sent.is_ok()),
                () = &mut unread => {
                    tracing::info!("{} reads nothing of what it is sent, and is let go", self.proxy().map_or("a proxy", |proxy| &proxy.id));
                    return Ok(false);
                }
                () = until(ends) => self.remote.as_ref().map_or(Ok(()), |remote| remote.still_holds(self.proxy()))?,
                () = until(admitted) => self.admitted = None,
            }
        }
    }

    /// When to look again though nothing happened.
    fn deadline(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.admitted.take_if(|(_, until)| *until <= now || self.server.is_settled());
        let admitted = self.admitted.as_ref().map(|(_, until)| *until);
        let held = self.held.map(tokio::time::Instant::into_std);
        let ends = self.remote.as_ref().map(|remote| remote.ends(now));
        self.server.deadline(now).into_iter().chain(admitted).chain(held).chain(ends).min()
    }

    /// Whether the other end may have certificates with their keys.
    fn may_have_secrets(&mut self) -> bool {
        let peer = &self.peer;
        *self.may_have_secrets.get_or_insert_with(|| peer.is_own())
    }

    /// Takes a message that asks for certificates, of one who is given none.
    async fn receive_without_secrets(&mut self, request: &Request) -> GoesOn {
        if let Some(request) = without_secrets(request) {
            return self.receive(&request).await;
        }
        // It may be the first one, which tells who that is.
        let goes_on = self.following.is_some() || self.begin(request).await?;
        if !std::mem::replace(&mut self.was_warned, true) {
            let proxy = self.following.as_ref().map_or("a proxy", |following| &following.proxy.id);
            tracing::warn!(
                "{proxy} asks for certificates and is given none: they are for processes of this user on this machine, and where the pilot was told so, over Unix sockets only"
            );
        }
        Ok(goes_on)
    }

    /// Takes a message; false if the stream is of no use.
    async fn receive(&mut self, request: &Request) -> GoesOn {
        if self.following.is_none() && !self.begin(request).await? {
            return Ok(false);
        }
        if self.is_companion && ResourceType::from_type_url(request.type_url()) != Some(ResourceType::NameTable) {
            let reason = "who stands beside a proxy asks for nothing but the names of the mesh";
            return Err(Refused::new(Count::WrongNode, Status::invalid_argument(reason)));
        }
        let is_first = !std::mem::replace(&mut self.has_asked, true);
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
                self.told_of.clear();
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
            let proxy = self.following.iter().filter(|_| !self.is_companion);
            proxy.for_each(|following| self.shared.come(&following.proxy.id, &self.standing));
        }
        Ok(true)
    }

    /// Takes the first message, as far as it says who sends it; false if the stream is of no use.
    async fn begin(&mut self, request: &Request) -> GoesOn {
        let wrong = |reason: &str| Refused::new(Count::WrongNode, Status::invalid_argument(reason));
        let node = node_of(request).ok_or_else(|| wrong("the first message names no node"))?;
        if let Some(remote) = &self.remote {
            remote.agrees_with(node)?;
            remote.until_known(node, self.shared.mesh.subscribe()).await;
        }
        self.introduce(node)?;
        let is_gateway = self.proxy().is_some_and(|proxy| proxy.kind == ProxyKind::Router);
        // Before it takes a place: who is asked may be slow, and others are not to wait for that.
        if let Some(permission) = self.permission.as_mut().filter(|_| is_gateway) {
            permission.ask_first().await;
        }
        let Ok(permit) = self.shared.admission.clone().acquire_owned().await else { return Ok(false) };
        self.held = self.shared.incomplete_until().filter(|_| comes_back(request));
        let until = Instant::now() + if self.held.is_some() { Duration::ZERO } else { ADMISSION };
        self.admitted = Some((permit, until));
        let mesh = self.shared.mesh.borrow().clone();
        // It may have waited long.
        self.remote.iter().zip(self.proxy()).try_for_each(|(remote, proxy)| remote.is_still_his(proxy, &mesh))?;
        Ok(self.follow(&mesh).await)
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
    fn introduce(&mut self, node: &Node) -> Result<(), Refused> {
        let wrong = |reason: String| Refused::new(Count::WrongNode, Status::invalid_argument(reason));
        let mut proxy = node::recognize(node).map_err(wrong)?;
        self.is_companion = node::is_companion(node);
        let registration = Registration::read(node, &proxy).filter(|_| !self.is_companion);
        if let Some(remote) = &mut self.remote {
            remote.take(&mut proxy, registration.as_ref(), &self.shared.mesh.borrow())?;
        }
        if let Some(registration) = registration {
            let key = registration.key();
            self.shared.register(&proxy, registration, self.remote.is_some()).map_err(wrong)?;
            self.registered = Some(key);
        }
        tracing::debug!(proxy = %proxy.id, "a proxy came");
        if !self.is_companion {
            self.teller = self.shared.workloads().come(&proxy.id);
        }
        self.tell(|status| {
            status.program = status::program(node);
            status.cluster = status::cluster(node);
            status.since = Some(SystemTime::now());
        });
        let mesh = self.shared.mesh.borrow().clone();
        // What was found of one of another machine stands.
        let came_with = self.remote.is_none().then(|| proxy.labels.clone());
        self.following = Some(Following::new(proxy, came_with, Abilities::of(node, self.protocol), &mesh, &self.shared));
        Ok(())
    }

    /// Takes over a snapshot of the mesh; false if that cannot be done.
    async fn follow(&mut self, mesh: &Arc<MeshSnapshot>) -> bool {
        let Some(following) = &mut self.following else { return true };
        if let Some(permission) = &self.permission {
            following.keeps_keys_back = !permission.is_given();
        }
        let Some(followed) = following.follow(mesh, &mut self.server, &self.shared).await else { return false };
        if let Some(permission) = &mut self.permission {
            permission.is_needed = following.has_keys();
            permission.tell(&following.proxy.id);
        }
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

    /// Passes on what the proxy told of its workload, to whatever workloads that are now. Those that know it are not told again: what
    /// others tell of them meanwhile would go back and forth.
    fn tell_health(&mut self) {
        let (Some(following), Some(health)) = (&self.following, &self.health) else { return };
        let keys = self.shared.spoken_for(&following.proxy, self.registered.as_ref());
        let is_heeded = self.shared.report_health((&following.proxy.id, self.teller), &keys, &self.told_of, health);
        self.told_of = if is_heeded { keys } else { vec![] };
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
        drop(status);
        self.shared.answers.send_replace(());
    }
}

/// Waits until it may have keys that it might not have, or the other way round.
async fn changed(permission: &mut Option<Permission>) {
    match permission {
        Some(permission) => permission.changed().await,
        None => std::future::pending().await,
    }
}

/// Waits until then; for ever, if there is no such time.
async fn until(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then.into()).await,
        None => std::future::pending().await,
    }
}

/// Whether a proxy has a configuration when it comes, by its first message.
fn comes_back(request: &Request) -> bool {
    match request {
        Request::Delta(request) => !request.initial_resource_versions.is_empty(),
        Request::State(request) => !request.version_info.is_empty(),
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
