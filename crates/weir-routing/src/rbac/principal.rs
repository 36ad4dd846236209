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
/// How Istio's expressions for service accounts begin.
const OF_ACCOUNT: &str = "spiffe://.+/ns/";

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
        let account = regex.regex.strip_prefix(OF_ACCOUNT).and_then(|rest| rest.split_once('/')).map(|(name, _)| name);
        Ok(match account.filter(|name| is_literal(name)) {
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

/// Whether a part of an expression stands for itself alone.
fn is_literal(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The namespaces that stand in a name. They may overlap: in `/ns/ns/sa/` there are two.
pub(super) fn namespaces(name: &str) -> impl Iterator<Item = &str> {
    let ends = name.match_indices('/').map(|(at, _)| at);
    ends.filter_map(move |at| name.get(at..)?.strip_prefix("/ns/")?.split_once('/')).map(|(namespace, _)| namespace)
}
