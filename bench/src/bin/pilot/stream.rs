//! One stream of the delta protocol, by h2 and nothing else: who measures shares the cores with what is measured, and what need not
//! be copied or read is not.

use std::collections::VecDeque;

use anyhow::{Context, ensure};
use bytes::{Buf, Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::Request;
use prost::Message;
use tokio::net::TcpStream;
use weir_xds::discovery::DeltaDiscoveryRequest;

const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Large enough that no response has to wait for a window.
const WINDOW: u32 = 64 << 20;
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// An open stream.
pub(crate) struct Stream {
    requests: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    responses: Option<RecvStream>,
    unread: Pieces,
}

impl Stream {
    /// Connects to a server, and calls.
    ///
    /// # Errors
    /// If nobody accepts.
    pub async fn open(server: &str) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(server).await.with_context(|| format!("nobody accepts at {server}"))?;
        socket.set_nodelay(true)?;
        let mut http = h2::client::Builder::new();
        http.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (sender, connection) = http.handshake(socket).await?;
        // It ends with the server, or with the stream.
        tokio::spawn(async move { connection.await.is_ok() });
        let call = Request::post(format!("http://{server}{METHOD}")).header("content-type", "application/grpc").header("te", "trailers");
        let (response, requests) = sender.ready().await?.send_request(call.body(())?, false)?;
        Ok(Self { requests, response: Some(response), responses: None, unread: Pieces::default() })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// If the server is gone.
    pub fn send(&mut self, request: &DeltaDiscoveryRequest) -> anyhow::Result<()> {
        let mut message = BytesMut::with_capacity(PREFIX + request.encoded_len());
        message.extend_from_slice(&[0]);
        message.extend_from_slice(&u32::try_from(request.encoded_len())?.to_be_bytes());
        request.encode(&mut message)?;
        Ok(self.requests.send_data(message.freeze(), false)?)
    }

    /// The next response.
    ///
    /// # Errors
    /// If the server is gone.
    pub async fn next(&mut self) -> anyhow::Result<Pieces> {
        if let Some(response) = self.response.take() {
            self.responses = Some(response.await?.into_body());
        }
        let responses = self.responses.as_mut().context("there was no answer")?;
        loop {
            if let Some(message) = self.unread.message()? {
                return Ok(message);
            }
            let piece = responses.data().await.context("the stream has ended")??;
            responses.flow_control().release_capacity(piece.len())?;
            self.unread.push(piece);
        }
    }
}

/// Bytes as they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Takes the first message away, if all of it is there.
    fn message(&mut self) -> anyhow::Result<Option<Self>> {
        if self.length < PREFIX {
            return Ok(None);
        }
        let mut prefix = [0; PREFIX];
        self.clone_front(PREFIX).copy_to_slice(&mut prefix);
        ensure!(prefix[0] == 0, "a message is compressed");
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if self.length < PREFIX + length {
            return Ok(None);
        }
        self.advance(PREFIX);
        let message = self.clone_front(length);
        self.advance(length);
        Ok(Some(message))
    }

    /// The first bytes, shared.
    fn clone_front(&self, mut length: usize) -> Self {
        let mut front = Self::default();
        for piece in &self.pieces {
            let part = length.min(piece.len());
            front.push(piece.slice(..part));
            length -= part;
            if length == 0 {
                break;
            }
        }
        front
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        self.length -= count;
        while count > 0 {
            let Some(front) = self.pieces.front_mut() else { return };
            let part = count.min(front.len());
            front.advance(part);
            count -= part;
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

/// What of a response is read always: not what is in its resources.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Heading>,
    #[prost(string, tag = "4")]
    pub type_url: String,
    #[prost(string, tag = "5")]
    pub nonce: String,
}

/// What of a resource is read always.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct Heading {
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "1")]
    pub version: String,
}

#[cfg(test)]
mod tests {
    use weir_xds::Any;
    use weir_xds::discovery::{DeltaDiscoveryResponse, Resource};

    use super::*;

    #[test]
    fn responses_are_read_however_they_are_cut() {
        let resource = |name: &str| Resource {
            name: name.to_owned(),
            version: "7".to_owned(),
            resource: Some(Any { type_url: "x".to_owned(), value: vec![1; 100].into() }),
            ..Default::default()
        };
        let resources = vec![resource("a"), resource("b")];
        let response = DeltaDiscoveryResponse { type_url: "t".to_owned(), nonce: "n".to_owned(), resources, ..Default::default() };
        let body = response.encode_to_vec();
        let mut written = vec![0, 0, 0, 0, u8::try_from(body.len()).unwrap_or_default()];
        written.extend_from_slice(&body);
        written.extend_from_slice(&written.clone());
        for length in [1, 3, 100, written.len()] {
            let mut pieces = Pieces::default();
            written.chunks(length).for_each(|piece| pieces.push(Bytes::copy_from_slice(piece)));
            for _ in 0..2 {
                let message = pieces.message().unwrap().expect("it is whole");
                let envelope = Envelope::decode(message.clone()).unwrap();
                assert_eq!((envelope.type_url.as_str(), envelope.nonce.as_str(), envelope.resources[1].name.as_str()), ("t", "n", "b"));
                assert_eq!(DeltaDiscoveryResponse::decode(message).unwrap(), response);
            }
            assert!(pieces.message().unwrap().is_none() && !pieces.has_remaining());
        }
    }
}
