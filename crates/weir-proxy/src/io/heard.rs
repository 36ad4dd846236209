//! The heads of requests as a client wrote them, for what the HTTP library does not show of them. It is best effort: where it
//! cannot be told which bytes were a request's head, there is none, and what the library made of it counts.

/// More than this is not kept for one head.
const MOST: usize = 128 << 10;
/// Of what may be a body, so much is kept of its end, where the next head begins.
const TAIL: usize = 16 << 10;

/// What follows the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// The next head.
    Head,
    /// So many bytes, then the next head.
    Bytes(u64),
    /// A body of unknown length.
    Unknown,
}

/// What was heard of heads.
#[derive(Debug, Default)]
pub struct Heard {
    bytes: Vec<u8>,
    /// What follows the head at the beginning of `bytes`, once a request was made of it.
    used: Option<Follows>,
    /// Bytes of a body that are still to come.
    skip: u64,
    /// Whether it is not known where the next head begins: then `bytes` are the last that came.
    lost: bool,
}

impl Heard {
    /// Takes note of what came.
    pub fn hear(&mut self, new: &[u8]) {
        if self.lost {
            return self.keep_tail(new);
        }
        if let Some(follows) = self.used {
            // Nearly always there was one head, and nothing behind it.
            if follows == Follows::Head && self.bytes.ends_with(b"\r\n\r\n") {
                self.bytes.clear();
                self.used = None;
            } else {
                self.pass_used();
            }
        }
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(new.len());
        self.skip -= skipped as u64;
        self.bytes.extend_from_slice(new.get(skipped..).unwrap_or_default());
        if self.bytes.len() > MOST {
            self.lose();
        }
    }

    /// The head of the request that has come, with what lies behind it, if it is known; and what follows it.
    pub fn head(&mut self, method: &str, follows: Follows) -> Option<&[u8]> {
        if self.used.is_some() {
            // This one came together with the last.
            self.pass_used();
        }
        if self.lost {
            self.find_last();
        }
        if !starts_with(&self.bytes, method) {
            self.lose();
            // What comes next is the next head.
            self.lost = follows != Follows::Head;
            return None;
        }
        self.used = Some(follows);
        Some(&self.bytes)
    }

    /// Leaves what was used behind.
    fn pass_used(&mut self) {
        let Some(follows) = self.used.take() else { return };
        let Some(head) = end_of_head(&self.bytes) else { return self.lose() };
        self.bytes.drain(..head);
        match follows {
            Follows::Head => {}
            Follows::Bytes(length) => {
                let here = usize::try_from(length).unwrap_or(usize::MAX).min(self.bytes.len());
                self.bytes.drain(..here);
                self.skip = length - here as u64;
            }
            Follows::Unknown => self.lost = true,
        }
    }

    fn keep_tail(&mut self, new: &[u8]) {
        self.bytes.extend_from_slice(new.get(new.len().saturating_sub(TAIL)..).unwrap_or_default());
        if self.bytes.len() > 2 * TAIL {
            self.bytes.drain(..self.bytes.len() - TAIL);
        }
    }

    /// Leaves only the last head, which ends where the bytes end, and begins where a body in chunks, or the head before it, ends.
    fn find_last(&mut self) {
        const EMPTY_LINE: &[u8] = b"\r\n\r\n";
        self.lost = false;
        let Some(head) = self.bytes.strip_suffix(EMPTY_LINE) else { return self.bytes.clear() };
        if let Some(before) = head.windows(EMPTY_LINE.len()).rposition(|four| four == EMPTY_LINE) {
            self.bytes.drain(..before + EMPTY_LINE.len());
        }
    }

    fn lose(&mut self) {
        *self = Self { lost: true, ..Self::default() };
    }
}

/// Whether a head begins with a method; empty lines before it do not count.
fn starts_with(bytes: &[u8], method: &str) -> bool {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
    bytes.get(start..).and_then(|bytes| bytes.strip_prefix(method.as_bytes())).is_some_and(|rest| rest.first() == Some(&b' '))
}

/// Where a head ends: behind its first empty line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let mut line = start;
    loop {
        let end = line + bytes.get(line..)?.iter().position(|byte| *byte == b'\n')? + 1;
        if matches!(bytes.get(line..end), Some(b"\n" | b"\r\n")) {
            return Some(end);
        }
        line = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n";

    #[test]
    fn heads_are_heard_however_they_come() {
        let mut heard = Heard::default();
        heard.hear(format!("\r\n{GET}{POST}bo").as_bytes());
        assert!(heard.head("GET", Follows::Head).is_some());
        assert!(heard.head("POST", Follows::Bytes(4)).is_some_and(|head| head.starts_with(POST.as_bytes())));
        heard.hear(format!("dy{GET}").as_bytes());
        assert_eq!(heard.head("GET", Follows::Head), Some(GET.as_bytes()));
        heard.hear(b"PUT / HT");
        heard.hear(b"TP/1.1\r\n\r\n");
        assert!(heard.head("PUT", Follows::Head).is_some());
    }

    #[test]
    fn where_a_body_ends_nobody_knows_but_the_next_head_is_found() {
        let mut heard = Heard::default();
        heard.hear(POST.as_bytes());
        assert!(heard.head("POST", Follows::Unknown).is_some());
        heard.hear(b"2\r\nok\r\n0\r\n\r\n");
        heard.hear(GET.as_bytes());
        assert_eq!(heard.head("GET", Follows::Head), Some(GET.as_bytes()));
        heard.hear(format!("{GET}{POST}2\r\nok\r\n0\r\n").as_bytes());
        assert!(heard.head("GET", Follows::Head).is_some());
        assert!(heard.head("POST", Follows::Unknown).is_some());
        heard.hear(b"\r\n");
        heard.hear(&GET.as_bytes()[..9]);
        heard.hear(&GET.as_bytes()[9..]);
        assert_eq!(heard.head("GET", Follows::Head), Some(GET.as_bytes()));
        heard.hear(b"nothing\r\n\r\nof ours");
        assert_eq!(heard.head("GET", Follows::Head), None);
        heard.hear(GET.as_bytes());
        assert_eq!(heard.head("GET", Follows::Head), Some(GET.as_bytes()));
    }
}
