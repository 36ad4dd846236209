//! Changes the proxy's own answers as the configuration says (`local_reply_config`).

use bytes::Bytes;
use weir_config::http::local_replies::LocalReplies;
use weir_config::log_format::Format;
use weir_http1::header;
use weir_routing::template::{Operator, Values};

use super::header_changes::apply_to_response;
use super::local_reply::LocalReply;
use crate::exchange::Exchange;

/// What an answer's body is made of: what is known of the exchange, and the usual text.
struct WithBody<'a> {
    exchange: &'a Exchange,
    body: &'a [u8],
}

impl Values for WithBody<'_> {
    fn append(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match operator {
            Operator::LocalReplyBody => {
                // It is there even where it is empty.
                out.extend_from_slice(self.body);
                true
            }
            other => self.exchange.append(other, out),
        }
    }
}

/// Changes an answer, whose status the exchange knows already. `is_message` says that its body becomes the message of a gRPC call.
pub(super) fn map(replies: &LocalReplies, exchange: &Exchange, reply: &mut LocalReply, is_message: bool) {
    let mapper = replies.mappers.iter().find(|mapper| exchange.is_taken_by(&mapper.filter));
    let mut form = replies.body.as_ref();
    if let Some(mapper) = mapper {
        if let Some(text) = &mapper.text {
            reply.body = text.clone();
        }
        apply_to_response(&mapper.headers, &mut reply.headers, exchange);
        if let Some(status) = mapper.status {
            reply.status = status;
            exchange.code.set(status.as_u16());
        }
        form = mapper.body.as_ref().or(form);
    }
    if let Some(form) = form {
        let mut body = vec![];
        form.format.write(&WithBody { exchange, body: &reply.body }, &mut body);
        if is_message && matches!(form.format, Format::Json(_)) {
            // The end of the line is no part of it, as with Envoy.
            body.pop();
        }
        reply.body = Bytes::from(body);
        if !reply.body.is_empty() {
            reply.headers.insert_if_absent(header::CONTENT_TYPE, || form.content_type.clone());
        }
    }
}
