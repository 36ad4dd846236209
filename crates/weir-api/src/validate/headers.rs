//! Names and values of HTTP headers, and the changes that rules make to them.

use super::checker::Checker;
use crate::resources::http_policy::{HeaderOperations, Headers};

const NAME_HELP: &str = "letters, digits, `-` and `_`";
/// What HTTP allows in a name besides letters and digits.
const MARKS: &[u8] = b"!#$%&'*+-.^_`|~";

/// Checks the name of a header that is listed: letters, digits, `-` and `_`.
pub(super) fn check_plain_name(c: &mut Checker<'_>, name: &str) {
    check_name_of(c, name, name, b"-_");
}

/// Checks the name of a header that is compared, which may be one of HTTP/2's such as `:authority`.
pub(super) fn check_name(c: &mut Checker<'_>, name: &str) {
    check_name_of(c, name, name.strip_prefix(':').unwrap_or(name), MARKS);
}

fn check_name_of(c: &mut Checker<'_>, name: &str, token: &str, marks: &[u8]) {
    if name.is_empty() {
        c.error_help("the name of the header is empty", NAME_HELP);
    } else if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte)) {
        c.error_help(format!("`{name}` is not the name of a header"), NAME_HELP);
    }
}

/// Whether a header is the request's host under one of its names.
pub(super) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// Checks the changes to the headers of requests and responses.
pub(super) fn check_headers(c: &mut Checker<'_>, headers: &Headers) {
    c.some("request", &headers.request, |c, request| check_operations(c, request, true));
    c.some("response", &headers.response, |c, response| check_operations(c, response, false));
}

fn check_operations(c: &mut Checker<'_>, operations: &HeaderOperations, of_request: bool) {
    for (key, headers) in [("set", &operations.set), ("add", &operations.add)] {
        c.entries(key, headers, |c, name, value| {
            if !(of_request && is_authority(name)) {
                check_changed_name(c, name);
            }
            check_value(c, value);
        });
    }
    c.each("remove", &operations.remove, |c, name| check_changed_name(c, name));
}

fn check_changed_name(c: &mut Checker<'_>, name: &str) {
    if name.is_empty() {
        c.error_help("the name of the header is empty", NAME_HELP);
    } else if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        c.error_help(format!("the header `{name}` cannot be changed here"), "the host of a request is changed by `rewrite.authority`");
    } else if name.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        c.error_help(format!("{name:?} is not the name of a header"), NAME_HELP);
    }
}

fn check_value(c: &mut Checker<'_>, value: &str) {
    if value.chars().any(|letter| letter.is_control() && letter != '\t') {
        return c.error("the value holds a control character, which no header can");
    }
    match commands(value) {
        Err(wrong) => c.error_help(wrong, "a command is written %NAME% or %NAME(…)%, a percent sign of its own %%"),
        Ok(names) => {
            for name in names.into_iter().filter(|name| !is_command(name)) {
                c.warn_help(
                    format!("`%{name}%` is read as a command, and there is none of that name"),
                    "a percent sign of its own is written %%",
                );
            }
        }
    }
}

fn is_command(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The names of the commands in a value: what stands between percent signs.
fn commands(value: &str) -> Result<Vec<&str>, String> {
    let mut names = vec![];
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            continue;
        }
        let open = || format!("a percent sign begins a command that does not end: `%{after}`");
        let end = after.find(['%', '(']).ok_or_else(open)?;
        names.push(&after[..end]);
        rest = &after[end + 1..];
        if after[end..].starts_with('(') {
            rest = after_arguments(rest).ok_or_else(open)?;
        }
    }
    Ok(names)
}

/// What follows a command's arguments, from behind the opening parenthesis: the closing one, perhaps a length as
/// `:20`, and the percent sign.
fn after_arguments(text: &str) -> Option<&str> {
    let mut escaped = false;
    let close = text.find(|letter| {
        let found = letter == ')' && !escaped;
        escaped = letter == '\\' && !escaped;
        found
    })?;
    let rest = text[close + 1..].trim_start_matches(' ');
    let rest = rest.strip_prefix(':').map_or(rest, |length| length.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    rest.strip_prefix('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found() {
        for (value, names) in [
            ("", Some(vec![])),
            ("plain", Some(vec![])),
            ("100%%", Some(vec![])),
            ("hello %HOSTNAME%", Some(vec!["HOSTNAME"])),
            ("%REQ(x-a)%%RESP(b):20%", Some(vec!["REQ", "RESP"])),
            ("%UPSTREAM_METADATA([\"a\", \"b\\)\"])%!", Some(vec!["UPSTREAM_METADATA"])),
            ("[%REQ(x)%]", Some(vec!["REQ"])),
            ("% sure 50%", Some(vec![" sure 50"])),
            ("100%", None),
            ("abcd%oijasodifj", None),
            ("%START_TIME%%", None),
            ("%REQ(x", None),
            ("%REQ(x)y%", None),
        ] {
            assert_eq!(commands(value).ok(), names, "{value}");
        }
    }

    #[test]
    fn names_are_tokens() {
        for (name, compared, plain) in [
            ("end-user", true, true),
            ("x_a.b", true, false),
            ("funky!$#_", true, false),
            (":authority", true, false),
            ("", false, false),
            (":", false, false),
            ("::a", false, false),
            ("a b", false, false),
            ("a\"b", false, false),
        ] {
            let said = |check: fn(&mut Checker<'_>, &str)| {
                let mut checker = Checker::new("default");
                check(&mut checker, name);
                checker.finish().len()
            };
            assert_eq!((said(check_name), said(check_plain_name)), (usize::from(!compared), usize::from(!plain)), "{name}");
        }
    }

    #[test]
    fn changes_are_checked() {
        for (set, of_request, count) in [
            (("x-a", "b"), true, 0),
            (("Host", "b"), true, 0),
            ((":authority", "b"), true, 0),
            (("host", "b"), false, 1),
            ((":path", "/"), true, 1),
            (("", "b"), true, 1),
            (("x a", "b"), true, 1),
            (("x-a", "a\nb"), true, 1),
            (("x-a", "5%"), true, 1),
            (("x-a", "5% or 6%"), true, 1),
        ] {
            let operations = HeaderOperations { set: [(set.0.to_owned(), set.1.to_owned())].into(), ..Default::default() };
            let mut checker = Checker::new("default");
            check_operations(&mut checker, &operations, of_request);
            assert_eq!(checker.finish().len(), count, "{set:?}");
        }
    }
}
