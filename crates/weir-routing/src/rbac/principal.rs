//! Conditions on who the client is by its certificate.

use weir_xds::matcher::StringMatcher;
use weir_xds::matcher::string_matcher::MatchPattern;

use super::facts::{Facts, Peer};
use crate::error::CompileError;
use crate::text_match::TextMatch;

/// The names that a client must have.
#[derive(Debug, Clone)]
pub(super) enum PrincipalMatch {
    /// Any, or none: it need only have come by TLS.
    AnyTls,
    /// One that matches.
    Text(TextMatch),
    /// One that is of a namespace: what `.*/ns/NAMESPACE/.*` says, without running an expression.
    Namespace {
        /// `/ns/NAMESPACE/`.
        part: TextMatch,
        /// The namespace.
        name: Box<str>,
    },
    /// One that matches an expression that names a namespace, as Istio writes service accounts.
    Within {
        /// The expression.
        text: TextMatch,
        /// The namespace.
        name: Box<str>,
    },
    /// Its URIs, as one text: what Istio's proxies keep as the state `io.istio.peer_principal`.
    State(TextMatch),
}

/// How Istio writes a namespace.
const OF_NAMESPACE: (&str, &str) = (".*/ns/", "/.*");
/// How Istio writes a service account: before the namespace, between it and the account, and behind that.
const OF_ACCOUNT: (&str, &str, &str) = ("spiffe://.+/ns/", "/(.+/|)sa/", "(/.+)?");

impl PrincipalMatch {
    /// Compiles a condition on names.
    pub(super) fn compile(matcher: &StringMatcher) -> Result<Self, CompileError> {
        let text = TextMatch::compile(matcher)?;
        let StringMatcher { match_pattern: Some(MatchPattern::SafeRegex(regex)), .. } = matcher else { return Ok(Self::Text(text)) };
        let (before, after) = OF_NAMESPACE;
        let whole = regex.regex.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).filter(|name| is_literal(name));
        if let Some(name) = whole {
            let part = StringMatcher { match_pattern: Some(MatchPattern::Contains(format!("/ns/{name}/"))), ignore_case: false };
            return Ok(Self::Namespace { part: TextMatch::compile(&part)?, name: name.into() });
        }
        Ok(match namespace_of_account(&regex.regex) {
            Some(name) => Self::Within { text, name: name.into() },
            None => Self::Text(text),
        })
    }

    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        let Some(peer) = facts.connection.peer else { return false };
        match self {
            Self::AnyTls => true,
            Self::Text(text) | Self::Within { text, .. } => any(peer, |name| text.matches(name)),
            // As in the expression that it stands for, a dot is no end of a line.
            Self::Namespace { part, .. } => any(peer, |name| part.matches(name) && !name.contains(&b'\n')),
            Self::State(text) => match peer.uris {
                [] => false,
                [one] => text.matches(one.as_bytes()),
                several => text.matches(several.join(",").as_bytes()),
            },
        }
    }
}

fn any(peer: Peer<'_>, matches: impl Fn(&[u8]) -> bool) -> bool {
    peer.names().any(|name| matches(name.as_bytes()))
}

/// The namespace that every name has which matches an expression, if it is written just as Istio does: any other may have an
/// alternative that names another.
fn namespace_of_account(regex: &str) -> Option<&str> {
    let (before, between, behind) = OF_ACCOUNT;
    let (name, account) = regex.strip_prefix(before)?.strip_suffix(behind)?.split_once(between)?;
    // Istio escapes the dots of an account's name.
    (is_literal(name) && is_literal(&account.replace(r"\.", ""))).then_some(name)
}

/// Whether a part of an expression stands for itself alone.
fn is_literal(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The namespaces that stand in a name. They may overlap: in `/ns/ns/sa/` there are two.
pub(super) fn namespaces(name: &str) -> impl Iterator<Item = &str> {
    let ends = name.match_indices('/').map(|(at, _)| at);
    ends.filter_map(move |at| name.get(at..)?.strip_prefix("/ns/")?.split_once('/')).map(|(namespace, _)| namespace)
}
