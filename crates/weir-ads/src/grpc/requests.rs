//! The requests of a client's call, as they come.
//!
//! A client that has just come names all that it wants; what it sends afterwards is short. What its first requests were
//! read into is let go once they are read.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use prost::Message;

use super::PREFIX;

/// Reads messages from a body.
pub(super) struct Requests<B> {
    body: B,
    unread: BytesMut,
    /// So long a message may be.
    longest: usize,
}

impl<B: Body<Data = Bytes> + Unpin> Requests<B> {
    /// Of a client whose messages may be so long.
    pub fn new(body: B, longest: usize) -> Self {
        Self { body, unread: BytesMut::new(), longest }
    }

    /// The next message; none if the client has no more to say, or says what is none.
    pub async fn next<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if let Some(message) = self.take()? {
                return M::decode(message).ok();
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.unread.extend_from_slice(&data);
            }
        }
    }

    /// The bytes of the first message, if all of them are there. None if no message can be.
    fn take(&mut self) -> Option<Option<Bytes>> {
        let Some(([compressed, length @ ..], _)) = self.unread.split_first_chunk::<PREFIX>() else { return Some(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        if *compressed != 0 || length > self.longest {
            return None;
        }
        if self.unread.len() - PREFIX < length {
            return Some(None);
        }
        self.unread.advance(PREFIX);
        let message = self.unread.split_to(length).freeze();
        if self.unread.is_empty() {
            self.unread = BytesMut::new();
        }
        Some(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use weir_xds::discovery::DeltaDiscoveryRequest;

    use super::*;

    const LONGEST: usize = 1 << 20;

    /// A body in pieces of that length.
    fn body(bytes: &[u8], piece: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let pieces: Vec<Bytes> = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
        StreamBody::new(tokio_stream::iter(pieces.into_iter().map(|piece| Ok(Frame::data(piece)))))
    }

    fn written(requests: &[DeltaDiscoveryRequest]) -> Vec<u8> {
        let mut bytes = vec![];
        for request in requests {
            let encoded = request.encode_to_vec();
            bytes.push(0);
            bytes.extend_from_slice(&u32::try_from(encoded.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(&encoded);
        }
        bytes
    }

    #[tokio::test]
    async fn requests_are_read_however_they_are_cut() {
        let named = |names: usize| DeltaDiscoveryRequest {
            resource_names_subscribe: (0..names).map(|name| name.to_string()).collect(),
            ..Default::default()
        };
        let requests = [named(1), named(0), named(5000), named(3)];
        let bytes = written(&requests);
        for piece in [1, 4, 5, 6, 1000, bytes.len()] {
            let mut reader = Requests::new(body(&bytes, piece), LONGEST);
            for request in &requests {
                assert_eq!(reader.next().await.as_ref(), Some(request));
            }
            assert_eq!(reader.next::<DeltaDiscoveryRequest>().await, None);
            assert_eq!(reader.unread.capacity(), 0, "nothing is kept");
        }
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_stream() {
        let mut long = vec![0];
        long.extend_from_slice(&u32::try_from(LONGEST + 1).unwrap().to_be_bytes());
        for bytes in [&[1, 0, 0, 0, 0][..], &long, &[0, 0, 0, 0, 2, 0xff, 0xff], &[0, 0, 0, 0, 9, 1]] {
            assert_eq!(Requests::new(body(bytes, 3), LONGEST).next::<DeltaDiscoveryRequest>().await, None);
        }
    }
}
