//! Envoy's `RegexMatchAndSubstitute`: an expression, and what takes the place of every text that it finds.

use std::fmt::Write as _;

use regex::bytes::Regex;
use weir_xds::matcher::RegexMatchAndSubstitute;

use crate::error::CompileError;
use crate::text_match::compile_search;

/// A compiled substitution.
#[derive(Debug, Clone)]
pub struct Substitution {
    regex: Regex,
    /// What takes the place of a find; without one everything stays as it is.
    replacement: Option<Box<str>>,
}

impl Substitution {
    /// Compiles Envoy's message.
    ///
    /// # Errors
    /// If the expression is missing or not valid.
    pub fn compile(rewrite: &RegexMatchAndSubstitute) -> Result<Self, CompileError> {
        let RegexMatchAndSubstitute { pattern, substitution } = rewrite;
        let regex = compile_search(pattern.as_ref().ok_or_else(|| CompileError::missing("pattern"))?)?;
        let replacement = replacement(substitution, regex.captures_len()).map(Into::into);
        Ok(Self { regex, replacement })
    }

    /// The text with every find replaced.
    pub fn apply(&self, text: &str) -> String {
        let Some(replacement) = &self.replacement else { return text.to_owned() };
        String::from_utf8_lossy(&self.regex.replace_all(text.as_bytes(), replacement.as_bytes())).into_owned()
    }
}

/// RE2's `\1` as this library's `${1}`. As in RE2, a group that the expression does not have makes the whole substitution do
/// nothing, and what stands behind a backslash that belongs to nothing is lost.
fn replacement(text: &str, groups: usize) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    let mut broken = false;
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        match (c, escaped) {
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                if digit.to_digit(10).is_some_and(|group| group as usize >= groups) {
                    return None;
                }
                if !broken {
                    let _ = write!(out, "${{{digit}}}");
                }
            }
            ('\\', Some('\\')) if !broken => out.push('\\'),
            ('\\', Some('\\')) => {}
            ('\\', _) => broken = true,
            (_, _) if broken => {}
            ('$', _) => out.push_str("$$"),
            (c, _) => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use weir_xds::matcher::RegexMatcher;

    use super::*;

    #[test]
    fn every_find_is_replaced_as_re2_does() {
        let cases = [
            ("/v([0-9])", r"/$\1", "/v1/v2", "/$1/$2"),
            ("^/([^/]+)/(.*)$", r"/\2/\1", "/a/b/c", "/b/c/a"),
            ("[a-z]", r"\0z", "/ab", "/azbz"),
            ("x*", "-", "/ab", "-/-a-b-"),
            ("/", r"\\", "/a", r"\a"),
            // A group that there is not: nothing happens.
            ("[a-z]", r"\1", "/x.css", "/x.css"),
            ("(a)(b)?", r"[\2]", "/a", "/[]"),
            // An escape that there is not.
            ("a", r"1\z2", "/ab", "/1b"),
            ("a", r"1\", "/ab", "/1b"),
        ];
        for (pattern, to, text, expected) in cases {
            let pattern_message = Some(RegexMatcher { regex: pattern.into(), ..Default::default() });
            let rewrite = RegexMatchAndSubstitute { pattern: pattern_message, substitution: to.into() };
            assert_eq!(Substitution::compile(&rewrite).expect("valid").apply(text), expected, "{pattern} to {to} in {text}");
        }
    }
}
