//! Requests that go in a circle between content delivery networks: Envoy's CDN-Loop filter, by RFC 8586
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/cdn_loop_filter>).
//!
//! Whoever passes a request on adds its own name to `cdn-loop`, and so sees it when the request comes again.

use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::cdn_loop::CdnLoopConfig;

use super::Policy;
use crate::error::CompileError;
use crate::inline_headers::{self, REQUEST};

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Under which name requests pass, and how often.
#[derive(Debug, Clone)]
pub struct CdnLoopPolicy {
    /// What stands in the header.
    name: HeaderValue,
    /// So often it may stand there before.
    most: usize,
}

/// Why a request does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Its header is no list of networks.
    Malformed,
    /// It has been here too often.
    Loop,
}

impl Stopped {
    /// The status of the answer, its body, and what the log says, as with Envoy.
    pub fn told(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Malformed => (400, "Invalid CDN-Loop header in request.", "invalid_cdn_loop_header"),
            Self::Loop => (502, "The server has detected a loop between CDNs.", "cdn_loop_detected"),
        }
    }
}

impl Policy for CdnLoopPolicy {
    type Message = CdnLoopConfig;

    fn compile(message: &CdnLoopConfig) -> Result<Self, CompileError> {
        let CdnLoopConfig { cdn_id, max_allowed_occurrences } = message;
        let mut text = Text(cdn_id.as_bytes());
        let is_name = text.name().is_some() && text.0.is_empty();
        let name = HeaderValue::from_str(cdn_id).ok().filter(|_| is_name);
        let what = || CompileError::new("cdn_id", format!("`{cdn_id}` is no name of a network: a word or a host, with a port or without"));
        Ok(Self { name: name.ok_or_else(what)?, most: *max_allowed_occurrences as usize })
    }
}

impl CdnLoopPolicy {
    /// Lets a request pass, which tells of it from now on.
    ///
    /// # Errors
    /// If it does not pass.
    pub fn pass(&self, headers: &mut Headers) -> Result<(), Stopped> {
        inline_headers::join(headers, &CDN_LOOP, b",");
        if let Some(said) = headers.get(CDN_LOOP) {
            let times = occurrences(said.as_bytes(), self.name.as_bytes()).ok_or(Stopped::Malformed)?;
            if times > self.most {
                return Err(Stopped::Loop);
            }
        }
        inline_headers::append(headers, &CDN_LOOP, self.name.clone(), &REQUEST);
        Ok(())
    }
}

/// How often a name stands in a list, letter by letter and with its port; `None` if it is no list. Empty members say nothing
/// (RFC 9110, 5.6.1.2).
fn occurrences(list: &[u8], name: &[u8]) -> Option<usize> {
    let mut text = Text(list);
    let mut times = 0;
    loop {
        text.space();
        if !matches!(text.0, [] | [b',', ..]) {
            times += usize::from(text.member()? == name);
            text.space();
        }
        if text.0.is_empty() {
            return Some(times);
        }
        text.take(b',')?;
    }
}

/// What is left of a text. Each step takes away what it has read; one that finds something else than it reads gives `None`.
struct Text<'t>(&'t [u8]);

impl<'t> Text<'t> {
    /// A network, and what it says besides, which means nothing here; gives its name.
    fn member(&mut self) -> Option<&'t [u8]> {
        let name = self.name()?;
        loop {
            let before = self.0;
            self.space();
            if self.take(b';').is_none() {
                self.0 = before;
                return Some(name);
            }
            self.space();
            self.word()?;
            self.take(b'=')?;
            if self.0.first() == Some(&b'"') {
                self.quoted()?
            } else {
                self.word()?
            };
        }
    }

    /// A name: a word, or an address of IPv6 in brackets; a port may follow.
    fn name(&mut self) -> Option<&'t [u8]> {
        let before = self.0;
        if self.take(b'[').is_some() {
            self.some_of(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
            self.take(b']')?;
        } else {
            self.word()?;
        }
        if self.take(b':').is_some() {
            self.some_of(|byte| byte.is_ascii_digit());
        }
        before.get(..before.len() - self.0.len())
    }

    /// A token (RFC 9110, 5.6.2).
    fn word(&mut self) -> Option<()> {
        let is_of_word = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        (self.some_of(is_of_word) > 0).then_some(())
    }

    /// A quoted string (RFC 9110, 5.6.4). Other control characters than tabs are in no header.
    fn quoted(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            match first {
                b'"' => return Some(()),
                b'\\' => self.0 = self.0.get(1..)?,
                _ => {}
            }
        }
    }

    fn space(&mut self) {
        self.some_of(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[wanted])?;
        Some(())
    }

    /// Takes bytes away as long as they are such; how many there were.
    fn some_of(&mut self, is_one: impl Fn(u8) -> bool) -> usize {
        let count = self.0.iter().take_while(|byte| is_one(**byte)).count();
        self.0 = self.0.get(count..).unwrap_or_default();
        count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(cdn_id: &str, max_allowed_occurrences: u32) -> Result<CdnLoopPolicy, CompileError> {
        CdnLoopPolicy::compile(&CdnLoopConfig { cdn_id: cdn_id.to_owned(), max_allowed_occurrences })
    }

    fn headers(said: &[&str]) -> Headers {
        said.iter().map(|said| (CDN_LOOP, HeaderValue::from_bytes(said.as_bytes()).expect("valid"))).collect()
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["a.test", "cdn", "a.test:80", "[::1]:80", "a:", "a%20", "1.2.3.4"] {
            assert!(policy(name, 0).is_ok(), "{name}");
        }
        for name in ["", "a b", "a;b", "\"q\"", "a,b", " a", "a/b", "[x", "a:b", ":80", "[fe80::1%25e]", "a(x)", "é"] {
            let error = policy(name, 0).expect_err(name);
            assert_eq!(error.path, "cdn_id", "{name}");
        }
    }

    #[test]
    fn a_request_passes_as_often_as_it_may_and_tells_of_it() {
        let cases: [(&[&str], u32, Result<&str, Stopped>); 8] = [
            (&[], 0, Ok("a.test")),
            (&[""], 0, Ok("a.test")),
            (&["b.test;x=1, a.test:80"], 0, Ok("b.test;x=1, a.test:80,a.test")),
            (&["A.TEST"], 0, Ok("A.TEST,a.test")),
            (&["b", "c"], 0, Ok("b,c,a.test")),
            (&["b, a.test"], 0, Err(Stopped::Loop)),
            (&["a.test"], 1, Ok("a.test,a.test")),
            (&["a.test", "a.test"], 1, Err(Stopped::Loop)),
        ];
        for (said, most, expected) in cases {
            let mut headers = headers(said);
            let passed = policy("a.test", most).expect("valid").pass(&mut headers);
            let told = passed.map(|()| headers.get(CDN_LOOP).and_then(|value| value.to_str().ok()).unwrap_or_default());
            assert_eq!(told, expected, "{said:?}");
        }
    }

    #[test]
    fn lists_are_read_as_rfc_8586_writes_them() {
        let (one, none) = (Some(1), Some(0));
        let cases = [
            ("a; x=1", one),
            ("a ;x=1;y=2", one),
            ("a;x=\"q\\\"r, a\"", one),
            ("a;x=\"é\"", one),
            (" ,,a,", one),
            ("a\t,b", one),
            ("[::1]:80;x=1, a", one),
            ("a:, b", none),
            ("*!#$%&'^_`|~+-.", none),
            ("", none),
            ("a;x = 1", None),
            ("a;x", None),
            ("a;", None),
            ("a;;x=1", None),
            ("a;x=", None),
            ("a;x=\"b", None),
            ("a;x=\"b\\", None),
            ("a;x=b@c", None),
            ("\"a\"", None),
            ("a b", None),
            ("[::1", None),
            ("[zz]", None),
            ("a:80x", None),
            (":80", None),
            ("a/b", None),
            ("é", None),
        ];
        for (list, expected) in cases {
            assert_eq!(occurrences(list.as_bytes(), b"a"), expected, "{list}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(list in "[a,; =\"\\\\:\\[\\]\t]{0,20}", bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            for list in [list.as_bytes(), &bytes] {
                if let Some(times) = occurrences(list, b"a") {
                    prop_assert!(times <= list.iter().filter(|byte| **byte == b'a').count());
                }
            }
        }
    }
}
