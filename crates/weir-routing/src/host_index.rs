//! Which virtual host a request's authority belongs to.
//!
//! Envoy's order: an exact domain, then the longest `*.suffix`, then the longest `prefix.*`, then `*`
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto>, `domains`).

use std::borrow::Cow;

use crate::error::CompileError;
use crate::map::Map;

/// The domains of a route configuration.
#[derive(Debug, Clone, Default)]
pub struct HostIndex {
    exact: Map<Box<str>, u32>,
    suffixes: Wildcards,
    prefixes: Wildcards,
    any: Option<u32>,
}

/// Wildcard domains without their `*`, with the lengths that occur, longest first.
#[derive(Debug, Clone, Default)]
struct Wildcards {
    lengths: Vec<usize>,
    hosts: Map<Box<str>, u32>,
}

impl Wildcards {
    fn insert(&mut self, part: &str, host: u32) -> bool {
        if let Err(position) = self.lengths.binary_search_by(|length| part.len().cmp(length)) {
            self.lengths.insert(position, part.len());
        }
        self.hosts.insert(part.into(), host).is_none()
    }

    /// The host of the longest wildcard: `part` cuts that many bytes off the authority. The star stands for
    /// at least one character.
    fn find<'a>(&self, authority: &'a str, part: impl Fn(&'a str, usize) -> Option<&'a str>) -> Option<u32> {
        let shorter = self.lengths.iter().filter(|length| **length < authority.len());
        shorter.filter_map(|length| self.hosts.get(part(authority, *length)?)).next().copied()
    }
}

impl HostIndex {
    /// Files a domain of a virtual host. Case does not matter.
    ///
    /// # Errors
    /// If another virtual host has the same domain, or it is no domain.
    pub fn insert(&mut self, domain: &str, host: u32) -> Result<(), CompileError> {
        let domain = domain.to_ascii_lowercase();
        let new = match (domain.as_str(), domain.strip_prefix('*'), domain.strip_suffix('*')) {
            ("", _, _) => return Err(CompileError::new("domains", "an empty domain")),
            ("*", _, _) => self.any.replace(host).is_none(),
            (_, Some(suffix), _) => self.suffixes.insert(suffix, host),
            (_, _, Some(prefix)) => self.prefixes.insert(prefix, host),
            (exact, _, _) => self.exact.insert(exact.into(), host).is_none(),
        };
        if new { Ok(()) } else { Err(CompileError::new("domains", format!("the domain `{domain}` is listed twice"))) }
    }

    /// The virtual host of `*`, if there is no other domain.
    pub fn only(&self) -> Option<u32> {
        let others = !self.exact.is_empty() || !self.suffixes.hosts.is_empty() || !self.prefixes.hosts.is_empty();
        self.any.filter(|_| !others)
    }

    /// The virtual host of an authority.
    pub fn find(&self, authority: &str) -> Option<u32> {
        // Nearly all authorities are in lower case already.
        let authority = match authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(authority.to_ascii_lowercase()),
            false => Cow::Borrowed(authority),
        };
        let authority = authority.as_ref();
        if let Some(host) = self.exact.get(authority) {
            return Some(*host);
        }
        let by_suffix = || self.suffixes.find(authority, |text, length| text.get(text.len() - length..));
        let by_prefix = || self.prefixes.find(authority, |text, length| text.get(..length));
        by_suffix().or_else(by_prefix).or(self.any)
    }
}

/// An authority without its port; an IPv6 address keeps its brackets.
pub fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') && authority[colon + 1..].bytes().all(|byte| byte.is_ascii_digit()) => {
            // A bare IPv6 address has more colons, and no port.
            if authority[..colon].contains(':') && !authority.starts_with('[') { authority } else { &authority[..colon] }
        }
        _ => authority,
    }
}

/// An authority at the colon where Envoy sees a port, whatever stands behind it: the last one that is in no brackets.
pub(crate) fn split_port(authority: &str) -> Option<(&str, &str)> {
    authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_domain_wins() {
        let mut index = HostIndex::default();
        let domains = ["a.test", "*.test", "*.b.test", "a.*", "*", "*-x.test", "a.b.*"];
        for (host, domain) in domains.into_iter().enumerate() {
            index.insert(domain, host as u32).expect("new");
        }
        let cases = [
            ("a.test", 0),
            ("A.Test", 0),
            ("c.test", 1),
            ("c.b.test", 2),
            ("b.test", 1),
            ("a.org", 3),
            ("z", 4),
            ("c-x.test", 5),
            ("a.b.c", 6),
            (".test", 4),
        ];
        for (authority, expected) in cases {
            assert_eq!(index.find(authority), Some(expected), "{authority}");
        }
        assert!(index.insert("A.TEST", 9).is_err());
    }

    #[test]
    fn a_port_is_cut_off() {
        let cases =
            [("a.test:80", "a.test"), ("a.test", "a.test"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("::1", "::1"), ("a:b", "a:b")];
        for (authority, expected) in cases {
            assert_eq!(without_port(authority), expected);
        }
    }
}
