//! Bodies that pass no faster than they may. All workers take from the same bucket, without a lock.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{Sleep, sleep};
use weir_http1::Headers;
use weir_routing::filters::bandwidth_limit::{BandwidthPolicy, Bucket};

use super::{Back, Flow, HttpFilter, Place};
use crate::exchange::failure::Refused;
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::io::response::Parts;
use crate::upstream::body::step::BodyStep;

/// The filter.
pub(super) struct BandwidthLimit(BandwidthPolicy);

impl BandwidthLimit {
    /// The bucket for the bodies that go one way, if they are limited.
    fn bucket(&self, call: &Call, place: &Place, limits: impl Fn(&BandwidthPolicy) -> bool) -> Option<Arc<Bucket>> {
        let of_route = call.found().and_then(|found| found.levels().most_specific(&place.name));
        Some(of_route.unwrap_or(&self.0)).filter(|policy| limits(policy)).map(|policy| policy.bucket.clone())
    }
}

/// The time since the first such filter came into force: the same for all workers.
fn clock() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

impl HttpFilter for BandwidthLimit {
    type Policy = BandwidthPolicy;
    type State = ();

    fn new(policy: &BandwidthPolicy) -> Self {
        policy.bucket.begin(clock());
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        call.route();
        let bucket = self.bucket(call, place, |policy| policy.of_requests);
        if let (Some(bucket), Some(body)) = (bucket, call.body.as_mut().filter(|body| !body.is_end_stream())) {
            body.push_step(Box::new(Pace::new(bucket)));
        }
        Flow::Continue
    }

    fn on_response(&self, call: &mut Call, place: &Place, _: &mut Parts, body: &mut ResponseBody) -> Back {
        if let Some(bucket) = self.bucket(call, place, |policy| policy.of_answers).filter(|_| !body.is_empty()) {
            body.push_step(Box::new(Pace::new(bucket)));
        }
        Back::Continue
    }
}

/// Lets as much of a body pass as there is in the bucket; the rest of a part waits until more is filled in.
pub(super) struct Pace {
    bucket: Arc<Bucket>,
    held: Bytes,
    filling: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(bucket: Arc<Bucket>) -> Self {
        Self { bucket, held: Bytes::new(), filling: None }
    }

    fn pass(&mut self) -> Bytes {
        let taken = self.bucket.take(clock(), self.held.len()).min(self.held.len());
        let passes = self.held.split_to(taken);
        if !self.held.is_empty() {
            self.filling = Some(Box::pin(sleep(self.bucket.interval)));
        }
        passes
    }
}

impl BodyStep for Pace {
    fn keeps_length(&self) -> bool {
        true
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(filling) = &mut self.filling {
            ready!(filling.as_mut().poll(cx));
            self.filling = None;
        }
        Poll::Ready(())
    }

    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        self.held = part;
        Ok(self.pass())
    }

    fn more(&mut self) -> Result<Option<Bytes>, Refused> {
        Ok((!self.held.is_empty()).then(|| self.pass()))
    }

    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        Ok((Bytes::new(), trailers))
    }
}
