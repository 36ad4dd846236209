//! gRPC calls of clients that see no trailers, or know nothing of gRPC.

use http::StatusCode;
use weir_http1::HeaderName;
use weir_routing::filters::grpc_http1_bridge::{BridgePolicy, Bridged, frame};
use weir_routing::grpc::Status;

use super::{Back, Flow, HttpFilter, Place, whole};
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::io::response::Parts;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The filter.
pub(super) struct GrpcHttp1Bridge(BridgePolicy);

impl HttpFilter for GrpcHttp1Bridge {
    type Policy = BridgePolicy;
    type State = Bridged;

    fn new(policy: &BridgePolicy) -> Self {
        Self(*policy)
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        // Whoever speaks HTTP/2 sees trailers. Envoy calls a message a call there too, without a frame: nobody could read it.
        if !call.exchange.is_http1() {
            return Flow::Continue;
        }
        let begun = {
            let request = &mut *call.exchange.request.borrow_mut();
            self.0.begin(&mut request.path, &mut request.headers)
        };
        let Some(bridged) = begun else { return Flow::Continue };
        call.states.put::<Self>(place, bridged);
        // A frame tells how long its message is. Where there is no body Envoy makes no frame either.
        let has_body = call.body.as_ref().is_some_and(|body| !body.is_end_stream());
        if bridged.unframed && has_body { Flow::Wait } else { Flow::Continue }
    }

    async fn wait(&self, call: &mut Call, _: &Place) -> Flow {
        let (message, trailers) = match whole::of_request(call).await {
            Ok(Some(whole)) => whole,
            Ok(None) => return Flow::Continue,
            Err(flow) => return flow,
        };
        if let Some(body) = &mut call.body {
            body.refill(frame(&message), trailers);
        }
        Flow::Continue
    }

    fn on_response(&self, call: &mut Call, place: &Place, _: &mut Parts, body: &mut ResponseBody) -> Back {
        if call.states.get::<Self>(place).is_some() && !body.is_empty() { Back::Wait } else { Back::Continue }
    }

    async fn wait_back(&self, call: &mut Call, place: &Place, head: &mut Parts, body: &mut ResponseBody) {
        let Some(bridged) = call.states.get::<Self>(place).copied() else { return };
        let Some((data, trailers)) = whole::of_answer(call, head, body).await else { return };
        let Some(trailers) = trailers else { return body.refill(data, None) };
        let (status, data) = bridged.answer(head.status.as_u16(), &mut head.headers, data, &trailers);
        if let Some(said) = trailers.get(&GRPC_STATUS) {
            call.exchange.grpc_status.set(Status::of_header(said.as_bytes()));
        }
        head.status = StatusCode::from_u16(status).unwrap_or(head.status);
        call.exchange.code.set(head.status.as_u16());
        // The trailers have been told, and nobody would see them behind a body whose length is known.
        body.refill(data, None);
    }
}
