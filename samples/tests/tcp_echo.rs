//! tcp-echo, line by line.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use support::{Running, instance};

/// All that comes back for what is sent.
async fn echo(running: &Running, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn each_version_has_its_word() {
    for (name, answer) in [("tcp-echo-v1", "one hello\none world\n"), ("tcp-echo-v2", "two hello\ntwo world\n")] {
        let running = Running::start(instance(name)).await;
        assert_eq!(String::from_utf8(echo(&running, b"hello\nworld\n").await).unwrap(), answer);
    }
}

#[tokio::test]
async fn lines_are_bytes() {
    let running = Running::start(instance("tcp-echo-v1")).await;
    assert_eq!(echo(&running, b"").await, b"");
    assert_eq!(echo(&running, b"\n\r\n").await, b"one \none \r\n");
    assert_eq!(echo(&running, b"\xff\x00\n").await, b"one \xff\x00\n");
    assert_eq!(echo(&running, b"first\nno end").await, b"one first\none no end");
}

#[tokio::test]
async fn a_line_is_answered_before_the_next_is_sent() {
    let running = Running::start(instance("tcp-echo-v1")).await;
    let mut stream = BufReader::new(TcpStream::connect(running.address).await.unwrap());
    for sent in ["a\n", "b\n"] {
        // In pieces, to see that they make one line.
        for byte in sent.bytes() {
            stream.write_u8(byte).await.unwrap();
        }
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, format!("one {sent}"));
    }
}

#[tokio::test]
async fn long_lines() {
    let running = Running::start(instance("tcp-echo-v1")).await;
    let mut line = vec![b'x'; 64 * 1024 - 1];
    line.push(b'\n');
    let answer = echo(&running, &line).await;
    assert!(answer.starts_with(b"one xxx") && answer.len() == line.len() + 4);

    line.insert(0, b'x');
    assert_eq!(echo(&running, &line).await, b"one error: a line has at most 65536 bytes\n");
}

#[tokio::test]
async fn stopping_ends_open_connections() {
    let mut running = Running::start(instance("tcp-echo-v1")).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"a\n").await.unwrap();
    let mut answer = vec![0; 6];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"one a\n");
    running.stop();
    running.ended().await;
    assert_eq!(stream.read(&mut answer).await.unwrap(), 0);
}
