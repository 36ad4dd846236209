//! Bodies and trailers.

use super::*;

fn post(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// The data of all chunks that follow.
async fn said(wire: &mut Wire) -> String {
    let mut data = String::new();
    while wire.line().await.is_some_and(|size| size != "0") {
        data.push_str(&wire.line().await.unwrap());
    }
    data
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n";
const CHUNKED_ANSWER: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n";

#[tokio::test]
async fn a_whole_body_is_read_and_replaced() {
    let code = r#"
        function envoy_on_request(handle)
            local body = handle:body()
            local headers = handle:headers()
            headers:add("x-length", body:length())
            headers:add("x-part", body:getBytes(1, 2))
            headers:add("x-wrong", tostring(pcall(body.getBytes, body, 4, 9)))
            if body:getBytes(0, 1) == "h" then headers:add("x-set", body:setBytes("new body")) end
        end
        function envoy_on_response(handle)
            local body = handle:body()
            body:setBytes(body:getBytes(0, body:length()):upper() .. "!")
        end"#;
    let proxy = Scripted::start(code).await;
    let (heard, (_, told), mut client, mut instance) = proxy.exchange(&post("hello"), OK).await;
    let read = ["x-length", "x-part", "x-wrong", "x-set", "content-length"].map(|name| value(&heard, name));
    assert_eq!(read, [Some("5"), Some("el"), Some("false"), Some("8"), Some("8")]);
    instance.hears("new body").await;
    assert_eq!(value(&told, "content-length"), Some("3"));
    client.hears("OK!").await;
    // In parts it stays in parts, unless it is replaced.
    let (heard, (_, told), mut client, mut instance) = proxy.exchange(CHUNKED, CHUNKED_ANSWER).await;
    assert_eq!((value(&heard, "transfer-encoding"), value(&heard, "x-length")), (Some("chunked"), Some("5")));
    instance.hears("5\r\nabcde\r\n0\r\n\r\n").await;
    assert_eq!(value(&told, "content-length"), Some("6"));
    client.hears("ABCDE!").await;
}

#[tokio::test]
async fn a_request_without_a_body_has_one_if_the_script_wants_it() {
    let code = r#"function envoy_on_request(handle)
        local path = handle:headers():get(":path")
        if path == "/nil" then handle:headers():add("x-body", tostring((handle:body()))) return end
        local body = handle:body(true)
        handle:headers():add("x-body", body:length())
        if path == "/set" then body:setBytes("set") end
    end"#;
    let proxy = Scripted::start(code).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    let (heard, ..) = proxy.exchange(&get("/nil"), OK).await;
    assert_eq!((value(&heard, "x-body"), value(&heard, "transfer-encoding")), (Some("nil"), None));
    let (heard, _, _, mut instance) = proxy.exchange(&get("/wrap"), OK).await;
    assert_eq!((value(&heard, "x-body"), value(&heard, "transfer-encoding")), (Some("0"), Some("chunked")));
    instance.hears("0\r\n\r\n").await;
    let (heard, _, _, mut instance) = proxy.exchange(&get("/set"), OK).await;
    assert_eq!((value(&heard, "content-length"), value(&heard, "transfer-encoding")), (Some("3"), None));
    instance.hears("set").await;
}

#[tokio::test]
async fn headers_that_were_taken_before_a_body_are_dead_after_it() {
    let code = r#"function envoy_on_request(handle)
        local headers = handle:headers()
        handle:headers():add("x-before", "1")
        handle:body()
        headers:add("x-dead", "1")
        handle:headers():add("x-after", "1")
    end"#;
    let proxy = Scripted::start(code).await;
    let (heard, ..) = proxy.exchange(&post("hello"), OK).await;
    assert_eq!(["x-before", "x-dead", "x-after"].map(|name| value(&heard, name)), [Some("1"), None, None]);
    // Where nothing was waited for they live.
    let (heard, ..) = proxy.exchange(GET, OK).await;
    assert_eq!(["x-before", "x-dead", "x-after"].map(|name| value(&heard, name)), [Some("1"), Some("1"), Some("1")]);
}

#[tokio::test]
async fn parts_are_seen_and_changed_as_they_pass() {
    let code = r#"
        local function all(handle)
            local count = 0
            for chunk in handle:bodyChunks() do
                count = count + 1
                if chunk:length() > 0 then chunk:setBytes(chunk:getBytes(0, chunk:length()):upper()) else chunk:setBytes(count .. "!") end
            end
        end
        envoy_on_request, envoy_on_response = all, all"#;
    let (heard, (_, told), mut client, mut instance) = Scripted::start(code).await.exchange(CHUNKED, CHUNKED_ANSWER).await;
    assert_eq!((value(&heard, "transfer-encoding"), value(&told, "transfer-encoding")), (Some("chunked"), Some("chunked")));
    // In how many parts they are read nobody says.
    for text in [said(&mut instance).await, said(&mut client).await] {
        assert!(text.starts_with("ABCDE") && text.ends_with('!'), "{text}");
    }
}

#[tokio::test]
async fn what_only_looks_at_parts_leaves_the_length_told() {
    let code = r#"
        local function look(handle) for chunk in handle:bodyChunks() do handle:logDebug(chunk:length()) end end
        envoy_on_request, envoy_on_response = look, look"#;
    let (heard, (_, told), mut client, mut instance) = Scripted::start(code).await.exchange(&post("hello"), OK).await;
    assert_eq!((value(&heard, "content-length"), value(&told, "content-length")), (Some("5"), Some("2")));
    instance.hears("hello").await;
    client.hears("ok").await;
    // One that would change it is ended, and its body breaks off.
    let code = r#"function envoy_on_response(handle) for chunk in handle:bodyChunks() do chunk:setBytes("longer") end end"#;
    let (_, (_, told), mut client, _) = Scripted::start(code).await.exchange(GET, OK).await;
    assert_eq!((value(&told, "content-length"), client.line().await), (Some("2"), None));
    // Where the script takes the length away before, it may.
    let code = r#"function envoy_on_response(handle)
        handle:headers():remove("content-length")
        for chunk in handle:bodyChunks() do chunk:setBytes("longer") end
    end"#;
    let (_, (_, told), mut client, _) = Scripted::start(code).await.exchange(GET, OK).await;
    assert_eq!((value(&told, "content-length"), value(&told, "transfer-encoding")), (None, Some("chunked")));
    client.hears("6\r\nlonger\r\n").await;
}

#[tokio::test]
async fn once_parts_have_passed_the_headers_have_gone_on() {
    let code = r#"function envoy_on_response(handle)
        local wrong = {}
        for chunk in handle:bodyChunks() do
            wrong[#wrong + 1] = tostring(pcall(function() handle:headers():add("x-late", "1") end))
            wrong[#wrong + 1] = tostring(pcall(function() handle:body() end))
            wrong[#wrong + 1] = handle:headers():get(":status")
            if chunk:length() == 0 then chunk:setBytes(table.concat(wrong, " ")) end
        end
    end"#;
    let (_, (_, told), mut client, _) = Scripted::start(code).await.exchange(GET, CHUNKED_ANSWER).await;
    assert_eq!(value(&told, "x-late"), None);
    let mut rest = vec![];
    while let Some(line) = client.line().await.filter(|line| line != "0") {
        rest.push(line);
    }
    assert!(rest.last().is_some_and(|line| line.starts_with("false false 200")), "{rest:?}");
}

#[tokio::test]
async fn trailers_are_seen_and_changed() {
    let code = r#"
        local function change(handle)
            handle:body()
            local trailers = handle:trailers()
            if trailers then trailers:add("x-seen", trailers:get("x-t")) trailers:remove("x-t") end
        end
        function envoy_on_response(handle)
            local trailers = handle:trailers()
            if trailers then trailers:replace("x-t", "passing") end
        end
        envoy_on_request = change"#;
    let mut manager = script(code);
    manager["httpProtocolOptions"] = json!({"enableTrailers": true});
    let upstream = Upstream::start().await;
    let options = json!({"typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicitHttpConfig": {"httpProtocolOptions": {"enableTrailers": true}},
    }}});
    let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[&upstream], options)]).await;
    let proxy = Scripted { proxy, upstream };
    let body = "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-t: 1\r\n\r\n";
    let (_, _, mut client, mut instance) =
        proxy.exchange(&format!("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n{body}"), &format!("HTTP/1.1 200 OK\r\n{body}")).await;
    instance.hears("2\r\nab\r\n0\r\nx-seen: 1\r\n\r\n").await;
    client.hears("2\r\nab\r\n0\r\nx-t: passing\r\n\r\n").await;
}

#[tokio::test]
async fn what_is_too_large_to_be_held_back_is_refused() {
    let code = "local function hold(handle) handle:body() end envoy_on_request, envoy_on_response = hold, hold";
    let large = "x".repeat((1 << 20) + 1);
    let proxy = Scripted::start(code).await;
    let mut client = proxy.proxy.connect().await;
    client.say(&post(&large)).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 413 Payload Too Large");
    drop(client);
    let mut client = proxy.proxy.connect().await;
    client.say(GET).await;
    let mut instance = proxy.upstream.accept().await;
    instance.head().await;
    instance.say(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-own: 1\r\n\r\n{large}", large.len())).await;
    let (status, told) = client.answer().await;
    assert_eq!((status.as_str(), value(&told, "x-own")), ("HTTP/1.1 500 Internal Server Error", None));
    client.hears("Internal Server Error").await;
    drop((client, instance));
    assert_eq!(proxy.proxy.stop().await, ["413 - request_payload_too_large", "500 - response_payload_too_large"]);
}

#[tokio::test]
async fn a_length_that_nobody_knows_is_not_told() {
    let code = r#"function envoy_on_response(handle)
        handle:headers():replace("content-length", "99")
        for chunk in handle:bodyChunks() do end
    end"#;
    let (_, (_, told), mut client, _) = Scripted::start(code).await.exchange(GET, CHUNKED_ANSWER).await;
    assert_eq!((value(&told, "content-length"), value(&told, "transfer-encoding")), (None, Some("chunked")));
    assert_eq!(said(&mut client).await, "abcde");
    for code in [code, r#"function envoy_on_response(handle) handle:headers():replace("content-length", "99") end"#] {
        let (_, (_, told), mut client, _) = Scripted::start(code).await.exchange(GET, OK).await;
        assert_eq!(value(&told, "content-length"), Some("2"));
        client.hears("ok").await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_while_a_script_waits_for_it_is_not_told() {
    let code = r#"function envoy_on_response(handle)
        handle:body()
        handle:headers():remove("x-secret")
    end"#;
    let proxy = Scripted::start(code).await;
    let mut client = proxy.proxy.connect().await;
    client.say(GET).await;
    let mut instance = proxy.upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\nx-secret: 1\r\ncontent-length: 9\r\n\r\nhalf").await;
    drop(instance);
    let (status, told) = client.answer().await;
    assert!(status.starts_with("HTTP/1.1 50"), "{status}");
    assert_eq!(value(&told, "x-secret"), None);
}
