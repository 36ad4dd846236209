//! The names that a certificate is for, and what is asked of them.

use std::borrow::Cow;

use weir_routing::CompileError;
use weir_routing::text_match::TextMatch;
use weir_xds::matcher::StringMatcher;
use weir_xds::tls::SubjectAltNameMatcher;
use weir_xds::tls::subject_alt_name_matcher::SanType;

/// Which sort of name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// `a@example.com`.
    Email,
    /// `www.example.com`, `*.example.com`.
    Dns,
    /// `spiffe://cluster.local/ns/default/sa/default`.
    Uri,
    /// `192.0.2.1`.
    Ip,
}

/// All sorts that can be asked for.
const KINDS: [NameKind; 4] = [NameKind::Dns, NameKind::Uri, NameKind::Email, NameKind::Ip];

/// A name of a certificate: one of its subject's alternative names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AltName<'c> {
    /// Its sort.
    pub kind: NameKind,
    /// The name, as it is written.
    pub text: Cow<'c, str>,
}

/// What one of a certificate's names must be.
#[derive(Debug, Clone)]
pub struct NameMatcher {
    kind: NameKind,
    source: StringMatcher,
    text: TextMatch,
}

/// Compiled expressions cannot be compared, what they were compiled from can.
impl PartialEq for NameMatcher {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.source == other.source
    }
}

impl NameMatcher {
    /// Compiles Envoy's matcher.
    ///
    /// # Errors
    /// If it is not valid, or for names of another sort.
    pub fn compile(matcher: &SubjectAltNameMatcher) -> Result<Self, CompileError> {
        let SubjectAltNameMatcher { san_type: _, matcher: text, oid: _ } = matcher;
        let kind = match matcher.san_type() {
            SanType::Email => NameKind::Email,
            SanType::Dns => NameKind::Dns,
            SanType::Uri => NameKind::Uri,
            SanType::IpAddress => NameKind::Ip,
            SanType::OtherName => return Err(CompileError::new("san_type", "OTHER_NAME is not supported")),
            SanType::Unspecified => return Err(CompileError::missing("san_type")),
        };
        let text = text.as_ref().ok_or_else(|| CompileError::missing("matcher"))?;
        Self::new(kind, text).map_err(|error| error.within("matcher"))
    }

    /// The older form, for names of every sort.
    pub(super) fn of_every_kind(text: &StringMatcher) -> Result<Vec<Self>, CompileError> {
        KINDS.into_iter().map(|kind| Self::new(kind, text)).collect()
    }

    fn new(kind: NameKind, source: &StringMatcher) -> Result<Self, CompileError> {
        Ok(Self { kind, source: source.clone(), text: TextMatch::compile(source)? })
    }

    /// Whether a name of a certificate is such a one. An exact DNS name is compared as DNS does it.
    pub fn matches(&self, name: &AltName<'_>) -> bool {
        if self.kind != name.kind {
            return false;
        }
        match self.text.exact().map(std::str::from_utf8) {
            Some(Ok(host)) if self.kind == NameKind::Dns => is_for_host(&name.text, host),
            _ => self.text.matches(name.text.as_bytes()),
        }
    }
}

impl AltName<'_> {
    /// Whether a certificate with this name is for a host: a DNS name, an address, or any other name letter for letter.
    pub fn is_for(&self, host: &str) -> bool {
        if self.kind == NameKind::Dns { is_for_host(&self.text, host) } else { self.text == host }
    }
}

/// Whether a DNS name of a certificate is for a host. A wildcard stands for one whole label, the first.
fn is_for_host(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(parent), Some((label, rest))) = (name.strip_prefix("*."), host.split_once('.')) else { return false };
    !label.is_empty() && rest.eq_ignore_ascii_case(parent)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn name(kind: NameKind, text: &str) -> AltName<'_> {
        AltName { kind, text: text.into() }
    }

    fn matcher(matcher: Value) -> Result<NameMatcher, String> {
        let matcher: SubjectAltNameMatcher = weir_xds::json::from_value(matcher).unwrap();
        NameMatcher::compile(&matcher).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_compared_by_their_sort() {
        use NameKind::{Dns, Email, Ip, Uri};
        let cases = [
            ("DNS", json!({"exact": "a.example"}), Dns, "a.example", true),
            ("DNS", json!({"exact": "A.example"}), Dns, "a.EXAMPLE", true),
            ("DNS", json!({"exact": "a.example"}), Dns, "*.example", true),
            ("DNS", json!({"exact": "b.a.example"}), Dns, "*.example", false),
            ("DNS", json!({"exact": ".example"}), Dns, "*.example", false),
            ("DNS", json!({"exact": "a.example"}), Uri, "a.example", false),
            ("DNS", json!({"suffix": ".example"}), Dns, "*.example", true),
            ("DNS", json!({"prefix": "a."}), Dns, "A.example", false),
            ("DNS", json!({"prefix": "a.", "ignoreCase": true}), Dns, "A.example", true),
            ("URI", json!({"exact": "spiffe://td/ns/a/sa/b"}), Uri, "spiffe://td/ns/a/sa/b", true),
            ("URI", json!({"prefix": "spiffe://td/ns/a/"}), Uri, "spiffe://td/ns/a/sa/b", true),
            ("URI", json!({"contains": "/ns/a/"}), Uri, "spiffe://td/ns/a/sa/b", true),
            ("URI", json!({"safeRegex": {"regex": "spiffe://td/ns/[a-c]/sa/.*"}}), Uri, "spiffe://td/ns/d/sa/b", false),
            ("URI", json!({"exact": "spiffe://TD/a"}), Uri, "spiffe://td/a", false),
            ("EMAIL", json!({"exact": "a@b.c"}), Email, "a@b.c", true),
            ("IP_ADDRESS", json!({"exact": "192.0.2.1"}), Ip, "192.0.2.1", true),
        ];
        for (kind, text, of, presented, expected) in cases {
            let matcher = matcher(json!({"sanType": kind, "matcher": text})).unwrap();
            assert_eq!(matcher.matches(&name(of, presented)), expected, "{kind} {text} {presented}");
        }
    }

    #[test]
    fn a_certificate_is_for_a_host_by_its_names() {
        for (presented, host, expected) in [
            (name(NameKind::Dns, "a.example"), "a.example", true),
            (name(NameKind::Dns, "*.example"), "a.example", true),
            (name(NameKind::Dns, "*.example"), "example", false),
            (name(NameKind::Dns, "a*.example"), "ab.example", false),
            (name(NameKind::Ip, "192.0.2.1"), "192.0.2.1", true),
            (name(NameKind::Uri, "a.example"), "b.example", false),
        ] {
            assert_eq!(presented.is_for(host), expected, "{presented:?} {host}");
        }
    }

    #[test]
    fn a_sort_that_is_not_known_is_refused() {
        let of = |kind: &str| matcher(json!({"sanType": kind, "matcher": {"exact": "a"}, "oid": "1.2"})).unwrap_err();
        assert_eq!(of("OTHER_NAME"), "san_type: OTHER_NAME is not supported");
        assert_eq!(of("SAN_TYPE_UNSPECIFIED"), "san_type: is missing");
        assert_eq!(matcher(json!({"sanType": "DNS"})).unwrap_err(), "matcher: is missing");
    }
}
