//! A response as it goes over a connection: written piece by piece when the connection takes more, from resources that are
//! encoded already.
//!
//! Who reads slowly so holds references, and one piece. What is written is byte for byte what prost would write.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::vec::IntoIter;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};
use tonic::Status;
use tonic::body::Body;
use weir_xds::Any;
use weir_xds::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};

use super::PREFIX;
use crate::push::Push;
use crate::resources::{Resource, VERSION_LEN};
use crate::stream::Protocol;

/// About as much is written at a time.
const PIECE: usize = 32 << 10;
/// What is larger is not copied, but is a piece of its own.
const LARGE: usize = 16 << 10;

// Fields that carry bytes: their numbers in the messages of `discovery.proto`, and of `Any`.
const RESOURCES: u8 = 2;
const RESOURCE_VERSION: u8 = 1;
const RESOURCE_BODY: u8 = 2;
const RESOURCE_NAME: u8 = 3;
const ANY_TYPE: u8 = 1;
const ANY_VALUE: u8 = 2;

/// A response that is being written.
pub(super) struct Message {
    protocol: Protocol,
    /// What is left of the resources.
    resources: IntoIter<(Arc<str>, Arc<Resource>)>,
    /// What comes after them; none once it is written.
    end: Option<Vec<u8>>,
    buffer: BytesMut,
    ready: VecDeque<Bytes>,
}

impl Message {
    /// Begins to write a response; none if it is longer than a message can be.
    pub fn new(mut push: Push) -> Option<Self> {
        let resources = std::mem::take(&mut push.resources);
        let (begin, end) = match push.protocol {
            Protocol::Delta => {
                let mut rest = push.delta(vec![]);
                let system_version_info = std::mem::take(&mut rest.system_version_info);
                let begin = DeltaDiscoveryResponse { system_version_info, ..Default::default() };
                (begin.encode_to_vec(), rest.encode_to_vec())
            }
            Protocol::StateOfTheWorld => {
                let mut rest = push.state(vec![]);
                let version_info = std::mem::take(&mut rest.version_info);
                (DiscoveryResponse { version_info, ..Default::default() }.encode_to_vec(), rest.encode_to_vec())
            }
        };
        let length = |(name, resource): &(Arc<str>, Arc<Resource>)| field_len(resource_len(push.protocol, name, resource));
        let length = begin.len() + resources.iter().map(length).sum::<usize>() + end.len();
        let mut buffer = BytesMut::with_capacity(PREFIX + length.min(PIECE + LARGE));
        buffer.put_u8(0);
        buffer.put_u32(u32::try_from(length).ok()?);
        buffer.extend_from_slice(&begin);
        Some(Self { protocol: push.protocol, resources: resources.into_iter(), end: Some(end), buffer, ready: VecDeque::new() })
    }

    fn put(&mut self, name: &str, resource: &Resource) {
        put_key(&mut self.buffer, RESOURCES, resource_len(self.protocol, name, resource));
        if self.protocol == Protocol::StateOfTheWorld {
            return self.put_any(&resource.body);
        }
        put_bytes(&mut self.buffer, RESOURCE_VERSION, resource.version.to_string().as_bytes());
        put_key(&mut self.buffer, RESOURCE_BODY, any_len(&resource.body));
        self.put_any(&resource.body);
        put_bytes(&mut self.buffer, RESOURCE_NAME, name.as_bytes());
    }

    fn put_any(&mut self, body: &Any) {
        put_bytes(&mut self.buffer, ANY_TYPE, body.type_url.as_bytes());
        if body.value.len() < LARGE {
            return put_bytes(&mut self.buffer, ANY_VALUE, &body.value);
        }
        put_key(&mut self.buffer, ANY_VALUE, body.value.len());
        self.ready.push_back(self.buffer.split().freeze());
        self.ready.push_back(body.value.clone());
    }
}

/// The pieces.
impl Iterator for Message {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.ready.is_empty() && self.buffer.len() < PIECE {
            if let Some((name, resource)) = self.resources.next() {
                self.put(&name, &resource);
            } else if let Some(end) = self.end.take() {
                self.buffer.extend_from_slice(&end);
            } else {
                break;
            }
        }
        let piece = self.ready.pop_front().unwrap_or_else(|| self.buffer.split().freeze());
        (!piece.is_empty()).then_some(piece)
    }
}

/// The response of a call that is answered with one message.
pub(super) fn whole<M: prost::Message>(message: &M) -> http::Response<Body> {
    let encoded = message.encode_to_vec();
    let Ok(length) = u32::try_from(encoded.len()) else { return Status::resource_exhausted("the answer is too long").into_http() };
    let mut buffer = BytesMut::with_capacity(PREFIX + encoded.len());
    buffer.put_u8(0);
    buffer.put_u32(length);
    buffer.extend_from_slice(&encoded);
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let frames = [Ok::<_, Infallible>(Frame::data(buffer.freeze())), Ok(Frame::trailers(trailers))];
    let mut response = http::Response::new(Body::new(StreamBody::new(tokio_stream::iter(frames))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn resource_len(protocol: Protocol, name: &str, resource: &Resource) -> usize {
    let body = any_len(&resource.body);
    match protocol {
        Protocol::StateOfTheWorld => body,
        Protocol::Delta => field_len(VERSION_LEN) + field_len(body) + bytes_len(name.as_bytes()),
    }
}

fn any_len(body: &Any) -> usize {
    bytes_len(body.type_url.as_bytes()) + bytes_len(&body.value)
}

/// A field whose content has that length.
fn field_len(content: usize) -> usize {
    1 + encoded_len_varint(content as u64) + content
}

/// A field that is left away when it is empty.
fn bytes_len(content: &[u8]) -> usize {
    if content.is_empty() { 0 } else { field_len(content.len()) }
}

fn put_key(buffer: &mut BytesMut, number: u8, length: usize) {
    const LENGTH_DELIMITED: u8 = 2;
    buffer.put_u8(number << 3 | LENGTH_DELIMITED);
    encode_varint(length as u64, buffer);
}

fn put_bytes(buffer: &mut BytesMut, number: u8, content: &[u8]) {
    if !content.is_empty() {
        put_key(buffer, number, content.len());
        buffer.extend_from_slice(content);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_xds::cluster::Cluster;
    use weir_xds::resource::ResourceType;

    use super::*;
    use crate::stream::Response;

    fn resource(name: &str, size: usize) -> (Arc<str>, Arc<Resource>) {
        let cluster = Cluster { name: name.to_owned(), alt_stat_name: "x".repeat(size), ..Default::default() };
        (name.into(), Arc::new(Resource::new(&cluster)))
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_prost_writes(
            delta in any::<bool>(),
            nonce in any::<u64>(),
            resources in prop::collection::vec(("[a-z|]{0,300}", prop_oneof![0usize..300, 15_000usize..20_000, Just(70_000)]), 0..30),
            removals in prop::collection::vec("[a-z]{0,9}", 0..4),
        ) {
            let push = Push {
                protocol: if delta { Protocol::Delta } else { Protocol::StateOfTheWorld },
                kind: ResourceType::Cluster,
                nonce,
                resources: resources.iter().map(|(name, size)| resource(name, *size)).collect(),
                removals: removals.iter().map(|name| name.as_str().into()).collect(),
            };
            let encoded = match Response::from(push.clone()) {
                Response::Delta(message) => message.encode_to_vec(),
                Response::State(message) => message.encode_to_vec(),
            };
            let written: Vec<u8> = Message::new(push).expect("it is short").flatten().collect();
            prop_assert_eq!(&written[..PREFIX], [&[0][..], &u32::try_from(encoded.len()).unwrap().to_be_bytes()].concat());
            prop_assert!(written[PREFIX..] == encoded);
        }
    }

    #[test]
    fn a_large_resource_is_not_copied_and_a_piece_is_short() {
        let large = resource("large", 1 << 20);
        let resources: Vec<_> = std::iter::once(large.clone()).chain((0..2000).map(|i| resource(&i.to_string(), 100))).collect();
        let push = Push { protocol: Protocol::Delta, kind: ResourceType::Cluster, nonce: 1, resources, removals: vec![] };
        let pieces: Vec<Bytes> = Message::new(push).expect("it is short").collect();
        assert!(pieces.iter().any(|piece| piece.as_ptr() == large.1.body.value.as_ptr()));
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE + LARGE || *piece == large.1.body.value));
    }
}
