//! Conditions on headers and query parameters: Envoy's `HeaderMatcher` and `QueryParameterMatcher`, compiled.

use http::StatusCode;
use smallvec::SmallVec;
use weir_http1::{HeaderName, Headers, header};
use weir_xds::matcher::string_matcher::MatchPattern;
use weir_xds::matcher::{RegexMatcher, StringMatcher};
use weir_xds::route::header_matcher::HeaderMatchSpecifier;
use weir_xds::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use weir_xds::route::{CookieMatcher, HeaderMatcher, QueryParameterMatcher};

use crate::error::CompileError;
use crate::request::RequestHead;
use crate::text_match::TextMatch;

/// What a header condition is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `:method`.
    Method,
    /// `:authority`, raw: with its port and case.
    Authority,
    /// `:path`, with its query.
    Path,
    /// `:scheme`.
    Scheme,
    /// `:status`, of an answer.
    Status,
    /// A header.
    Header(HeaderName),
}

impl Subject {
    pub(crate) fn parse(name: &str) -> Result<Self, CompileError> {
        Ok(match name.to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":authority" | "host" => Self::Authority,
            ":path" => Self::Path,
            ":scheme" => Self::Scheme,
            ":status" => Self::Status,
            header => Self::Header(
                HeaderName::try_from(header).map_err(|_| CompileError::new("name", format!("`{name}` is no name of a header")))?,
            ),
        })
    }

    /// The values in a request.
    pub(crate) fn values<'h>(&self, head: &RequestHead<'h>) -> SmallVec<[&'h [u8]; 1]> {
        match self {
            Self::Method | Self::Authority | Self::Path | Self::Scheme | Self::Status => self.of_request_line(head).into_iter().collect(),
            Self::Header(name) => head.headers.get_all(name).iter().map(weir_http1::HeaderValue::as_bytes).collect(),
        }
    }

    /// What a request says where it does not say it in a header. A request that could not be read says nothing.
    fn of_request_line<'h>(&self, head: &RequestHead<'h>) -> Option<&'h [u8]> {
        let said = |text: &'h str| Some(text.as_bytes()).filter(|text| !text.is_empty());
        match self {
            Self::Method => said(head.method),
            // An empty host is one, if it was sent.
            Self::Authority => said(head.authority).or_else(|| head.headers.get(header::HOST).map(|_| &b""[..])),
            Self::Path => said(head.path),
            Self::Scheme => said(head.scheme),
            Self::Status | Self::Header(_) => None,
        }
    }

    /// The first value in a request, as text.
    pub fn text<'h>(&self, head: &RequestHead<'h>) -> Option<&'h str> {
        std::str::from_utf8(self.values(head).first()?).ok()
    }

    /// The name, as in xDS.
    pub fn name(&self) -> &str {
        match self {
            Self::Method => ":method",
            Self::Authority => ":authority",
            Self::Path => ":path",
            Self::Scheme => ":scheme",
            Self::Status => ":status",
            Self::Header(name) => name.as_str(),
        }
    }
}

/// A condition on a header.
#[derive(Debug, Clone)]
pub struct HeaderCondition {
    /// Which header.
    pub subject: Subject,
    /// What it must be.
    pub test: HeaderTest,
    /// Whether the test must fail instead.
    pub invert: bool,
    /// Whether an absent header is tested as an empty one.
    pub absent_is_empty: bool,
}

/// What a header must be.
#[derive(Debug, Clone)]
pub enum HeaderTest {
    /// It must be there (or, if false, not be there).
    Present(bool),
    /// One of its values must match; several values are not joined.
    Text(TextMatch),
    /// It must be a whole number from the first (included) to the second (excluded).
    Range(i64, i64),
}

impl HeaderCondition {
    /// Compiles Envoy's matcher.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn compile(matcher: &HeaderMatcher) -> Result<Self, CompileError> {
        let HeaderMatcher { name, header_match_specifier, invert_match, treat_missing_header_as_empty } = matcher;
        let subject = Subject::parse(name)?;
        let text = |pattern: MatchPattern| {
            TextMatch::compile(&StringMatcher { match_pattern: Some(pattern), ignore_case: false }).map(HeaderTest::Text)
        };
        #[allow(deprecated)] // Older control planes still send the old forms.
        let test = match header_match_specifier {
            None => HeaderTest::Present(true),
            Some(HeaderMatchSpecifier::PresentMatch(present)) => HeaderTest::Present(*present),
            Some(HeaderMatchSpecifier::StringMatch(matcher)) => HeaderTest::Text(TextMatch::compile(matcher)?),
            Some(HeaderMatchSpecifier::RangeMatch(range)) => HeaderTest::Range(range.start, range.end),
            // Whatever is there, in this form alone.
            Some(HeaderMatchSpecifier::ExactMatch(exact)) if exact.is_empty() => HeaderTest::Text(TextMatch::Prefix(Box::default())),
            Some(HeaderMatchSpecifier::ExactMatch(exact)) => text(MatchPattern::Exact(exact.clone()))?,
            Some(HeaderMatchSpecifier::PrefixMatch(prefix)) => text(MatchPattern::Prefix(prefix.clone()))?,
            Some(HeaderMatchSpecifier::SuffixMatch(suffix)) => text(MatchPattern::Suffix(suffix.clone()))?,
            Some(HeaderMatchSpecifier::ContainsMatch(part)) => text(MatchPattern::Contains(part.clone()))?,
            Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => text(MatchPattern::SafeRegex(RegexMatcher::clone(regex)))?,
        };
        Ok(Self { subject, test, invert: *invert_match, absent_is_empty: *treat_missing_header_as_empty })
    }

    /// The header and the one value that satisfies this condition, where it is as simple as that.
    pub fn exact(&self) -> Option<(&HeaderName, &[u8])> {
        match (&self.subject, &self.test) {
            (Subject::Header(name), HeaderTest::Text(text)) if !self.invert && !self.absent_is_empty => Some((name, text.exact()?)),
            _ => None,
        }
    }

    /// Whether a request satisfies this condition.
    pub fn holds(&self, head: &RequestHead<'_>) -> bool {
        match &self.subject {
            subject @ (Subject::Method | Subject::Authority | Subject::Path | Subject::Scheme | Subject::Status) => {
                self.holds_for(subject.of_request_line(head).into_iter())
            }
            Subject::Header(name) => self.holds_for(head.headers.get_all(name).iter().map(weir_http1::HeaderValue::as_bytes)),
        }
    }

    /// Whether an answer satisfies this condition.
    pub fn holds_for_answer(&self, status: StatusCode, headers: &Headers) -> bool {
        match &self.subject {
            Subject::Status => self.holds_for(Some(status.as_str().as_bytes()).into_iter()),
            Subject::Header(name) => self.holds_for(headers.get_all(name).iter().map(weir_http1::HeaderValue::as_bytes)),
            Subject::Method | Subject::Authority | Subject::Path | Subject::Scheme => self.holds_for(std::iter::empty()),
        }
    }

    /// Whether what has no headers at all satisfies this condition.
    pub(crate) fn holds_for_nothing(&self) -> bool {
        self.holds_for(std::iter::empty())
    }

    fn holds_for<'v>(&self, values: impl Iterator<Item = &'v [u8]>) -> bool {
        let mut values = values.peekable();
        if let HeaderTest::Present(present) = self.test {
            // What counts as an empty text is there.
            return ((values.peek().is_some() || self.absent_is_empty) == present) != self.invert;
        }
        if values.peek().is_none() {
            // A header that is not there satisfies no test, and so no inverted one either, but as an empty text.
            return self.absent_is_empty && self.test.holds(b"") != self.invert;
        }
        values.any(|value| self.test.holds(value)) != self.invert
    }
}

impl HeaderTest {
    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Present(present) => *present,
            Self::Text(text) => text.matches(value),
            Self::Range(start, end) => {
                let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
                number.is_some_and(|number| (*start..*end).contains(&number))
            }
        }
    }
}

/// A condition on a query parameter.
#[derive(Debug, Clone)]
pub struct QueryCondition {
    /// Which parameter; case matters.
    pub name: Box<str>,
    /// What its first value must be; with `None` it need only be there.
    pub text: Option<TextMatch>,
    /// Whether it must be absent: an inverted presence.
    pub absent: bool,
}

impl QueryCondition {
    /// Compiles Envoy's matcher.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn compile(matcher: &QueryParameterMatcher) -> Result<Self, CompileError> {
        let QueryParameterMatcher { name, query_parameter_match_specifier } = matcher;
        let (text, absent) = match query_parameter_match_specifier {
            None => (None, false),
            Some(QueryParameterMatchSpecifier::PresentMatch(present)) => (None, !present),
            Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => (Some(TextMatch::compile(matcher)?), false),
        };
        Ok(Self { name: parameter_name(name)?, text, absent })
    }

    /// Whether a request satisfies this condition.
    pub fn holds(&self, head: &RequestHead<'_>) -> bool {
        self.holds_for(head.query_parameter(&self.name).map(str::as_bytes))
    }

    /// Whether the parameter's first value, if there is one, satisfies this condition.
    pub(crate) fn holds_for(&self, value: Option<&[u8]>) -> bool {
        match (value, &self.text) {
            (Some(value), Some(text)) => text.matches(value),
            (value, None) => value.is_some() != self.absent,
            (None, Some(_)) => false,
        }
    }
}

/// Envoy's limits for the name of a query parameter or a cookie.
fn parameter_name(name: &str) -> Result<Box<str>, CompileError> {
    if name.is_empty() || name.len() > 1024 {
        return Err(CompileError::new("name", "must have between 1 and 1024 bytes"));
    }
    Ok(name.into())
}

/// A condition on a cookie.
#[derive(Debug, Clone)]
pub struct CookieCondition {
    /// Which cookie; case matters.
    pub name: Box<str>,
    /// What its first value must be. An absent cookie is nothing.
    pub text: TextMatch,
    /// Whether it must be something else, or absent.
    pub invert: bool,
}

impl CookieCondition {
    /// Compiles Envoy's matcher.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn compile(matcher: &CookieMatcher) -> Result<Self, CompileError> {
        let CookieMatcher { name, string_match, invert_match } = matcher;
        let text = string_match.as_ref().ok_or_else(|| CompileError::missing("string_match"))?;
        Ok(Self { name: parameter_name(name)?, text: TextMatch::compile(text)?, invert: *invert_match })
    }

    /// Whether a request satisfies this condition.
    pub fn holds(&self, head: &RequestHead<'_>) -> bool {
        head.cookie(&self.name).is_some_and(|value| self.text.matches(value)) != self.invert
    }
}
