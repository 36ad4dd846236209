//! Requests that are refused because too many before them failed. Each worker looks at its own, as Envoy's do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use weir_http1::Headers;
use weir_http1::header::{CONTENT_TYPE, GRPC_STATUS};
use weir_routing::filters::admission_control::{AdmissionPolicy, Window};
use weir_routing::grpc::{self, Status};

use super::{Back, Flow, HttpFilter, Place};
use crate::exchange::failure::Refused;
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::http::local_reply::LocalReply;
use crate::io::response::Parts;
use crate::upstream::body::step::BodyStep;

/// The filter.
pub(super) struct AdmissionControl(Rc<Control>);

struct Control {
    policy: AdmissionPolicy,
    window: RefCell<Window>,
    start: Instant,
}

/// A request that was let in. One that comes to no answer has failed.
pub(super) struct Admitted {
    control: Rc<Control>,
    noted: Cell<bool>,
}

impl Admitted {
    fn note(&self, succeeded: bool) {
        if !self.noted.replace(true) {
            let Control { policy, window, start } = &*self.control;
            policy.note(&mut window.borrow_mut(), start.elapsed(), succeeded);
            let counted = &policy.counted;
            if succeeded { counted.rq_success.count() } else { counted.rq_failure.count() }
        }
    }

    fn note_grpc(&self, status: Status) {
        self.note(matches!(status, Status::Code(code) if self.control.policy.is_grpc_success(code)));
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.note(false);
    }
}

fn grpc_status(fields: &Headers) -> Option<Status> {
    fields.get(GRPC_STATUS).and_then(|status| Status::of_header(status.as_bytes()))
}

impl HttpFilter for AdmissionControl {
    type Policy = AdmissionPolicy;
    type State = Option<Admitted>;

    fn new(policy: &AdmissionPolicy) -> Self {
        Self(Rc::new(Control { policy: policy.clone(), window: RefCell::default(), start: Instant::now() }))
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let Control { policy, window, start } = &*self.0;
        if !policy.enabled || call.exchange.is_health_check.get() {
            return Flow::Continue;
        }
        if policy.refuses(&mut window.borrow_mut(), start.elapsed(), fastrand::u64(..)) {
            policy.counted.rq_rejected.count();
            call.exchange.detail("denied_by_admission_control");
            return Flow::Answer(LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, ""));
        }
        call.states.put::<Self>(place, Some(Admitted { control: self.0.clone(), noted: Cell::new(false) }));
        Flow::Continue
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, body: &mut ResponseBody) -> Back {
        let Some(admitted) = call.states.get::<Self>(place).and_then(Option::take) else { return Back::Continue };
        let is_grpc = head.headers.get(CONTENT_TYPE).is_some_and(grpc::is_content_type);
        match grpc_status(&head.headers).filter(|_| is_grpc) {
            Some(status) => admitted.note_grpc(status),
            None if is_grpc && !body.is_empty() => body.push_step(Box::new(Awaited(admitted))),
            None => admitted.note(self.0.policy.is_success(head.status.as_u16())),
        }
        Back::Continue
    }
}

/// Takes note of a call of gRPC when its trailers tell what became of it.
struct Awaited(Admitted);

impl BodyStep for Awaited {
    fn keeps_length(&self) -> bool {
        true
    }

    fn data(&mut self, part: Bytes) -> Result<Bytes, Refused> {
        Ok(part)
    }

    fn end(&mut self, trailers: Option<Headers>) -> Result<(Bytes, Option<Headers>), Refused> {
        if let Some(status) = trailers.as_ref().and_then(grpc_status) {
            self.0.note_grpc(status);
        }
        Ok((Bytes::new(), trailers))
    }
}
