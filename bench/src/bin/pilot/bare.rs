//! ADS by tonic and nothing else: whoever calls gets a channel, and what is put into it is sent.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::server::{Grpc, StreamingService};
use tonic::{Response, Status, Streaming};
use tonic_prost::ProstCodec;
use weir_xds::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

/// How many responses may be under way.
const DEPTH: usize = 8;

/// Where each caller's channel goes.
pub(crate) type Callers = mpsc::Sender<mpsc::Sender<DeltaDiscoveryResponse>>;

/// Accepts connections until the task is dropped.
pub(crate) async fn accept(listener: TcpListener, callers: Callers) {
    while let Ok((socket, _)) = listener.accept().await {
        // It is as good without, and slower.
        let _ = socket.set_nodelay(true);
        let callers = callers.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let called = Called(callers.clone());
                async move { Ok::<_, Infallible>(Grpc::new(ProstCodec::default()).streaming(called, request).await) }
            });
            let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A sidecar that ends breaks its connection off.
            let _ = http.adaptive_window(true).serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

struct Called(Callers);

type Responses = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

impl StreamingService<DeltaDiscoveryRequest> for Called {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = Responses;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Responses>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let callers = self.0.clone();
        Box::pin(async move {
            let (sender, receiver) = mpsc::channel(DEPTH);
            callers.send(sender).await.map_err(|_| Status::unavailable("it ends"))?;
            let mut incoming = request.into_inner();
            // Nobody is answered, but everybody is read.
            tokio::spawn(async move { while incoming.next().await.is_some_and(|request| request.is_ok()) {} });
            let responses: Responses = Box::pin(ReceiverStream::new(receiver).map(Ok));
            Ok(Response::new(responses))
        })
    }
}
