//! Where requests have their tokens: in headers, parameters of the query, and cookies.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use weir_http1::HeaderName;
use weir_http1::header::AUTHORIZATION;
use weir_xds::jwt_authn::{JwtHeader, JwtProvider};

use super::view::View;
use crate::error::CompileError;
use crate::query::Query;
use crate::request::cookie;

/// Where tokens are that nobody says anything of (RFC 6750).
const BEARER: &str = "Bearer ";
const ACCESS_TOKEN: &str = "access_token";

/// Places where tokens are looked for, in the order of their kinds and names.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    headers: BTreeMap<(String, String), (HeaderName, Issuers)>,
    parameters: BTreeMap<String, Issuers>,
    cookies: BTreeMap<String, Issuers>,
}

/// Whose tokens may stand at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Issuers {
    Any,
    These(BTreeSet<String>),
}

impl Default for Issuers {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Issuers {
    fn add(&mut self, issuer: &str) {
        match self {
            Self::Any => {}
            Self::These(_) if issuer.is_empty() => *self = Self::Any,
            Self::These(issuers) => drop(issuers.insert(issuer.to_owned())),
        }
    }

    fn allow(&self, issuer: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(issuers) => issuers.contains(issuer),
        }
    }
}

/// A token that was found.
pub(super) struct Found<'p> {
    pub text: String,
    place: Place<'p>,
    issuers: &'p Issuers,
}

enum Place<'p> {
    Header(&'p HeaderName),
    Parameter(&'p str),
    Cookie,
}

impl Found<'_> {
    /// Whether tokens of this issuer may stand there.
    pub fn is_allowed(&self, issuer: &str) -> bool {
        self.issuers.allow(issuer)
    }

    /// Takes the token out of its request. As in Envoy a cookie stays.
    pub fn remove(&self, view: &mut View<'_>) {
        match self.place {
            Place::Header(name) => view.remove(name),
            Place::Parameter(name) => view.remove_parameter(name),
            Place::Cookie => {}
        }
    }
}

impl Places {
    /// Adds those that a provider names, or the usual ones.
    pub fn add(&mut self, provider: &JwtProvider) -> Result<(), CompileError> {
        let JwtProvider { issuer, from_headers, from_params, from_cookies, .. } = provider;
        for (i, JwtHeader { name, value_prefix }) in from_headers.iter().enumerate() {
            let wrong = || CompileError::new(format!("from_headers[{i}].name"), format!("`{name}` is no name of a header"));
            self.add_header(HeaderName::try_from(name.as_str()).map_err(|_| wrong())?, value_prefix, issuer);
        }
        from_params.iter().for_each(|name| self.parameters.entry(name.clone()).or_default().add(issuer));
        from_cookies.iter().for_each(|name| self.cookies.entry(name.clone()).or_default().add(issuer));
        if from_headers.is_empty() && from_params.is_empty() && from_cookies.is_empty() {
            self.add_header(AUTHORIZATION, BEARER, issuer);
            self.parameters.entry(ACCESS_TOKEN.to_owned()).or_default().add(issuer);
        }
        Ok(())
    }

    fn add_header(&mut self, name: HeaderName, prefix: &str, issuer: &str) {
        let place = self.headers.entry((name.as_str().to_owned(), prefix.to_owned()));
        place.or_insert_with(|| (name, Issuers::default())).1.add(issuer);
    }

    /// The tokens of a request, in the order in which Envoy finds them.
    pub fn find<'p>(&'p self, view: &View<'_>) -> Vec<Found<'p>> {
        let mut found = vec![];
        for ((_, prefix), (name, issuers)) in &self.headers {
            let texts = view.values(name).filter_map(|value| behind(value.as_bytes(), prefix));
            found.extend(texts.map(|text| Found { text: text.into_owned(), place: Place::Header(name), issuers }));
        }
        // Most requests have no query.
        if !self.parameters.is_empty() && view.path().contains('?') {
            let query = Query::parse(view.path());
            for (name, issuers) in &self.parameters {
                let text = query.first(name.as_bytes()).map(|text| String::from_utf8_lossy(text).into_owned());
                found.extend(text.map(|text| Found { text, place: Place::Parameter(name), issuers }));
            }
        }
        for (name, issuers) in &self.cookies {
            let text = cookie(view.head.headers, name).map(|text| String::from_utf8_lossy(text).into_owned());
            found.extend(text.map(|text| Found { text, place: Place::Cookie, issuers }));
        }
        found
    }
}

/// What of a header's value is the token: what follows the prefix, wherever that stands, from the first sign on that a token may
/// have. None without the prefix.
fn behind<'v>(value: &'v [u8], prefix: &str) -> Option<Cow<'v, str>> {
    let text = String::from_utf8_lossy(value);
    if prefix.is_empty() {
        return Some(text);
    }
    let after = text.find(prefix)? + prefix.len();
    let is_of_token = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_' | '.');
    let start = text.get(after..)?.find(is_of_token).map(|start| after + start);
    match start {
        // As in Envoy, which finds it to be none then.
        None => Some(text),
        Some(start) => text.get(start..).map(|token| Cow::Owned(token.to_owned())),
    }
}
