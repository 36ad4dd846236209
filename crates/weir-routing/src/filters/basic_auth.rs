//! Requests that only those may make who know a password: Envoy's basic authentication filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/basic_auth_filter>, RFC 7617).
//!
//! Passwords are known by their SHA-1, as `htpasswd -s` writes them. Who computes it is not this module.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use weir_http1::header::AUTHORIZATION;
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::basic_auth::{BasicAuth, BasicAuthPerRoute};
use weir_xds::core::DataSource;

use super::Policy;
use super::counters::counters;
use crate::error::CompileError;
use crate::request::RequestHead;
use crate::source::text_of;

/// SHA-1.
pub type Digest = [u8; 20];

counters! {
    /// Who was let in, and who was not.
    BasicAuthCounters: allowed denied
}

/// Who may make requests, and how they say who they are.
#[derive(Debug, Clone)]
pub struct BasicAuthPolicy {
    users: Users,
    /// Where instances are told who made a request.
    told_in: Option<HeaderName>,
    /// Where a request says it.
    said_in: HeaderName,
    /// What is counted of it.
    pub counted: Arc<BasicAuthCounters>,
}

/// Users by their names, with the digests of their passwords.
#[derive(Clone)]
pub struct Users(BTreeMap<Box<[u8]>, Digest>);

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} users", self.0.len())
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// What the client is told.
    pub body: &'static str,
    /// What the log is told.
    pub details: &'static str,
}

const NOBODY: Denied =
    Denied { body: "User authentication failed. Missing username and password.", details: "no_credential_for_basic_auth" };
const OTHER_SCHEME: Denied =
    Denied { body: "User authentication failed. Expected 'Basic' authentication scheme.", details: "invalid_scheme_for_basic_auth" };
const NO_PAIR: Denied =
    Denied { body: "User authentication failed. Invalid basic credential format.", details: "invalid_format_for_basic_auth" };
const WRONG: Denied =
    Denied { body: "User authentication failed. Invalid username/password combination.", details: "invalid_credential_for_basic_auth" };

/// Clients may leave out what pads.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// So much of a path is told to a client that it may not have.
const TOLD_PATH: usize = 256;

impl Policy for BasicAuthPolicy {
    type Message = BasicAuth;

    fn compile(message: &BasicAuth) -> Result<Self, CompileError> {
        let BasicAuth { users, forward_username_header, authentication_header, allow_missing, emit_dynamic_metadata: _ } = message;
        // What lets them in then, or not, is dynamic metadata.
        if *allow_missing {
            return Err(CompileError::unsupported("allow_missing"));
        }
        let header = |field: &str, name: &str| match name {
            "" => Ok(None),
            name => HeaderName::try_from(name).map(Some).map_err(|_| CompileError::new(field, format!("`{name}` is no name of a header"))),
        };
        Ok(Self {
            users: users.as_ref().map_or_else(|| Ok(Users(BTreeMap::new())), Users::compile)?,
            told_in: header("forward_username_header", forward_username_header)?,
            said_in: header("authentication_header", authentication_header)?.unwrap_or(AUTHORIZATION),
            counted: Arc::default(),
        })
    }
}

impl Policy for Users {
    type Message = BasicAuthPerRoute;

    fn compile(message: &BasicAuthPerRoute) -> Result<Self, CompileError> {
        let BasicAuthPerRoute { users } = message;
        Self::compile(users.as_ref().ok_or_else(|| CompileError::missing("users"))?)
    }
}

impl Users {
    /// Reads the lines of an htpasswd file. What is wrong with one is said without its words, which may be secret.
    fn compile(source: &DataSource) -> Result<Self, CompileError> {
        let text = text_of(source).map_err(|error| error.within("users"))?;
        let mut users = BTreeMap::new();
        for (i, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let wrong = |what: &str| CompileError::new("users", format!("line {}: {what}", i + 1));
            let colon = line.iter().position(|byte| *byte == b':').ok_or_else(|| wrong("is not NAME:{SHA}HASH"))?;
            let (name, hash) = line.split_at(colon);
            let hash =
                hash.strip_prefix(b":{SHA}").ok_or_else(|| wrong("the hash does not begin with {SHA}: `htpasswd -s` makes such ones"))?;
            let digest: Option<Digest> = BASE64.decode(hash).ok().and_then(|digest| digest.try_into().ok());
            let digest = digest.ok_or_else(|| wrong("the hash is no SHA-1 in base64"))?;
            if name.is_empty() {
                return Err(wrong("the name is missing"));
            }
            if users.insert(name.into(), digest).is_some() {
                return Err(wrong("the name is there twice"));
            }
        }
        Ok(Self(users))
    }
}

impl BasicAuthPolicy {
    /// Whether a request may go on; instances are told who made it. `digest` computes SHA-1.
    ///
    /// # Errors
    /// If it may not.
    pub fn check(&self, of_route: Option<&Users>, headers: &mut Headers, digest: impl Fn(&[u8]) -> Digest) -> Result<(), Denied> {
        let said = headers.get(&self.said_in).ok_or(NOBODY)?;
        let encoded = said.as_bytes().strip_prefix(b"Basic ").ok_or(OTHER_SCHEME)?;
        let pair = BASE64.decode(encoded).map_err(|_| NO_PAIR)?;
        let colon = pair.iter().position(|byte| *byte == b':').ok_or(NO_PAIR)?;
        let (name, password) = (pair.get(..colon).unwrap_or_default(), pair.get(colon + 1..).unwrap_or_default());
        let digest = digest(password);
        let users = &of_route.unwrap_or(&self.users).0;
        if !users.get(name).is_some_and(|known| are_same(known, &digest)) {
            return Err(WRONG);
        }
        if let Some(told_in) = &self.told_in {
            // A name that no header can hold would be another one there.
            headers.insert(told_in, HeaderValue::from_bytes(name).map_err(|_| WRONG)?);
        }
        Ok(())
    }
}

/// Whether two digests are the same. How long that takes tells nothing about where they differ.
fn are_same(one: &Digest, other: &Digest) -> bool {
    one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
}

/// What a client is told that may try again: for what it needs a password.
pub fn challenge(head: &RequestHead<'_>) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("Basic realm=\"{}\"", told_address(head))).ok()
}

/// What a client has asked for, as it is told.
pub(super) fn told_address(head: &RequestHead<'_>) -> String {
    let path = head.path.char_indices().nth(TOLD_PATH).map_or(head.path, |(end, _)| head.path.get(..end).unwrap_or(head.path));
    format!("{}://{}{path}", head.scheme, head.authority)
}

#[cfg(test)]
mod tests {
    use weir_xds::core::data_source::Specifier;

    use super::*;

    /// Not SHA-1, but as long, and different for different passwords here.
    fn digest(password: &[u8]) -> Digest {
        let mut digest = [0; 20];
        digest.iter_mut().zip(password).for_each(|(to, from)| *to = *from);
        digest
    }

    fn line(name: &str, password: &str) -> String {
        format!("{name}:{{SHA}}{}\n", BASE64.encode(digest(password.as_bytes())))
    }

    fn source(text: &str) -> DataSource {
        DataSource { specifier: Some(Specifier::InlineString(text.into())), ..Default::default() }
    }

    fn policy(text: &str) -> Result<BasicAuthPolicy, CompileError> {
        let message = BasicAuth { users: Some(source(text)), forward_username_header: "x-user".into(), ..Default::default() };
        BasicAuthPolicy::compile(&message)
    }

    fn said(value: &str) -> Headers {
        Headers::from_iter([(AUTHORIZATION, value.parse().expect("a value"))])
    }

    #[test]
    fn who_knows_the_password_goes_on_and_is_named() {
        let policy = policy(&format!("# staff\n\n{}{}", line("ann", "a:b"), line("bob", ""))).expect("valid");
        let basic = |pair: &str| format!("Basic {}", BASE64.encode(pair));
        let cases = [
            (basic("ann:a:b"), Ok("ann")),
            (basic("ann:a:b").trim_end_matches('=').to_owned(), Ok("ann")),
            (basic("bob:"), Ok("bob")),
            (basic("ann:a"), Err(WRONG)),
            (basic("eve:a:b"), Err(WRONG)),
            (basic(":"), Err(WRONG)),
            (basic("ann"), Err(NO_PAIR)),
            ("Basic *".to_owned(), Err(NO_PAIR)),
            ("Basic".to_owned(), Err(OTHER_SCHEME)),
            (basic("ann:a:b").to_lowercase(), Err(OTHER_SCHEME)),
            ("Bearer x".to_owned(), Err(OTHER_SCHEME)),
        ];
        for (value, expected) in cases {
            let mut headers = said(&value);
            assert_eq!(policy.check(None, &mut headers, digest), expected.map(drop), "{value}");
            assert_eq!(headers.get("x-user").map(HeaderValue::as_bytes), expected.ok().map(str::as_bytes), "{value}");
        }
        assert_eq!(policy.check(None, &mut Headers::new(), digest), Err(NOBODY));
    }

    #[test]
    fn a_route_has_users_of_its_own() {
        let policy = policy(&line("ann", "a")).expect("valid");
        let of_route = <Users as Policy>::compile(&BasicAuthPerRoute { users: Some(source(&line("bob", "b"))) }).expect("valid");
        let ann = format!("Basic {}", BASE64.encode("ann:a"));
        assert_eq!(policy.check(Some(&of_route), &mut said(&ann), digest), Err(WRONG));
        assert_eq!(policy.check(None, &mut said(&ann), digest), Ok(()));
        assert!(<Users as Policy>::compile(&BasicAuthPerRoute::default()).is_err());
    }

    #[test]
    fn another_header_may_say_it() {
        let message = BasicAuth { users: Some(source(&line("ann", "a"))), authentication_header: "X-Auth".into(), ..Default::default() };
        let policy = BasicAuthPolicy::compile(&message).expect("valid");
        let ann: HeaderValue = format!("Basic {}", BASE64.encode("ann:a")).parse().expect("a value");
        let mut headers = Headers::from_iter([("x-auth".parse().expect("a name"), ann.clone())]);
        assert_eq!(policy.check(None, &mut headers, digest), Ok(()));
        assert_eq!(headers.len(), 1);
        assert_eq!(policy.check(None, &mut Headers::from_iter([(AUTHORIZATION, ann)]), digest), Err(NOBODY));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_without_its_words() {
        let twice = line("secret", "a").repeat(2);
        for text in ["secret", "secret:x", "secret:{SHA}x", "secret:{SHA}", ":{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", &twice] {
            let error = policy(text).expect_err(text).to_string();
            assert!(error.starts_with("users: line ") && !error.contains("secret"), "{error}");
        }
        let file = DataSource { specifier: Some(Specifier::Filename("secret".into())), ..Default::default() };
        assert!(BasicAuthPolicy::compile(&BasicAuth { users: Some(file), ..Default::default() }).is_err());
        assert!(BasicAuthPolicy::compile(&BasicAuth { allow_missing: true, ..Default::default() }).is_err());
        assert!(BasicAuthPolicy::compile(&BasicAuth { authentication_header: "a b".into(), ..Default::default() }).is_err());
        assert!(!format!("{:?}", policy(&line("secret", "a"))).contains("secret"));
    }

    #[test]
    fn a_client_is_told_for_what_it_needs_a_password() {
        let headers = Headers::new();
        let long = format!("/{}", "x".repeat(300));
        let head = RequestHead { method: "GET", scheme: "http", authority: "a.test:80", path: &long, headers: &headers, random: 0 };
        assert_eq!(challenge(&RequestHead { path: "/b?c", ..head }).expect("it can be said"), "Basic realm=\"http://a.test:80/b?c\"");
        assert_eq!(challenge(&head).expect("it can be said").len(), "Basic realm=\"http://a.test:80\"".len() + TOLD_PATH);
    }
}
