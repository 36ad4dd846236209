//! Conditions on an answer's head: Envoy's `MatchPredicate`, as far as it looks at response headers.

use http::StatusCode;
use weir_http1::Headers;
use weir_xds::envoy::config::common::matcher::v3::MatchPredicate;
use weir_xds::envoy::config::common::matcher::v3::match_predicate::{MatchSet, Rule};

use crate::condition::HeaderCondition;
use crate::error::CompileError;

/// No control plane nests deeper.
const MAX_DEPTH: usize = 16;

/// A condition on an answer.
#[derive(Debug, Clone)]
pub enum AnswerMatch {
    /// One of these holds.
    Any(Vec<AnswerMatch>),
    /// All of these hold.
    All(Vec<AnswerMatch>),
    /// This does not hold.
    Not(Box<AnswerMatch>),
    /// It holds, or does not, whatever the answer.
    Always(bool),
    /// All these headers are as they must be; `:status` is one.
    Headers(Vec<HeaderCondition>),
}

impl AnswerMatch {
    /// Compiles Envoy's predicate.
    ///
    /// # Errors
    /// If it is not valid, or looks at something else than the head of an answer.
    pub fn compile(predicate: &MatchPredicate) -> Result<Self, CompileError> {
        Self::compile_within(predicate, MAX_DEPTH)
    }

    fn compile_within(predicate: &MatchPredicate, depth: usize) -> Result<Self, CompileError> {
        let Some(depth) = depth.checked_sub(1) else { return Err(CompileError::new("rule", "is nested too deeply")) };
        let set = |set: &MatchSet| set.rules.iter().map(|rule| Self::compile_within(rule, depth)).collect::<Result<Vec<_>, _>>();
        Ok(match &predicate.rule {
            Some(Rule::OrMatch(rules)) => Self::Any(set(rules)?),
            Some(Rule::AndMatch(rules)) => Self::All(set(rules)?),
            Some(Rule::NotMatch(rule)) => Self::Not(Box::new(Self::compile_within(rule, depth)?)),
            Some(Rule::AnyMatch(any)) => Self::Always(*any),
            Some(Rule::HttpResponseHeadersMatch(headers)) => {
                Self::Headers(headers.headers.iter().map(HeaderCondition::compile).collect::<Result<_, _>>()?)
            }
            Some(_) => return Err(CompileError::new("rule", "looks at something else than the headers of the response")),
            None => return Err(CompileError::missing("rule")),
        })
    }

    /// Whether an answer satisfies this condition.
    pub fn matches(&self, status: StatusCode, headers: &Headers) -> bool {
        match self {
            Self::Any(rules) => rules.iter().any(|rule| rule.matches(status, headers)),
            Self::All(rules) => rules.iter().all(|rule| rule.matches(status, headers)),
            Self::Not(rule) => !rule.matches(status, headers),
            Self::Always(holds) => *holds,
            Self::Headers(conditions) => conditions.iter().all(|condition| condition.holds_for_answer(status, headers)),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::envoy::config::common::matcher::v3::HttpHeadersMatch;
    use weir_xds::matcher::{StringMatcher, string_matcher::MatchPattern};
    use weir_xds::route::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};

    use super::*;

    fn rule(rule: Rule) -> MatchPredicate {
        MatchPredicate { rule: Some(rule) }
    }

    /// A header that must be so, or only be there.
    fn header(name: &str, value: Option<&str>) -> HttpHeadersMatch {
        let text = |value: &str| StringMatcher { match_pattern: Some(MatchPattern::Exact(value.to_owned())), ignore_case: false };
        let specifier = value.map_or(HeaderMatchSpecifier::PresentMatch(true), |value| HeaderMatchSpecifier::StringMatch(text(value)));
        let matcher = HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() };
        HttpHeadersMatch { headers: vec![matcher] }
    }

    fn status(code: &str) -> MatchPredicate {
        rule(Rule::HttpResponseHeadersMatch(header(":status", Some(code))))
    }

    fn matches(predicate: &MatchPredicate, status: u16, broken: bool) -> bool {
        let mut headers = Headers::new();
        if broken {
            headers.insert("x-broken", weir_http1::HeaderValue::from_static("yes"));
        }
        AnswerMatch::compile(predicate).expect("valid").matches(StatusCode::from_u16(status).expect("a status"), &headers)
    }

    #[test]
    fn statuses_and_headers_of_answers_are_looked_at() {
        assert!(matches(&status("429"), 429, false) && !matches(&status("429"), 503, false));
        let either = rule(Rule::OrMatch(MatchSet { rules: vec![status("429"), status("503")] }));
        assert!(matches(&either, 503, false) && matches(&either, 429, false) && !matches(&either, 500, false));
        assert!(!matches(&rule(Rule::NotMatch(Box::new(either))), 503, false));
        let broken = rule(Rule::HttpResponseHeadersMatch(header("x-broken", None)));
        let both = rule(Rule::AndMatch(MatchSet { rules: vec![broken, status("200")] }));
        assert!(matches(&both, 200, true) && !matches(&both, 200, false) && !matches(&both, 201, true));
        assert!(matches(&rule(Rule::AnyMatch(true)), 200, false));
    }

    #[test]
    fn what_is_not_the_head_of_an_answer_is_refused() {
        assert!(AnswerMatch::compile(&rule(Rule::HttpRequestHeadersMatch(header("a", None)))).is_err());
        assert!(AnswerMatch::compile(&MatchPredicate::default()).is_err());
        let deep = (0..20).fold(rule(Rule::AnyMatch(true)), |inner, _| rule(Rule::NotMatch(Box::new(inner))));
        assert!(AnswerMatch::compile(&deep).is_err());
    }
}
