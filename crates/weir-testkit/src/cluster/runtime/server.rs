//! The interface as gRPC: calls of one request and one answer each, over a Unix socket. See `k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;
use tonic::Status;
use tonic::body::Body;

use super::cri::*;
use super::pods::Pods;

/// So many bytes stand before a message.
const PREFIX: usize = 5;

/// Serves until it is dropped.
pub(super) async fn serve(listener: UnixListener, pods: Arc<Pods>) {
    while let Ok((socket, _)) = listener.accept().await {
        let pods = pods.clone();
        let service = service_fn(move |request| answer(request, pods.clone()));
        let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        // A connection that breaks is the kubelet's to notice.
        tokio::spawn(async move { http.serve_connection(TokioIo::new(socket), service).await });
    }
}

async fn answer(request: http::Request<Incoming>, pods: Arc<Pods>) -> Result<http::Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    // The methods of both services have names of their own.
    let method = path.rsplit('/').next().unwrap_or_default();
    Ok(match method {
        "Version" => call(request, |_: VersionRequest| ready(Ok(version()))).await,
        "Status" => call(request, |_: StatusRequest| ready(Ok(status()))).await,
        "RuntimeConfig" => call(request, |_: RuntimeConfigRequest| ready(Ok(configuration()))).await,
        "UpdateRuntimeConfig" => call(request, |_: UpdateRuntimeConfigRequest| ready(Ok(UpdateRuntimeConfigResponse {}))).await,
        _ if method.contains("PodSandbox") => sandboxes(method, request, pods).await,
        _ if method.contains("Container") || method == "ExecSync" => containers(method, request, pods).await,
        _ => images(method, request, pods).await,
    })
}

async fn sandboxes(method: &str, request: http::Request<Incoming>, pods: Arc<Pods>) -> http::Response<Body> {
    match method {
        "RunPodSandbox" => call(request, |asked| pods.run_sandbox(asked)).await,
        "StopPodSandbox" => call(request, |asked| pods.stop_sandbox(asked)).await,
        "RemovePodSandbox" => call(request, |asked| pods.remove_sandbox(asked)).await,
        "PodSandboxStatus" => call(request, |asked| ready(pods.sandbox_status(&asked))).await,
        "ListPodSandbox" => call(request, |asked| ready(Ok(pods.list_sandboxes(&asked)))).await,
        // Nobody measures here.
        "ListPodSandboxStats" => call(request, |_: ListPodSandboxStatsRequest| ready(Ok(ListPodSandboxStatsResponse::default()))).await,
        _ => unknown(method),
    }
}

async fn containers(method: &str, request: http::Request<Incoming>, pods: Arc<Pods>) -> http::Response<Body> {
    match method {
        "CreateContainer" => call(request, |asked| ready(pods.create_container(asked))).await,
        "StartContainer" => call(request, |asked| ready(pods.start_container(&asked))).await,
        "StopContainer" => call(request, |asked| pods.stop_container(asked)).await,
        "RemoveContainer" => call(request, |asked| pods.remove_container(asked)).await,
        "ListContainers" => call(request, |asked| ready(Ok(pods.list_containers(&asked)))).await,
        "ContainerStatus" => call(request, |asked| ready(pods.container_status(&asked))).await,
        "ReopenContainerLog" => call(request, |asked| ready(pods.reopen_log(&asked))).await,
        "ExecSync" => call(request, |asked| pods.exec(asked)).await,
        // There are no control groups here: what a container may use is not bounded.
        "UpdateContainerResources" => {
            call(request, |_: UpdateContainerResourcesRequest| ready(Ok(UpdateContainerResourcesResponse {}))).await
        }
        "ListContainerStats" => call(request, |_: ListContainerStatsRequest| ready(Ok(ListContainerStatsResponse::default()))).await,
        _ => unknown(method),
    }
}

async fn images(method: &str, request: http::Request<Incoming>, pods: Arc<Pods>) -> http::Response<Body> {
    let images = &pods.images;
    match method {
        "ListImages" => call(request, |_: ListImagesRequest| ready(Ok(images.list()))).await,
        "ImageStatus" => call(request, |asked| ready(Ok(images.status(&asked)))).await,
        "PullImage" => call(request, |asked| ready(images.pull(&asked))).await,
        "RemoveImage" => call(request, |_: RemoveImageRequest| ready(Ok(RemoveImageResponse {}))).await,
        "ImageFsInfo" => call(request, |_: ImageFsInfoRequest| ready(Ok(pods.file_systems()))).await,
        _ => unknown(method),
    }
}

fn unknown(method: &str) -> http::Response<Body> {
    Status::unimplemented(format!("no such method: {method}")).into_http()
}

/// Calls a method by gRPC: a message is its length and its bytes, behind a byte that says whether they are compressed, which a kubelet's
/// never are; how it went stands in a trailer.
async fn call<Q, A, W>(request: http::Request<Incoming>, method: impl FnOnce(Q) -> W) -> http::Response<Body>
where
    Q: Message + Default,
    A: Message,
    W: Future<Output = Result<A, Status>>,
{
    let asked = async {
        let body = request.into_body().collect().await.map_err(|error| Status::cancelled(error.to_string()))?.to_bytes();
        let message = body.get(PREFIX..).ok_or_else(|| Status::invalid_argument("a message has a length"))?;
        Q::decode(message).map_err(|error| Status::invalid_argument(error.to_string()))
    };
    let answered = match asked.await {
        Ok(asked) => method(asked).await,
        Err(status) => Err(status),
    };
    answered.map_or_else(|status| status.into_http(), |answer| whole(&answer))
}

fn whole(answer: &impl Message) -> http::Response<Body> {
    let mut written = vec![0; PREFIX];
    answer.encode(&mut written).expect("a vector takes any message");
    let length = u32::try_from(written.len() - PREFIX).expect("no answer is as long as that");
    written[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(written)).with_trailers(ready(Some(Ok(trailers))));
    let mut response = http::Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn version() -> VersionResponse {
    VersionResponse {
        version: "0.1.0".to_owned(),
        runtime_name: "weir-testkit".to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime_api_version: "v1".to_owned(),
    }
}

fn status() -> StatusResponse {
    let condition = |kind: &str| RuntimeCondition { r#type: kind.to_owned(), status: true, ..Default::default() };
    let conditions = ["RuntimeReady", "NetworkReady"].map(condition).into();
    StatusResponse { status: Some(RuntimeStatus { conditions }), ..Default::default() }
}

fn configuration() -> RuntimeConfigResponse {
    RuntimeConfigResponse { linux: Some(LinuxRuntimeConfiguration { cgroup_driver: CgroupDriver::Cgroupfs.into() }) }
}
