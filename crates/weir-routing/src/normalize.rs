//! Paths as Envoy normalises them: `.` and `..` segments resolved, escapes of unreserved characters undone,
//! backslashes turned into slashes. Two spellings of one path must not slip past a rule for one of them.

use std::borrow::Cow;

use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::PathWithEscapedSlashesAction;

/// Why a request does not go on with its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsettled {
    /// It hides a NUL character, or slashes that must not be hidden.
    Refused,
    /// It hides slashes, and its client is to ask for this one instead.
    Elsewhere(String),
}

/// What is done to each path before anything looks at it: the fields of Envoy's connection manager.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathRules {
    /// `.` and `..` segments, escapes of unreserved characters and backslashes are resolved.
    pub normalize: bool,
    /// Runs of slashes become one.
    pub merge_slashes: bool,
    /// What becomes of `%2F` and `%5C`.
    pub escaped_slashes: EscapedSlashes,
}

/// What becomes of escaped slashes and backslashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay as they are.
    #[default]
    Keep,
    /// The request is refused.
    Reject,
    /// They become plain ones, before anything else is done.
    Decode,
    /// The same, and the client is sent to the path that comes of it.
    Redirect,
}

impl PathRules {
    /// The rules of a connection manager.
    pub fn compile(manager: &HttpConnectionManager) -> Self {
        use PathWithEscapedSlashesAction as Written;
        let escaped_slashes = match manager.path_with_escaped_slashes_action() {
            Written::ImplementationSpecificDefault | Written::KeepUnchanged => EscapedSlashes::Keep,
            Written::RejectRequest => EscapedSlashes::Reject,
            Written::UnescapeAndForward => EscapedSlashes::Decode,
            Written::UnescapeAndRedirect => EscapedSlashes::Redirect,
        };
        Self { normalize: manager.normalize_path.unwrap_or(false), merge_slashes: manager.merge_slashes, escaped_slashes }
    }

    /// Makes of a path with its query what routes and instances see; the query stays as it is.
    ///
    /// # Errors
    /// If the request does not go on.
    pub fn settle<'p>(&self, path: &'p str) -> Result<Cow<'p, str>, Unsettled> {
        if *self == Self::default() {
            return Ok(Cow::Borrowed(path));
        }
        let (only, query) = path.split_at(path.find('?').unwrap_or(path.len()));
        let mut settled = Cow::Borrowed(only);
        let hides_slashes = self.escaped_slashes != EscapedSlashes::Keep && has_escaped_slashes(only);
        match self.escaped_slashes {
            EscapedSlashes::Reject if hides_slashes => return Err(Unsettled::Refused),
            EscapedSlashes::Decode | EscapedSlashes::Redirect if hides_slashes => settled = Cow::Owned(decode_slashes(only)),
            EscapedSlashes::Keep | EscapedSlashes::Reject | EscapedSlashes::Decode | EscapedSlashes::Redirect => {}
        }
        if self.normalize && !is_normal(&settled) {
            settled = Cow::Owned(resolve(&unescape(&without_parameters(&settled))?));
        }
        if self.merge_slashes && settled.contains("//") {
            settled = Cow::Owned(merge_slashes(&settled));
        }
        if hides_slashes && self.escaped_slashes == EscapedSlashes::Redirect {
            return Err(Unsettled::Elsewhere(settled.into_owned() + query));
        }
        Ok(match settled {
            Cow::Borrowed(_) => Cow::Borrowed(path),
            Cow::Owned(settled) => Cow::Owned(settled + query),
        })
    }
}

/// What an escape of three characters at the beginning stands for, if that is a slash or a backslash.
fn escaped_slash(text: &str) -> Option<char> {
    match text.get(..3)? {
        "%2F" | "%2f" => Some('/'),
        "%5C" | "%5c" => Some('\\'),
        _ => None,
    }
}

fn has_escaped_slashes(path: &str) -> bool {
    path.match_indices('%').any(|(at, _)| escaped_slash(&path[at..]).is_some())
}

fn decode_slashes(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        decoded.push_str(before);
        let (plain, length) = escaped_slash(escape).map_or(('%', 1), |slash| (slash, 3));
        decoded.push(plain);
        rest = &escape[length..];
    }
    decoded + rest
}

/// Segments such as `..;x` without what follows their dots: a server that takes that for a parameter would resolve them, and a
/// rule for the path would be evaded. Dots that are escaped do not count here.
fn without_parameters(path: &str) -> Cow<'_, str> {
    if !path.contains("/.;") && !path.contains("/..;") {
        return Cow::Borrowed(path);
    }
    let dots = |segment: &str| ["..", "."].into_iter().find(|dots| segment.strip_prefix(dots).is_some_and(|rest| rest.starts_with(';')));
    let segments = path.split('/').map(|segment| dots(segment).map_or(segment, |dots| &segment[..dots.len()]));
    Cow::Owned(segments.collect::<Vec<_>>().join("/"))
}

fn merge_slashes(path: &str) -> String {
    // Envoy keeps the first and the last slash of a path that has nothing else.
    if path.bytes().all(|byte| byte == b'/') {
        return "//".to_owned();
    }
    let mut merged = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !merged.ends_with('/') {
            merged.push(letter);
        }
    }
    merged
}

/// Whether there is nothing to do, which is nearly always so.
fn is_normal(path: &str) -> bool {
    let mut previous = b' ';
    for byte in path.bytes() {
        let suspicious =
            matches!(byte, b'%' | b'\\' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^') || (byte == b'.' && previous == b'/');
        if suspicious || !byte.is_ascii() {
            return false;
        }
        previous = byte;
    }
    true
}

/// Undoes escapes that need not be, and escapes what must be, as URLs are canonicalised
/// (<https://url.spec.whatwg.org/#path-state>).
fn unescape(path: &str) -> Result<String, Unsettled> {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        let escaped = (byte == b'%').then(|| hex_pair(bytes.get(i + 1..i + 3))).flatten();
        match escaped {
            Some(0) => return Err(Unsettled::Refused),
            Some(plain) if is_unreserved(plain) => {
                out.push(plain as char);
                i += 3;
            }
            Some(_) => {
                out.push_str(&path[i..i + 3]);
                i += 3;
            }
            None => {
                match byte {
                    b'\\' => out.push('/'),
                    b'"' | b'<' | b'>' | b'`' | b'{' | b'|' | b'}' | 0x80.. => out.push_str(&format!("%{byte:02X}")),
                    _ => out.push(byte as char),
                }
                i += 1;
            }
        }
    }
    Ok(out)
}

fn hex_pair(pair: Option<&[u8]>) -> Option<u8> {
    let text = std::str::from_utf8(pair?).ok()?;
    u8::from_str_radix(text, 16).ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Removes `.` segments, and for each `..` the segment before it.
fn resolve(path: &str) -> String {
    let mut segments: Vec<&str> = vec![];
    let mut rest = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = rest.next() {
        let last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if last {
                    segments.push("");
                }
            }
            _ => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_what_envoy_makes_of_them() {
        let cases = [
            ("/x/../admin", "/admin"),
            ("/x/%2e%2e/admin", "/admin"),
            ("/x/%2E./admin", "/admin"),
            ("//admin", "//admin"),
            ("/%61dmin", "/admin"),
            ("/x%2f..%2fadmin", "/x%2f..%2fadmin"),
            ("/adm\\in", "/adm/in"),
            ("/../../x", "/x"),
            ("/x/./y//z/?q=/../a", "/x/y//z/?q=/../a"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a%zz", "/a%zz"),
            ("/.hidden", "/.hidden"),
            ("/a.b/c..d", "/a.b/c..d"),
            ("/a/..;x/private", "/private"),
            ("/a/..;x;y/..;z?q=/..;", "/?q=/..;"),
            ("/a/.;x/b", "/a/b"),
            ("/a/.;", "/a/"),
            ("//..;x", "/"),
            ("/a/...;x/b", "/a/...;x/b"),
            ("/a/x..;y/;../b", "/a/x..;y/;../b"),
            ("/a/b/%2e%2e;x/private", "/a/b/..;x/private"),
            ("/a\\..;x/b", "/a/..;x/b"),
            ("/a/..;x\\b", "/"),
            ("/a/..;%00", "/"),
            ("/a;/../private", "/private"),
        ];
        let usual = PathRules { normalize: true, ..Default::default() };
        for (path, expected) in cases {
            assert_eq!(usual.settle(path).as_deref(), Ok(expected), "{path}");
        }
        assert_eq!(usual.settle("/a%00b"), Err(Unsettled::Refused));
        let merging = PathRules { merge_slashes: true, ..usual };
        assert_eq!(merging.settle("//a///b?c//d").as_deref(), Ok("/a/b?c//d"));
        assert_eq!(PathRules { normalize: false, ..merging }.settle("/.//a").as_deref(), Ok("/./a"));
        assert_eq!(PathRules::default().settle("/./a\\b//%2f").as_deref(), Ok("/./a\\b//%2f"));
    }

    #[test]
    fn escaped_slashes_are_decoded_before_anything_else_or_refused() {
        let decoding = PathRules { normalize: true, merge_slashes: true, escaped_slashes: EscapedSlashes::Decode };
        let cases = [
            ("/x%2f..%2Fadmin", "/admin"),
            ("/a%5Cb", "/a/b"),
            ("/a%2F%2fb?c%2Fd", "/a/b?c%2Fd"),
            ("/a%252Fb", "/a%252Fb"),
            ("/a%", "/a%"),
        ];
        for (path, expected) in cases {
            assert_eq!(decoding.settle(path).as_deref(), Ok(expected), "{path}");
        }
        let refusing = PathRules { escaped_slashes: EscapedSlashes::Reject, ..decoding };
        assert_eq!(refusing.settle("/a%5cb"), Err(Unsettled::Refused));
        assert_eq!(refusing.settle("/a%20b?c%2Fd").as_deref(), Ok("/a%20b?c%2Fd"));
    }

    #[test]
    fn clients_are_sent_to_the_path_without_escaped_slashes() {
        let manager = |action: PathWithEscapedSlashesAction| HttpConnectionManager {
            path_with_escaped_slashes_action: action.into(),
            ..Default::default()
        };
        let rules = PathRules::compile(&manager(PathWithEscapedSlashesAction::RejectRequest));
        assert_eq!(rules.escaped_slashes, EscapedSlashes::Reject);
        let rules = PathRules::compile(&manager(PathWithEscapedSlashesAction::UnescapeAndRedirect));
        let rules = PathRules { normalize: true, merge_slashes: true, ..rules };
        // What Envoy answers with in `location`.
        for (path, expected) in [("/a%2Fb?x=%2F", "/a/b?x=%2F"), ("/a%2F..%2f/c", "/c"), ("/a%5cb", "/a/b")] {
            assert_eq!(rules.settle(path), Err(Unsettled::Elsewhere(expected.to_owned())), "{path}");
        }
        assert_eq!(rules.settle("/a%2F%00"), Err(Unsettled::Refused));
        assert_eq!(rules.settle("/a//%20b?c%2Fd").as_deref(), Ok("/a/%20b?c%2Fd"));
    }
}
