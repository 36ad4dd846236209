//! How texts of a request are compared: Envoy's `StringMatcher` and `RegexMatcher`, compiled.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind, Look};
use weir_xds::matcher::string_matcher::MatchPattern;
use weir_xds::matcher::{RegexMatcher, StringMatcher};

use crate::error::CompileError;

/// A compiled regular expression may take this much memory; a larger one is refused.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// A compiled comparison of a text, which need not be UTF-8.
#[derive(Debug, Clone)]
pub enum TextMatch {
    /// The whole text.
    Exact(Box<[u8]>),
    /// How it begins.
    Prefix(Box<[u8]>),
    /// How it ends.
    Suffix(Box<[u8]>),
    /// What stands somewhere in it.
    Contains(Box<[u8]>),
    /// An expression for the whole text.
    Regex(Box<Regex>),
    /// One of the first four, compared without ASCII case; its own text is in lower case.
    IgnoreCase(Box<TextMatch>),
}

impl TextMatch {
    /// Compiles Envoy's matcher.
    ///
    /// # Errors
    /// If it has no pattern, or one that is no valid expression.
    pub fn compile(matcher: &StringMatcher) -> Result<Self, CompileError> {
        let StringMatcher { match_pattern, ignore_case } = matcher;
        let fold = |text: &str| if *ignore_case { text.to_ascii_lowercase() } else { text.to_owned() }.into_bytes().into_boxed_slice();
        let part = |field: &str, text: &str| match text {
            "" => Err(CompileError::new(field, "must not be empty")),
            text => Ok(fold(text)),
        };
        let compiled = match match_pattern {
            Some(MatchPattern::Exact(text)) => Self::Exact(fold(text)),
            Some(MatchPattern::Prefix(text)) => Self::Prefix(part("prefix", text)?),
            Some(MatchPattern::Suffix(text)) => Self::Suffix(part("suffix", text)?),
            Some(MatchPattern::Contains(text)) => Self::Contains(part("contains", text)?),
            Some(MatchPattern::SafeRegex(_)) if *ignore_case => {
                return Err(CompileError::new("ignore_case", "has no effect on an expression, which may begin with `(?i)`"));
            }
            Some(MatchPattern::SafeRegex(regex)) => return Ok(Self::Regex(Box::new(compile_regex(regex)?))),
            Some(MatchPattern::Custom(_)) => return Err(CompileError::unsupported("string_match.custom")),
            None => return Err(CompileError::missing("string_match.match_pattern")),
        };
        Ok(if *ignore_case { Self::IgnoreCase(Box::new(compiled)) } else { compiled })
    }

    /// The text, where this matches just one, case and all.
    pub fn exact(&self) -> Option<&[u8]> {
        match self {
            Self::Exact(text) => Some(text),
            _ => None,
        }
    }

    /// Whether a text matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => **exact == *text,
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Suffix(suffix) => text.ends_with(suffix),
            Self::Contains(part) => contains(text, part),
            Self::Regex(regex) => regex.is_match(text),
            Self::IgnoreCase(matcher) => matcher.matches_folded(text),
        }
    }

    fn matches_folded(&self, text: &[u8]) -> bool {
        let same = |part: &[u8], pattern: &[u8]| part.eq_ignore_ascii_case(pattern);
        match self {
            Self::Exact(exact) => same(text, exact),
            Self::Prefix(prefix) => text.get(..prefix.len()).is_some_and(|start| same(start, prefix)),
            Self::Suffix(suffix) => text.len().checked_sub(suffix.len()).is_some_and(|start| same(&text[start..], suffix)),
            Self::Contains(part) => contains(&text.to_ascii_lowercase(), part),
            Self::Regex(_) | Self::IgnoreCase(_) => self.matches(text),
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// Compiles an expression that must match a whole text, as Envoy's do.
///
/// # Errors
/// If it is not valid, or too large when compiled.
pub fn compile_regex(regex: &RegexMatcher) -> Result<Regex, CompileError> {
    if regex.regex.is_empty() {
        return Err(CompileError::missing("regex"));
    }
    build(&whole(&regex.regex)).map_err(|error| CompileError::regex(&regex.regex, &error))
}

/// Compiles an expression that may match anywhere: the pattern of a rewrite.
///
/// # Errors
/// If it is not valid, or too large when compiled.
pub fn compile_search(regex: &RegexMatcher) -> Result<Regex, CompileError> {
    build(&regex.regex).map_err(|error| CompileError::regex(&regex.regex, &error))
}

fn build(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(REGEX_SIZE_LIMIT).build()
}

/// The expression for a whole text.
pub fn whole(pattern: &str) -> String {
    format!("^(?:{pattern})$")
}

/// What every text begins with that a compiled expression matches; empty if nothing is sure.
pub fn literal_prefix(pattern: &str) -> Vec<u8> {
    let Ok(parsed) = regex_syntax::parse(pattern) else { return vec![] };
    let mut prefix = vec![];
    append_literal(&parsed, &mut prefix);
    prefix
}

/// Appends the text that an expression begins with; whether it is nothing else, so that what follows may be appended, too.
fn append_literal(part: &Hir, prefix: &mut Vec<u8>) -> bool {
    match part.kind() {
        HirKind::Literal(literal) => {
            prefix.extend_from_slice(&literal.0);
            true
        }
        HirKind::Empty | HirKind::Look(Look::Start) => true,
        HirKind::Capture(capture) => append_literal(&capture.sub, prefix),
        HirKind::Concat(parts) => parts.iter().all(|part| append_literal(part, prefix)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(pattern: MatchPattern, ignore_case: bool) -> TextMatch {
        TextMatch::compile(&StringMatcher { match_pattern: Some(pattern), ignore_case }).expect("valid")
    }

    fn regex(pattern: &str) -> MatchPattern {
        MatchPattern::SafeRegex(RegexMatcher { regex: pattern.into(), ..Default::default() })
    }

    #[test]
    fn each_kind_compares_as_envoy_does() {
        let cases: &[(MatchPattern, bool, &str, bool)] = &[
            (MatchPattern::Exact("a b".into()), false, "a b", true),
            (MatchPattern::Exact("a b".into()), false, "A b", false),
            (MatchPattern::Exact("a b".into()), true, "A b", true),
            (MatchPattern::Prefix("ab".into()), false, "abc", true),
            (MatchPattern::Prefix("ab".into()), true, "a", false),
            (MatchPattern::Suffix("BC".into()), true, "abc", true),
            (MatchPattern::Contains("x".into()), false, "abc", false),
            (regex("[a-z]+-[0-9]+"), false, "abc-12", true),
            (regex("[a-z]+-[0-9]+"), false, "abc-12-", false),
            (regex("a|ab"), false, "ab", true),
            (regex("(?i)abc"), false, "ABC", true),
            (regex(".*"), false, "", true),
        ];
        for (pattern, ignore_case, text, expected) in cases {
            let matcher = compile(pattern.clone(), *ignore_case);
            assert_eq!(matcher.matches(text.as_bytes()), *expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn how_a_match_must_begin_is_found() {
        let cases = [
            ("/api/v1/[a-z]+", "/api/v1/"),
            ("/(api)/v1", "/api/v1"),
            ("/a|/ab", ""),
            ("/a|b", ""),
            ("(?i)/abc", "/"),
            ("/ab?c", "/a"),
            ("/(a|b)/c", "/"),
            (".*", ""),
            ("^/a$", "/a"),
            ("/a{2}", "/"),
        ];
        for (pattern, expected) in cases {
            assert_eq!(String::from_utf8_lossy(&literal_prefix(&whole(pattern))), expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let matcher = StringMatcher { match_pattern: Some(regex("a(b")), ignore_case: false };
        assert!(TextMatch::compile(&matcher).expect_err("unclosed").to_string().contains("a(b"));
    }

    #[test]
    fn what_makes_no_difference_is_refused() {
        for pattern in [MatchPattern::Prefix(String::new()), MatchPattern::Suffix(String::new()), MatchPattern::Contains(String::new())] {
            let matcher = StringMatcher { match_pattern: Some(pattern), ignore_case: false };
            assert!(TextMatch::compile(&matcher).is_err(), "{matcher:?}");
        }
        assert!(TextMatch::compile(&StringMatcher { match_pattern: Some(regex("")), ignore_case: false }).is_err());
        assert!(TextMatch::compile(&StringMatcher { match_pattern: Some(regex("a")), ignore_case: true }).is_err());
    }
}
