//! Copies of a request that are sent elsewhere. Nobody waits for their answers, and nothing that becomes of them touches the
//! request itself.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Version, header};
use http_body::Body;
use weir_routing::action::Forward;

use super::attempt::{self, Outgoing};
use super::limits::AttemptLimits;
use super::prepare;
use crate::http::Head;
use crate::http::handle::Call;
use crate::http::request_body::{RequestBody, Source};
use crate::http::response_body::UpstreamBody;
use crate::upstream::resources::Resource;
use crate::worker::cluster::{ClusterRuntime, LbContext};
use crate::worker::routes::Matched;

/// How long a copy may take where the route has no timeout: one that hangs must not be kept for ever.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends the copies that a route asks for, as the request is to go out itself.
pub(super) fn mirror(call: &Call, matched: &Matched, to: &Forward, body: Option<&Rc<Source>>) {
    for mirror in &to.mirrors {
        if fastrand::u32(..1_000_000) >= mirror.millionths {
            continue;
        }
        // A cluster that is not there does no harm.
        let Some(cluster) = prepare::named_cluster(call, matched, &mirror.cluster) else { continue };
        let mut head = call.exchange.request.borrow().clone();
        for name in &mirror.remove {
            head.headers.remove(name);
        }
        if let Some(host) = mirror.host.as_deref().and_then(|host| HeaderValue::from_str(host).ok()) {
            head.headers.insert(header::HOST, host);
        }
        if mirror.shadow_suffix {
            append_shadow(&mut head);
        }
        let copy = Copy { head, body: RequestBody::copy(body), client: call.exchange.protocol, context: call.lb_context() };
        let limit = to.timeouts.usual().unwrap_or(LIMIT);
        let open = call.http.instance.shared.connections.enter();
        tokio::task::spawn_local(async move {
            let _open = open;
            if tokio::time::timeout(limit, copy.send(&cluster)).await.is_err() {
                tracing::debug!(cluster = %cluster.policy().name, "a mirrored request took too long");
            }
        });
    }
}

fn append_shadow(head: &mut Head) {
    let host = head.authority();
    let at = weir_routing::without_port(host).len();
    if let Ok(value) = HeaderValue::from_str(&format!("{}-shadow{}", &host[..at], &host[at..])) {
        head.headers.insert(header::HOST, value);
    }
}

struct Copy {
    head: Head,
    body: RequestBody,
    client: Option<Version>,
    context: LbContext<'static>,
}

impl Copy {
    /// Sends it once, and reads the answer to its end, so that the connection can be used again.
    async fn send(self, cluster: &ClusterRuntime) {
        let Self { head, body, client, context } = self;
        let Some(target) = cluster.pick(&context) else { return };
        let Ok(permit) = cluster.take(Resource::Requests) else { return };
        let busy = target.busy(permit);
        // A copied body can be sent once only: a second try, where an idle connection had ended, fails.
        let body_is_whole = body.is_end_stream();
        let again = if body.is_end_stream() { RequestBody::empty } else { RequestBody::broken };
        let body = Cell::new(Some(body));
        let request = |http2| attempt::with_head(&head, body.take().unwrap_or_else(again), http2);
        let outgoing = Outgoing {
            cluster,
            target: &target,
            opened: |_| {},
            request,
            limits: AttemptLimits::default(),
            body: None,
            again: || body_is_whole,
        };
        let Ok((response, origin, _)) = outgoing.send(client).await else { return };
        cluster.with_stats(|stats| stats.statuses.count(response.status().as_u16()));
        let incoming = response.into_body();
        UpstreamBody { incoming, origin, busy, expiry: None, ended: false, broken: None }.discard().await;
    }
}
