//! Cross-origin requests: Envoy's CORS filter, compiled. Which scripts of which sites may ask, as browsers enforce it
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/cors_filter>).

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap,
    HeaderName, HeaderValue, ORIGIN,
};
use weir_xds::cors::CorsPolicy;

use crate::error::CompileError;
use crate::text_match::TextMatch;

/// What a route says of cross-origin requests.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Vec<TextMatch>,
    allow_methods: Option<HeaderValue>,
    allow_headers: Option<HeaderValue>,
    expose_headers: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
    forward_unmatched: bool,
}

/// What becomes of a request that names an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent on; nothing is said of origins.
    Forward,
    /// It is sent on, and the answer says that this origin may read it.
    Allow(HeaderValue),
    /// It is a preflight, and answered with 200 and these headers.
    Answer(HeaderMap),
}

impl Cors {
    /// Compiles Envoy's policy; `None` if it is not enabled.
    ///
    /// # Errors
    /// If a matcher is not valid, or a text is no value of a header.
    pub fn compile(policy: &CorsPolicy) -> Result<Option<Self>, CompileError> {
        let share = policy.filter_enabled.as_ref().and_then(|enabled| enabled.default_value.as_ref());
        if share.is_some_and(|share| share.numerator == 0) {
            return Ok(None);
        }
        let origins = policy.allow_origin_string_match.iter().map(TextMatch::compile).collect::<Result<_, _>>()?;
        Ok(Some(Self {
            origins,
            allow_methods: header(&policy.allow_methods, "allow_methods")?,
            allow_headers: header(&policy.allow_headers, "allow_headers")?,
            expose_headers: header(&policy.expose_headers, "expose_headers")?,
            max_age: header(&policy.max_age, "max_age")?,
            credentials: policy.allow_credentials.unwrap_or(false),
            forward_unmatched: policy.forward_not_matching_preflights.unwrap_or(true),
        }))
    }

    /// What becomes of a request.
    pub fn judge(&self, method: &str, headers: &HeaderMap) -> Verdict {
        let Some(origin) = headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else { return Verdict::Forward };
        let allowed = self.allows(origin);
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|asked| !asked.is_empty());
        match asked.filter(|_| method == "OPTIONS") {
            Some(asked) if allowed || !self.forward_unmatched => {
                Verdict::Answer(self.preflight(allowed.then_some(origin), asked, headers.get(ACCESS_CONTROL_REQUEST_HEADERS)))
            }
            _ if allowed => Verdict::Allow(origin.clone()),
            _ => Verdict::Forward,
        }
    }

    /// A matcher that takes a star takes every origin.
    fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|matcher| matcher.matches(b"*") || matcher.matches(origin.as_bytes()))
    }

    fn preflight(&self, origin: Option<&HeaderValue>, method: &HeaderValue, wanted: Option<&HeaderValue>) -> HeaderMap {
        let mut answer = HeaderMap::new();
        let mut set = |name: HeaderName, value: Option<&HeaderValue>| {
            if let Some(value) = value {
                answer.insert(name, value.clone());
            }
        };
        set(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        set(ACCESS_CONTROL_ALLOW_CREDENTIALS, self.credentials.then_some(&TRUE));
        set(ACCESS_CONTROL_ALLOW_METHODS, or_star(self.allow_methods.as_ref(), Some(method)));
        set(ACCESS_CONTROL_ALLOW_HEADERS, or_star(self.allow_headers.as_ref(), wanted));
        set(ACCESS_CONTROL_MAX_AGE, self.max_age.as_ref());
        answer
    }

    /// Tells the browser that this origin may read the answer. What the instance said of it is overwritten.
    pub fn allow(&self, origin: HeaderValue, answer: &mut HeaderMap) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if let Some(names) = &self.expose_headers {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
        }
    }
}

const TRUE: HeaderValue = HeaderValue::from_static("true");

/// A star stands for whatever was asked for.
fn or_star<'v>(allowed: Option<&'v HeaderValue>, asked: Option<&'v HeaderValue>) -> Option<&'v HeaderValue> {
    if allowed.is_some_and(|allowed| allowed == "*") { asked } else { allowed }
}

fn header(text: &str, field: &str) -> Result<Option<HeaderValue>, CompileError> {
    let value = HeaderValue::from_str(text).map_err(|_| CompileError::new(field, format!("`{text}` is no value of a header")))?;
    Ok((!value.is_empty()).then_some(value))
}

#[cfg(test)]
mod tests {
    use weir_xds::matcher::{StringMatcher, string_matcher::MatchPattern};

    use super::*;

    fn policy(forward: bool, methods: &str) -> Cors {
        let exact = |origin: &str| StringMatcher { match_pattern: Some(MatchPattern::Exact(origin.into())), ..Default::default() };
        let policy = CorsPolicy {
            allow_origin_string_match: vec![exact("https://a.test")],
            allow_methods: methods.into(),
            max_age: "60".into(),
            allow_credentials: Some(true),
            forward_not_matching_preflights: Some(forward),
            ..Default::default()
        };
        Cors::compile(&policy).expect("valid").expect("enabled")
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn preflights_are_answered_and_others_marked() {
        let (good, bad) = (("origin", "https://a.test"), ("origin", "https://b.test"));
        let asks = ("access-control-request-method", "PUT");
        let cors = policy(true, "GET,PUT");
        assert_eq!(cors.judge("GET", &headers(&[])), Verdict::Forward);
        assert_eq!(cors.judge("GET", &headers(&[bad])), Verdict::Forward);
        assert_eq!(cors.judge("GET", &headers(&[good])), Verdict::Allow(HeaderValue::from_static("https://a.test")));
        // Without the question this is no preflight.
        assert_eq!(cors.judge("OPTIONS", &headers(&[good])), Verdict::Allow(HeaderValue::from_static("https://a.test")));
        let answer = headers(&[
            ("access-control-allow-origin", "https://a.test"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET,PUT"),
            ("access-control-max-age", "60"),
        ]);
        assert_eq!(cors.judge("OPTIONS", &headers(&[good, asks])), Verdict::Answer(answer));
    }

    #[test]
    fn a_preflight_of_another_origin_is_forwarded_or_answered_without_it() {
        let asked = headers(&[("origin", "https://b.test"), ("access-control-request-method", "PUT")]);
        assert_eq!(policy(true, "GET").judge("OPTIONS", &asked), Verdict::Forward);
        let Verdict::Answer(answer) = policy(false, "*").judge("OPTIONS", &asked) else { panic!("it is answered") };
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_METHODS], "PUT");
    }
}
