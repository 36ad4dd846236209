//! Instances that say less than they should, or more.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::Stage;
use crate::support::{Wire, in_time};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const MANY: usize = 100;

/// Many requests, and the instance's ends of them; their heads have come.
async fn ask(stage: &Stage, text: &str) -> Vec<(Wire, Wire)> {
    let mut asked = vec![];
    for _ in 0..MANY {
        let mut client = stage.proxy.connect().await;
        client.say(text).await;
        let mut instance = stage.upstream.accept().await;
        instance.head().await;
        asked.push((client, instance));
    }
    asked
}

/// Says this again and again until nobody listens.
async fn say_for_ever(instance: Wire, text: &str) {
    let (text, mut stream) = (text.repeat(1000), instance.into_stream());
    in_time("it is not heard for ever", async { while stream.write_all(text.as_bytes()).await.is_ok() {} }).await;
}

/// A byte now and then.
#[tokio::test]
async fn answers_that_drip() {
    let stage = Stage::new().await;
    let attack = async || {
        let mut asked = ask(&stage, GET).await;
        for (_, instance) in &mut asked {
            instance.say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n").await;
        }
        for _ in 0..20 {
            for (_, instance) in &mut asked {
                instance.say("x").await;
            }
        }
        asked
    };
    for (mut client, _instance) in stage.unnoticed(attack).await {
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
        client.hears(&"x".repeat(20)).await;
    }
}

#[tokio::test]
async fn answers_in_single_byte_chunks() {
    const CHUNKS: usize = 20_000;
    let stage = Stage::new().await;
    let attack = async || {
        let mut client = stage.proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let mut instance = stage.upstream.accept().await;
        instance.head().await;
        let saying = async {
            instance.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            for _ in 0..CHUNKS / 1000 {
                instance.say(&"1\r\nx\r\n".repeat(1000)).await;
            }
            instance.say("0\r\n\r\n").await;
        };
        let (heard, ()) = tokio::join!(client.end(), saying);
        assert!(heard.ends_with("\r\n0\r\n\r\n"), "{}", heard.len());
    };
    stage.unnoticed(attack).await;
}

/// Its first line has come, and the rest does not.
#[tokio::test]
async fn a_head_that_never_ends() {
    let stage = Stage::with(json!({"streamIdleTimeout": "1s"}), json!({})).await;
    let attack = async || {
        let mut asked = ask(&stage, GET).await;
        for (_, instance) in &mut asked {
            instance.say("HTTP/1.1 200 OK\r\nx-slow: ").await;
        }
        asked
    };
    for (mut client, _instance) in stage.unnoticed(attack).await {
        assert_eq!(client.answer().await.0, "HTTP/1.1 504 Gateway Timeout");
    }
}

/// Line after line, as fast as they are taken.
#[tokio::test]
async fn a_head_without_end() {
    let stage = Stage::new().await;
    let attack = async || {
        for _ in 0..MANY {
            let mut client = stage.proxy.connect().await;
            client.say(GET).await;
            let mut instance = stage.upstream.accept().await;
            instance.say("HTTP/1.1 200 OK\r\n").await;
            say_for_ever(instance, "x-more: and more\r\n").await;
            assert_eq!(client.answer().await.0, "HTTP/1.1 502 Bad Gateway");
        }
    };
    stage.unnoticed(attack).await;
}

/// As fast as they are taken; the request's limit of time counts.
#[tokio::test]
async fn interim_answers_for_ever() {
    for passes in [false, true] {
        let stage = Stage::with(json!({"proxy100Continue": passes, "streamIdleTimeout": "1s"}), json!({})).await;
        let attack = async || {
            let mut client = stage.proxy.connect().await;
            client.say(GET).await;
            say_for_ever(stage.upstream.accept().await, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await;
            let mut status = client.answer().await.0;
            if passes {
                assert_eq!(status, "HTTP/1.1 103 Early Hints");
                status = client.answer().await.0;
            }
            assert_eq!(status, "HTTP/1.1 504 Gateway Timeout");
        };
        stage.unnoticed(attack).await;
    }
}

/// Behind the end of an answer there is another one, which nobody has asked for: no client gets it.
#[tokio::test]
async fn more_than_was_declared() {
    let stage = Stage::new().await;
    let attack = async || {
        for _ in 0..MANY {
            let mut client = stage.proxy.connect().await;
            client.say(GET).await;
            let mut instance = stage.upstream.accept().await;
            instance.head().await;
            instance.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmineHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison").await;
            assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
            client.hears("mine").await;
            // Whoever asks next gets a connection that is not poisoned.
            client.say(GET).await;
            let mut next = stage.upstream.accept().await;
            next.head().await;
            next.say("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            assert_eq!(client.answer().await.0, "HTTP/1.1 204 No Content");
        }
    };
    stage.unnoticed(attack).await;
}

/// Uploads of many clients to an instance that takes none of it.
#[tokio::test]
async fn uploads_that_are_not_read() {
    let stage = Stage::new().await;
    let attack = async || {
        let mut asked = ask(&stage, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n").await;
        let much = vec![b'x'; 64 << 10];
        let mut clients = vec![];
        for (client, instance) in asked.drain(..) {
            let client = client.into_stream();
            while client.try_write(&much).is_ok() {
                tokio::task::yield_now().await;
            }
            clients.push((client, instance));
        }
        clients
    };
    stage.unnoticed(attack).await;
}
