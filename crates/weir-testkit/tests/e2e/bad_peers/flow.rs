//! Instances that are slow: who sends to them or reads from them goes at their pace, and the proxy holds little meanwhile.

use hyper::Method;
use weir_testkit::{Act, BadPeer, DataPlane};

use super::{HTTP1, Setup};
use crate::support::{HOST, over_each_data_plane};

over_each_data_plane!(an_upload_goes_at_the_pace_of_its_reader, an_upload_that_takes_long_is_no_late_answer, an_answer_may_come_slowly);

/// So much fits nowhere but in an application: both sockets' buffers and the proxy's are smaller.
const UPLOAD: u64 = 64 << 20;
/// What a proxy may hold of it: the sockets' buffers are the kernel's.
const HELD: u64 = 24 << 20;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\ncomplete";

async fn an_upload_goes_at_the_pace_of_its_reader(plane: DataPlane) {
    // Hundred bytes, then nothing until the test says so.
    let script = [Act::ReadHead, Act::ReadBytes(100), Act::Wait, Act::ReadBytes(UPLOAD as usize - 100), Act::Say(OK), Act::UntilEnd];
    let peer = BadPeer::start(&[&script]).await;
    let bad = HTTP1.start(plane, &[peer.address()]).await;
    let before = bad.mesh.gateway_memory();
    let mut client = bad.mesh.outside(HOST);
    let uploading = tokio::spawn(async move { client.hear(Method::POST, "/", &[], UPLOAD).await });
    peer.waits(1).await;
    // Everything on the way fills up while other requests pass; then nothing more can be taken from the client.
    let mut other = bad.mesh.outside(HOST);
    for _ in 0..200 {
        assert_eq!(other.get("/ready", &[]).await.unwrap().status, 200);
    }
    assert!(!uploading.is_finished());
    peer.go_on(1);
    let heard = uploading.await.unwrap();
    assert_eq!((heard.status, heard.body.as_str(), peer.received() as u64), (200, "complete", UPLOAD));
    let peak = bad.mesh.gateway_memory().saturating_sub(before);
    assert!(peak < HELD, "{peak} bytes more at the most");
}

async fn an_upload_that_takes_long_is_no_late_answer(plane: DataPlane) {
    // The timeout begins when the request is complete.
    let script = [Act::ReadHead, Act::ReadBytes(100), Act::Wait, Act::ReadBytes(UPLOAD as usize - 100), Act::Say(OK), Act::UntilEnd];
    let peer = BadPeer::start(&[&script]).await;
    let setup = Setup { rule: "timeout: 0.2s", ..HTTP1 };
    let bad = setup.start(plane, &[peer.address()]).await;
    let mut client = bad.mesh.outside(HOST);
    let begun = std::time::Instant::now();
    let uploading = tokio::spawn(async move { client.hear(Method::POST, "/", &[], UPLOAD).await });
    peer.waits(1).await;
    let mut other = bad.mesh.outside(HOST);
    while begun.elapsed() < std::time::Duration::from_millis(600) {
        assert_eq!(other.get("/ready", &[]).await.unwrap().status, 200);
    }
    assert!(!uploading.is_finished());
    peer.go_on(1);
    assert_eq!(uploading.await.unwrap().status, 200);
}

async fn an_answer_may_come_slowly(plane: DataPlane) {
    let mut script = vec![Act::Read, Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")];
    for _ in 0..10 {
        script.extend([Act::Wait, Act::Say("x")]);
    }
    script.push(Act::UntilEnd);
    let peer = BadPeer::start(&[&script]).await;
    let bad = HTTP1.start(plane, &[peer.address()]).await;
    let mut client = bad.mesh.outside(HOST);
    let (begun, first) = tokio::sync::oneshot::channel();
    let hearing = tokio::spawn(async move { client.hear_telling(Method::GET, "/", &[], 0, begun).await });
    peer.waits(1).await;
    peer.go_on(1);
    // Each byte is passed on as it comes.
    first.await.unwrap();
    for byte in 2..=10 {
        peer.waits(byte).await;
        peer.go_on(1);
    }
    let heard = hearing.await.unwrap();
    assert_eq!((heard.status, heard.body.as_str(), heard.whole), (200, "xxxxxxxxxx", true));
    assert_eq!(bad.log(1).await, ["200 - via_upstream 1"]);
}
