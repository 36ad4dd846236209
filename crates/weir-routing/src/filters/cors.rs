//! Cross-origin requests: Envoy's CORS filter, compiled. Which scripts of which sites may ask, as browsers enforce it
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/cors_filter>).
//!
//! The filter's own configuration says nothing. A request that a route answers itself (a redirect, a direct response) passes it.

use std::sync::Arc;

use smallvec::SmallVec;
use weir_http1::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName,
    HeaderValue, Headers, ORIGIN,
};
use weir_xds::cors::{Cors, CorsPolicy as Message};

use super::counters::counters;
use super::{Policy, Share};
use crate::error::CompileError;
use crate::text_match::TextMatch;

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

counters! {
    /// Whether origins may read answers.
    CorsCounters: origin_valid origin_invalid
}

/// The filter. What it does, routes say.
#[derive(Debug, Clone, Default)]
pub struct CorsFilter {
    /// What is counted of it.
    pub counted: Arc<CorsCounters>,
}

/// What one level says of cross-origin requests. What it does not say, a less specific level may.
#[derive(Debug, Clone)]
pub struct CorsPolicy {
    enabled: Option<Share>,
    shadow: Option<Share>,
    origins: Box<[TextMatch]>,
    allow_methods: Option<HeaderValue>,
    allow_headers: Option<HeaderValue>,
    expose_headers: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: Option<bool>,
    private_network: Option<bool>,
    forward_unmatched: Option<bool>,
}

/// What becomes of a request that names an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent on; nothing is said of origins.
    Forward,
    /// It is sent on, and the answer says that this origin may read it.
    Allow(HeaderValue),
    /// It is a preflight, and answered with 200 and these headers.
    Answer(Headers),
}

impl Policy for CorsFilter {
    type Message = Cors;

    fn compile(message: &Cors) -> Result<Self, CompileError> {
        let Cors {} = message;
        Ok(Self::default())
    }
}

impl Policy for CorsPolicy {
    type Message = Message;

    fn compile(message: &Message) -> Result<Self, CompileError> {
        let Message {
            allow_origin_string_match,
            allow_methods,
            allow_headers,
            expose_headers,
            max_age,
            allow_credentials,
            filter_enabled,
            shadow_enabled,
            allow_private_network_access,
            forward_not_matching_preflights,
        } = message;
        let origin = |(i, matcher)| TextMatch::compile(matcher).map_err(|error| error.within(&format!("allow_origin_string_match[{i}]")));
        Ok(Self {
            enabled: Share::of_runtime(filter_enabled.as_ref(), "filter_enabled")?,
            shadow: Share::of_runtime(shadow_enabled.as_ref(), "shadow_enabled")?,
            origins: allow_origin_string_match.iter().enumerate().map(origin).collect::<Result<_, _>>()?,
            allow_methods: header(allow_methods, "allow_methods")?,
            allow_headers: header(allow_headers, "allow_headers")?,
            expose_headers: header(expose_headers, "expose_headers")?,
            max_age: header(max_age, "max_age")?,
            credentials: *allow_credentials,
            private_network: *allow_private_network_access,
            forward_unmatched: *forward_not_matching_preflights,
        })
    }
}

impl CorsPolicy {
    /// Where it says nothing of it, every request is judged, also where there is a share for judging without effect.
    fn is_enabled(&self, random: &mut impl FnMut() -> u32) -> bool {
        self.enabled.is_none_or(|share| share.takes(random()))
    }

    fn is_shadow(&self, random: &mut impl FnMut() -> u32) -> bool {
        self.shadow.is_some_and(|share| share.takes(random()))
    }
}

/// The policies of all levels for one request. Each property is what the most specific level says that says something of it;
/// whether they are in force, the most specific level alone decides.
#[derive(Debug, Clone)]
pub struct CorsPolicies<'p>(SmallVec<[&'p CorsPolicy; 4]>);

impl<'p> CorsPolicies<'p> {
    /// The policies, the most specific first.
    pub fn new(policies: impl IntoIterator<Item = &'p CorsPolicy>) -> Self {
        Self(policies.into_iter().collect())
    }

    /// What becomes of a request, whose origin is counted. Like Envoy it draws again for each question, so that where both shares
    /// are set a judged request may still have no effect.
    pub fn judge(&self, method: &str, headers: &Headers, mut random: impl FnMut() -> u32, counted: &CorsCounters) -> Verdict {
        let Some(most_specific) = self.0.first() else { return Verdict::Forward };
        if !most_specific.is_enabled(&mut random) && !most_specific.is_shadow(&mut random) {
            return Verdict::Forward;
        }
        let Some(origin) = headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else { return Verdict::Forward };
        let allowed = self.allows(origin);
        if allowed {
            counted.origin_valid.count()
        } else {
            counted.origin_invalid.count()
        }
        if most_specific.is_shadow(&mut random) && !most_specific.is_enabled(&mut random) {
            return Verdict::Forward;
        }
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|asked| !asked.is_empty());
        match asked.filter(|_| method == "OPTIONS") {
            Some(asked) if allowed || !self.first(|policy| policy.forward_unmatched).unwrap_or(true) => {
                Verdict::Answer(self.preflight(allowed.then_some(origin), asked, headers))
            }
            _ if allowed => Verdict::Allow(origin.clone()),
            _ => Verdict::Forward,
        }
    }

    /// Tells the browser that this origin may read the answer. What the instance said of it is overwritten.
    pub fn allow(&self, origin: HeaderValue, answer: &mut Headers) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials() {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if let Some(names) = self.first(|policy| policy.expose_headers.as_ref()) {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
        }
    }

    /// A matcher that takes a star takes every origin.
    fn allows(&self, origin: &HeaderValue) -> bool {
        let origins = self.first(|policy| (!policy.origins.is_empty()).then_some(&policy.origins));
        origins.is_some_and(|origins| origins.iter().any(|matcher| matcher.matches(b"*") || matcher.matches(origin.as_bytes())))
    }

    fn preflight(&self, origin: Option<&HeaderValue>, method: &HeaderValue, request: &Headers) -> Headers {
        let mut answer = Headers::new();
        let mut set = |name: HeaderName, value: Option<&HeaderValue>| {
            if let Some(value) = value {
                answer.insert(name, value.clone());
            }
        };
        let methods = self.first(|policy| policy.allow_methods.as_ref());
        let headers = self.first(|policy| policy.allow_headers.as_ref());
        set(ACCESS_CONTROL_ALLOW_CREDENTIALS, self.credentials().then_some(&TRUE));
        set(ACCESS_CONTROL_ALLOW_METHODS, or_star(methods, Some(method)));
        set(ACCESS_CONTROL_ALLOW_HEADERS, or_star(headers, request.get(ACCESS_CONTROL_REQUEST_HEADERS)));
        set(ACCESS_CONTROL_MAX_AGE, self.first(|policy| policy.max_age.as_ref()));
        let private = self.first(|policy| policy.private_network).unwrap_or(false)
            && request.get(REQUEST_PRIVATE_NETWORK).is_some_and(|asked| asked == TRUE);
        set(ALLOW_PRIVATE_NETWORK, private.then_some(&TRUE));
        // In Envoy the answer passes the filter once more, as every answer does.
        if let Some(origin) = origin {
            self.allow(origin.clone(), &mut answer);
        }
        answer
    }

    fn credentials(&self) -> bool {
        self.first(|policy| policy.credentials).unwrap_or(false)
    }

    fn first<T>(&self, property: impl FnMut(&'p CorsPolicy) -> Option<T>) -> Option<T> {
        self.0.iter().copied().find_map(property)
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
    use weir_xds::core::RuntimeFractionalPercent;
    use weir_xds::matcher::{StringMatcher, string_matcher::MatchPattern};
    use weir_xds::types::FractionalPercent;

    use super::*;

    fn origin(origin: &str) -> Vec<StringMatcher> {
        vec![StringMatcher { match_pattern: Some(MatchPattern::Exact(origin.into())), ..Default::default() }]
    }

    fn compile(message: Message) -> CorsPolicy {
        CorsPolicy::compile(&message).expect("valid")
    }

    fn policy(forward: bool, methods: &str) -> CorsPolicy {
        compile(Message {
            allow_origin_string_match: origin("https://a.test"),
            allow_methods: methods.into(),
            max_age: "60".into(),
            allow_credentials: Some(true),
            forward_not_matching_preflights: Some(forward),
            ..Default::default()
        })
    }

    fn judge(policies: &[&CorsPolicy], method: &str, headers: &Headers) -> Verdict {
        CorsPolicies::new(policies.iter().copied()).judge(method, headers, || 500_000, &CorsCounters::default())
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn allowed(origin: &'static str) -> Verdict {
        Verdict::Allow(HeaderValue::from_static(origin))
    }

    const GOOD: (&str, &str) = ("origin", "https://a.test");
    const ASKS: (&str, &str) = ("access-control-request-method", "PUT");

    #[test]
    fn preflights_are_answered_and_others_marked() {
        let bad = ("origin", "https://b.test");
        let cors = policy(true, "GET,PUT");
        assert_eq!(judge(&[&cors], "GET", &headers(&[])), Verdict::Forward);
        assert_eq!(judge(&[&cors], "GET", &headers(&[bad])), Verdict::Forward);
        assert_eq!(judge(&[&cors], "GET", &headers(&[GOOD])), allowed("https://a.test"));
        assert_eq!(judge(&[], "GET", &headers(&[GOOD])), Verdict::Forward);
        // Without the question this is no preflight.
        assert_eq!(judge(&[&cors], "OPTIONS", &headers(&[GOOD])), allowed("https://a.test"));
        let answer = headers(&[
            ("access-control-allow-origin", "https://a.test"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET,PUT"),
            ("access-control-max-age", "60"),
        ]);
        assert_eq!(judge(&[&cors], "OPTIONS", &headers(&[GOOD, ASKS])), Verdict::Answer(answer));
    }

    #[test]
    fn a_preflight_of_another_origin_is_forwarded_or_answered_without_it() {
        let asked = headers(&[("origin", "https://b.test"), ASKS]);
        assert_eq!(judge(&[&policy(true, "GET")], "OPTIONS", &asked), Verdict::Forward);
        let Verdict::Answer(answer) = judge(&[&policy(false, "*")], "OPTIONS", &asked) else { panic!("it is answered") };
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_METHODS], "PUT");
    }

    /// As Envoy 1.40 answered with these three levels.
    #[test]
    fn each_property_comes_from_the_most_specific_level_that_has_it() {
        let route = compile(Message { allow_origin_string_match: origin("https://a.test"), ..Default::default() });
        let host = compile(Message {
            allow_origin_string_match: origin("https://b.test"),
            allow_methods: "PUT".into(),
            allow_credentials: Some(true),
            max_age: "9".into(),
            allow_private_network_access: Some(true),
            ..Default::default()
        });
        let table = compile(Message { expose_headers: "x".into(), allow_headers: "*".into(), ..Default::default() });
        let request = [GOOD, ASKS, ("access-control-request-headers", "x-y"), ("access-control-request-private-network", "true")];
        let answer = headers(&[
            ("access-control-allow-origin", "https://a.test"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "PUT"),
            ("access-control-allow-headers", "x-y"),
            ("access-control-max-age", "9"),
            ("access-control-allow-private-network", "true"),
            ("access-control-expose-headers", "x"),
        ]);
        let levels = [&route, &host, &table];
        assert_eq!(judge(&levels, "OPTIONS", &headers(&request)), Verdict::Answer(answer));
        assert_eq!(judge(&levels, "GET", &headers(&[("origin", "https://b.test")])), Verdict::Forward);
    }

    #[test]
    fn the_most_specific_level_alone_says_whether_they_are_in_force() {
        let share = |numerator: Option<u32>| {
            numerator.map(|numerator| RuntimeFractionalPercent {
                default_value: Some(FractionalPercent { numerator, ..Default::default() }),
                ..Default::default()
            })
        };
        // Shares in hundredths for effect and for judging only; the random number is in the middle.
        let cases = [
            (None, None, true),
            (Some(0), None, false),
            (Some(51), None, true),
            (Some(50), None, false),
            (None, Some(100), true),
            (Some(0), Some(100), false),
            (Some(100), Some(100), true),
        ];
        let host = policy(true, "GET");
        for (enabled, shadow, expected) in cases {
            let route = compile(Message { filter_enabled: share(enabled), shadow_enabled: share(shadow), ..Default::default() });
            let verdict = judge(&[&route, &host], "GET", &headers(&[GOOD]));
            assert_eq!(verdict != Verdict::Forward, expected, "{enabled:?} {shadow:?}");
        }
        let message = Message { filter_enabled: Some(RuntimeFractionalPercent::default()), ..Default::default() };
        assert!(CorsPolicy::compile(&message).is_err());
    }
}
