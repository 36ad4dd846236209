//! httpbin's endpoints, asked over HTTP.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use serde_json::json;

use support::{Answer, Running, ask, instance, send};

async fn httpbin() -> Running {
    Running::start(instance("httpbin-v1")).await
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Full::new(body.into())).unwrap()
}

async fn status(httpbin: &Running, path: &str) -> u16 {
    httpbin.get(path).await.status.as_u16()
}

#[tokio::test]
async fn get_tells_the_request() {
    let httpbin = httpbin().await;
    let headers = [("x-forwarded-for", "10.0.0.1,10.0.0.2"), ("x-twice", "1"), ("x-twice", "2"), ("x-forwarded-proto", "https")];
    let answer = ask(httpbin.address, request("GET", "/get?b=2&a=1&a=x%20y", &headers, "")).await;
    let told = json!({
        "args": { "a": ["1", "x y"], "b": "2" },
        "headers": {
            "Host": "example.com", "X-Forwarded-For": "10.0.0.1,10.0.0.2", "X-Forwarded-Proto": "https", "X-Twice": "1,2",
        },
        "origin": "10.0.0.1,10.0.0.2",
        "url": "https://example.com/get?b=2&a=1&a=x%20y",
    });
    assert_eq!(answer.json(), told);
    assert_eq!(answer.text(), format!("{told:#}\n"), "indented, in the alphabetical order of httpbin.org");
    assert_eq!((answer.header("content-type"), answer.header("x-instance")), ("application/json", "httpbin-v1"));
}

#[tokio::test]
async fn single_facts() {
    let httpbin = httpbin().await;
    assert_eq!(httpbin.json("/ip").await, json!({ "origin": "127.0.0.1" }));
    assert_eq!(httpbin.json("/headers").await, json!({ "headers": { "Host": "example.com" } }));
    assert_eq!(httpbin.json("/user-agent").await, json!({ "user-agent": null }));
    let answer = ask(httpbin.address, request("GET", "/user-agent", &[("user-agent", "curl/8")], "")).await;
    assert_eq!(answer.json(), json!({ "user-agent": "curl/8" }));
    let answer = ask(httpbin.address, request("GET", "/cookies", &[("cookie", "b=2; a=1")], "")).await;
    assert_eq!(answer.json(), json!({ "cookies": { "a": "1", "b": "2" } }));
    let uuids = (httpbin.json("/uuid").await, httpbin.json("/uuid").await);
    assert_eq!(uuids.0["uuid"].as_str().unwrap().len(), 36);
    assert_ne!(uuids.0, uuids.1);
    assert!(httpbin.get("/").await.text().contains("/status/418"));
}

#[tokio::test]
async fn bodies_are_told_by_their_kind() {
    let httpbin = httpbin().await;
    let post = |content_type, body: &'static [u8]| ask(httpbin.address, request("POST", "/post", &[("content-type", content_type)], body));
    let told = |answer: Answer| {
        let told = answer.json();
        (told["data"].clone(), told["form"].clone(), told["json"].clone())
    };
    assert_eq!(told(post("application/json", b"{\"a\":[1]}").await), (json!("{\"a\":[1]}"), json!({}), json!({ "a": [1] })));
    assert_eq!(told(post("text/plain", b"hello").await), (json!("hello"), json!({}), json!(null)));
    let form = post("application/x-www-form-urlencoded", b"a=1&a=2&b=x+y").await;
    assert_eq!(told(form), (json!(""), json!({ "a": ["1", "2"], "b": "x y" }), json!(null)));
    let binary = post("application/octet-stream", &[0xff, 0xfe, 0xfd]).await;
    assert_eq!(told(binary), (json!("data:application/octet-stream;base64,//79"), json!({}), json!(null)));
}

#[tokio::test]
async fn large_bodies_are_counted() {
    let httpbin = httpbin().await;
    let answer = ask(httpbin.address, request("PUT", "/put", &[], vec![b'x'; 1024 * 1024 + 1])).await;
    assert_eq!(answer.json()["data"], "(1048577 bytes, counted and not kept)");
    let answer = ask(httpbin.address, request("PUT", "/put", &[], vec![b'x'; 1024 * 1024])).await;
    assert_eq!(answer.json()["data"].as_str().unwrap().len(), 1024 * 1024);
    let answer = ask(httpbin.address, request("POST", "/status/503", &[], vec![b'x'; 4 * 1024 * 1024])).await;
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn methods_are_those_of_the_endpoint() {
    let httpbin = httpbin().await;
    for (method, path) in [("POST", "/post"), ("PUT", "/put"), ("PATCH", "/patch"), ("DELETE", "/delete"), ("HEAD", "/get")] {
        assert_eq!(ask(httpbin.address, request(method, path, &[], "")).await.status, 200, "{method} {path}");
    }
    for (method, path, allow) in [("GET", "/post", "POST"), ("POST", "/get", "GET, HEAD"), ("PUT", "/ip", "GET, HEAD")] {
        let answer = ask(httpbin.address, request(method, path, &[], "")).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, allow), "{method} {path}");
    }
    let answer = ask(httpbin.address, request("BREW", "/anything/at/all?x=1", &[], "tea")).await;
    let told = answer.json();
    assert_eq!((&told["method"], &told["data"], &told["args"]), (&json!("BREW"), &json!("tea"), &json!({ "x": "1" })));
    assert_eq!(told["url"], "http://example.com/anything/at/all?x=1");
}

#[tokio::test]
async fn unknown_paths_are_404() {
    let httpbin = httpbin().await;
    for path in ["/nothing", "/getaway", "/get/more", "//get", "/ip/4"] {
        let answer = httpbin.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-instance")), (404, "httpbin-v1"), "{path}");
    }
}

#[tokio::test]
async fn statuses_as_ordered() {
    let httpbin = httpbin().await;
    for code in [200, 204, 301, 304, 401, 404, 418, 429, 500, 503, 599] {
        assert_eq!(status(&httpbin, &format!("/status/{code}")).await, code);
    }
    assert_eq!(httpbin.get("/status/302").await.header("location"), "/get");
    assert!(httpbin.get("/status/401").await.header("www-authenticate").starts_with("Basic"));
    assert!(httpbin.get("/status/418").await.text().contains("teapot"));
    for wrong in ["/status/", "/status/abc", "/status/100", "/status/199", "/status/600", "/status/70000", "/status/200,x"] {
        assert_eq!(status(&httpbin, wrong).await, 400, "{wrong}");
    }
}

#[tokio::test]
async fn one_of_several_statuses() {
    let httpbin = httpbin().await;
    let mut seen = [0; 2];
    // One of the two is missing among 64 once in 2^63 runs.
    for _ in 0..64 {
        match status(&httpbin, "/status/200,503").await {
            200 => seen[0] += 1,
            503 => seen[1] += 1,
            other => panic!("{other}"),
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[tokio::test]
async fn delays_as_ordered() {
    let httpbin = httpbin().await;
    let start = Instant::now();
    let answer = ask(httpbin.address, request("POST", "/delay/0.05", &[], "hello")).await;
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(answer.json()["data"], "hello");
    for wrong in ["/delay/", "/delay/-1", "/delay/soon", "/delay/NaN"] {
        assert_eq!(status(&httpbin, wrong).await, 400, "{wrong}");
    }
}

#[tokio::test]
async fn redirects_as_ordered() {
    let httpbin = httpbin().await;
    let answer = httpbin.get("/redirect-to?url=http%3A%2F%2Fexample.com%2F%3Fa%3Db").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, "http://example.com/?a=b"));
    assert_eq!(status(&httpbin, "/redirect-to?url=/get&status_code=307").await, 307);
    assert_eq!(status(&httpbin, "/redirect-to?url=/get&status_code=200").await, 302);
    assert_eq!(status(&httpbin, "/redirect-to").await, 400);
    assert_eq!(status(&httpbin, "/redirect-to?url=a%0Db").await, 400);
}

#[tokio::test]
async fn headers_as_ordered() {
    let httpbin = httpbin().await;
    let answer = httpbin.get("/response-headers?x-a=1&x-b=two+words&x-a=2&content-type=text/plain").await;
    assert_eq!(answer.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((answer.header("x-b"), answer.header("content-type")), ("two words", "text/plain"));
    assert_eq!(answer.json(), json!({ "content-type": "text/plain", "x-a": ["1", "2"], "x-b": "two words" }));
    for wrong in ["?content-length=1", "?Transfer-Encoding=chunked", "?connection=close", "?a%20b=1", "?a=b%0D%0Ac:d"] {
        assert_eq!(status(&httpbin, &format!("/response-headers{wrong}")).await, 400, "{wrong}");
    }
}

#[tokio::test]
async fn bytes_as_ordered() {
    let httpbin = httpbin().await;
    let whole = httpbin.get("/bytes/300000").await;
    assert_eq!((whole.body.len(), whole.header("content-length")), (300_000, "300000"));
    let chunked = httpbin.get("/stream-bytes/300000?chunk_size=999").await;
    assert_eq!((&chunked.body, chunked.header("transfer-encoding")), (&whole.body, "chunked"));
    assert!(httpbin.get("/bytes/0").await.body.is_empty());
    assert_eq!(httpbin.get("/stream-bytes/10?chunk_size=0").await.body, whole.body[..10]);
    for wrong in ["/bytes/", "/bytes/-1", "/bytes/99999999999999999999", "/stream-bytes/1?chunk_size=x"] {
        assert_eq!(status(&httpbin, wrong).await, 400, "{wrong}");
    }
    let head = ask(httpbin.address, request("HEAD", "/bytes/1000000000000", &[], "")).await;
    assert_eq!(head.header("content-length"), "1000000000000");
}

#[tokio::test]
async fn lines_as_ordered() {
    let httpbin = httpbin().await;
    let answer = httpbin.get("/stream/3?a=1").await;
    assert_eq!(answer.header("transfer-encoding"), "chunked");
    let lines: Vec<serde_json::Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["id"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(lines[0]["args"], json!({ "a": "1" }));
    assert_eq!(httpbin.get("/stream/1000").await.text().lines().count(), 100);
    assert_eq!(status(&httpbin, "/stream/many").await, 400);
}

#[tokio::test]
async fn drops_as_ordered() {
    let httpbin = httpbin().await;
    let start = Instant::now();
    let answer = httpbin.get("/drip?duration=0.1&numbytes=5&code=206&delay=0.05").await;
    assert!(start.elapsed() >= Duration::from_millis(150));
    assert_eq!((answer.status.as_u16(), answer.text()), (206, "*****"));
    assert_eq!(httpbin.get("/drip?duration=0&numbytes=5000").await.body.len(), 5000);
    assert_eq!(status(&httpbin, "/drip?duration=0.01&numbytes=0&code=204").await, 204);
    for wrong in ["?numbytes=x", "?numbytes=999999999999", "?duration=-1", "?code=100"] {
        assert_eq!(status(&httpbin, &format!("/drip{wrong}")).await, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_request_in_flight_is_finished() {
    let mut httpbin = httpbin().await;
    let address = httpbin.address;
    let response = send(address, request("GET", "/drip?duration=0.2&numbytes=4", &[], "")).await;
    // Its head is here and its body is not: it is in flight.
    httpbin.stop();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "****");
    httpbin.ended().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn idle_connections_end_at_once() {
    let mut httpbin = httpbin().await;
    let _idle = tokio::net::TcpStream::connect(httpbin.address).await.unwrap();
    assert_eq!(status(&httpbin, "/get").await, 200);
    httpbin.stop();
    httpbin.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_threads_will_do_too() {
    let httpbin = httpbin().await;
    let address = httpbin.address;
    let asked: Vec<_> = (0..32).map(|_| tokio::spawn(support::get(address, "/get"))).collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().status, 200);
    }
}
