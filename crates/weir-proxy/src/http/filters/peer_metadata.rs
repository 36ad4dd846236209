//! Who tells whom which workload it is, beside requests and answers. Instances are told where the connection to them is known
//! ([`Outgoing`](crate::upstream::send::Outgoing)).

use weir_routing::filters::peer_metadata::PeerMetadataPolicy;

use super::{Back, Flow, HttpFilter, Place};
use crate::exchange::introduction;
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::io::response::Parts;

/// The filter.
pub(super) struct PeerMetadata(PeerMetadataPolicy);

impl HttpFilter for PeerMetadata {
    type Policy = PeerMetadataPolicy;
    type State = ();

    fn new(policy: &PeerMetadataPolicy) -> Self {
        Self(*policy)
    }

    fn on_request(&self, call: &mut Call, _: &Place) -> Flow {
        let exchange = &call.exchange;
        let told = introduction::take(&mut exchange.request.borrow_mut().headers);
        if self.0.hears_clients
            && let (Some(told), Some(ends)) = (told, exchange.connection.ends.as_deref())
        {
            exchange.client_workload.replace(exchange.connection.heard.hear(told, ends));
        }
        call.tells_instances = self.0.tells_instances;
        Flow::Continue
    }

    fn on_response(&self, call: &mut Call, _: &Place, head: &mut Parts, _: &mut ResponseBody) -> Back {
        let exchange = &call.exchange;
        let told = introduction::take(&mut head.headers);
        if self.0.hears_instances
            && let (Some(told), Some(ends), Some(target)) =
                (told, exchange.upstream_ends.borrow().as_deref(), exchange.target.borrow().as_deref())
        {
            exchange.instance_workload.replace(target.heard.hear(told, ends));
        }
        // As in Istio, to those only who have told of themselves.
        if self.0.tells_clients
            && exchange.client_workload.borrow().is_some()
            && let Some(own) = call.http.recording.introduction()
        {
            own.tell(&mut head.headers, true);
        }
        Back::Continue
    }
}
