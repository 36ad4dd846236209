//! What makes a request go where its like went before: Envoy's hash policies, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#envoy-v3-api-msg-config-route-v3-routeaction-hashpolicy>).
//! The hashes are Envoy's, so that proxies of both kinds choose the same instance.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use twox_hash::XxHash64;
use weir_http1::header::HeaderValue;
use weir_xds::route::route_action::HashPolicy as XdsHashPolicy;
use weir_xds::route::route_action::hash_policy::{
    ConnectionProperties, Cookie as XdsCookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};
use weir_xds::values::std_duration;

use crate::condition::Subject;
use crate::error::CompileError;
use crate::request::RequestHead;
use crate::substitution::Substitution;

/// One thing that a request is hashed by.
#[derive(Debug, Clone)]
pub struct HashPolicy {
    input: Input,
    /// Whether nothing after it counts, once there is a hash.
    terminal: bool,
}

#[derive(Debug, Clone)]
enum Input {
    Header(Subject, Option<Box<Substitution>>),
    Cookie(Box<Cookie>),
    Source,
    Query(Box<str>),
    /// Something that no request of ours has: a filter's state.
    Nothing,
}

#[derive(Debug, Clone)]
struct Cookie {
    name: Box<str>,
    /// With one, a cookie is issued to clients that have none; zero means until the browser ends.
    ttl: Option<Duration>,
    /// What stands behind the value when it is issued.
    rest: Box<str>,
}

/// What a request came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hashed {
    /// The hash; none if it has nothing that counts.
    pub hash: Option<u64>,
    /// Cookies that are issued with the answer.
    pub cookies: Vec<HeaderValue>,
}

/// The hash of some bytes, as Envoy's.
pub fn hash(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

impl HashPolicy {
    /// Compiles Envoy's policy.
    ///
    /// # Errors
    /// If it is not valid, or of a kind that is not carried out.
    pub fn compile(policy: &XdsHashPolicy) -> Result<Self, CompileError> {
        let XdsHashPolicy { terminal, policy_specifier } = policy;
        let input = match policy_specifier {
            Some(PolicySpecifier::Header(Header { header_name, regex_rewrite })) => {
                let rewrite =
                    regex_rewrite.as_ref().map(Substitution::compile).transpose().map_err(|error| error.within("regex_rewrite"))?;
                Input::Header(Subject::parse(header_name)?, rewrite.map(Box::new))
            }
            Some(PolicySpecifier::Cookie(cookie)) => Input::Cookie(Box::new(Cookie::compile(cookie)?)),
            Some(PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })) => Input::Source,
            Some(PolicySpecifier::QueryParameter(QueryParameter { name })) if !name.is_empty() => Input::Query(name.as_str().into()),
            Some(PolicySpecifier::FilterState(state)) if state.key.is_empty() => return Err(CompileError::missing("filter_state.key")),
            Some(PolicySpecifier::ConnectionProperties(_) | PolicySpecifier::FilterState(_)) => Input::Nothing,
            Some(PolicySpecifier::QueryParameter(_)) => return Err(CompileError::missing("query_parameter.name")),
            None => return Err(CompileError::missing("policy_specifier")),
        };
        Ok(Self { input, terminal: *terminal })
    }

    fn evaluate(&self, head: &RequestHead<'_>, source: IpAddr, random: u64, cookies: &mut Vec<HeaderValue>) -> Option<u64> {
        match &self.input {
            Input::Header(subject, rewrite) => of_header(head, subject, rewrite.as_deref()),
            Input::Nothing => None,
            Input::Source => Some(hash(source.to_canonical().to_string().as_bytes())),
            Input::Query(name) => head.query_parameter(name).map(|value| hash(value.as_bytes())),
            Input::Cookie(cookie) => match head.cookie(&cookie.name).filter(|value| !value.is_empty()) {
                Some(value) => Some(hash(value)),
                None => {
                    let value = format!("{random:016x}");
                    cookies.push(cookie.issue(&value)?);
                    Some(hash(value.as_bytes()))
                }
            },
        }
    }
}

/// Hashes a request by all policies. `source` is the address at the other end of its connection; a cookie that has to be
/// issued gets a value of `random`.
pub fn evaluate(policies: &[HashPolicy], head: &RequestHead<'_>, source: IpAddr, mut random: impl FnMut() -> u64) -> Hashed {
    let mut hashed = Hashed::default();
    for policy in policies {
        if let Some(new) = policy.evaluate(head, source, random(), &mut hashed.cookies) {
            hashed.hash = Some(hashed.hash.map_or(0, |old| old.rotate_left(1)) ^ new);
        }
        if policy.terminal && hashed.hash.is_some() {
            break;
        }
    }
    hashed
}

/// Several values count as a set: their order says nothing.
fn of_header(head: &RequestHead<'_>, subject: &Subject, rewrite: Option<&Substitution>) -> Option<u64> {
    let raw = subject.values(head);
    let rewritten: Vec<String> =
        rewrite.map_or_else(Vec::new, |rewrite| raw.iter().map(|value| rewrite.apply(&String::from_utf8_lossy(value))).collect());
    let mut values: Vec<&[u8]> = if rewrite.is_some() { rewritten.iter().map(String::as_bytes).collect() } else { raw.to_vec() };
    values.sort_unstable();
    let (first, others) = values.split_first()?;
    Some(others.iter().fold(hash(first), |seed, value| XxHash64::oneshot(seed, value)))
}

/// What stands behind the value of a cookie that is issued, in Envoy's order.
pub(crate) fn cookie_attributes<'a>(ttl: Option<Duration>, path: &str, attributes: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut rest = String::new();
    // Writing to memory does not fail.
    if let Some(ttl) = ttl.filter(|ttl| !ttl.is_zero()) {
        let _ = write!(rest, "; Max-Age={}", ttl.as_secs());
    }
    if !path.is_empty() {
        let _ = write!(rest, "; Path={path}");
    }
    for (name, value) in attributes {
        let _ = match value {
            "" => write!(rest, "; {name}"),
            value => write!(rest, "; {name}={value}"),
        };
    }
    rest + "; HttpOnly"
}

impl Cookie {
    fn compile(cookie: &XdsCookie) -> Result<Self, CompileError> {
        let XdsCookie { name, ttl, path, attributes } = cookie;
        if name.is_empty() {
            return Err(CompileError::missing("cookie.name"));
        }
        let ttl = ttl.as_ref().map(std_duration);
        let attributes = attributes.iter().map(|CookieAttribute { name, value }| (name.as_str(), value.as_str()));
        let rest = cookie_attributes(ttl, path, attributes);
        Ok(Self { name: name.as_str().into(), ttl, rest: rest.into() })
    }

    fn issue(&self, value: &str) -> Option<HeaderValue> {
        self.ttl?;
        HeaderValue::from_str(&format!("{}=\"{value}\"{}", self.name, self.rest)).ok()
    }
}

#[cfg(test)]
mod tests {
    use weir_http1::header::{HeaderName, Headers};
    use weir_xds::matcher::{RegexMatchAndSubstitute, RegexMatcher};
    use weir_xds::route::route_action::hash_policy::FilterState;
    use weir_xds::values::duration;

    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn policy(specifier: PolicySpecifier, terminal: bool) -> HashPolicy {
        HashPolicy::compile(&XdsHashPolicy { policy_specifier: Some(specifier), terminal }).expect("valid")
    }

    fn header(name: &str) -> PolicySpecifier {
        PolicySpecifier::Header(Header { header_name: name.into(), ..Default::default() })
    }

    fn hashed(policies: &[HashPolicy], path: &str, headers: &[(&'static str, &'static str)]) -> Hashed {
        let pairs = headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers: Headers = pairs.collect();
        let head = RequestHead { method: "GET", scheme: "http", authority: "a", path, headers: &headers, random: 0 };
        evaluate(policies, &head, SOURCE, || 7)
    }

    #[test]
    fn each_input_counts_and_absent_ones_do_not() {
        let user = policy(header("x-user"), false);
        let query = policy(PolicySpecifier::QueryParameter(QueryParameter { name: "user".into() }), false);
        assert_eq!(hashed(std::slice::from_ref(&user), "/", &[("x-user", "alice")]).hash, Some(hash(b"alice")));
        assert_eq!(hashed(std::slice::from_ref(&user), "/", &[]).hash, None);
        assert_eq!(hashed(std::slice::from_ref(&query), "/?a=b&user=alice", &[]).hash, Some(hash(b"alice")));
        let source = policy(PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }), false);
        assert_eq!(hashed(&[source], "/", &[("x-forwarded-for", "10.9.9.9")]).hash, Some(hash(b"10.0.0.1")));
        let both = hashed(&[user.clone(), query.clone()], "/?user=b", &[("x-user", "a")]).hash;
        assert_eq!(both, Some(hash(b"a").rotate_left(1) ^ hash(b"b")));
        let first = policy(header("x-user"), true);
        assert_eq!(hashed(&[first, query], "/?user=b", &[("x-user", "a")]).hash, Some(hash(b"a")));
        // The known value of the algorithm for an empty text.
        assert_eq!(hash(b""), 0xef46_db37_51d8_e999);
    }

    #[test]
    fn a_header_may_be_rewritten_first_and_the_path_is_one() {
        let pattern = Some(RegexMatcher { regex: "[0-9]".into(), ..Default::default() });
        let regex_rewrite = Some(RegexMatchAndSubstitute { pattern, substitution: "n".into() });
        let rewritten = policy(PolicySpecifier::Header(Header { header_name: "x-user".into(), regex_rewrite }), false);
        assert_eq!(hashed(&[rewritten], "/", &[("x-user", "a1b2")]).hash, Some(hash(b"anbn")));
        assert_eq!(hashed(&[policy(header(":path"), false)], "/x?q", &[]).hash, Some(hash(b"/x?q")));
    }

    #[test]
    fn what_no_request_has_makes_no_hash() {
        let state = policy(PolicySpecifier::FilterState(FilterState { key: "k".into() }), false);
        let properties = policy(PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: false }), false);
        assert_eq!(hashed(&[state, properties], "/", &[]), Hashed::default());
        assert!(HashPolicy::compile(&XdsHashPolicy::default()).is_err());
        let unnamed = PolicySpecifier::FilterState(FilterState::default());
        assert!(HashPolicy::compile(&XdsHashPolicy { policy_specifier: Some(unnamed), terminal: false }).is_err());
    }

    #[test]
    fn a_cookie_is_issued_to_who_has_none() {
        let cookie = |ttl: Option<u64>| {
            let attributes = vec![CookieAttribute { name: "SameSite".into(), value: "Strict".into() }];
            let ttl = ttl.map(|seconds| duration(Duration::from_secs(seconds)));
            policy(PolicySpecifier::Cookie(XdsCookie { name: "seat".into(), path: "/app".into(), ttl, attributes }), false)
        };
        let new = hashed(&[cookie(Some(600))], "/", &[]);
        let value = "0000000000000007";
        assert_eq!(new.cookies, [format!("seat=\"{value}\"; Max-Age=600; Path=/app; SameSite=Strict; HttpOnly")]);
        // It leads to the same instance when it comes back.
        let again = hashed(&[cookie(Some(600))], "/", &[("cookie", "a=b; seat=\"0000000000000007\"")]);
        assert_eq!((again.hash, again.cookies.len()), (new.hash, 0));
        assert_eq!(hashed(&[cookie(Some(0))], "/", &[]).cookies, [format!("seat=\"{value}\"; Path=/app; SameSite=Strict; HttpOnly")]);
        assert_eq!(hashed(&[cookie(None)], "/", &[]), Hashed::default());
    }
}
