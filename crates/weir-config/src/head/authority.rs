//! Whom a request is for.

use http::{Method, StatusCode, Version};
use weir_http1::header::{self, HeaderValue, Headers};

use super::target::Parts;
use super::{Client, MALFORMED, Refusal, codec_error, refuse};
use crate::http::{HostPort, HttpConfig};
use weir_routing::inline_headers::join;

const INVALID: Refusal = codec_error(StatusCode::BAD_REQUEST, "http1.invalid_authority", "Bad Request");

/// Leaves one `host` header, which is valid: an absolute request line, or HTTP/2's `:authority`, goes before it. Tells whether it
/// names several hosts.
pub(super) fn settle(
    target: &Parts<'_>,
    version: Version,
    headers: &mut Headers,
    config: &HttpConfig,
    client: &Client,
) -> Result<bool, Refusal> {
    if let Some(authority) = target.authority {
        let host = match (version, target.scheme) {
            (Version::HTTP_2, _) | (_, None) => authority,
            (_, Some(scheme)) => of_absolute_target(scheme, authority, config, client)?,
        };
        headers.insert(header::HOST, HeaderValue::from_str(host).map_err(|_| INVALID)?);
    }
    join(headers, &header::HOST, b",");
    let Some(host) = headers.get(header::HOST) else {
        return Err(refuse(StatusCode::BAD_REQUEST, "missing_host_header", ""));
    };
    if !host.as_bytes().iter().all(|byte| is_valid(*byte, version)) {
        return Err(INVALID);
    }
    Ok(host.as_bytes().contains(&b','))
}

/// What an authority may consist of (RFC 3986, 3.2). Who a user is, is nothing that HTTP/2 says there (RFC 9113, 8.3.1).
fn is_valid(byte: u8, version: Version) -> bool {
    OF_AUTHORITIES[usize::from(byte)] || byte == b'@' && version < Version::HTTP_2
}

/// Each byte of each request's host is looked up here.
static OF_AUTHORITIES: [bool; 256] = {
    let (mut table, mut byte, others) = ([false; 256], 0, b"!$%&'()*+,-.:;=[]_~");
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// The host of a target that is a whole URL, without the user that it may name.
fn of_absolute_target<'t>(scheme: &str, authority: &'t str, config: &HttpConfig, client: &Client) -> Result<&'t str, Refusal> {
    const BAD: Refusal = MALFORMED;
    if !config.absolute_targets {
        return Err(refuse(StatusCode::NOT_FOUND, "absolute_path_rejected", ""));
    }
    let is_https = scheme.eq_ignore_ascii_case("https");
    if !is_https && !scheme.eq_ignore_ascii_case("http") {
        return Err(BAD);
    }
    // Nobody before us can have taken TLS off.
    if is_https && !client.tls && config.edge && config.trusted_hops == 0 {
        return Err(codec_error(StatusCode::FORBIDDEN, "http1.invalid_scheme", "Forbidden"));
    }
    let (user, host) = authority.split_once('@').unwrap_or(("", authority));
    let (name, port) = split_port(host);
    let valid = user.bytes().all(is_of_user) && is_name(name) && port.is_none_or(|port| is_number(port) && port.parse::<u16>().is_ok());
    if valid { Ok(host) } else { Err(BAD) }
}

/// What a user of a URL may be written with (RFC 3986, 3.2.1).
fn is_of_user(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()%;:&=+$,".contains(&byte)
}

/// Whether a text is a host of a URL as Envoy reads it: narrower than RFC 3986, 3.2.2, by the names that nobody has.
fn is_name(name: &str) -> bool {
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let all_are = |text: &str, is_valid: fn(u8) -> bool| !text.is_empty() && text.bytes().all(is_valid);
    match literal {
        Some(address) => all_are(address, |byte| byte.is_ascii_hexdigit() || b":.".contains(&byte)),
        None => all_are(name, |byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A host and what stands behind its colon, if it has one.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        // The colons of an IPv6 address.
        Some((_, after)) if after.contains(']') => (host, None),
        Some((name, _)) if name.contains(':') && !name.ends_with(']') => (host, None),
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    }
}

/// Takes off the host what the configuration says: the last dot of its name, its port.
pub(super) fn strip(method: &Method, headers: &mut Headers, config: &HttpConfig, client: &Client) {
    if !config.strip_host_dot && config.strip_host_port == HostPort::Keep {
        return;
    }
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return };
    if let Some(stripped) = stripped(host, method, config, client.local_port)
        && let Ok(value) = HeaderValue::from_str(&stripped)
    {
        headers.insert(header::HOST, value);
    }
}

fn stripped(host: &str, method: &Method, config: &HttpConfig, local: u16) -> Option<String> {
    let (name, port) = split_port(host);
    let shorter = name.strip_suffix('.').filter(|_| config.strip_host_dot);
    let name = shorter.unwrap_or(name);
    let takes = port.is_some_and(|port| match config.strip_host_port {
        // Where somebody connects to, the port belongs to it.
        _ if *method == Method::CONNECT || !is_number(port) => false,
        HostPort::Keep => false,
        HostPort::StripOwn => port.parse() == Ok(local),
        HostPort::StripAny => true,
    });
    match port {
        Some(port) if !takes => shorter.map(|name| format!("{name}:{port}")),
        Some(_) => Some(name.to_owned()),
        None => shorter.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Target;
    use crate::head::target::parts;
    use crate::head::tests::{client, config};

    fn host(line: &str, version: Version, hosts: &[&str]) -> Result<(String, bool), u16> {
        let mut headers = Headers::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host.as_bytes()).expect("a value"));
        }
        let config = HttpConfig { edge: true, ..config() };
        let target = match version {
            Version::HTTP_2 => Target::Parts(line.parse().expect("a target")),
            _ => Target::Line(line.to_owned()),
        };
        let parts = parts(&target, &Method::GET).map_err(|no| no.status.as_u16())?;
        let several = settle(&parts, version, &mut headers, &config, &client()).map_err(|no| no.status.as_u16())?;
        assert_eq!(headers.get_all(header::HOST).iter().count(), 1);
        Ok((headers[header::HOST].to_str().expect("ASCII").to_owned(), several))
    }

    #[test]
    fn hosts_that_rfc_9112_makes_invalid_are_refused() {
        for bad in
            ["a b", "a.test/", "a\\b", "a#b", "a?b", "http://a", "\"a\"", "<a>", "a\u{e9}", "a{b}", "a|b", "a^b", "a`b", "a.test, b.test"]
        {
            assert_eq!(host("/", Version::HTTP_11, &[bad]), Err(400), "{bad}");
        }
        for good in ["a.test", "a.test:80", "[::1]:80", "user@a.test", "a_b!$&'()*+;=~%41", ""] {
            assert_eq!(host("/", Version::HTTP_11, &[good]), Ok((good.to_owned(), false)), "{good}");
        }
        assert_eq!(host("/", Version::HTTP_11, &[]), Err(400));
        assert_eq!(host("http://user@a.test/", Version::HTTP_2, &[]), Err(400));
    }

    #[test]
    fn several_hosts_are_told() {
        assert_eq!(host("/", Version::HTTP_11, &["a", "b"]), Ok(("a,b".to_owned(), true)));
        assert_eq!(host("/", Version::HTTP_11, &["a,b"]), Ok(("a,b".to_owned(), true)));
        assert_eq!(host("/", Version::HTTP_11, &["", "b"]), Ok(("b".to_owned(), false)));
    }

    #[test]
    fn a_target_that_is_a_url_goes_before_the_host() {
        for (target, expected) in [
            ("http://b.test/x", Ok("b.test")),
            ("HTTP://b.test:81/x", Ok("b.test:81")),
            ("http://user:word@b.test/x", Ok("b.test")),
            ("http://[::1]/x", Ok("[::1]")),
            ("https://b.test/x", Err(403)),
            ("ftp://b.test/x", Err(400)),
            ("http://b.test:/x", Err(400)),
            ("http://b.test:80https://c.test/", Err(400)),
            ("http://b.test:80:80/", Err(400)),
            ("http://b.test:99999/x", Err(400)),
            ("http://b,c/x", Err(400)),
            ("http://b*/x", Err(400)),
            ("http://b_c/x", Err(400)),
            ("http://b%41/x", Err(400)),
            ("http://-b..c/x", Ok("-b..c")),
            ("http://[::1]:81/x", Ok("[::1]:81")),
            ("http://[::g]/x", Err(400)),
            ("http://[::1%25a]/x", Err(400)),
            ("http://[]/x", Err(400)),
            ("http://@b/x", Ok("b")),
            ("http://u%41!@b/x", Ok("b")),
            ("http://u\"@b/x", Err(400)),
            ("http://a@b@c/x", Err(400)),
        ] {
            let expected = expected.map(|host| (host.to_owned(), false));
            assert_eq!(host(target, Version::HTTP_11, &["a.test"]), expected, "{target}");
        }
    }

    #[test]
    fn hosts_are_stripped_of_dots_and_ports() {
        let any = HttpConfig { strip_host_port: HostPort::StripAny, ..config() };
        let own = HttpConfig { strip_host_port: HostPort::StripOwn, ..config() };
        let dot = HttpConfig { strip_host_dot: true, ..config() };
        for (host, config, expected) in [
            ("a:80", &any, Some("a")),
            ("[::1]:80", &any, Some("[::1]")),
            ("[::1]", &any, None),
            ("a:x", &any, None),
            ("a", &any, None),
            ("a:8080", &own, Some("a")),
            ("a:80", &own, None),
            ("a.", &dot, Some("a")),
            ("a.:80", &dot, Some("a:80")),
            ("a:80", &dot, None),
        ] {
            assert_eq!(stripped(host, &Method::GET, config, 8080).as_deref(), expected, "{host}");
        }
        assert_eq!(stripped("a:80", &Method::CONNECT, &any, 8080), None);
    }
}
