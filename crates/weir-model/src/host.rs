//! Host names as Istio compares them: exact names, and wildcards that begin with `*`.
//!
//! A wildcard stands for any number of leading labels: `*.foo.com` covers `a.foo.com` and `a.b.foo.com`, but not
//! `foo.com`. (Facts: pkg/config/host of Istio.)

use std::cmp::Ordering;

/// Whether a host is a wildcard.
pub fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// Whether two hosts have any name in common.
pub fn overlap(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
        (Some(suffix), None) => b.ends_with(suffix),
        (None, Some(suffix)) => a.ends_with(suffix),
        (None, None) => a == b,
    }
}

/// Whether all names of `a` are names of `b`.
pub fn is_subset(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(a), Some(b)) => a.ends_with(b),
        (Some(_), None) => false,
        (None, Some(suffix)) => a.ends_with(suffix),
        (None, None) => a == b,
    }
}

/// The hosts that two lists have in common: of two that overlap the narrower one, each once, in the order of
/// the first list.
pub fn intersection(first: &[String], second: &[String]) -> Vec<String> {
    let mut common: Vec<String> = vec![];
    for a in first {
        for b in second {
            let narrower = match (is_subset(a, b), is_subset(b, a)) {
                (true, _) => a,
                (false, true) => b,
                (false, false) => continue,
            };
            if !common.contains(narrower) {
                common.push(narrower.clone());
            }
        }
    }
    common
}

/// Orders hosts from the most to the least specific: exact names first, then the longest wildcard, then by
/// alphabet.
pub fn by_specificity(a: &str, b: &str) -> Ordering {
    is_wildcard(a)
        .cmp(&is_wildcard(b))
        .then_with(|| match is_wildcard(a) {
            true => b.len().cmp(&a.len()),
            false => Ordering::Equal,
        })
        .then_with(|| a.cmp(b))
}

/// The full name that a host stands for in a namespace: a name without a dot is that of a service of the
/// namespace; everything else is taken as it is. The result is in lower case, as DNS compares names.
pub fn expand(host: &str, namespace: &str, domain: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.is_empty() || host.contains('.') || host == "*" || host.contains(':') {
        host
    } else {
        format!("{host}.{namespace}.svc.{domain}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_cover_what_istio_says() {
        let cases = [
            ("*.foo.com", "a.foo.com", true),
            ("*.foo.com", "a.b.foo.com", true),
            ("*.foo.com", "foo.com", false),
            ("*", "anything", true),
            ("*.foo.com", "*.a.foo.com", true),
            ("*.com", "a.com", true),
            ("a.com", "b.com", false),
        ];
        for (a, b, expected) in cases {
            assert_eq!(overlap(a, b), expected, "{a} {b}");
            assert_eq!(overlap(b, a), expected, "{b} {a}");
        }
        assert!(is_subset("a.foo.com", "*.foo.com") && !is_subset("*.foo.com", "a.foo.com"));
        assert!(is_subset("*.a.foo.com", "*.foo.com") && !is_subset("*.foo.com", "*.a.foo.com"));
    }

    #[test]
    fn the_narrower_host_is_what_two_have_in_common() {
        let list = |hosts: &[&str]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(intersection(&list(&["1.foo.com"]), &list(&["*.foo.com"])), ["1.foo.com"]);
        assert_eq!(intersection(&list(&["*"]), &list(&["b.test", "*.a.test"])), ["b.test", "*.a.test"]);
        assert_eq!(intersection(&list(&["*.b.test"]), &list(&["b.test"])), Vec::<String>::new());
    }

    #[test]
    fn short_names_are_expanded() {
        let expand = |host| expand(host, "default", "cluster.local");
        assert_eq!(expand("reviews"), "reviews.default.svc.cluster.local");
        assert_eq!(expand("reviews.default"), "reviews.default");
        assert_eq!(expand("*"), "*");
        assert_eq!(expand("*.Foo.com"), "*.foo.com");
        assert_eq!(expand("::1"), "::1");
    }

    #[test]
    fn the_most_specific_host_comes_first() {
        let mut hosts = ["*", "*.com", "b.com", "*.a.com", "a.com", "*.b.com"];
        hosts.sort_by(|a, b| by_specificity(a, b));
        assert_eq!(hosts, ["a.com", "b.com", "*.a.com", "*.b.com", "*.com", "*"]);
    }

    proptest! {
        #[test]
        fn a_subset_overlaps(a in "(\\*\\.)?[ab]{1,2}(\\.[ab]{1,2}){0,2}", b in "(\\*\\.)?[ab]{1,2}(\\.[ab]{1,2}){0,2}") {
            prop_assert_eq!(overlap(&a, &b), overlap(&b, &a));
            prop_assert!(!is_subset(&a, &b) || overlap(&a, &b));
            prop_assert!(is_subset(&a, &a));
        }
    }
}
