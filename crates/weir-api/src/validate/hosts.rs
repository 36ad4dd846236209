//! Names of hosts, namespaces and gateways.

use std::net::IpAddr;

use super::checker::Checker;

const LABEL_HELP: &str = "letters, digits and `-`, at most 63, with a letter or digit at both ends";

/// Whether a text is one label of a DNS name.
pub(super) fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// Whether a text is a label, `*`, or a label with `*` or `*-` before it.
fn is_wildcard_label(text: &str) -> bool {
    match text.strip_prefix('*') {
        Some("") => true,
        Some(rest) => is_label(rest.strip_prefix('-').unwrap_or(rest)),
        None => is_label(text),
    }
}

/// What is right where a text is no name of a host.
pub(super) const REMEDY: &str = "write parts of letters, digits and `-` with dots between them; a `*` only as the whole first part";

/// Why a text is no name of a host.
type Wrong = String;

fn length(name: &str) -> Result<(), Wrong> {
    match name.len() {
        0 => Err("the name of the host is empty".to_owned()),
        256.. => Err(format!("the host name `{name}` is longer than 255 characters")),
        _ => Ok(()),
    }
}

fn labels(name: &str, whole: &str) -> Result<(), Wrong> {
    let labels: Vec<&str> = name.strip_suffix('.').unwrap_or(name).split('.').collect();
    if !name.ends_with('.') && labels.last().is_some_and(|last| last.parse::<i64>().is_ok()) {
        return Err(format!("`{whole}` is not a host name: its last part is a number"));
    }
    match labels.iter().find(|label| !is_label(label)) {
        Some(wrong) => Err(format!("`{whole}` is not a host name: `{wrong}` is not a part of one")),
        None => Ok(()),
    }
}

/// A full name without a wildcard.
pub(super) fn fqdn(name: &str) -> Result<(), Wrong> {
    length(name)?;
    labels(name, name)
}

/// A name whose first label may be a wildcard.
pub(super) fn wildcard_domain(name: &str) -> Result<(), Wrong> {
    length(name)?;
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    if !is_wildcard_label(first) {
        return Err(format!("`{name}` is not a host name: `{first}` is not a part of one"));
    }
    rest.map_or(Ok(()), |rest| labels(rest, name))
}

/// A name as [`wildcard_domain`], or one that the mesh makes for traffic between its networks
/// (`outbound_.80_.v1_.reviews.default.svc.cluster.local`).
pub(super) fn sni_domain(name: &str) -> Result<(), Wrong> {
    let made = name.strip_prefix("outbound_.").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if made { length(name) } else { wildcard_domain(name) }
}

/// Whether a text is an IP address.
pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// Whether a wildcard stands anywhere but alone or as the first label.
pub(super) fn is_partial_wildcard(name: &str) -> bool {
    name.contains('*') && name != "*" && !name.starts_with("*.")
}

/// Whether a name stands for several.
pub(super) fn is_wildcard(name: &str) -> bool {
    name.starts_with('*')
}

/// Whether every host that `inner` stands for is one that `outer` stands for.
pub(super) fn is_within(inner: &str, outer: &str) -> bool {
    match outer.strip_prefix('*') {
        Some(suffix) => inner.strip_prefix('*').unwrap_or(inner).ends_with(suffix) && (is_wildcard(inner) || inner.len() > suffix.len()),
        None => inner == outer,
    }
}

/// Whether there is a host that both stand for.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    is_within(a, b) || is_within(b, a)
}

/// Checks a host that may be a wildcard.
pub(super) fn check_wildcard_domain(c: &mut Checker<'_>, host: &str) {
    if let Err(wrong) = wildcard_domain(host) {
        c.error_help(wrong, REMEDY);
    }
}

/// Who reads a `namespace/host`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Gateway,
    Sidecar,
}

/// Checks a `namespace/host` of a Gateway's server or a Sidecar's egress.
pub(super) fn check_namespaced(c: &mut Checker<'_>, text: &str, reader: Reader) {
    let (namespace, host) = match text.split_once('/') {
        Some((namespace, host)) => (namespace, host),
        None if reader == Reader::Gateway => return check_full_host(c, text, reader),
        None => return c.error_help(format!("`{text}` has no namespace"), format!("write `NAMESPACE/{text}`, `./{text}` or `*/{text}`")),
    };
    if namespace.is_empty() || host.is_empty() {
        return c.error_help(format!("`{text}` lacks the namespace or the host"), "write `NAMESPACE/HOST`");
    }
    // A `~` before the namespace takes hosts out again.
    let excluded = namespace.strip_prefix('~').filter(|_| reader == Reader::Sidecar);
    let known = matches!(namespace, "*" | ".") || matches!(excluded, Some("" | "*" | "."));
    if !known && !is_label(excluded.unwrap_or(namespace)) {
        c.error_help(format!("`{namespace}` is not a namespace"), LABEL_HELP);
    }
    check_full_host(c, host, reader);
}

fn check_full_host(c: &mut Checker<'_>, host: &str, reader: Reader) {
    if host != "*" && !host.contains('.') && !(reader == Reader::Gateway && is_ip(host)) {
        let help = format!("write the whole name, such as `{host}.default.svc.cluster.local`");
        return c.error_help(format!("`{host}` is a short name, which means nothing here"), help);
    }
    if let Err(wrong) = wildcard_domain(host)
        && !(reader == Reader::Gateway && is_ip(host))
    {
        return c.error_help(wrong, REMEDY);
    }
    if is_partial_wildcard(host) {
        c.error_help(format!("`{host}` has a wildcard within a part of the name"), "a wildcard stands for whole parts: `*.example.com`");
    }
}

/// Checks the name of a gateway: `name` or `namespace/name`.
pub(super) fn check_gateway_name(c: &mut Checker<'_>, name: &str) {
    if let Some((namespace, gateway)) = name.split_once('/') {
        for (part, what) in [(namespace, "a namespace"), (gateway, "the name of a Gateway")] {
            if !is_label(part) {
                c.error_help(format!("`{part}` is not {what}"), LABEL_HELP);
            }
        }
    } else if let Err(wrong) = fqdn(name) {
        c.error_help(wrong, REMEDY);
    } else if let [gateway, namespace, ..] = name.split('.').collect::<Vec<_>>()[..] {
        c.warn_help(format!("`{name}` is an old form of a Gateway's name"), format!("write `{namespace}/{gateway}`"));
    }
}

/// Checks a name that must be one DNS label.
pub(super) fn check_label(c: &mut Checker<'_>, text: &str, what: &str) {
    if text.is_empty() {
        c.error_help(format!("{what} is missing"), LABEL_HELP);
    } else if !is_label(text) {
        c.error_help(format!("`{text}` is not possible as {what}"), LABEL_HELP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_other_texts() {
        for name in ["a", "reviews", "a.b", "a-1.b2.c", "istio.io.", "EXAMPLE.com"] {
            assert_eq!(fqdn(name), Ok(()), "{name}");
        }
        let long = "a".repeat(64);
        for name in ["", "-a", "a-", "a..b", ".a", "a_b", "*.a", "1.2.3.4", "a b", "ä.de", &long, &["a."; 128].concat()] {
            assert!(fqdn(name).is_err(), "{name}");
        }
        for name in ["*", "*.a", "*a.b", "*-a.b", "a.b"] {
            assert_eq!(wildcard_domain(name), Ok(()), "{name}");
        }
        for name in ["a.*", "a*.b", "**.a", "foo.ba!r", "-"] {
            assert!(wildcard_domain(name).is_err(), "{name}");
        }
        assert!(sni_domain("outbound_.15010_._.istiod.istio-system.svc.cluster.local").is_ok());
        assert!(sni_domain("outbound_.x").is_err());
    }

    #[test]
    fn wildcards_contain_and_overlap() {
        for (inner, outer, within) in [
            ("a.com", "a.com", true),
            ("b.a.com", "*.a.com", true),
            ("a.com", "*.a.com", false),
            ("*.b.a.com", "*.a.com", true),
            ("*.a.com", "b.a.com", false),
            ("*", "*", true),
            ("a", "*", true),
            ("*.com", "*", true),
            ("*", "*.com", false),
            ("xa.com", "*.a.com", false),
        ] {
            assert_eq!(is_within(inner, outer), within, "{inner} in {outer}");
        }
        assert!(overlap("*.bar", "*.foo.bar") && overlap("*.foo.bar", "*.bar"));
        assert!(!overlap("*.foo", "*.bar") && !overlap("a", "b"));
    }

    fn said(check: impl FnOnce(&mut Checker<'_>)) -> Vec<String> {
        let mut checker = Checker::new("default");
        check(&mut checker);
        checker.finish().iter().map(|diagnostic| diagnostic.message.clone()).collect()
    }

    #[test]
    fn hosts_of_sidecars_and_gateways_have_namespaces() {
        for good in ["*/*", "./a.com", "ns/*.a.com", "~/*", "~ns/*", "~/a.com"] {
            assert_eq!(said(|c| check_namespaced(c, good, Reader::Sidecar)), [""; 0], "{good}");
        }
        for bad in ["a.com", "/a.com", "ns/", "ns/short", "n_s/a.com", "ns/*a.com", "ns/1.1.1.1", "~n_s/*"] {
            assert_eq!(said(|c| check_namespaced(c, bad, Reader::Sidecar)).len(), 1, "{bad}");
        }
        for good in ["*", "a.com", "*.a.com", "1.1.1.1", "::1", "*/a.com", "./*", "ns/1.1.1.1"] {
            assert_eq!(said(|c| check_namespaced(c, good, Reader::Gateway)), [""; 0], "{good}");
        }
        for bad in ["short", "*bar.com", "~/a.com", "ns/*bar.com"] {
            assert_eq!(said(|c| check_namespaced(c, bad, Reader::Gateway)).len(), 1, "{bad}");
        }
    }

    #[test]
    fn gateways_have_names() {
        for (name, count) in [("mesh", 0), ("gw", 0), ("ns/gw", 0), ("ns/*", 1), ("n_s/g_w", 2), ("gw.ns.svc.cluster.local", 1), ("g_w", 1)]
        {
            assert_eq!(said(|c| check_gateway_name(c, name)).len(), count, "{name}");
        }
    }
}
