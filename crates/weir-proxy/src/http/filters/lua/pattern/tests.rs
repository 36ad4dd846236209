//! Patterns beside those of the library itself.

use proptest::prelude::*;

use super::*;

/// A state whose strings are searched by us, and one whose are not.
fn both() -> (Lua, Lua) {
    let (ours, theirs) = (Lua::new(), Lua::new());
    let limits = Rc::new(Limits::default());
    limits.begin(&ours);
    replace(&ours, &ours.globals().get("string").expect("it is there"), &limits).expect("it is replaced");
    (ours, theirs)
}

/// What a piece of code comes to, or that it fails.
fn comes_to(lua: &Lua, code: &str) -> String {
    let code = format!(
        "local function show(...) local out = {{}} for i = 1, select('#', ...) do out[i] = tostring((select(i, ...))) end \
         return table.concat(out, '|') end return show({code})"
    );
    lua.load(code).eval::<mlua::String>().map_or_else(|_| "error".to_owned(), |text| text.to_string_lossy())
}

#[test]
fn searches_come_to_what_lua_comes_to() {
    let (ours, theirs) = both();
    let codes = [
        r#"string.find("hello world", "o w")"#,
        r#"string.find("hello world", "l+")"#,
        r#"string.find("hello", "l", 4)"#,
        r#"string.find("hello", "l", -2)"#,
        r#"string.find("hello", "", 6)"#,
        r#"string.find("a.b", ".", 1, true)"#,
        r#"string.find("a+b", "+", 1, true)"#,
        r#"string.find("key=value", "(%w+)=(%w+)")"#,
        r#"string.find("abc", "()b()")"#,
        r#"string.match("2024-01-02", "(%d+)-(%d+)-(%d+)")"#,
        r#"string.match("  trim  ", "^%s*(.-)%s*$")"#,
        r#"string.match("session=abc; x=1", "session=([^;]+)")"#,
        r#"string.match("f(a(b)c)d", "%b()")"#,
        r#"string.match("((((", "%b((")"#,
        r#"string.match("THE (quick) fox", "%f[%a]%a+%f[%A]")"#,
        r#"string.match("abab", "(ab)%1")"#,
        r#"string.match("x]y", "[]]")"#,
        r#"string.match("a-b", "[a%-]+")"#,
        r#"string.match("a^b", "[%^b]")"#,
        r#"string.match("\0a", "%z(a)")"#,
        r#"string.match("aaa", "a-$")"#,
        r#"string.match("aaab", "a?a?a?b")"#,
        r#"string.match("abc", "^b")"#,
        r#"string.match("a$", "a$$")"#,
        r#"string.gsub("hello world", "o", "0")"#,
        r#"string.gsub("hello", "", "-")"#,
        r#"string.gsub("abc", "%w", "%0%0")"#,
        r#"string.gsub("abc", "(a)(b)", "%2%1")"#,
        r#"string.gsub("abc", "%w", {a = "1", b = true and "2", c = false})"#,
        r#"string.gsub("abc", "%w", function(c) if c ~= "b" then return c:upper() end end)"#,
        r#"string.gsub("abc", "b", "%%")"#,
        r#"string.gsub("aaa", "a", "b", 2)"#,
        r#"string.gsub("aaa", "a", "b", 0)"#,
        r#"string.gsub("/a/b", "/", "%%2F")"#,
        r#"string.gsub("abc def", "^%w", "x")"#,
        r#"string.gsub("abc", "b", 5)"#,
        r#"(function() local t = {} for k, v in string.gmatch("a=1, b=2", "(%w+)=(%w+)") do t[#t + 1] = k .. v end return table.unpack(t) end)()"#,
        r#"(function() local t = {} for w in ("one two"):gmatch("%a+") do t[#t + 1] = w end return table.unpack(t) end)()"#,
        r#"(function() local n = 0 for _ in ("abc"):gmatch("") do n = n + 1 end return n end)()"#,
        r#"string.rep("ab", 3)"#,
        r#"string.rep("ab", -1)"#,
        // What is wrong.
        r#"string.match("a", "%")"#,
        r#"string.match("a", "[a")"#,
        r#"string.match("a", "(a")"#,
        r#"string.match("a", "a)")"#,
        r#"string.match("a", "%1")"#,
        r#"string.gsub("a", "a", "%2")"#,
        r#"string.gsub("a", "a", true)"#,
        r#"string.gsub("a", "a", function() return {} end)"#,
    ];
    for code in codes {
        assert_eq!(comes_to(&ours, code), comes_to(&theirs, code), "{code}");
    }
}

#[test]
fn a_search_that_would_take_for_ever_is_ended() {
    let (ours, _) = both();
    for code in [
        r#"string.match(string.rep("a", 100000), ".-.-.-.-b")"#,
        r#"string.match(string.rep("a", 500), string.rep("a?", 500) .. "b")"#,
        r#"string.rep("a", 1e9)"#,
        r#"string.gsub(string.rep("a", 1000000), "a", string.rep("b", 1000))"#,
    ] {
        assert_eq!(comes_to(&ours, code), "error", "{code}");
    }
    assert_eq!(comes_to(&ours, r#"string.rep("", 1e15)"#), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_pattern_finds_what_lua_finds(subject in "[ab(). ]{0,12}", pattern in r"(\(|\)|\(\)|%|%b\(\)|%f\[a\]|%1|%a|%A|[ab.]|\[a-b\]|\[\^a\]|\[%s\(\]|[*+?\-]|\$|\^){0,6}") {
        let (ours, theirs) = both();
        for function in ["find", "match"] {
            let code = format!("string.{function}([=[{subject}]=], [=[{pattern}]=])");
            prop_assert_eq!(comes_to(&ours, &code), comes_to(&theirs, &code), "{}", code);
        }
        let code = format!("string.gsub([=[{subject}]=], [=[{pattern}]=], '<%0>')");
        prop_assert_eq!(comes_to(&ours, &code), comes_to(&theirs, &code), "{}", code);
    }
}
