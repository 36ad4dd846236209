//! Messages of gRPC as services that filters ask hear and say them.

use hyper::Response;
use serde_json::Value;
use weir_testkit::Content;
use weir_xds::{Message, json};

/// The only message of a body.
pub(crate) fn message<M: Message>(body: &[u8]) -> M {
    let (prefix, message) = body.split_at(5);
    assert_eq!(prefix, [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes()].concat());
    <M as Message>::decode(message.to_vec().into()).unwrap()
}

/// A good answer with one message.
pub(crate) fn answer<M: Message>(message: Value) -> Response<Content> {
    let message = Message::encode_to_vec(&json::from_value::<M>(message).unwrap());
    let framed = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat();
    let content = Content::of(framed).trailing(&[("grpc-status", "0")]);
    Response::builder().header("content-type", "application/grpc").body(content).unwrap()
}
