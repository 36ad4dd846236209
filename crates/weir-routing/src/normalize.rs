//! Paths as Envoy normalises them: `.` and `..` segments resolved, escapes of unreserved characters undone,
//! backslashes turned into slashes. Two spellings of one path must not slip past a rule for one of them.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// Normalises a path with its query; the query stays as it is.
///
/// # Errors
/// If it hides a NUL character.
pub fn normalize(path: &str, merge_slashes: bool) -> Result<Cow<'_, str>, Refused> {
    let (only, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    if is_normal(only) && !(merge_slashes && only.contains("//")) {
        return Ok(Cow::Borrowed(path));
    }
    let mut normal = resolve(&unescape(only)?);
    if merge_slashes {
        while let Some(at) = normal.find("//") {
            normal.remove(at);
        }
    }
    Ok(Cow::Owned(normal + query))
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
fn unescape(path: &str) -> Result<String, Refused> {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        let escaped = (byte == b'%').then(|| hex_pair(bytes.get(i + 1..i + 3))).flatten();
        match escaped {
            Some(0) => return Err(Refused),
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
                    b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | 0x80.. => out.push_str(&format!("%{byte:02X}")),
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
        ];
        for (path, expected) in cases {
            assert_eq!(normalize(path, false).as_deref(), Ok(expected), "{path}");
        }
        assert_eq!(normalize("/a%00b", false), Err(Refused));
        assert_eq!(normalize("//a///b?c//d", true).as_deref(), Ok("/a/b?c//d"));
    }
}
