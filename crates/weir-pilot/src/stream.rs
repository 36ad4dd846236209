//! Serves one proxy, for as long as its stream lives.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use weir_ads::{Event, Request, Server, ServerStream};
use weir_api::Spec;
use weir_model::{MeshSnapshot, Proxy};
use weir_translate::translate;
use weir_xds::core::Node;

use crate::pilot::{ProxyStatus, Shared};
use crate::{node, resources};

/// Serves a stream until it ends.
pub(crate) async fn serve(stream: ServerStream, shared: Arc<Shared>) {
    let mesh = shared.mesh.subscribe();
    let mut session = Session { server: Server::new(stream.protocol), mesh, proxy: None, status: ProxyStatus::default(), shared };
    session.run(stream).await;
    if let Some(proxy) = &session.proxy {
        tracing::debug!(proxy = %proxy.id, "a proxy left");
        session.shared.forget(&proxy.id);
    }
}

struct Session {
    server: Server,
    mesh: watch::Receiver<Arc<MeshSnapshot>>,
    proxy: Option<Proxy>,
    status: ProxyStatus,
    shared: Arc<Shared>,
}

impl Session {
    async fn run(&mut self, mut stream: ServerStream) {
        loop {
            while let Some(response) = self.server.next(Instant::now()) {
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
            match node_of(request).map_or_else(|| Err("the first message names no node".to_owned()), node::recognize) {
                Ok(proxy) => {
                    tracing::debug!(proxy = %proxy.id, "a proxy came");
                    self.proxy = Some(proxy);
                    self.translate();
                }
                Err(reason) => {
                    tracing::warn!("an xDS stream was refused: {reason}");
                    return false;
                }
            }
        }
        match self.server.receive(request) {
            Event::Refused(kind, reason) => {
                let proxy = self.proxy.as_ref().map_or("", |proxy| &proxy.id);
                tracing::warn!(%proxy, ?kind, "a proxy refused what it was sent: {reason}");
                self.status.refused.insert(kind, reason);
            }
            Event::Accepted(kind) => drop(self.status.refused.remove(&kind)),
            Event::Subscribed(_) | Event::Passed => {}
        }
        true
    }

    /// Translates the newest mesh for the proxy.
    fn translate(&mut self) {
        let Some(proxy) = &mut self.proxy else { return };
        let mesh = self.mesh.borrow_and_update().clone();
        take_labels(proxy, &mesh);
        let mut translation = translate(&mesh, proxy);
        self.server.set(Arc::new(resources::pack(&translation)));
        self.shared.report(&proxy.id, std::mem::take(&mut translation.findings));
    }

    fn tell_status(&mut self) {
        self.status.is_settled = self.server.is_settled();
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

/// A sidecar has the labels that its workload has now, whatever they were when it came.
fn take_labels(proxy: &mut Proxy, mesh: &MeshSnapshot) {
    let same = |workload: &&Arc<weir_model::Workload>| {
        workload.name == proxy.name
            && workload.namespace == proxy.namespace
            && matches!(workload.object.spec, Spec::WorkloadEntry(_))
            && proxy.addresses.contains(&workload.address)
    };
    if let Some(workload) = mesh.workloads.iter().find(same) {
        proxy.labels.clone_from(&workload.labels);
    }
}
