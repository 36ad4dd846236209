//! Which script a request meets, where scripts come from, and which are refused.

use std::time::Duration;

use super::*;

fn adds(name: &str, value: &str) -> String {
    format!("function envoy_on_request(handle) handle:headers():add('{name}', '{value}') end")
}

fn inline(code: &str) -> Value {
    json!({"inlineString": code})
}

fn of_route(mut config: Value) -> Value {
    config["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute");
    json!({"lua": config})
}

#[tokio::test]
async fn a_route_chooses_its_script_and_tells_it_something() {
    let upstream = Upstream::start().await;
    let context = "function envoy_on_request(handle) local context = handle:filterContext() \
                   handle:headers():add('x-script', context:get('key').deep[2] .. tostring((context:get('none')))) end";
    let manager = manager(json!({
        "defaultSourceCode": inline(&adds("x-script", "default")),
        "sourceCodes": {"named": inline(&adds("x-script", "named")), "context": inline(context)},
        "filterContext": {"key": {"deep": [1, 7]}},
    }));
    let route = |path: &str, config: Value| {
        let mut route = json!({"match": {"path": path}, "route": {"cluster": "a"}});
        if config != json!(null) {
            route["typedPerFilterConfig"] = of_route(config);
        }
        route
    };
    let own = adds("x-script", "own");
    let table = json!([
        route("/named", json!({"name": "named"})),
        route("/none", json!({"name": "none"})),
        route("/own", json!({"sourceCode": inline(&own)})),
        route("/off", json!({"disabled": true})),
        route("/context", json!({"name": "context"})),
        route("/told", json!({"name": "context", "filterContext": {"key": {"deep": [1, "route"]}}})),
        to("a"),
    ]);
    let proxy = Proxy::with_manager(manager, routes(table), &[cluster("a", &[&upstream], json!({}))]).await;
    let proxy = Scripted { proxy, upstream };
    let cases = [
        ("/", Some("default")),
        ("/named", Some("named")),
        ("/none", None),
        ("/own", Some("own")),
        ("/off", None),
        ("/context", Some("7nil")),
        ("/told", Some("routenil")),
    ];
    for (path, expected) in cases {
        let (heard, ..) = proxy.exchange(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"), OK).await;
        assert_eq!(value(&heard, "x-script"), expected, "{path}");
    }
}

#[tokio::test]
async fn metadata_of_routes_and_virtual_hosts_is_told() {
    let code = r#"function envoy_on_request(handle)
        local names = {}
        for name in pairs(handle:metadata()) do names[#names + 1] = name end
        table.sort(names)
        handle:headers():add("x-told", table.concat({handle:metadata():get("key"), handle:metadata():get("list")[2].deep,
            tostring(handle:metadata():get("flag")), handle:route():metadata():get("key"), handle:virtualHost():metadata():get("of"),
            handle:streamInfo():routeName(), table.concat(names, ",")}, " "))
    end"#;
    for (namespace, through_route) in [("lua", true), ("envoy.filters.http.lua", false)] {
        let upstream = Upstream::start().await;
        let mut route = to("a");
        route["name"] = json!("the route");
        route["metadata"] = json!({"filterMetadata": {namespace: {"key": "value", "list": [1, {"deep": 2}], "flag": true, "no": null}}});
        let mut table = routes(json!([route]));
        table["virtualHosts"][0]["metadata"] = json!({"filterMetadata": {"lua": {"of": "host"}}});
        let code = if through_route { code.to_owned() } else { code.replace("handle:route():metadata():get(\"key\")", "\"no\"") };
        let proxy = Proxy::with_manager(script(&code), table, &[cluster("a", &[&upstream], json!({}))]).await;
        let (heard, ..) = Scripted { proxy, upstream }.exchange(GET, OK).await;
        let through = if through_route { "value" } else { "no" };
        assert_eq!(value(&heard, "x-told"), Some(format!("value 2 true {through} host the route flag,key,list").as_str()));
    }
}

#[tokio::test]
async fn scripts_come_from_files_and_from_the_old_field() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("script.lua");
    std::fs::write(&path, adds("x-script", "file")).unwrap();
    for (config, expected) in
        [(json!({"defaultSourceCode": {"filename": path}}), "file"), (json!({"inlineCode": adds("x-script", "old")}), "old")]
    {
        let (heard, ..) = Scripted::with_manager(manager(config)).await.exchange(GET, OK).await;
        assert_eq!(value(&heard, "x-script"), Some(expected));
    }
}

#[tokio::test]
async fn answers_pass_filters_the_other_way_round() {
    let mark = |name: &str| {
        let code = format!(
            "local function mark(handle) handle:headers():add('x-mark', '{name}') end envoy_on_request, envoy_on_response = mark, mark"
        );
        filter(name, "lua.v3.Lua", json!({"defaultSourceCode": inline(&code)}))
    };
    let proxy = Scripted::with_manager(json!({"httpFilters": [mark("a"), mark("b"), router()]})).await;
    let (mut client, marks) =
        (proxy.proxy.connect().await, |lines: Vec<String>| lines.into_iter().filter(|line| line.starts_with("x-mark")).collect::<Vec<_>>());
    client.say(GET).await;
    let mut instance = proxy.upstream.accept().await;
    assert_eq!(marks(instance.head().await), ["x-mark: a", "x-mark: b"]);
    instance.say(OK).await;
    // In the order in which they came; a head is heard sorted.
    let mut lines = vec![];
    while let Some(line) = client.line().await.filter(|line| !line.is_empty()) {
        lines.push(line);
    }
    assert_eq!(marks(lines), ["x-mark: b", "x-mark: a"]);
}

/// Waits until so many resources are refused.
async fn refuses(proxy: &Proxy, count: u64) {
    while proxy.listener_statistic("weir_refused_resources").await != count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_no_script_is_refused_and_the_last_one_stays() {
    let upstream = Upstream::start().await;
    let clusters = [cluster("a", &[&upstream], json!({}))];
    let proxy = Proxy::with_manager(script(&adds("x-script", "good")), routes(json!([to("a")])), &clusters).await;
    let missing = manager(json!({"defaultSourceCode": {"filename": "/nonexistent/script.lua"}}));
    let named = manager(json!({"sourceCodes": {"a": inline("function (")}}));
    let wrong = [
        script("function envoy_on_request(handle) handle:headers( end"),
        script("error('at once')"),
        script("require('cjson')"),
        script("while true do end"),
        script("\x1bLua"),
        missing,
        named,
    ];
    for manager in wrong {
        proxy.change_with_manager(&manager, routes(json!([to("a")])), &clusters);
        refuses(&proxy, 1).await;
        proxy.change_with_manager(&script(&adds("x-script", "good")), routes(json!([to("a")])), &clusters);
        refuses(&proxy, 0).await;
    }
    let mut route = to("a");
    route["typedPerFilterConfig"] = of_route(json!({"sourceCode": inline("function (")}));
    proxy.change_with_manager(&script(&adds("x-script", "good")), routes(json!([route])), &clusters);
    refuses(&proxy, 1).await;
    let (heard, ..) = Scripted { proxy, upstream }.exchange(GET, OK).await;
    assert_eq!(value(&heard, "x-script"), Some("good"));
}

#[tokio::test]
async fn executions_and_errors_are_counted() {
    let code = "function envoy_on_request(handle) if handle:headers():get('x-bad') then error('bad') end end";
    let proxy = Scripted::with_manager(manager(json!({"defaultSourceCode": inline(code), "statPrefix": "own"}))).await;
    for more in ["", "x-bad: 1\r\n"] {
        proxy.exchange(&format!("GET / HTTP/1.1\r\nhost: a\r\n{more}\r\n"), OK).await;
    }
    assert_eq!(proxy.proxy.listener_statistic("envoy_http_lua_own_executions").await, 2);
    assert_eq!(proxy.proxy.listener_statistic("envoy_http_lua_own_errors").await, 1);
}

#[tokio::test]
async fn what_may_hold_back_a_body_follows_the_listener() {
    let code = "function envoy_on_request(handle) handle:body() end";
    let proxy = Scripted::with_manager(script(code)).await;
    let told = Told {
        manager: script(code),
        routes: routes(json!([to("a")])),
        clusters: vec![cluster("a", &[&proxy.upstream], json!({}))],
        listener: json!({"perConnectionBufferLimitBytes": 10}),
        ..Told::default()
    };
    proxy.proxy.tell(&told);
    let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\nconnection: close\r\n\r\n12345678901";
    loop {
        let mut client = proxy.proxy.connect().await;
        client.say(request).await;
        let status = tokio::select! {
            (status, _) = client.answer() => status,
            mut instance = proxy.upstream.accept() => {
                instance.head().await;
                instance.say(OK).await;
                client.answer().await.0
            }
        };
        if status == "HTTP/1.1 413 Payload Too Large" {
            break;
        }
    }
}
