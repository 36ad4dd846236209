//! Regular expressions as Envoy reads them: RE2's syntax.
//!
//! The `regex` crate is RE2's cousin and checks nearly the same syntax. What it reads otherwise is rewritten first.

use regex::{Regex, RegexBuilder};

/// Istio refuses longer ones, so that a proxy's limit on compiled expressions is never reached.
const MAX_LENGTH: usize = 1024;
/// So large a compiled one may be, in bytes, as for the proxies; and to find out costs no more than that.
const MAX_SIZE: usize = 1 << 20;
/// RE2 repeats nothing more often.
const MAX_REPEAT: u32 = 1000;

/// What is right where a text is no expression.
pub(super) const SYNTAX: &str = "write it as RE2 does: https://github.com/google/re2/wiki/Syntax";

/// Compiles an expression.
///
/// # Errors
/// Why it is not one.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.is_empty() {
        return Err("the regular expression is empty".to_owned());
    }
    if pattern.len() > MAX_LENGTH {
        return Err(format!("the regular expression is longer than {MAX_LENGTH} characters"));
    }
    RegexBuilder::new(&translate(pattern)?).size_limit(MAX_SIZE).build().map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("`{pattern}` is not a regular expression: {reason}")
    })
}

/// The same expression in the `regex` crate's syntax.
fn translate(pattern: &str) -> Result<String, String> {
    let mut translation = Translation::default();
    let mut rest = pattern;
    while !rest.is_empty() {
        let length = translation.piece(rest).map_err(|wrong| format!("`{pattern}` {wrong}"))?;
        rest = &rest[length..];
    }
    Ok(translation.out)
}

#[derive(Default)]
struct Translation {
    out: String,
    in_class: bool,
    /// Whether the piece before is a repetition, which RE2 does not repeat.
    repeated: bool,
}

impl Translation {
    /// Translates the piece that a text begins with, and tells its length.
    fn piece(&mut self, rest: &str) -> Result<usize, &'static str> {
        if !self.in_class
            && let Some((length, most)) = repetition(rest)
        {
            if std::mem::replace(&mut self.repeated, true) {
                return Err("repeats a repetition");
            } else if most > MAX_REPEAT {
                return Err("repeats something more than 1000 times");
            }
            return Ok(self.keep(rest, length));
        }
        self.repeated = false;
        Ok(match rest.starts_with('\\') {
            true => self.escape(rest),
            false if self.in_class => self.member(rest),
            false => self.outside(rest),
        })
    }

    fn keep(&mut self, rest: &str, length: usize) -> usize {
        self.out.push_str(&rest[..length]);
        length
    }

    fn escape(&mut self, rest: &str) -> usize {
        if let Some(after) = rest.strip_prefix("\\Q") {
            let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
            self.out.push_str(&regex::escape(quoted));
            return rest.len() - after.len();
        }
        let escaped = rest.chars().nth(1).map_or(0, char::len_utf8);
        self.keep(rest, 1 + escaped)
    }

    fn outside(&mut self, rest: &str) -> usize {
        match rest.as_bytes() {
            // The question mark of a group repeats nothing.
            [b'(', b'?', ..] => self.keep(rest, 2),
            // A brace that counts nothing is itself.
            [brace @ (b'{' | b'}'), ..] => {
                self.out.extend(['\\', char::from(*brace)]);
                1
            }
            [b'[', ..] => {
                self.in_class = true;
                let length = class_start(rest);
                self.out.push_str(&rest[..length].replace("[]", "[\\]").replace("^]", "^\\]"));
                length
            }
            _ => self.keep(rest, rest.chars().next().map_or(0, char::len_utf8)),
        }
    }

    /// Within a class the `regex` crate knows nested classes and operators, RE2 does not.
    fn member(&mut self, rest: &str) -> usize {
        match rest.as_bytes() {
            [b'[', b':', ..] => self.keep(rest, rest.find(":]").map_or(1, |end| end + 2)),
            [sign @ (b'[' | b'&' | b'~'), ..] | [sign @ b'-', b'-', ..] => {
                self.out.extend(['\\', char::from(*sign)]);
                1
            }
            _ => {
                self.in_class = !rest.starts_with(']');
                self.keep(rest, rest.chars().next().map_or(0, char::len_utf8))
            }
        }
    }
}

/// The length of a class's beginning: `[`, a `^`, and a `]` that is a member because it comes first.
fn class_start(rest: &str) -> usize {
    let length = if rest.starts_with("[^") { 2 } else { 1 };
    if rest[length..].starts_with(']') { length + 1 } else { length }
}

/// The length of a repetition such as `*`, `+?`, `{2}`, `{2,}` or `{2,5}?`, and the most that it asks for.
fn repetition(rest: &str) -> Option<(usize, u32)> {
    let (end, most) = match rest.bytes().next()? {
        b'*' | b'+' | b'?' => (1, 0),
        b'{' => counted(rest)?,
        _ => return None,
    };
    let lazy = rest.as_bytes().get(end) == Some(&b'?');
    Some((end + usize::from(lazy), most))
}

fn counted(rest: &str) -> Option<(usize, u32)> {
    let end = rest.find('}')?;
    let inner = rest.get(1..end)?;
    let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
    let number =
        |text: &str| (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().unwrap_or(u32::MAX));
    let least = number(least)?;
    let most = if most.is_empty() { least } else { number(most)? };
    Some((end + 1, least.max(most)))
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn what_re2_reads_is_read() {
        for (pattern, matching) in [
            ("^/service/([^/]+)(/.*)$", "/service/a/b"),
            ("/users/{id}", "/users/{id}"),
            ("a{2}b{1,}c{1,3}", "aabc"),
            ("\\Qa.b\\E+", "a.b"),
            ("[]a]", "]"),
            ("[^]a]", "b"),
            ("[a[]", "["),
            ("[a&&b]", "&"),
            ("[[:digit:]x]", "7"),
            ("(?i)ABC", "abc"),
            ("(?P<year>\\d+)", "2024"),
            ("\\/a\\-b\\_", "/a-b_"),
            ("a}", "a}"),
            ("^(.*?;)?(user=dev-123)(;.*)?", "user=dev-123"),
            ("é{2}", "éé"),
            ("(?:a+?)*b??[*+?]{2}", "aab*+"),
            ("\\*+", "**"),
        ] {
            let regex = compile(pattern).unwrap_or_else(|error| panic!("{error}"));
            assert!(regex.is_match(matching), "{pattern}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        let long = "a".repeat(1025);
        for pattern in [
            "", "*", "(", "[a", "a(?=b)", "(a)\\1", "(?<!a)b", "a**", "a++", "a{2}{3}", "a+??", "|*", "(*a)", "a{1001}", "a{2,1}", "\\",
            &long,
        ] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
        assert_eq!(compile("(a").expect_err("a parenthesis"), "`(a` is not a regular expression: unclosed group");
    }

    #[test]
    fn what_is_too_large_for_a_proxy_is_refused_before_it_costs_much() {
        let error = compile("(a{1000}){100}").expect_err("100,000 characters");
        assert!(error.contains("size limit"), "{error}");
    }
}
