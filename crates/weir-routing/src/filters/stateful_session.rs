//! Requests of a session that go to one instance: Envoy's stateful session filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/stateful_session_filter>).
//!
//! The client brings along where its session is, in a cookie or a header: the instance's address. It is told when it is somewhere
//! else than it said.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_http1::header::SET_COOKIE;
use weir_http1::{HeaderName, HeaderValue};
use weir_xds::core::TypedExtensionConfig;
use weir_xds::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use weir_xds::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use weir_xds::envoy::r#type::http::v3::Cookie as XdsCookie;
use weir_xds::stateful_session::stateful_session_per_route::Override;
use weir_xds::stateful_session::{StatefulSession, StatefulSessionPerRoute};
use weir_xds::values::std_duration;

use super::Policy;
use crate::error::CompileError;
use crate::hash_policy::cookie_attributes;
use crate::request::RequestHead;

mod token;

/// How sessions are kept.
#[derive(Debug, Clone)]
pub struct SessionPolicy {
    kept: Kept,
    /// Whether a request goes nowhere else when its instance is not there.
    pub strict: bool,
}

/// What a route says of it.
#[derive(Debug, Clone)]
pub enum SessionOverride {
    /// There are no sessions.
    Disabled,
    /// They are kept so.
    Policy(SessionPolicy),
}

#[derive(Debug, Clone)]
enum Kept {
    Nowhere,
    InCookie {
        name: Box<str>,
        ttl: Option<Duration>,
        path: Box<str>,
        /// What stands behind its value.
        attributes: Box<str>,
    },
    InHeader(HeaderName),
}

/// A request of a session, or one that may begin one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The address that it names, if it names one; it need not be one.
    named: Option<Box<str>>,
}

impl Policy for SessionPolicy {
    type Message = StatefulSession;

    fn compile(message: &StatefulSession) -> Result<Self, CompileError> {
        let StatefulSession { session_state, strict, stat_prefix: _, status_on_strict_destination_not_found: _ } = message;
        let kept = session_state.as_ref().map_or(Ok(Kept::Nowhere), Kept::compile);
        Ok(Self { kept: kept.map_err(|error| error.within("session_state"))?, strict: *strict })
    }
}

impl Policy for SessionOverride {
    type Message = StatefulSessionPerRoute;

    fn compile(message: &StatefulSessionPerRoute) -> Result<Self, CompileError> {
        let StatefulSessionPerRoute { r#override } = message;
        match r#override {
            Some(Override::Disabled(true)) => Ok(Self::Disabled),
            Some(Override::Disabled(false)) => Err(CompileError::new("disabled", "must be true")),
            Some(Override::StatefulSession(session)) => {
                SessionPolicy::compile(session).map(Self::Policy).map_err(|error| error.within("stateful_session"))
            }
            None => Err(CompileError::missing("override")),
        }
    }
}

impl Kept {
    fn compile(state: &TypedExtensionConfig) -> Result<Self, CompileError> {
        let TypedExtensionConfig { name: _, typed_config } = state;
        let config = typed_config.as_ref().ok_or_else(|| CompileError::missing("typed_config"))?;
        let unpacked = |error: weir_xds::AnyError| CompileError::new("typed_config", error.to_string());
        if config.is::<CookieBasedSessionState>() {
            let CookieBasedSessionState { cookie } = config.unpack().map_err(unpacked)?;
            return Self::cookie(cookie.as_ref().ok_or_else(|| CompileError::missing("typed_config.cookie"))?);
        }
        if config.is::<HeaderBasedSessionState>() {
            let HeaderBasedSessionState { name } = config.unpack().map_err(unpacked)?;
            let name = HeaderName::try_from(name.as_str());
            return name.map(Self::InHeader).map_err(|_| CompileError::new("typed_config.name", "is no name of a header"));
        }
        Err(CompileError::new("typed_config", format!("the session state `{}` is not supported", config.type_name())))
    }

    fn cookie(cookie: &XdsCookie) -> Result<Self, CompileError> {
        let XdsCookie { name, ttl, path, attributes } = cookie;
        if name.is_empty() {
            return Err(CompileError::missing("typed_config.cookie.name"));
        }
        // Seconds are what cookies know.
        let ttl = ttl.as_ref().map(|ttl| Duration::from_secs(std_duration(ttl).as_secs())).filter(|ttl| !ttl.is_zero());
        let more = attributes.iter().map(|attribute| (attribute.name.as_str(), attribute.value.as_str()));
        let attributes = cookie_attributes(ttl, path, more);
        Ok(Self::InCookie { name: name.as_str().into(), ttl, path: path.as_str().into(), attributes: attributes.into() })
    }
}

impl SessionPolicy {
    /// The policy for a request, with what its route says; `None` if it has no session.
    pub fn with<'p>(&'p self, route: Option<&'p SessionOverride>) -> Option<&'p Self> {
        match route {
            None => Some(self),
            Some(SessionOverride::Policy(policy)) => Some(policy),
            Some(SessionOverride::Disabled) => None,
        }
    }

    /// The session of a request, if it can have one. `now` is the time since 1970.
    pub fn session(&self, head: &RequestHead<'_>, now: Duration) -> Option<Session> {
        let named = match &self.kept {
            Kept::Nowhere => return None,
            Kept::InCookie { path, .. } if !is_within(head.path, path) => return None,
            Kept::InCookie { name, .. } => head.cookie(name).and_then(|value| token::address(&STANDARD.decode(value).ok()?, now)),
            Kept::InHeader(name) => head.headers.get(name).and_then(|value| {
                let address = STANDARD.decode(value.as_bytes()).ok()?;
                String::from_utf8(address).ok().filter(|address| !address.is_empty()).map(String::into_boxed_str)
            }),
        };
        Some(Session { named })
    }

    /// What the client is told when its request went to this instance, unless it said so itself.
    pub fn tell(&self, session: &Session, instance: SocketAddr, now: Duration) -> Option<(HeaderName, HeaderValue)> {
        let address = instance.to_string();
        if session.named.as_deref() == Some(address.as_str()) {
            return None;
        }
        match &self.kept {
            Kept::Nowhere => None,
            Kept::InHeader(name) => Some((name.clone(), HeaderValue::try_from(STANDARD.encode(address)).ok()?)),
            Kept::InCookie { name, ttl, attributes, .. } => {
                let token = STANDARD.encode(token::of(&address, ttl.map(|ttl| now + ttl)));
                Some((SET_COOKIE, HeaderValue::try_from(format!("{name}=\"{token}\"{attributes}")).ok()?))
            }
        }
    }
}

impl Session {
    /// Whether it names an instance at all.
    pub fn names_one(&self) -> bool {
        self.named.is_some()
    }

    /// The instance that it names, if that can be one.
    pub fn instance(&self) -> Option<SocketAddr> {
        self.named.as_deref()?.parse().ok()
    }
}

/// Whether a cookie of this path comes with a request for that one (RFC 6265, 5.1.4).
fn is_within(requested: &str, path: &str) -> bool {
    let Some(rest) = requested.strip_prefix(path) else { return path.is_empty() };
    path.is_empty() || path.ends_with('/') || rest.is_empty() || rest.starts_with(['/', '?', '#'])
}

#[cfg(test)]
mod tests {
    use weir_http1::Headers;
    use weir_http1::header::COOKIE;
    use weir_xds::envoy::r#type::http::v3::CookieAttribute;
    use weir_xds::{Any, Message, Name};

    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn state<M: Message + Name>(message: &M) -> StatefulSession {
        let state = TypedExtensionConfig { name: "s".into(), typed_config: Some(Any::pack(message)) };
        StatefulSession { session_state: Some(state), ..Default::default() }
    }

    fn cookie(ttl: i64, path: &str) -> SessionPolicy {
        let attributes = vec![CookieAttribute { name: "SameSite".into(), value: "Lax".into() }];
        let ttl = Some(weir_xds::prost_types::Duration { seconds: ttl, nanos: 0 });
        let cookie = Some(XdsCookie { name: "seat".into(), ttl, path: path.into(), attributes });
        SessionPolicy::compile(&state(&CookieBasedSessionState { cookie })).expect("valid")
    }

    fn session(policy: &SessionPolicy, path: &str, field: Option<(HeaderName, String)>) -> Option<Session> {
        let headers: Headers = field.into_iter().map(|(name, value)| (name, value.parse().expect("a value"))).collect();
        let head = RequestHead { method: "GET", scheme: "http", authority: "a", path, headers: &headers, random: 0 };
        policy.session(&head, NOW)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_cookie_leads_back_to_its_instance() {
        let policy = cookie(60, "");
        let new = session(&policy, "/", None).expect("it may begin one");
        assert!(!new.names_one());
        let (name, value) = policy.tell(&new, address("10.0.0.1:80"), NOW).expect("it is told");
        let value = value.to_str().expect("ASCII").to_owned();
        let (pair, attributes) = value.split_once(';').expect("attributes");
        assert_eq!((name, attributes), (SET_COOKIE, " Max-Age=60; SameSite=Lax; HttpOnly"));
        let back = session(&policy, "/", Some((COOKIE, format!("a=b; {pair}")))).expect("it is one");
        assert_eq!(back.instance(), Some(address("10.0.0.1:80")));
        assert_eq!(policy.tell(&back, address("10.0.0.1:80"), NOW), None);
        assert!(policy.tell(&back, address("10.0.0.2:80"), NOW).is_some(), "it went elsewhere");
    }

    #[test]
    fn a_cookie_counts_below_its_path() {
        let cases = [
            ("", "/a", true),
            ("/", "/a", true),
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a", "/a?b", true),
            ("/a", "/ab", false),
            ("/a/", "/a/b", true),
            ("/a/", "/a", false),
        ];
        for (path, requested, counts) in cases {
            assert_eq!(session(&cookie(0, path), requested, None).is_some(), counts, "{path} {requested}");
        }
    }

    #[test]
    fn a_header_leads_back_to_its_instance() {
        let policy = SessionPolicy::compile(&state(&HeaderBasedSessionState { name: "X-Seat".into() })).expect("valid");
        let name = HeaderName::from_static("x-seat");
        let said = |value: &str| session(&policy, "/", Some((name.clone(), value.to_owned()))).expect("it may be one");
        let back = said("MTAuMC4wLjE6ODA=");
        assert_eq!(back.instance(), Some(address("10.0.0.1:80")));
        assert_eq!(policy.tell(&back, address("10.0.0.1:80"), NOW), None);
        let told = policy.tell(&back, address("[::1]:80"), NOW).expect("it went elsewhere");
        assert_eq!(told, (name.clone(), HeaderValue::from_static("Wzo6MV06ODA=")));
        assert!(said("bm9ib2R5").names_one() && said("bm9ib2R5").instance().is_none(), "it names somebody, but not an instance");
        assert!(!said("?").names_one() && !said("").names_one());
    }

    #[test]
    fn a_route_has_sessions_of_its_own_or_none() {
        let policy = cookie(0, "/a");
        let of_route = |r#override| SessionOverride::compile(&StatefulSessionPerRoute { r#override });
        let header = state(&HeaderBasedSessionState { name: "x".into() });
        let own = of_route(Some(Override::StatefulSession(StatefulSession { strict: true, ..header }))).expect("valid");
        assert!(policy.with(Some(&own)).expect("there are some").strict && !policy.with(None).expect("there are some").strict);
        let disabled = of_route(Some(Override::Disabled(true))).expect("valid");
        assert!(policy.with(Some(&disabled)).is_none());
        assert!(of_route(None).is_err() && of_route(Some(Override::Disabled(false))).is_err());
    }

    #[test]
    fn what_envoy_refuses_or_is_not_known_is_refused() {
        let nameless = CookieBasedSessionState { cookie: Some(XdsCookie::default()) };
        let cases = [
            state(&nameless),
            state(&CookieBasedSessionState::default()),
            state(&HeaderBasedSessionState::default()),
            state(&XdsCookie::default()),
            StatefulSession { session_state: Some(TypedExtensionConfig::default()), ..Default::default() },
        ];
        for message in cases {
            let error = SessionPolicy::compile(&message).expect_err("it is not valid");
            assert!(error.path.starts_with("session_state.typed_config"), "{error}");
        }
        let nothing = SessionPolicy::compile(&StatefulSession::default()).expect("valid");
        assert_eq!(session(&nothing, "/", None), None);
    }
}
