//! Copies of a request that are sent elsewhere. Nobody waits for their answers, and nothing that becomes of them touches the
//! request itself.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::Version;
use tokio::time::{Instant, timeout_at};
use weir_config::circuit_breakers::Resource;
use weir_config::head::{Head, append_to};
use weir_http1::header::{self, HeaderName, HeaderValue};
use weir_routing::action::{Forward, Priority};

use super::routes::Found;
use super::{ATTEMPT_COUNT, attempt, prepare};
use crate::exchange::failure::{Expired, Failure, FailureKind, Party};
use crate::http::call::Call;
use crate::io::own_address::own_address;
use crate::upstream::aggregate;
use crate::upstream::body::{ClientBody, RequestBody};
use crate::upstream::cluster::{ClusterRuntime, LbContext};
use crate::upstream::limits::AttemptLimits;
use crate::upstream::send::{Outgoing, Payload, take};

const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How long a copy may take where the route has no timeout: one that hangs must not be kept for ever.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends the copies that a route asks for, as the request is to go out itself: once it has an instance to go to, as Envoy does.
pub(super) fn mirror(call: &Call, found: &Found, to: &Forward, body: Option<&Rc<ClientBody>>) {
    for mirror in &to.mirrors {
        if fastrand::u32(..1_000_000) >= mirror.millionths {
            continue;
        }
        // A cluster that is not there does no harm.
        let Some(cluster) = prepare::named_cluster(call, found, &mirror.cluster) else { continue };
        let cluster = aggregate::member(&call.http.clusters, cluster, fastrand::u64(..));
        let mut head = call.exchange.request.borrow().clone();
        head.upgrade = None;
        for name in &mirror.remove {
            head.headers.remove(name);
        }
        if let Some(host) = mirror.host.as_deref().and_then(|host| HeaderValue::from_str(host).ok()) {
            head.headers.insert(header::HOST, host);
        }
        if mirror.shadow_suffix {
            append_shadow(&mut head);
        }
        if found.virtual_host().attempt_count {
            head.headers.insert(ATTEMPT_COUNT, HeaderValue::from_static("1"));
        }
        sign(&mut head);
        let copy = Copy { head, body: RequestBody::copy(body), client: call.exchange.protocol, context: call.lb_context() };
        let limit = to.timeouts.usual().unwrap_or(LIMIT);
        let open = call.http.clusters.shared.connections.enter();
        tokio::task::spawn_local(async move {
            let _open = open;
            copy.send(&cluster, Instant::now() + limit).await;
        });
    }
}

/// Says who sends the copy: this proxy, which is inside.
fn sign(head: &mut Head) {
    head.headers.insert(INTERNAL, HeaderValue::from_static("true"));
    if let Ok(own) = HeaderValue::from_str(&own_address().to_string()) {
        append_to(&mut head.headers, &FORWARDED_FOR, own, b",");
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
    /// Sends it once, and counts what comes of it as for any request.
    async fn send(self, cluster: &Rc<ClusterRuntime>, deadline: Instant) {
        let Err(failure) = self.attempt(cluster, deadline).await else { return };
        if failure.party() == Party::Client {
            return;
        }
        cluster.with_stats(|stats| {
            match failure.kind {
                FailureKind::NoInstance => stats.none_healthy.add(1),
                FailureKind::Expired(expired) => expired.count(stats),
                _ => {}
            }
            stats.statuses.count(failure.told(false).status.as_u16());
        });
    }

    /// Reads the answer to its end, so that the connection can be used again. The instance is judged by it as by any request.
    async fn attempt(self, cluster: &Rc<ClusterRuntime>, deadline: Instant) -> Result<(), Failure> {
        let Self { head, body, client, context } = self;
        if fastrand::u32(..1_000_000) < cluster.dropped_millionths() {
            cluster.with_stats(|stats| stats.statuses.count(503));
            return Ok(());
        }
        let target = cluster.pick(&context).ok_or(FailureKind::NoInstance)?;
        let busy = target.busy(take(cluster, Priority::Usual, Resource::Requests)?);
        let outgoing = Outgoing {
            cluster,
            target: &target,
            head: &RefCell::new(head),
            body: Payload::Copy(RefCell::new(Some(body))),
            client,
            priority: Priority::Usual,
            limits: AttemptLimits::default(),
            exchange: None,
            introduction: None,
        };
        let result = timeout_at(deadline, outgoing.send()).await;
        let result = result.unwrap_or_else(|_| Err(Failure::after_sending(FailureKind::Expired(Expired::Timeout))));
        attempt::judge(cluster, &target, &result);
        let mut answer = result?;
        answer.busy = Some(busy);
        cluster.with_stats(|stats| stats.statuses.count(answer.head.status.as_u16()));
        if timeout_at(deadline, answer.discard()).await.is_err() {
            tracing::debug!(cluster = %cluster.policy().name, "the answer to a mirrored request took too long");
        }
        Ok(())
    }
}
