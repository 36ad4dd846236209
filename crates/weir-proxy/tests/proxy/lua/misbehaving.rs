//! Scripts that do what they should not: they harm their own request alone.

use std::time::{Duration, Instant};

use super::*;

/// Each would go on for minutes, or for ever. It is ended by the processor's time, of which others may leave it little.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each takes too much for a request that says so, in its own way, and adds a header to all.
const TAKING_TOO_MUCH: [(&str, &str); 16] = [
    ("loops", "while true do end"),
    ("loops and catches", "while true do pcall(function() while true do end end) end"),
    ("loops in a coroutine", "local co = coroutine.wrap(function() while true do end end) while true do pcall(co) end"),
    ("searches for ever", r#"string.match(string.rep("a", 1000000), ".-.-.-.-b")"#),
    ("inserts for ever", "local t = {} for i = 1, 1e9 do table.insert(t, 1, i) end"),
    ("allocates", "local t = {} for i = 1, 1e9 do t[i] = 'x' .. i end"),
    ("doubles", "local s = 'x' for i = 1, 40 do s = s .. s end"),
    ("adds headers", "local v = string.rep('v', 1000000) for i = 1, 1e9 do headers:add('x-' .. i, v) end"),
    (
        "sets metadata",
        "local v = string.rep('v', 1000000) local m = handle:streamInfo():dynamicMetadata() for i = 1, 1e9 do m:set('a', 'k' .. i, v) end",
    ),
    ("sets one table often", "local t = {} for i = 1, 30 do t = {t, t} end handle:streamInfo():dynamicMetadata():set('a', 'k', t)"),
    ("logs", "while true do handle:logDebug('much') end"),
    (
        "finishes",
        "for i = 1, 100 do setmetatable({}, {__gc = function() while true do end end}) end collectgarbage() local t = {} for i = 1, 1e9 do t[i] = {} end",
    ),
    (
        "answers much",
        "local v, t = string.rep('v', 1000000), {[':status'] = '200'} for i = 1, 1e5 do t['x-' .. i] = v end handle:respond(t, 'no')",
    ),
    ("waits elsewhere", "coroutine.wrap(function() handle:respond({[':status'] = '403'}) end)()"),
    ("catches that there is no room", "pcall(function() local s = 'x' for i = 1, 40 do s = s .. s end end)"),
    ("recurses", "local function f() return 1 + f() end f()"),
];

/// Each fails in its own way, as it would with Envoy.
const FAILING: [(&str, &str); 3] =
    [("fails", "error({code = 1})"), ("yields", "coroutine.yield(1)"), ("keeps the handle", "kept:headers():add('x-a', 'a')")];

fn misbehaves(does: &str) -> String {
    format!(
        "kept = nil
        function envoy_on_request(handle)
            local headers = handle:headers()
            if headers:get('x-bad') then {does} headers:add('x-after', '1') end
            kept = kept or handle
            headers:add('x-added', '1')
        end"
    )
}

const BAD: &str = "GET /bad HTTP/1.1\r\nhost: a\r\nx-bad: 1\r\n\r\n";

#[tokio::test]
async fn a_script_that_fails_harms_only_its_own_request() {
    for (what, does) in FAILING {
        let proxy = Scripted::start(&misbehaves(does)).await;
        let (heard, ..) = proxy.exchange(GET, OK).await;
        assert_eq!(value(&heard, "x-added"), Some("1"), "before one that {what}");
        let (heard, (status, _), ..) = proxy.exchange(BAD, OK).await;
        assert_eq!((value(&heard, "x-added"), value(&heard, "x-after")), (None, None), "one that {what}");
        assert_eq!(status, "HTTP/1.1 200 OK", "one that {what}");
        let (heard, ..) = proxy.exchange(GET, OK).await;
        assert_eq!(value(&heard, "x-added"), Some("1"), "after one that {what}");
    }
}

#[tokio::test]
async fn a_request_whose_script_takes_too_much_does_not_go_on() {
    for (what, does) in TAKING_TOO_MUCH {
        let proxy = Scripted::start(&misbehaves(does)).await;
        let (heard, ..) = proxy.exchange(GET, OK).await;
        assert_eq!(value(&heard, "x-added"), Some("1"), "before one that {what}");
        let mut victim = proxy.proxy.connect().await;
        let begun = Instant::now();
        let (status, ..) = proxy.refused(BAD).await;
        assert_eq!(status, "HTTP/1.1 500 Internal Server Error", "one that {what}");
        assert!(begun.elapsed() < PATIENCE, "one that {what} takes {:?}", begun.elapsed());
        // The first that the instance hears of is another.
        victim.say(GET).await;
        let mut instance = proxy.upstream.accept().await;
        assert_eq!(value(&instance.head().await, "x-added"), Some("1"), "after one that {what}");
        instance.say(OK).await;
        assert_eq!(victim.answer().await.0, "HTTP/1.1 200 OK", "after one that {what}");
    }
}

#[tokio::test]
async fn a_request_whose_script_was_kept_from_what_envoy_does_goes_no_further() {
    for does in ["headers:add('x-a', 'a\\r\\nb: c')", "headers:replace(':path', '/ b')", "headers:remove(':method')"] {
        let proxy = Scripted::start(&misbehaves(does)).await;
        assert_eq!(proxy.refused(BAD).await.0, "HTTP/1.1 500 Internal Server Error", "{does}");
        // What is caught is the script's own decision.
        let proxy = Scripted::start(&misbehaves(&format!("pcall(function() {does} end)"))).await;
        let (heard, ..) = proxy.exchange(BAD, OK).await;
        assert_eq!(value(&heard, "x-after"), Some("1"), "{does}");
    }
}

#[tokio::test]
async fn an_answer_whose_script_takes_too_much_does_not_go_on() {
    for code in [
        "function envoy_on_response(handle) while true do end end",
        "function envoy_on_response(handle) handle:body() while true do end end",
    ] {
        let proxy = Scripted::start(code).await;
        let (_, (status, told), ..) = proxy.exchange(GET, "HTTP/1.1 200 OK\r\nx-secret: 1\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!((status.as_str(), value(&told, "x-secret")), ("HTTP/1.1 500 Internal Server Error", None), "{code}");
    }
    // Once the head has gone on, its body breaks off.
    let code = "function envoy_on_response(handle) for chunk in handle:bodyChunks() do while true do end end end";
    let (_, (status, _), mut client, _) = Scripted::start(code).await.exchange(GET, OK).await;
    assert_eq!((status.as_str(), client.line().await), ("HTTP/1.1 200 OK", None));
}

#[tokio::test]
async fn substitutes_do_not_take_memory_beside_lua() {
    let substitutes = [
        "string.gsub(string.rep('a', 1000000), '.*', string.rep('%0', 1000000))",
        "string.gsub(string.rep('a', 1000000), '()', string.rep('%1', 1000000))",
        "string.gsub(string.rep('a', 1000000), '(b?)', string.rep('%1', 1000000))",
        "while true do string.rep('a', 30000000) end",
    ];
    for does in substitutes {
        let proxy = Scripted::start(&misbehaves(does)).await;
        let begun = Instant::now();
        assert_eq!(proxy.refused(BAD).await.0, "HTTP/1.1 500 Internal Server Error", "{does}");
        assert!(begun.elapsed() < PATIENCE, "{does} takes {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn what_is_no_coroutine_is_not_taken_for_a_running_one() {
    let code = r#"function envoy_on_request(handle)
        local resumed = pcall(coroutine.resume, 5)
        local length = handle:body():length()
        handle:headers():add("x-length", tostring(resumed) .. length)
    end"#;
    let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
    let (heard, ..) = Scripted::start(code).await.exchange(request, OK).await;
    assert_eq!(value(&heard, "x-length"), Some("false5"));
}

#[tokio::test]
async fn a_script_answers_once() {
    let code = r#"function envoy_on_request(handle)
        pcall(function() handle:respond({[":status"] = "403"}, "first") end)
        handle:respond({[":status"] = "200"}, "second")
    end"#;
    let proxy = Scripted::start(code).await;
    let (status, _, mut client) = proxy.refused(GET).await;
    assert_eq!(status, "HTTP/1.1 403 Forbidden");
    client.hears("first").await;
    assert!(proxy.upstream.was_left_alone());
}

#[tokio::test]
async fn a_script_may_wait_where_it_catches_failures() {
    let code = r#"function envoy_on_request(handle)
        local ok, length = pcall(function() return handle:body():length() end)
        local failed, why = pcall(function() error("why") end)
        local more = select(2, xpcall(function() return handle:body():getBytes(0, 1) end, print))
        handle:headers():add("x-told", table.concat({tostring(ok), length, tostring(failed), why:match("why"), more}, " "))
    end"#;
    let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
    let (heard, ..) = Scripted::start(code).await.exchange(request, OK).await;
    assert_eq!(value(&heard, "x-told"), Some("true 5 false why h"));
}

#[tokio::test]
async fn memory_that_failed_scripts_took_is_there_for_others() {
    let code = misbehaves("local t = {} for i = 1, 1e9 do t[i] = 'x' .. i end");
    let proxy = Scripted::start(&code).await;
    for _ in 0..3 {
        proxy.refused(BAD).await;
        let (heard, ..) = proxy.exchange(GET, OK).await;
        assert_eq!(value(&heard, "x-added"), Some("1"));
    }
}

#[tokio::test]
async fn a_script_that_keeps_ever_more_is_loaded_anew() {
    let code = r#"
        kept = {}
        function envoy_on_request(handle)
            kept[#kept + 1] = string.rep("x", 8000000 + #kept)
            handle:headers():add("x-kept", #kept)
        end"#;
    let proxy = Scripted::start(code).await;
    let mut counts = vec![];
    for _ in 0..40 {
        let (heard, ..) = proxy.exchange(GET, OK).await;
        counts.push(value(&heard, "x-kept").and_then(|count| count.parse::<u32>().ok()));
    }
    assert!(counts.iter().filter(|count| **count == Some(1)).count() > 1, "{counts:?}");
    assert!(counts.iter().filter(|count| count.is_none()).count() < 20, "{counts:?}");
}

#[tokio::test]
async fn a_script_has_nothing_of_the_system() {
    let nothing = [
        "io",
        "debug",
        "package",
        "dofile",
        "loadfile",
        "newproxy",
        "os.execute",
        "os.exit",
        "os.remove",
        "os.rename",
        "os.tmpname",
        "os.setlocale",
        "string.dump",
    ];
    for name in nothing {
        assert_eq!(comes_to(name).await, "nil", "{name}");
    }
    let cases = [
        ("os.time() > 1.7e9 and os.clock() >= 0 and os.date('!%Y', 0)", "1970"),
        ("type(os.getenv('PATH'))", "string"),
        ("collectgarbage('count') > 10 and collectgarbage('stop')", "0"),
        ("load('return 1 + 1')()", "2"),
        ("tostring(load('return ('))", "nil"),
        ("tostring(loadstring('\\27Lua'))", "nil"),
        ("bit.band(7, 2) .. table.pack(1, nil, 3).n .. table.unpack({4})", "234"),
        ("select(2, pcall(require, 'cjson')):match('no module') ", "no module"),
        ("tostring(getmetatable(handle))", "false"),
        (
            "table.concat((function() local t = {1, 2, 4} table.insert(t, 3, 3) table.insert(t, 5) table.remove(t, 1) return t end)())",
            "2345",
        ),
        ("table.concat((function() local t = {3, 1, 2} table.sort(t) return t end)())", "123"),
    ];
    for (expression, expected) in cases {
        assert_eq!(comes_to(expression).await, expected, "{expression}");
    }
}
