//! Accepts ADS streams over gRPC.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request as HttpRequest;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::{DELTA, MAX_MESSAGE, STATE};
use crate::stream::{Protocol, Request, Response, ServerStream, pair};

/// A silent client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Accepts connections until the task is dropped; each ADS stream on them is given to `serve`.
///
/// # Errors
/// If the listener fails for good.
pub async fn accept(listener: TcpListener, streams: mpsc::Sender<ServerStream>) -> io::Result<()> {
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                // Out of descriptors, most likely: those in use must be closed first.
                tracing::warn!(%error, "cannot accept an xDS connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        socket.set_nodelay(true)?;
        let streams = streams.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, streams.clone()));
            let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            http.timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE).adaptive_window(true);
            if let Err(error) = http.serve_connection(TokioIo::new(socket), service).await {
                tracing::debug!(%peer, %error, "an xDS connection ended");
            }
        });
    }
}

/// Errors of a client that went away before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused)
}

async fn answer(request: HttpRequest<Incoming>, streams: mpsc::Sender<ServerStream>) -> Result<http::Response<Body>, Infallible> {
    Ok(match request.uri().path() {
        DELTA => {
            let codec = ProstCodec::default();
            Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE).streaming(Delta(streams), request).await
        }
        STATE => {
            let codec = ProstCodec::default();
            Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE).streaming(State(streams), request).await
        }
        path => Status::unimplemented(format!("no such method: {path}")).into_http(),
    })
}

macro_rules! service {
    ($name:ident, $variant:ident, $protocol:expr, $request:ty, $response:ty) => {
        struct $name(mpsc::Sender<ServerStream>);

        impl StreamingService<$request> for $name {
            type Response = $response;
            type ResponseStream = ResponseStream<$response>;
            type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Self::ResponseStream>, Status>> + Send>>;

            fn call(&mut self, request: tonic::Request<Streaming<$request>>) -> Self::Future {
                let streams = self.0.clone();
                Box::pin(async move {
                    let (client, server) = pair($protocol);
                    streams.send(server).await.map_err(|_| Status::unavailable("the server is shutting down"))?;
                    let mut incoming = request.into_inner();
                    tokio::spawn(async move {
                        while let Some(Ok(message)) = incoming.next().await {
                            if client.requests.send(Request::$variant(message)).await.is_err() {
                                break;
                            }
                        }
                    });
                    let unwrap = |response| match response {
                        Response::$variant(response) => Ok(response),
                        _ => Err(Status::internal("a response of the other protocol")),
                    };
                    let responses = ReceiverStream::new(client.responses).map(unwrap);
                    Ok(tonic::Response::new(ResponseStream(Box::pin(responses))))
                })
            }
        }
    };
}

service!(Delta, Delta, Protocol::Delta, weir_xds::discovery::DeltaDiscoveryRequest, weir_xds::discovery::DeltaDiscoveryResponse);
service!(State, State, Protocol::StateOfTheWorld, weir_xds::discovery::DiscoveryRequest, weir_xds::discovery::DiscoveryResponse);

struct ResponseStream<R>(Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>);

impl<R> Stream for ResponseStream<R> {
    type Item = Result<R, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}
