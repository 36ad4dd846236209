//! The methods of the handle.

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

use super::*;

#[tokio::test]
async fn headers_are_read_and_changed() {
    let code = r#"
        function envoy_on_request(handle)
            local h = handle:headers()
            h:add("x-added", "one") h:add("x-added", "two")
            h:replace("x-one", "new") h:replace("x-new", "new")
            h:remove("x-gone")
            h:add("x-seen", table.concat({h:get("x-many"), tostring(h:getNumValues("x-many")), h:getAtIndex("x-many", 1),
                tostring((h:getAtIndex("x-many", 2))), tostring((h:get("x-none"))), tostring(h:getNumValues("x-none"))}, " "))
            h:add("x-line", table.concat({h:get(":method"), h:get(":path"), h:get(":authority"), h:get("host"), h:get(":scheme")}, " "))
            local names = {}
            for name, value in pairs(h) do if name:sub(1, 1) == ":" then names[#names + 1] = name .. "=" .. value end end
            h:add("x-names", table.concat(names, " "))
            h:replace(":path", "/other") h:replace(":method", "PUT") h:replace(":authority", "b.test")
        end
        function envoy_on_response(handle)
            local h = handle:headers()
            h:add("x-status", h:get(":status")) h:remove("x-drop") h:replace(":status", "418")
            h:setHttp1ReasonPhrase("Short And Stout")
        end"#;
    let request = "GET /p HTTP/1.1\r\nhost: a.test\r\nx-one: 1\r\nx-many: 1\r\nx-many: 2\r\nx-gone: 1\r\n\r\n";
    let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nx-drop: 1\r\nx-keep: 1\r\n\r\n";
    let proxy = Scripted::start(code).await;
    let (heard, (status, told), ..) = proxy.exchange(request, answer).await;
    assert_eq!(heard[0], "PUT /other HTTP/1.1");
    let expected = [
        ("host", Some("b.test")),
        ("x-one", Some("new")),
        ("x-new", Some("new")),
        ("x-gone", None),
        ("x-seen", Some("1,2 2 2 nil nil 0")),
        ("x-line", Some("GET /p a.test a.test http")),
        ("x-names", Some(":authority=a.test :path=/p :method=GET :scheme=http")),
    ];
    for (name, expected) in expected {
        assert_eq!(value(&heard, name), expected, "{name} of {heard:?}");
    }
    assert_eq!(heard.iter().filter(|line| line.starts_with("x-added: ")).count(), 2);
    assert_eq!(status, "HTTP/1.1 418 Short And Stout");
    assert_eq!((value(&told, "x-status"), value(&told, "x-drop"), value(&told, "x-keep")), (Some("404"), None, Some("1")));
    assert_eq!(proxy.proxy.stop().await, ["418 - via_upstream"]);
}

#[tokio::test]
async fn what_is_no_header_fails_the_script_and_nobody_else() {
    let code = |wrong: &str| format!("function envoy_on_request(handle) local h = handle:headers() {wrong} h:add('x-after', '1') end");
    for wrong in [r#"h:add("x-a", {})"#, r#"for name in pairs(h) do h:add("x-a", "a") end"#] {
        let (heard, (status, _), ..) = Scripted::start(&code(wrong)).await.exchange(GET, OK).await;
        assert_eq!((heard[0].as_str(), status.as_str()), ("GET /p?q=1 HTTP/1.1", "HTTP/1.1 200 OK"), "{wrong}");
        assert_eq!((value(&heard, "x-a"), value(&heard, "x-after")), (None, None), "{wrong}");
    }
    // With Envoy the script would have gone on to what follows.
    for wrong in [
        r#"h:add("x-a", "a\r\nx-b: b")"#,
        r#"h:add("x a", "a")"#,
        r#"h:replace(":path", "p")"#,
        r#"h:replace(":path", "/a b")"#,
        r#"h:replace(":method", "GET /")"#,
        r#"h:remove(":path")"#,
    ] {
        let proxy = Scripted::start(&code(wrong)).await;
        assert_eq!(proxy.refused(GET).await.0, "HTTP/1.1 500 Internal Server Error", "{wrong}");
        assert!(proxy.upstream.was_left_alone(), "{wrong}");
    }
}

#[tokio::test]
async fn a_script_answers_a_request() {
    let code = r#"
        function envoy_on_request(handle)
            local path = handle:headers():get(":path")
            if path == "/empty" then handle:respond({[":status"] = "204"}) end
            handle:respond({[":status"] = "302", ["location"] = "/login", ["x-many"] = {"a", "b"}, ["content-length"] = "99"}, "go")
            handle:headers():add("x-after", "1")
        end
        function envoy_on_response(handle) handle:headers():add("x-response", "seen") end"#;
    let proxy = Scripted::start(code).await;
    let (status, told, mut client) = proxy.refused("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(status, "HTTP/1.1 302 Found");
    for line in ["location: /login", "x-many: a", "x-many: b", "content-length: 2", "content-type: text/plain", "x-response: seen"] {
        assert!(told.contains(&line.to_owned()), "{line} not in {told:?}");
    }
    client.hears("go").await;
    client.say("GET /empty HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (status, told) = client.answer().await;
    assert_eq!((status.as_str(), value(&told, "x-response")), ("HTTP/1.1 204 No Content", Some("seen")));
    drop(client);
    assert!(proxy.upstream.was_left_alone());
    assert_eq!(proxy.proxy.stop().await, ["302 - lua_response", "204 - lua_response"]);
}

#[tokio::test]
async fn an_answer_cannot_be_answered() {
    let code = r#"function envoy_on_response(handle) handle:respond({[":status"] = "403"}, "no") end"#;
    let (_, (status, _), mut client, _) = Scripted::start(code).await.exchange(GET, OK).await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    client.hears("ok").await;
}

#[tokio::test]
async fn what_is_known_of_a_request_is_told() {
    let cases = [
        (r#"handle:streamInfo():protocol()"#, "HTTP/1.1"),
        (r#"handle:streamInfo():downstreamLocalAddress():match("^127.0.0.1:%d+$") ~= nil"#, "true"),
        (r#"handle:streamInfo():downstreamDirectRemoteAddress():match("^127.0.0.1:%d+$") ~= nil"#, "true"),
        (r#"handle:streamInfo():downstreamRemoteAddress():match("^127.0.0.1:") ~= nil"#, "true"),
        (r#"handle:streamInfo():requestedServerName() .. handle:streamInfo():virtualClusterName() .. "none""#, "none"),
        (r#"handle:streamInfo():downstreamSslConnection()"#, "nil"),
        (r#"handle:streamInfo():filterState():get("a")"#, "nil"),
        (r#"handle:streamInfo():dynamicTypedMetadata("a")"#, "nil"),
        (r#"handle:connection():ssl()"#, "nil"),
        (r#"handle:connectionStreamInfo():dynamicMetadata():get("a")"#, "nil"),
        (r#"handle:base64Escape("a?>")"#, "YT8+"),
        (r#"handle:base64Decode("YT8+") .. tostring(handle:base64Decode("!"))"#, "a?>nil"),
        (r#"handle:timestamp() > 1.7e12 and handle:timestamp(EnvoyTimestampResolution.MILLISECOND) > 1.7e12"#, "true"),
        (r#"#handle:timestampString() .. " " .. #handle:timestampString(EnvoyTimestampResolution.MICROSECOND)"#, "13 16"),
        (r#"tostring(pcall(handle.timestamp, handle, 9))"#, "false"),
        (r#"handle:metadata():get("a")"#, "nil"),
        (r#"handle:filterContext():get("a")"#, "nil"),
    ];
    for (expression, expected) in cases {
        assert_eq!(comes_to(expression).await, expected, "{expression}");
    }
}

#[tokio::test]
async fn dynamic_metadata_is_shared_by_request_and_answer() {
    let code = r#"
        function envoy_on_request(handle)
            local metadata = handle:streamInfo():dynamicMetadata()
            metadata:set("lua", "info", {user = "ann", roles = {"a", "b"}, n = 1.5, yes = true})
            metadata:set("lua", "more", "text")
        end
        function envoy_on_response(handle)
            local metadata = handle:streamInfo():dynamicMetadata()
            local info, names = metadata:get("lua").info, {}
            for name, fields in pairs(metadata) do names[#names + 1] = name .. fields.more end
            handle:headers():add("x-info", table.concat({info.user, info.roles[2], info.n, tostring(info.yes), names[1]}, " "))
            handle:headers():add("x-wrong", tostring(pcall(metadata.set, metadata, "lua", "a", print)))
        end"#;
    let (_, (_, told), ..) = Scripted::start(code).await.exchange(GET, OK).await;
    assert_eq!((value(&told, "x-info"), value(&told, "x-wrong")), (Some("ann b 1.5 true luatext"), Some("false")));
}

#[tokio::test]
async fn scripts_see_what_other_filters_leave() {
    let code = r#"
        function envoy_on_request(handle)
            local metadata = handle:streamInfo():dynamicMetadata()
            handle:headers():add("x-left", metadata:get("fixed").n .. " " .. metadata:get("taken").one)
        end
        function envoy_on_response(handle)
            handle:headers():add("x-left", handle:streamInfo():dynamicMetadata():get("taken").status)
        end"#;
    let taking = |header: &str, key: &str| json!([{"header": header, "onHeaderPresent": {"metadataNamespace": "taken", "key": key}, "remove": header == "x-one"}]);
    let script = filter("lua", "lua.v3.Lua", json!({"defaultSourceCode": {"inlineString": code}}));
    // Requests pass the script after one that takes, and answers after the other.
    let filters = json!([
        filter("fixed", "set_metadata.v3.Config", json!({"metadata": [{"metadataNamespace": "fixed", "value": {"n": 7}}]})),
        filter("of requests", "header_to_metadata.v3.Config", json!({"requestRules": taking("x-one", "one")})),
        script,
        filter("of answers", "header_to_metadata.v3.Config", json!({"responseRules": taking(":status", "status")})),
        router(),
    ]);
    let (heard, (_, told), ..) = Scripted::with_manager(json!({"httpFilters": filters})).await.exchange(GET, OK).await;
    assert_eq!((value(&heard, "x-left"), value(&told, "x-left"), value(&heard, "x-one")), (Some("7 1"), Some("200"), None));
}

#[tokio::test]
async fn signatures_are_verified() {
    let key = KeyPair::generate().unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (der, signature) = (key.subject_public_key_info(), key.sign(b"data").unwrap());
    let code = |hash: &str, text: &str| {
        format!(
            "(function()
                local function bytes(text) return (text:gsub('%x%x', function(digits) return string.char(tonumber(digits, 16)) end)) end
                local der, signature = bytes('{}'), bytes('{}')
                local key = handle:importPublicKey(der, #der):get()
                local ok, why = handle:verifySignature('{hash}', key, signature, #signature, '{text}', #'{text}')
                return tostring(ok) .. ' ' .. tostring(why)
            end)()",
            hex(&der),
            hex(&signature)
        )
    };
    let cases = [
        ("sha256", "data", "true nil"),
        ("SHA256", "data", "true nil"),
        ("sha256", "date", "false Failed to verify digital signature."),
        ("sha512", "data", "false Failed to verify digital signature."),
        ("md5", "data", "false md5 is not supported."),
    ];
    for (hash, text, expected) in cases {
        assert_eq!(comes_to(&code(hash, text)).await, expected, "{hash} {text}");
    }
    assert_eq!(comes_to("handle:importPublicKey('no key', 6):get()").await, "nil");
    assert_eq!(comes_to("tostring(pcall(handle.verifySignature, handle, 'sha256', 'unknown', 's', 1, 't', 1))").await, "false");
}

#[tokio::test]
async fn a_connection_ends_where_a_script_says_so() {
    let code = "function envoy_on_request(handle) handle:streamInfo():drainConnectionUponCompletion() end";
    let (_, (_, told), mut client, _) = Scripted::start(code).await.exchange(GET, OK).await;
    assert_eq!(value(&told, "connection"), Some("close"));
    assert_eq!(client.end().await, "ok");
}

#[tokio::test]
async fn a_request_whose_headers_change_is_routed_anew_unless_that_is_switched_off() {
    for (clears, explicit, expected) in [(true, "", "b"), (false, "", "a"), (false, "handle:clearRouteCache()", "b")] {
        let (a, b) = (Upstream::start().await, Upstream::start().await);
        let code = format!("function envoy_on_request(handle) handle:headers():add('x-group', 'beta') {explicit} end");
        let manager = manager(json!({"defaultSourceCode": {"inlineString": code}, "clearRouteCache": clears}));
        let beta = json!({"match": {"prefix": "/", "headers": [{"name": "x-group"}]}, "route": {"cluster": "b"}});
        let clusters = [cluster("a", &[&a], json!({})), cluster("b", &[&b], json!({}))];
        let proxy = Proxy::with_manager(manager, routes(json!([beta, to("a")])), &clusters).await;
        let mut client = proxy.connect().await;
        client.say(GET).await;
        let upstream = if expected == "a" { &a } else { &b };
        let mut instance = upstream.accept().await;
        assert_eq!(value(&instance.head().await, "x-group"), Some("beta"));
    }
}
