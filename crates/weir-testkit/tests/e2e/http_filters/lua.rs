//! Scripts as people publish them, and what becomes of wrong ones.

use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Act, BadPeer, Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, http2_cluster, packed};

use super::{get, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    headers_are_added_and_read,
    requests_are_rewritten_by_cookie,
    a_service_is_asked_who_it_is,
    answers_become_other_texts,
    bodies_are_read_and_counted,
    parts_of_bodies_are_changed,
    a_script_answers_by_itself,
    routes_choose_scripts_and_tell_them_something,
    what_fails_fails_alone,
    what_is_known_is_told,
    libraries_are_those_of_luajit,
    answers_of_every_kind_are_seen,
    lines_and_hosts_are_headers_too,
    calls_that_fail_are_answers,
    clients_of_http2_are_seen,
);

const NAME: &str = "envoy.filters.http.lua";

fn script(code: &str) -> Value {
    filter(NAME, packed("filters.http.lua.v3.Lua", json!({"defaultSourceCode": {"inlineString": code}})))
}

/// A proxy with a script, in front of a peer.
async fn scripted(plane: DataPlane, code: &str) -> (LoneProxy, Recorder) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let xds = Xds {
        filters: vec![script(code)],
        routes: vec![route("/", json!({}))],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    (LoneProxy::start(plane, &xds).await, peer)
}

async fn headers_are_added_and_read(plane: DataPlane) {
    let code = r#"
        function envoy_on_request(request_handle)
            local headers = request_handle:headers()
            headers:add("x-request", headers:get(":method") .. " " .. headers:get(":path") .. " " .. headers:get(":authority"))
            headers:replace("user-agent", "mesh")
            headers:remove("x-internal")
            local count = 0
            for key, value in pairs(request_handle:headers()) do
                if string.sub(key, 1, 2) == "x-" and string.len(value) == 1 then count = count + 1 end
            end
            request_handle:headers():add("x-count", tostring(count))
            request_handle:headers():add("accept", "b")
            request_handle:headers():add("x-list", "b")
            request_handle:headers():add(":path", "x")
        end
        function envoy_on_response(response_handle)
            response_handle:headers():add("x-frame-options", "DENY")
            response_handle:headers():remove("x-powered-by")
            response_handle:headers():replace("x-status", response_handle:headers():get(":status"))
            if response_handle:headers():get(":status") == "404" then response_handle:headers():replace(":status", "410") end
        end"#;
    let (proxy, mut peer) = scripted(plane, code).await;
    for (status, expected) in [(200, 200), (404, 410)] {
        let answer = Response::builder().status(status).header("x-powered-by", "php").body(Content::of("ok")).unwrap();
        peer.set_answer(answer);
        let headers = [("x-internal", "1"), ("x-a", "1"), ("x-b", "2"), ("accept", "a"), ("x-list", "a")];
        let told = proxy.ask(request("GET", "/p", &headers, Content::default())).await.unwrap();
        let asked = peer.asked().await;
        let read = ["x-request", "user-agent", "x-internal", "accept"].map(|name| asked.header(name));
        assert_eq!(read, ["GET /p shop.test", "mesh", "", "a,b"]);
        assert_eq!((asked.headers.get_all("x-list").iter().count(), asked.path.as_str()), (2, "/p,x"));
        assert_eq!(
            (told.status, told.header("x-frame-options"), told.header("x-powered-by")),
            (expected, "DENY".to_owned(), String::new())
        );
        assert_eq!(told.header("x-status"), status.to_string());
    }
}

async fn requests_are_rewritten_by_cookie(plane: DataPlane) {
    let code = r#"
        function envoy_on_request(handle)
            local cookie = handle:headers():get("cookie")
            if cookie == nil then return end
            local group = string.match(cookie, "group=([^;]+)")
            if group == "beta" then
                local path = handle:headers():get(":path")
                handle:headers():replace(":path", "/beta" .. path)
                handle:headers():add("x-group", group)
            end
        end"#;
    let mut peers = [Recorder::start(Version::HTTP_11).await, Recorder::start(Version::HTTP_11).await];
    let xds = Xds {
        filters: vec![script(code)],
        routes: vec![json!({"match": {"prefix": "/beta"}, "route": {"cluster": "b"}}), route("/", json!({}))],
        clusters: vec![cluster("a", peers[0].address()), cluster("b", peers[1].address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    for (cookie, peer, path) in [("a=b; group=beta", 1, "/beta/p?q=1"), ("group=alpha", 0, "/p?q=1"), ("x=1", 0, "/p?q=1")] {
        assert_eq!(proxy.ask(request("GET", "/p?q=1", &[("cookie", cookie)], Content::default())).await.unwrap().status, 200);
        assert_eq!(peers[peer].asked().await.path, path, "{cookie}");
    }
}

async fn a_service_is_asked_who_it_is(plane: DataPlane) {
    let code = r#"
        function envoy_on_request(handle)
            local token = handle:headers():get("authorization")
            local headers, body = handle:httpCall("auth", {
                [":method"] = "POST", [":path"] = "/verify", [":authority"] = "auth.test", ["authorization"] = token or "", ["x-l"] = {"1", "2"}
            }, "check me", 5000)
            if headers[":status"] ~= "200" then
                handle:respond({[":status"] = "403", ["content-type"] = "application/json"}, '{"error":"' .. headers[":status"] .. '"}')
            end
            handle:headers():add("x-user", headers["x-user"])
            handle:headers():add("x-size", tostring(#body))
        end"#;
    let (mut auth, mut peer) = (Recorder::start(Version::HTTP_11).await, Recorder::start(Version::HTTP_11).await);
    let xds = Xds {
        filters: vec![script(code)],
        routes: vec![route("/", json!({}))],
        clusters: vec![cluster("a", peer.address()), cluster("auth", auth.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    for (status, told_status) in [(200, 200), (401, 403), (503, 403)] {
        auth.set_answer(Response::builder().status(status).header("x-user", "ann").body(Content::of("hello")).unwrap());
        let told = proxy.ask(request("POST", "/", &[("authorization", "t")], Content::of("body"))).await.unwrap();
        let asked = auth.asked().await;
        assert_eq!((asked.path.as_str(), &asked.body[..], asked.header("authorization")), ("/verify", &b"check me"[..], "t".to_owned()));
        assert_eq!((asked.header("content-length"), asked.header("host")), ("8".to_owned(), "auth.test".to_owned()));
        assert_eq!(told.status, told_status);
        if status == 200 {
            let asked = peer.asked().await;
            assert_eq!((asked.header("x-user"), asked.header("x-size"), &asked.body[..]), ("ann".to_owned(), "5".to_owned(), &b"body"[..]));
        } else {
            assert_eq!((told.header("content-type"), told.text()), ("application/json".to_owned(), format!("{{\"error\":\"{status}\"}}")));
        }
    }
    assert!(!peer.has_been_asked());
}

async fn answers_become_other_texts(plane: DataPlane) {
    let code = r#"
        function envoy_on_response(handle)
            local headers = handle:headers()
            if tonumber(headers:get(":status")) < 400 then return end
            local body = handle:body()
            local text = body and body:getBytes(0, body:length()) or ""
            local code = string.match(text, '"code"%s*:%s*(%d+)') or "0"
            text = string.gsub(text, '"secret":"[^"]*"', '"secret":"***"')
            local json = string.format('{"status":%s,"code":%s,"was":%q}', handle:headers():get(":status"), code, text)
            if body then body:setBytes(json) end
            handle:headers():replace("content-type", "application/problem+json")
        end"#;
    let (proxy, mut peer) = scripted(plane, code).await;
    let answer = |content| Response::builder().status(400).header("content-type", "text/plain").body(content).unwrap();
    for content in [Content::of(r#"{"code": 12,"secret":"abc"}"#), Content::streamed(&[r#"{"code": 12,"#, r#""secret":"abc"}"#])] {
        peer.set_answer(answer(content));
        let told = proxy.ask(get("/")).await.unwrap();
        peer.asked().await;
        assert_eq!(told.text(), r#"{"status":400,"code":12,"was":"{\"code\": 12,\"secret\":\"***\"}"}"#);
        assert_eq!(told.header("content-length"), told.text().len().to_string());
        assert_eq!((told.status, told.header("content-type")), (400, "application/problem+json".to_owned()));
    }
    // One that is looked at and not changed stays as it was framed.
    peer.set_answer(Response::new(Content::streamed(&["ok"])));
    let told = proxy.ask(get("/")).await.unwrap();
    assert_eq!((told.text(), told.header("content-length")), ("ok".to_owned(), String::new()));
}

async fn bodies_are_read_and_counted(plane: DataPlane) {
    let code = r#"
        function envoy_on_request(request_handle)
            local body = request_handle:body(request_handle:headers():get("x-wrap") == "1")
            request_handle:headers():add("request_body_size", body and body:length() or "none")
            if request_handle:headers():get("x-set") then body:setBytes(request_handle:headers():get("x-set")) end
        end
        function envoy_on_response(response_handle)
            local body = response_handle:body()
            response_handle:headers():add("response_body_size", body and tostring(body:length()) or "none")
        end"#;
    let (proxy, mut peer) = scripted(plane, code).await;
    // How the request is framed at the instance, and what it says there.
    let none: &[(&'static str, &str)] = &[];
    let cases = [
        ("POST", Content::of("12345"), none, "5", "5", "12345"),
        ("POST", Content::streamed(&["12", "345"]), none, "5", "chunked", "12345"),
        ("GET", Content::default(), none, "none", "", ""),
        ("GET", Content::default(), &[("x-wrap", "1")], "0", "chunked", ""),
        ("GET", Content::default(), &[("x-wrap", "1"), ("x-set", "new")], "0", "3", "new"),
        ("POST", Content::of("12345"), &[("x-set", "other text")], "5", "10", "other text"),
    ];
    for (method, content, headers, size, framing, body) in cases {
        peer.set_answer(Response::new(Content::of("answer")));
        let told = proxy.ask(request(method, "/", headers, content)).await.unwrap();
        let asked = peer.asked().await;
        assert_eq!((asked.header("request_body_size").as_str(), &asked.body[..]), (size, body.as_bytes()), "{method} {headers:?}");
        assert_eq!(asked.header("content-length") + &asked.header("transfer-encoding"), framing, "{method} {headers:?}");
        assert_eq!((told.header("response_body_size"), told.text()), ("6".to_owned(), "answer".to_owned()));
    }
    let large = "x".repeat((1 << 20) + 1);
    let told = proxy.ask(request("POST", "/", &[], Content::of(large.clone()))).await.unwrap();
    assert_eq!((told.status, told.text()), (413, "Payload Too Large".to_owned()));
    peer.set_answer(Response::builder().header("x-own", "1").body(Content::of(large)).unwrap());
    let told = proxy.ask(get("/")).await.unwrap();
    assert_eq!((told.status, told.text(), told.header("x-own")), (500, "Internal Server Error".to_owned(), String::new()));
}

async fn parts_of_bodies_are_changed(plane: DataPlane) {
    let code = r#"
        function envoy_on_request(handle)
            for chunk in handle:bodyChunks() do
                if chunk:length() > 0 then chunk:setBytes(string.upper(chunk:getBytes(0, chunk:length()))) end
            end
        end
        function envoy_on_response(handle)
            handle:headers():remove("content-length")
            handle:headers():replace("content-type", "text/html")
            local last
            for chunk in handle:bodyChunks() do
                chunk:setBytes("")
                last = chunk
            end
            last:setBytes("<html><b>Not Found<b></html>")
        end"#;
    let (proxy, mut peer) = scripted(plane, code).await;
    peer.set_answer(Response::new(Content::streamed(&["some", "thing"])));
    let told = proxy.ask(request("POST", "/", &[], Content::streamed(&["ab", "cd"]))).await.unwrap();
    assert_eq!(&peer.asked().await.body[..], b"ABCD");
    assert_eq!((told.text(), told.header("content-type")), ("<html><b>Not Found<b></html>".to_owned(), "text/html".to_owned()));
}

async fn a_script_answers_by_itself(plane: DataPlane) {
    let code = r#"
        function envoy_on_request(handle)
            local path = handle:headers():get(":path")
            if path == "/health" then
                handle:respond({[":status"] = "200", ["content-type"] = "application/json", ["x-l"] = {"a", "b"}}, '{"ok":true}')
            elseif path == "/nil" then handle:respond({[":status"] = "503"})
            elseif path == "/number" then handle:respond({[":status"] = 429, ["retry-after"] = 5}, 42)
            elseif path == "/body" then
                local body = handle:body()
                handle:respond({[":status"] = "200"}, body:getBytes(0, body:length()))
            elseif path == "/bad" then handle:respond({[":status"] = "99"}, "no")
            elseif path == "/none" then handle:respond({}, "no")
            end
        end
        function envoy_on_response(handle) handle:headers():add("x-seen", "1") end"#;
    let (proxy, mut peer) = scripted(plane, code).await;
    let cases = [("/health", 200, r#"{"ok":true}"#), ("/nil", 503, ""), ("/number", 429, "42"), ("/body", 200, "mirrored")];
    for (path, status, body) in cases {
        let told = proxy.ask(request("POST", path, &[], Content::of("mirrored"))).await.unwrap();
        assert_eq!((told.status, told.text().as_str(), told.header("x-seen").as_str()), (status, body, "1"), "{path}");
        if path == "/health" {
            assert_eq!((told.header("content-type"), told.headers.get_all("x-l").iter().count()), ("application/json".to_owned(), 2));
        }
    }
    assert!(!peer.has_been_asked());
    assert_eq!(proxy.log(4).await[0], "200 - lua_response a");
    for path in ["/bad", "/none"] {
        assert_eq!(proxy.ask(get(path)).await.unwrap().status, 200, "{path}");
        assert_eq!(peer.asked().await.path, path);
    }
}

async fn routes_choose_scripts_and_tell_them_something(plane: DataPlane) {
    let adds = |value: &str| format!("function envoy_on_request(h) h:headers():add('x-script', {value}) end");
    let of_route = |fields: Value| json!({NAME: packed("filters.http.lua.v3.LuaPerRoute", fields)});
    let inline = |code: String| json!({"inlineString": code});
    let config = json!({
        "defaultSourceCode": inline(adds("'default'")),
        "sourceCodes": {"named": inline(adds("'named'")), "told": inline(adds("h:filterContext():get('key')"))},
    });
    let mut with_metadata = route("/metadata", of_route(json!({"sourceCode": inline(adds("h:metadata():get('key')[1]"))})));
    with_metadata["metadata"] = json!({"filterMetadata": {NAME: {"key": ["list"]}}});
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let xds = Xds {
        filters: vec![filter(NAME, packed("filters.http.lua.v3.Lua", config))],
        routes: vec![
            route("/named", of_route(json!({"name": "named"}))),
            route("/unknown", of_route(json!({"name": "unknown"}))),
            route("/own", of_route(json!({"sourceCode": inline(adds("'own'"))}))),
            route("/off", of_route(json!({"disabled": true}))),
            route("/told", of_route(json!({"name": "told", "filterContext": {"key": "context"}}))),
            with_metadata,
            route("/", json!({})),
        ],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let cases = [
        ("/", "default"),
        ("/named", "named"),
        ("/unknown", ""),
        ("/own", "own"),
        ("/off", ""),
        ("/told", "context"),
        ("/metadata", "list"),
    ];
    for (path, expected) in cases {
        assert_eq!(proxy.ask(get(path)).await.unwrap().status, 200, "{path}");
        assert_eq!(peer.asked().await.header("x-script"), expected, "{path}");
    }
}

async fn what_fails_fails_alone(plane: DataPlane) {
    let code = r#"
        kept = nil
        function envoy_on_request(handle)
            local headers = handle:headers()
            headers:add("x-before", "1")
            local path = headers:get(":path")
            if path == "/error" then error("wrong")
            elseif path == "/nil" then local x = nil; x.y = 1
            elseif path == "/yield" then coroutine.yield()
            elseif path == "/kept" then kept:headers():add("x-kept", "1")
            elseif path == "/dead" then handle:body() headers:add("x-dead", "1")
            elseif path == "/iterate" then for name in pairs(headers) do headers:add("x-a", "1") end
            elseif path == "/body" then handle:body():getBytes(0, 100)
            elseif path == "/cluster" then handle:httpCall("none", {[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}, nil, 5)
            elseif path == "/call" then handle:httpCall("a", {[":method"] = "GET"}, nil, 5)
            elseif path == "/nothing" then tostring(headers:get("none"))
            elseif path == "/type" then headers:add("x-a", {})
            else kept = handle end
            handle:headers():add("x-after", "1")
        end
        function envoy_on_response(handle) handle:headers():add("x-answer", "1") end"#;
    let (proxy, mut peer) = scripted(plane, code).await;
    for path in ["/", "/error", "/nil", "/yield", "/kept", "/dead", "/iterate", "/body", "/cluster", "/call", "/nothing", "/type", "/fine"]
    {
        let told = proxy.ask(request("POST", path, &[], Content::of("hello"))).await.unwrap();
        let asked = peer.asked().await;
        let after = if matches!(path, "/" | "/fine") { "1" } else { "" };
        let read = [asked.header("x-before"), asked.header("x-after"), told.header("x-answer")];
        assert_eq!((told.status, read, &asked.body[..]), (200, ["1", after, "1"].map(str::to_owned), &b"hello"[..]), "{path}");
    }
}

async fn what_is_known_is_told(plane: DataPlane) {
    let expressions = [
        ("h:streamInfo():protocol()", "HTTP/1.1"),
        ("h:streamInfo():routeName()", ""),
        ("h:streamInfo():requestedServerName()", ""),
        ("tostring(h:connection():ssl())", "nil"),
        ("tostring(h:streamInfo():downstreamSslConnection())", "nil"),
        ("string.match(h:streamInfo():downstreamDirectRemoteAddress(), '^127.0.0.1:%d+$') and 'address'", "address"),
        ("h:base64Escape('a?>')", "YT8+"),
        ("tostring(h:timestamp() > 1.7e12)", "true"),
        ("#h:timestampString(EnvoyTimestampResolution.MICROSECOND)", "16"),
        ("tostring((h:metadata():get('key')))", "nil"),
        ("tostring((h:route():metadata():get('key')))", "nil"),
        ("tostring((h:virtualHost():metadata():get('key')))", "nil"),
        ("type(h) .. type(h:headers())", "userdatauserdata"),
        ("tostring((h:streamInfo():dynamicMetadata():get('a')))", "nil"),
        ("(function() local m = h:streamInfo():dynamicMetadata() m:set('a', 'b', {1, {c = 'd'}}) return m:get('a').b[2].c end)()", "d"),
    ];
    let lines: Vec<String> =
        expressions.iter().enumerate().map(|(i, (expression, _))| format!("h:headers():add('x-{i}', {expression})")).collect();
    let (proxy, mut peer) = scripted(plane, &format!("function envoy_on_request(h)\n{}\nend", lines.join("\n"))).await;
    proxy.ask(get("/")).await.unwrap();
    let asked = peer.asked().await;
    for (i, (expression, expected)) in expressions.iter().enumerate() {
        assert_eq!(asked.header(&format!("x-{i}")), *expected, "{expression}");
    }
}

async fn libraries_are_those_of_luajit(plane: DataPlane) {
    let expressions = [
        ("tostring(pcall(function() local a = nil; return a.b end))", "false"),
        ("select('#', pcall(error, 'x')) .. tostring(select(2, pcall(error, 'x')))", "2x"),
        ("tostring(select(2, pcall(function() return h:headers():get('x-in') end)))", "value"),
        ("tostring(select(2, xpcall(function(a) return a end, print, 7)))", "7"),
        ("string.gsub('/a/b', '/', '%%2F') .. ''", "%2Fa%2Fb"),
        ("table.concat({string.match('a=1;b=2', 'b=(%d)'), string.find('abc', 'c', 1, true)}, ' ')", "2 3 3"),
        ("table.concat({string.byte('abc', 1, -1)}, ' ')", "97 98 99"),
        ("string.rep('ab', 3) .. string.reverse('abc') .. string.format('%5.2f|%x|%q', 3.14159, 255, 'a')", "abababcba 3.14|ff|\"a\""),
        ("tostring(bit.band(0xff, 0x0f)) .. bit.tohex(255, 4)", "1500ff"),
        ("tostring(unpack({1, 2})) .. math.floor(1.5) .. math.max(1, 3) .. tostring(tonumber('0x10'))", "11316"),
        ("os.date('!%Y-%m-%d', 0) .. type(os.time()) .. type(os.getenv('PATH'))", "1970-01-01numberstring"),
        (
            "(function() local t = {3, 1, 2} table.sort(t) table.insert(t, 2, 9) table.remove(t, 1) return table.concat(t, ',') end)()",
            "9,2,3",
        ),
        ("(function() local c = coroutine.wrap(function() coroutine.yield(1) coroutine.yield(2) end) return c() .. c() end)()", "12"),
        ("(function() local n = 0 for k, v in pairs({a = 1, b = 2, 3}) do n = n + v end return n end)()", "6"),
        ("(function() local t = {} for w in string.gmatch('one two', '%a+') do t[#t + 1] = w end return #t .. t[2] end)()", "2two"),
        ("tostring(loadstring('return 1 + 1')()) .. tostring(load('return 3')())", "23"),
        ("table.pack(1, nil, 3).n .. table.unpack({4})", "34"),
    ];
    let lines: Vec<String> =
        expressions.iter().enumerate().map(|(i, (expression, _))| format!("h:headers():add('x-{i}', {expression})")).collect();
    let (proxy, mut peer) = scripted(plane, &format!("function envoy_on_request(h)\n{}\nend", lines.join("\n"))).await;
    proxy.ask(request("GET", "/", &[("x-in", "value")], Content::default())).await.unwrap();
    let asked = peer.asked().await;
    for (i, (expression, expected)) in expressions.iter().enumerate() {
        assert_eq!(asked.header(&format!("x-{i}")), *expected, "{expression}");
    }
}

async fn answers_of_every_kind_are_seen(plane: DataPlane) {
    let code = r#"
        function envoy_on_response(handle)
            local body = handle:body()
            handle:headers():add("x-status", handle:headers():get(":status"))
            handle:headers():add("x-length", body and body:length() or "none")
            handle:headers():setHttp1ReasonPhrase("As You Like It")
            if body and body:length() > 0 and handle:headers():get("x-upper") then body:setBytes(string.upper(body:getBytes(0, body:length()))) end
        end"#;
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let xds = Xds {
        filters: vec![script(code)],
        routes: vec![
            json!({"match": {"path": "/direct"}, "directResponse": {"status": 418, "body": {"inlineString": "tea"}}}),
            json!({"match": {"path": "/redirect"}, "redirect": {"pathRedirect": "/other"}}),
            json!({"match": {"path": "/none"}, "route": {"cluster": "none"}}),
            route("/p", json!({})),
        ],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    for (path, status, length) in [("/direct", 418, "3"), ("/redirect", 301, "none"), ("/none", 503, "none"), ("/nowhere", 404, "none")] {
        let told = proxy.ask(get(path)).await.unwrap();
        assert_eq!(
            (told.status, told.header("x-status"), told.header("x-length").as_str()),
            (status, status.to_string(), length),
            "{path}"
        );
    }
    assert!(!peer.has_been_asked());
    let cases = [("GET", 200, "answer", "6"), ("HEAD", 200, "answer", "none"), ("GET", 204, "", "none"), ("GET", 304, "", "none")];
    for (method, status, body, length) in cases {
        peer.set_answer(Response::builder().status(status).header("x-upper", "1").body(Content::of(body)).unwrap());
        let told = proxy.ask(request(method, "/p", &[], Content::default())).await.unwrap();
        peer.asked().await;
        assert_eq!((told.status, told.header("x-length").as_str()), (status, length), "{method} {status}");
        let expected = if method == "HEAD" { String::new() } else { body.to_uppercase() };
        assert_eq!(told.text(), expected, "{method} {status}");
    }
}

async fn lines_and_hosts_are_headers_too(plane: DataPlane) {
    let code = r#"
        function envoy_on_request(h)
            local path = h:headers():get(":path")
            if path == "/names" then
                local names = {}
                for name in pairs(h:headers()) do if name:sub(1, 2) == ":a" or name:sub(1, 3) == "x-a" then names[#names + 1] = name end end
                h:headers():add("x-told", table.concat(names, " "))
            elseif path == "/counts" then
                h:headers():add("x-told", h:headers():getNumValues(":path") .. h:headers():getNumValues("HOST") .. h:headers():getAtIndex(":method", 0))
            elseif path == "/host" then h:headers():replace("host", "b.test") h:headers():add("x-told", h:headers():get(":authority"))
            elseif path == "/case" then h:headers():add("X-ToLD", h:headers():get("X-A"))
            elseif path == "/scheme" then h:headers():add("x-told", h:headers():get(":scheme"))
            elseif path == "/method" then h:headers():replace(":method", "DELETE") h:headers():add("x-told", h:headers():get(":method"))
            elseif path == "/empty" then h:headers():add("x-told", "") h:headers():add("x-told", "[" .. h:headers():get("x-told") .. "]")
            elseif path == "/number" then h:headers():add("x-told", 1.5) h:headers():replace("x-told", 12)
            elseif path == "/context" then h:headers():add("x-told", type(h:filterContext()) .. tostring(h:filterContext()["key"]))
            elseif path == "/late" then
                h:headers():remove("x-none") h:headers():replace("x-a", "n") h:headers():add("x-a", "m") h:headers():add("x-told", h:headers():get("x-a"))
            end
        end"#;
    let (proxy, mut peer) = scripted(plane, code).await;
    let cases = [
        ("/names", ":authority x-a x-ab"),
        ("/counts", "11GET"),
        ("/host", "b.test"),
        ("/case", "1"),
        ("/scheme", "http"),
        ("/method", "DELETE"),
        ("/empty", ",[]"),
        ("/number", "12"),
        ("/context", "userdatanil"),
        ("/late", "n,m"),
    ];
    for (path, expected) in cases {
        let told = proxy.ask(request("GET", path, &[("x-a", "1"), ("x-ab", "2")], Content::default())).await.unwrap();
        let asked = peer.asked().await;
        assert_eq!((told.status, asked.header("x-told").as_str()), (200, expected), "{path}");
        assert_eq!(asked.header("host"), if path == "/host" { "b.test" } else { "shop.test" });
    }
}

async fn calls_that_fail_are_answers(plane: DataPlane) {
    let code = r#"
        function envoy_on_request(h)
            local headers, body = h:httpCall(h:headers():get("x-where"),
                {[":method"] = "GET", [":path"] = "/", [":authority"] = "a.test"}, nil, tonumber(h:headers():get("x-limit")))
            h:headers():add("x-told", headers[":status"] .. " " .. string.sub(body, 1, 24))
        end"#;
    let (silent, mut peer) = (BadPeer::start(&[&[Act::Read, Act::Wait]]).await, Recorder::start(Version::HTTP_11).await);
    let closing = BadPeer::start(&[&[Act::Read]]).await;
    let gone = BadPeer::refusing().await;
    let xds = Xds {
        filters: vec![script(code)],
        routes: vec![route("/", json!({}))],
        clusters: vec![
            cluster("a", peer.address()),
            cluster("silent", silent.address()),
            cluster("closing", closing.address()),
            cluster("gone", gone.address()),
        ],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let cases = [
        ("silent", "100", "504 upstream request timeout"),
        ("closing", "2000", "503 upstream connect error o"),
        ("gone", "2000", "503 upstream connect error o"),
    ];
    for (cluster, limit, expected) in cases {
        assert_eq!(
            proxy.ask(request("GET", "/", &[("x-where", cluster), ("x-limit", limit)], Content::default())).await.unwrap().status,
            200
        );
        assert_eq!(peer.asked().await.header("x-told"), expected, "{cluster}");
    }
}

async fn clients_of_http2_are_seen(plane: DataPlane) {
    let code = r#"
        function envoy_on_request(h)
            if h:headers():get(":path") == "/answer" then h:respond({[":status"] = "403", ["x-told"] = h:streamInfo():protocol()}, "no") end
            local body = h:body()
            local trailers = h:trailers()
            h:headers():add("x-told", h:streamInfo():protocol() .. (body and body:length() or "none") .. (trailers and trailers:get("x-t") or "none"))
            if trailers then trailers:add("x-more", "1") end
        end
        function envoy_on_response(h)
            h:body():setBytes("changed")
            local trailers = h:trailers()
            if trailers then trailers:replace("x-t", "new") end
        end"#;
    let mut peer = Recorder::start(Version::HTTP_2).await;
    let xds = Xds {
        filters: vec![script(code)],
        routes: vec![route("/", json!({}))],
        clusters: vec![http2_cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    peer.set_answer(Response::new(Content::streamed(&["ok"]).trailing(&[("x-t", "old")])));
    let told = proxy.ask_http2(request("POST", "/", &[], Content::streamed(&["ab", "c"]).trailing(&[("x-t", "t")]))).await.unwrap();
    let asked = peer.asked().await;
    assert_eq!((asked.header("x-told"), &asked.body[..]), ("HTTP/23t".to_owned(), &b"abc"[..]));
    let trailers: Vec<_> = ["x-t", "x-more"].iter().map(|name| asked.trailers[*name].to_str().unwrap()).collect();
    assert_eq!(trailers, ["t", "1"]);
    assert_eq!(
        (told.text(), told.header("content-length"), told.trailers["x-t"].to_str().unwrap()),
        ("changed".to_owned(), "7".to_owned(), "new")
    );
    let told = proxy.ask_http2(get("/answer")).await.unwrap();
    assert_eq!((told.status, told.header("x-told"), told.text()), (403, "HTTP/2".to_owned(), "changed".to_owned()));
}
