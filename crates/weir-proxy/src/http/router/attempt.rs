//! One attempt: choose an instance, send the request, await the head of the answer, and report how the instance did.

use std::rc::Rc;

use weir_config::circuit_breakers::Resource;
use weir_http1::{HeaderValue, Headers};
use weir_routing::action::{Forward, HostRewrite};
use weir_routing::filters::peer_metadata::ToldInstances;

use super::retry::{self, Retries};
use crate::exchange::Introduction;
use crate::exchange::failure::{Expired, Failure, FailureKind, Outcome};
use crate::http::call::Call;
use crate::http::header_changes::set_authority;
use crate::upstream::body::{ClientBody, UpstreamBody};
use crate::upstream::cluster::ClusterRuntime;
use crate::upstream::host::HostRuntime;
use crate::upstream::limits::AttemptLimits;
use crate::upstream::send::{Outgoing, Payload, Reached, take};

/// An instance's answer, whose head has come.
pub(super) type Answer = Box<UpstreamBody>;

/// The instance that the next attempt goes to.
pub(super) fn choose(call: &Call, cluster: &ClusterRuntime, retries: &Retries<'_>) -> Result<Rc<HostRuntime>, Failure> {
    let Some(target) = cluster.pick(&retries.context(call.lb_context())) else {
        cluster.with_stats(|stats| stats.none_healthy.add(1));
        return Err(FailureKind::NoInstance.into());
    };
    call.exchange.tries(target.target.clone());
    Ok(target)
}

/// Makes one attempt.
pub(super) async fn attempt(
    call: &Call,
    cluster: &Rc<ClusterRuntime>,
    target: Rc<HostRuntime>,
    to: &Forward,
    body: Option<&Rc<ClientBody>>,
) -> Result<Answer, Failure> {
    let busy = target.busy(take(cluster, to.priority, Resource::Requests)?);
    let as_named = name_instance(call, to, &target);
    let outgoing = Outgoing {
        cluster,
        target: &target,
        head: &call.exchange.request,
        body: Payload::Client(body),
        client: call.exchange.protocol,
        priority: to.priority,
        limits: AttemptLimits::new(to.retry.as_deref()),
        exchange: Some(&call.exchange),
        introduction: introduction(call, cluster),
    };
    let result = outgoing.send().await;
    if let Err(Failure { kind: FailureKind::Expired(expired @ (Expired::Attempt | Expired::AttemptIdle)), .. }) = &result {
        cluster.with_stats(|stats| expired.count(stats));
    }
    judge(cluster, &target, &result);
    if let (Err(Failure { sent: false, .. }), Some(headers)) = (&result, as_named) {
        // The instance was never spoken to.
        call.exchange.request.borrow_mut().headers = *headers;
    }
    let mut answer = result?;
    answer.busy = Some(busy);
    Ok(answer)
}

/// What instances are told of our own workload, if those of this cluster are to be told.
fn introduction<'c>(call: &'c Call, cluster: &ClusterRuntime) -> Option<&'c Introduction> {
    let is_told = match call.tells_instances? {
        ToldInstances::All => true,
        ToldInstances::OfMesh => !cluster.with_policy(|policy| policy.is_external),
    };
    call.http.recording.introduction().filter(|_| is_told)
}

/// Gives a request the chosen instance's own name, if its route asks for that and the instance has one. Returns the headers as they
/// were before.
fn name_instance(call: &Call, to: &Forward, target: &HostRuntime) -> Option<Box<Headers>> {
    if !matches!(to.host, HostRewrite::OfInstance) {
        return None;
    }
    let name = HeaderValue::from_str(target.host.hostname.as_deref()?).ok()?;
    let mut request = call.exchange.request.borrow_mut();
    let before = Box::new(request.headers.clone());
    set_authority(&mut request.headers, name, to.append_forwarded_host, call.http.config.router.suppress_envoy_headers);
    Some(before)
}

/// Judges an instance by what came of a request to it.
pub(in crate::http) fn judge(cluster: &ClusterRuntime, target: &HostRuntime, result: &Result<Reached, Failure>) {
    if let Some(outcome) = outcome(cluster, result) {
        cluster.report(&target.host, outcome);
    }
    if let Ok(answer) = result {
        cluster.heed(&target.host, &answer.head.headers);
    }
}

/// Charges the instance of the last attempt with a failure of the whole exchange.
pub(super) fn report(call: &Call, cluster: &ClusterRuntime, failure: &Failure) {
    let address = call.exchange.target.borrow().as_ref().and_then(|target| target.address);
    if let (Some(address), Some(outcome)) = (address, failure.outcome()) {
        cluster.report_at(address, outcome);
    }
}

/// What an attempt says of its instance. A gRPC status in the head counts as the HTTP status that it stands for.
fn outcome(cluster: &ClusterRuntime, result: &Result<Reached, Failure>) -> Option<Outcome> {
    match result {
        Err(failure) => failure.outcome(),
        Ok(answer) => cluster.judge(answer.head.status, &answer.head.headers).or_else(|| {
            Some(Outcome::Status(match retry::grpc_code(&answer.head.headers) {
                None | Some(0) => answer.head.status.as_u16(),
                Some(4) => 504,
                Some(14) => 503,
                Some(2 | 13 | 15) => 500,
                Some(_) => 400,
            }))
        }),
    }
}
