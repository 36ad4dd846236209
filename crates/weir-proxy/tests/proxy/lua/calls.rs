//! Requests that scripts send themselves.

use super::*;

/// A proxy whose script may ask the cluster `auth`, and that.
async fn with_service(code: &str) -> (Scripted, Upstream) {
    let (upstream, service) = (Upstream::start().await, Upstream::start().await);
    let clusters = [cluster("a", &[&upstream], json!({})), cluster("auth", &[&service], json!({}))];
    let proxy = Proxy::with_manager(script(code), routes(json!([to("a")])), &clusters).await;
    (Scripted { proxy, upstream }, service)
}

const CHECK: &str = r#"
    function envoy_on_request(handle)
        local headers, body = handle:httpCall("auth",
            {[":method"] = "POST", [":path"] = "/check?a=b", [":authority"] = "auth.test", ["x-list"] = {"1", "2"}, ["x-n"] = 5}, "hello", 2000)
        if headers[":status"] ~= "200" then
            handle:respond({[":status"] = "401", ["x-why"] = headers[":status"]}, tostring(body))
        end
        handle:headers():add("x-user", headers["x-user"] .. " " .. tostring(body))
    end"#;

#[tokio::test]
async fn a_service_is_asked_first() {
    let (proxy, service) = with_service(CHECK).await;
    let mut client = proxy.proxy.connect().await;
    client.say(GET).await;
    let mut asked = service.accept().await;
    let heard = asked.head().await;
    assert_eq!(heard[0], "POST /check?a=b HTTP/1.1");
    for line in ["host: auth.test", "content-length: 5", "x-list: 1", "x-list: 2", "x-n: 5"] {
        assert!(heard.contains(&line.to_owned()), "{line} not in {heard:?}");
    }
    asked.hears("hello").await;
    asked.say("HTTP/1.1 200 OK\r\nx-user: old\r\nx-user: ann\r\ncontent-length: 2\r\n\r\nhi").await;
    let mut instance = proxy.upstream.accept().await;
    assert_eq!(value(&instance.head().await, "x-user"), Some("ann hi"));
    instance.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn whatever_becomes_of_a_call_is_an_answer() {
    let cases = [
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", "403", "no"),
        ("HTTP/1.1 503 Bad\r\ncontent-length: 0\r\n\r\n", "503", "nil"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "503", "upstream failure"),
    ];
    for (answer, status, body) in cases {
        let (proxy, service) = with_service(CHECK).await;
        let mut client = proxy.proxy.connect().await;
        client.say(GET).await;
        let mut asked = service.accept().await;
        asked.head().await;
        asked.hears("hello").await;
        asked.say(answer).await;
        drop(asked);
        let (line, told) = client.answer().await;
        assert_eq!((line.as_str(), value(&told, "x-why")), ("HTTP/1.1 401 Unauthorized", Some(status)), "{answer}");
        client.hears(body).await;
    }
    let (proxy, service) = with_service(CHECK).await;
    drop(service);
    let (_, told, _) = proxy.refused(GET).await;
    assert_eq!(value(&told, "x-why"), Some("503"));
}

#[tokio::test]
async fn a_call_has_a_limit_of_time() {
    let (proxy, _service) = with_service(&CHECK.replace("2000", "50")).await;
    let (_, told, mut client) = proxy.refused(GET).await;
    assert_eq!(value(&told, "x-why"), Some("504"));
    client.hears("upstream request timeout").await;
}

#[tokio::test]
async fn a_call_that_is_not_waited_for_goes_out_beside_the_request() {
    let code = r#"function envoy_on_request(handle)
        local a = handle:httpCall("auth", {[":method"] = "GET", [":path"] = "/flag", [":authority"] = "a"}, nil, 1000, true)
        local b = handle:httpCall("auth", {[":method"] = "GET", [":path"] = "/options", [":authority"] = "a"}, nil, {asynchronous = true})
        handle:headers():add("x-told", tostring(a) .. tostring(b))
    end"#;
    let (proxy, service) = with_service(code).await;
    let (heard, (status, _), ..) = proxy.exchange(GET, OK).await;
    assert_eq!((value(&heard, "x-told"), status.as_str()), (Some("nilnil"), "HTTP/1.1 200 OK"));
    let mut lines = [service.accept().await.head().await.remove(0), service.accept().await.head().await.remove(0)];
    lines.sort();
    assert_eq!(lines, ["GET /flag HTTP/1.1", "GET /options HTTP/1.1"]);
}

#[tokio::test]
async fn what_is_not_waited_for_has_a_limit() {
    let code = r#"function envoy_on_request(handle)
        local count = 0
        while pcall(handle.httpCall, handle, "auth", {[":method"] = "PUT", [":path"] = "/", [":authority"] = "a"},
            string.rep("x", 1000000), 1000, true) do count = count + 1 end
        handle:headers():add("x-count", count)
    end"#;
    let (proxy, _service) = with_service(code).await;
    let (heard, ..) = proxy.exchange(GET, OK).await;
    assert_eq!(value(&heard, "x-count"), Some("4"));
}

#[tokio::test]
async fn options_say_how_answers_are_told() {
    let code = r#"function envoy_on_request(handle)
        local headers = handle:httpCall("auth", {[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}, nil,
            {timeout_ms = 2000, return_duplicate_headers = true, send_xff = false, trace_sampled = false})
        handle:headers():add("x-told", table.concat(headers["x-a"], " ") .. " " .. headers["x-b"])
    end"#;
    let (proxy, service) = with_service(code).await;
    let mut client = proxy.proxy.connect().await;
    client.say(GET).await;
    let mut asked = service.accept().await;
    assert_eq!(value(&asked.head().await, "x-forwarded-for"), None);
    asked.say("HTTP/1.1 200 OK\r\nx-a: 1\r\nx-a: 2\r\nx-b: 3\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(value(&proxy.upstream.accept().await.head().await, "x-told"), Some("1 2 3"));
}

#[tokio::test]
async fn what_cannot_be_called_fails_the_script() {
    let head = r#"{[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}"#;
    let wrong = [
        format!(r#""none", {head}, nil, 100"#),
        r#""auth", {[":method"] = "GET", [":path"] = "/"}, nil, 100"#.to_owned(),
        format!(r#""auth", {head}, nil, -1"#),
        format!(r#""auth", {head}"#),
        format!(r#""auth", {head}, nil, 100, "yes""#),
        format!(r#""auth", {head}, nil, {{unknown = 1}}"#),
    ];
    for arguments in wrong {
        let code = format!("function envoy_on_request(handle) handle:httpCall({arguments}) handle:headers():add('x-after', '1') end");
        let (proxy, service) = with_service(&code).await;
        let (heard, ..) = proxy.exchange(GET, OK).await;
        assert_eq!(value(&heard, "x-after"), None, "{arguments}");
        assert!(service.was_left_alone(), "{arguments}");
    }
    let refused = [
        r#"{[":method"] = "GET", [":path"] = "/ b", [":authority"] = "a"}"#,
        r#"{[":method"] = "GET", [":path"] = "/", [":authority"] = "a", ["x-a"] = "a\r\nb: c"}"#,
    ];
    for headers in refused {
        let code = format!(r#"function envoy_on_request(handle) handle:httpCall("auth", {headers}, nil, 100) end"#);
        let (proxy, service) = with_service(&code).await;
        assert_eq!(proxy.refused(GET).await.0, "HTTP/1.1 500 Internal Server Error", "{headers}");
        assert!(service.was_left_alone(), "{headers}");
    }
}

#[tokio::test]
async fn a_call_has_one_host_and_a_time_that_can_be_told() {
    for (timeout, host) in [("1e22", "b"), ("1e300", "a"), ("math.huge", "a")] {
        let code = format!(
            r#"function envoy_on_request(handle)
                handle:httpCall("auth", {{[":method"] = "GET", [":path"] = "/", [":authority"] = "a", ["Host"] = "{host}"}}, nil, {timeout})
            end"#
        );
        let (proxy, service) = with_service(&code).await;
        let mut client = proxy.proxy.connect().await;
        client.say(GET).await;
        let mut asked = service.accept().await;
        let heard = asked.head().await;
        assert_eq!(heard.iter().filter(|line| line.starts_with("host: ")).count(), 1, "{heard:?}");
        asked.say(OK).await;
        proxy.upstream.accept().await.head().await;
    }
}

#[tokio::test]
async fn an_answer_waits_for_a_service_too() {
    let code = r#"function envoy_on_response(handle)
        local _, body = handle:httpCall("auth", {[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}, nil, 2000)
        handle:headers():add("x-told", body)
        handle:body():setBytes(body)
    end"#;
    let (proxy, service) = with_service(code).await;
    let mut client = proxy.proxy.connect().await;
    client.say(GET).await;
    let mut instance = proxy.upstream.accept().await;
    instance.head().await;
    instance.say(OK).await;
    let mut asked = service.accept().await;
    asked.head().await;
    asked.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntold").await;
    let (_, told) = client.answer().await;
    assert_eq!((value(&told, "x-told"), value(&told, "content-length")), (Some("told"), Some("4")));
    client.hears("told").await;
}
