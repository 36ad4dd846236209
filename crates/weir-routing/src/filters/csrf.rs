//! Requests that another site makes in its visitors' names: Envoy's CSRF filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/csrf_filter>).
//!
//! A request that changes something must come from the host that it is for, or one that is named.

use std::sync::Arc;

use weir_http1::header::{ORIGIN, REFERER};
use weir_http1::{HeaderName, HeaderValue};
use weir_xds::csrf::CsrfPolicy as Message;

use super::counters::counters;
use super::{Policy, Share};
use crate::error::CompileError;
use crate::request::RequestHead;
use crate::text_match::TextMatch;

counters! {
    /// Where requests that change something came from.
    CsrfCounters: missing_source_origin request_invalid request_valid
}

/// Which requests are refused. A route's takes the place of the filter's.
#[derive(Debug, Clone)]
pub struct CsrfPolicy {
    /// For which share of requests it is.
    enabled: Share,
    /// Which share of the others is watched.
    watched: Share,
    /// Other hosts that may ask.
    origins: Box<[TextMatch]>,
    /// What is counted by those who hold this policy. A filter counts in its own, whatever a route says.
    pub counted: Arc<CsrfCounters>,
}

/// Where a request comes from that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Whether it says so.
    pub has_source: bool,
    /// Whether that may be.
    pub is_valid: bool,
    /// Whether it is refused otherwise, and not only watched.
    pub is_enforced: bool,
}

impl Judged {
    /// Whether the request goes no further.
    pub fn is_refused(self) -> bool {
        self.is_enforced && !self.is_valid
    }
}

impl CsrfCounters {
    /// Counts what was found of a request.
    pub fn count(&self, judged: Judged) {
        let counter = match judged {
            Judged { has_source: false, .. } => &self.missing_source_origin,
            Judged { is_valid: false, .. } => &self.request_invalid,
            Judged { .. } => &self.request_valid,
        };
        counter.count();
    }
}

impl Policy for CsrfPolicy {
    type Message = Message;

    fn compile(message: &Message) -> Result<Self, CompileError> {
        let Message { filter_enabled, shadow_enabled, additional_origins } = message;
        let watched = Share::of_runtime(shadow_enabled.as_ref(), "shadow_enabled")?;
        let enabled = Share::of_runtime(filter_enabled.as_ref(), "filter_enabled")?;
        let origin =
            |(i, matcher)| TextMatch::compile(matcher).map_err(|error: CompileError| error.within(&format!("additional_origins[{i}]")));
        Ok(Self {
            enabled: enabled.ok_or_else(|| CompileError::missing("filter_enabled"))?,
            watched: watched.unwrap_or(Share::NONE),
            origins: additional_origins.iter().enumerate().map(origin).collect::<Result<_, _>>()?,
            counted: Arc::default(),
        })
    }
}

impl CsrfPolicy {
    /// Where a request comes from; none if it is not looked at. `random` is what chance gives it.
    pub fn judge(&self, head: &RequestHead<'_>, random: impl Fn() -> u32) -> Option<Judged> {
        if !matches!(head.method, "POST" | "PUT" | "DELETE" | "PATCH") {
            return None;
        }
        let is_enforced = self.enabled.takes(random());
        if !is_enforced && !self.watched.takes(random()) {
            return None;
        }
        let said = |name: HeaderName| head.headers.get(name).map(HeaderValue::as_bytes).map_or(&[][..], host_of);
        let source = match said(ORIGIN) {
            b"" => said(REFERER),
            origin => origin,
        };
        let is_own = source == host_of(head.authority.as_bytes());
        let (has_source, is_known) = (!source.is_empty(), is_own || self.origins.iter().any(|origin| origin.matches(source)));
        Some(Judged { has_source, is_valid: has_source && is_known, is_enforced })
    }
}

/// The host and port of a URL; a text that is none is taken for them.
fn host_of(text: &[u8]) -> &[u8] {
    let scheme = text.windows(3).position(|part| part == b"://").filter(|end| *end > 0);
    let Some(rest) = scheme.and_then(|end| text.get(end + 3..)) else { return text };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    rest.get(..end).unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use weir_http1::Headers;
    use weir_xds::core::RuntimeFractionalPercent;
    use weir_xds::matcher::StringMatcher;
    use weir_xds::matcher::string_matcher::MatchPattern;
    use weir_xds::types::FractionalPercent;

    use super::*;

    type Pairs<'p> = &'p [(&'static str, &'static str)];

    fn percent(numerator: u32) -> Option<RuntimeFractionalPercent> {
        let default_value = Some(FractionalPercent { numerator, ..Default::default() });
        Some(RuntimeFractionalPercent { default_value, ..Default::default() })
    }

    fn policy(numerator: u32) -> CsrfPolicy {
        let suffix = StringMatcher { match_pattern: Some(MatchPattern::Suffix(".friend.test".into())), ..Default::default() };
        let message = Message { filter_enabled: percent(numerator), shadow_enabled: percent(100), additional_origins: vec![suffix] };
        CsrfPolicy::compile(&message).expect("valid")
    }

    #[test]
    fn what_changes_something_must_come_from_its_own_host_or_a_friend() {
        let (origin, referer) = ("origin", "referer");
        let cases: [(&str, Pairs<'_>, bool); 14] = [
            ("POST", &[(origin, "http://a.test:80")], false),
            ("PUT", &[(origin, "https://a.test:80")], false),
            ("PATCH", &[(origin, "a.test:80")], false),
            ("DELETE", &[(referer, "http://a.test:80/x?y")], false),
            ("POST", &[(origin, ""), (referer, "http://a.test:80/x")], false),
            ("POST", &[(origin, "http://b.friend.test")], false),
            ("POST", &[(origin, "http://a.test")], true),
            ("POST", &[(origin, "http://evil.test"), (referer, "http://a.test:80/")], true),
            ("POST", &[(origin, "null")], true),
            ("POST", &[(origin, "http://friend.test.evil")], true),
            ("POST", &[], true),
            ("GET", &[(origin, "http://evil.test")], false),
            ("OPTIONS", &[], false),
            ("post", &[], false),
        ];
        for (method, said, refused) in cases {
            let headers: Headers =
                said.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
            let head = RequestHead { method, scheme: "http", authority: "a.test:80", path: "/", headers: &headers, random: 0 };
            let judged = policy(100).judge(&head, || 0);
            assert_eq!(judged.is_some_and(Judged::is_refused), refused, "{method} {said:?}");
            let watched = policy(0).judge(&head, || 0);
            assert_eq!(watched.map(|watched| watched.is_valid), judged.map(|judged| judged.is_valid));
            assert!(!watched.is_some_and(Judged::is_refused), "it is only watched");
        }
    }

    #[test]
    fn who_does_not_say_where_it_comes_from_is_counted_apart() {
        let counted = CsrfCounters::default();
        for (has_source, is_valid) in [(true, true), (true, false), (false, false)] {
            counted.count(Judged { has_source, is_valid, is_enforced: true });
        }
        assert_eq!(counted.all(), [("missing_source_origin", 1), ("request_invalid", 1), ("request_valid", 1)]);
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        assert!(CsrfPolicy::compile(&Message::default()).is_err());
        let nothing = StringMatcher::default();
        let message = Message { filter_enabled: percent(1), additional_origins: vec![nothing], ..Default::default() };
        let error = CsrfPolicy::compile(&message).expect_err("no pattern");
        assert!(error.path.starts_with("additional_origins[0]"), "{error}");
    }
}
