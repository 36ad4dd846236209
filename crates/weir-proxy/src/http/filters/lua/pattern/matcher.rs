//! Lua's patterns (<https://www.lua.org/manual/5.1/manual.html#5.4.1>), with each step counted: Lua's own search can work for hours
//! within one instruction, and its depth follows the pattern's length.

use mlua::Error;
use smallvec::SmallVec;

use super::super::limits::Limits;

/// So deep a search may go, as in later versions of Lua.
const DEPTH: u32 = 200;
/// So many captures a pattern may have.
const CAPTURES: usize = 32;

/// What is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capture {
    /// It has begun and not ended.
    Open(usize),
    /// From there to there.
    Text(usize, usize),
    /// A position.
    Position(usize),
}

/// A search for a pattern in a subject.
pub(super) struct Matcher<'m> {
    subject: &'m [u8],
    pattern: &'m [u8],
    limits: &'m Limits,
    captures: SmallVec<[Capture; 4]>,
    depth: u32,
}

type Found = mlua::Result<Option<usize>>;

fn malformed(what: &str) -> Error {
    Error::runtime(format!("malformed pattern ({what})"))
}

impl<'m> Matcher<'m> {
    pub(super) fn new(subject: &'m [u8], pattern: &'m [u8], limits: &'m Limits) -> Self {
        Self { subject, pattern, limits, captures: SmallVec::new(), depth: 0 }
    }

    /// Where a match ends that begins there.
    pub(super) fn at(&mut self, start: usize) -> Found {
        self.captures.clear();
        self.matches(start, 0)
    }

    /// The first match from there on: where it begins and ends.
    pub(super) fn from(&mut self, start: usize) -> mlua::Result<Option<(usize, usize)>> {
        for start in start..=self.subject.len() {
            if let Some(end) = self.at(start)? {
                return Ok(Some((start, end)));
            }
        }
        Ok(None)
    }

    /// What the last match captured; all of it where the pattern captures nothing.
    pub(super) fn captures(&self, start: usize, end: usize) -> SmallVec<[Capture; 4]> {
        match self.captures.is_empty() {
            true => SmallVec::from_slice(&[Capture::Text(start, end)]),
            false => self.captures.clone(),
        }
    }

    /// Whether the pattern captures anything.
    pub(super) fn has_captures(&self) -> bool {
        !self.captures.is_empty()
    }

    fn matches(&mut self, at: usize, p: usize) -> Found {
        if self.depth >= DEPTH {
            return Err(Error::runtime("pattern too complex"));
        }
        self.depth += 1;
        let end = self.follow(at, p);
        self.depth -= 1;
        end
    }

    /// Follows the pattern from an item on.
    fn follow(&mut self, mut at: usize, mut p: usize) -> Found {
        loop {
            self.limits.charge(1)?;
            let next = self.pattern.get(p + 1).copied();
            match self.pattern.get(p) {
                None => return Ok(Some(at)),
                Some(b'(') if next == Some(b')') => return self.open(at, p + 2, Capture::Position(at)),
                Some(b'(') => return self.open(at, p + 1, Capture::Open(at)),
                Some(b')') => return self.close(at, p + 1),
                Some(b'$') if next.is_none() => return Ok((at == self.subject.len()).then_some(at)),
                Some(b'%') if next == Some(b'b') => match self.balanced(at, p + 2)? {
                    Some(end) => (at, p) = (end, p + 4),
                    None => return Ok(None),
                },
                Some(b'%') if next == Some(b'f') => match self.frontier(at, p + 2)? {
                    Some(end) => p = end,
                    None => return Ok(None),
                },
                Some(b'%') if next.is_some_and(|next| next.is_ascii_digit()) => match self.repeated(at, next.unwrap_or_default())? {
                    Some(end) => (at, p) = (end, p + 2),
                    None => return Ok(None),
                },
                Some(_) => {
                    let end = self.item_end(p)?;
                    let here = self.is_at(at, p, end);
                    match self.pattern.get(end) {
                        Some(b'?') => {
                            if here && let Some(found) = self.matches(at + 1, end + 1)? {
                                return Ok(Some(found));
                            }
                            p = end + 1;
                        }
                        Some(b'+') if !here => return Ok(None),
                        Some(b'+' | b'*') => return self.longest(at, p, end),
                        Some(b'-') => return self.shortest(at, p, end),
                        _ if !here => return Ok(None),
                        _ => (at, p) = (at + 1, end),
                    }
                }
            }
        }
    }

    /// As many as there are, and fewer if what follows needs it; of `+` one is there, as its caller has seen.
    fn longest(&mut self, at: usize, p: usize, end: usize) -> Found {
        let least = usize::from(self.pattern.get(end) == Some(&b'+'));
        let mut count = 0;
        while self.is_at(at + count, p, end) {
            self.limits.charge(1)?;
            count += 1;
        }
        loop {
            if count < least {
                return Ok(None);
            }
            if let Some(found) = self.matches(at + count, end + 1)? {
                return Ok(Some(found));
            }
            match count.checked_sub(1) {
                Some(fewer) => count = fewer,
                None => return Ok(None),
            }
        }
    }

    /// As few as what follows allows.
    fn shortest(&mut self, mut at: usize, p: usize, end: usize) -> Found {
        loop {
            if let Some(found) = self.matches(at, end + 1)? {
                return Ok(Some(found));
            }
            if !self.is_at(at, p, end) {
                return Ok(None);
            }
            at += 1;
        }
    }

    fn open(&mut self, at: usize, p: usize, capture: Capture) -> Found {
        if self.captures.len() >= CAPTURES {
            return Err(Error::runtime("too many captures"));
        }
        self.captures.push(capture);
        let count = self.captures.len();
        let found = self.matches(at, p)?;
        if found.is_none() {
            self.captures.truncate(count - 1);
        }
        Ok(found)
    }

    fn close(&mut self, at: usize, p: usize) -> Found {
        let open = self.captures.iter_mut().rev().find(|capture| matches!(capture, Capture::Open(_)));
        let Some(capture) = open else { return Err(Error::runtime("invalid pattern capture")) };
        let Capture::Open(start) = *capture else { return Ok(None) };
        *capture = Capture::Text(start, at);
        let found = self.matches(at, p)?;
        if found.is_none()
            && let Some(capture) = self.captures.iter_mut().rev().find(|capture| **capture == Capture::Text(start, at))
        {
            *capture = Capture::Open(start);
        }
        Ok(found)
    }

    /// `%bxy`: from an `x` to the `y` that belongs to it.
    fn balanced(&self, at: usize, p: usize) -> Found {
        let (Some(first), Some(last)) = (self.pattern.get(p), self.pattern.get(p + 1)) else {
            return Err(malformed("missing arguments to '%b'"));
        };
        if self.subject.get(at) != Some(first) {
            return Ok(None);
        }
        let mut open = 0_usize;
        for (i, byte) in self.subject.iter().enumerate().skip(at) {
            self.limits.charge(1)?;
            if byte == last && open > 0 {
                open -= 1;
                if open == 0 {
                    return Ok(Some(i + 1));
                }
            } else if byte == first {
                open += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`: between a byte that is not of a set and one that is.
    fn frontier(&self, at: usize, p: usize) -> Found {
        if self.pattern.get(p) != Some(&b'[') {
            return Err(malformed("missing '[' after '%f'"));
        }
        let end = self.item_end(p)?;
        let before = at.checked_sub(1).and_then(|before| self.subject.get(before)).copied().unwrap_or_default();
        let here = self.subject.get(at).copied().unwrap_or_default();
        Ok((!self.is_of_set(before, p, end) && self.is_of_set(here, p, end)).then_some(end))
    }

    /// `%1`: what was captured, once more.
    fn repeated(&self, at: usize, digit: u8) -> Found {
        let capture = usize::from(digit.wrapping_sub(b'1'));
        let (start, end) = match self.captures.get(capture) {
            Some(Capture::Text(start, end)) => (start, end),
            // No text says it.
            Some(Capture::Position(_)) => return Ok(None),
            Some(Capture::Open(_)) | None => return Err(Error::runtime("invalid capture index")),
        };
        let (text, rest) = (self.subject.get(*start..*end).unwrap_or_default(), self.subject.get(at..).unwrap_or_default());
        self.limits.charge(text.len() as u64)?;
        Ok(rest.starts_with(text).then_some(at + text.len()))
    }

    /// Where an item of one byte ends.
    fn item_end(&self, p: usize) -> mlua::Result<usize> {
        match self.pattern.get(p) {
            Some(b'%') if p + 1 >= self.pattern.len() => Err(malformed("ends with '%'")),
            Some(b'%') => Ok(p + 2),
            Some(b'[') => {
                let mut p = p + 1 + usize::from(self.pattern.get(p + 1) == Some(&b'^'));
                loop {
                    // The first counts whatever it is.
                    match self.pattern.get(p) {
                        None => return Err(malformed("missing ']'")),
                        Some(b'%') => p += 2,
                        Some(_) => p += 1,
                    }
                    if self.pattern.get(p) == Some(&b']') {
                        return Ok(p + 1);
                    }
                }
            }
            _ => Ok(p + 1),
        }
    }

    /// Whether the byte there is of the item.
    fn is_at(&self, at: usize, p: usize, end: usize) -> bool {
        let Some(byte) = self.subject.get(at).copied() else { return false };
        match self.pattern.get(p) {
            Some(b'.') => true,
            Some(b'%') => self.pattern.get(p + 1).is_some_and(|class| is_of_class(byte, *class)),
            Some(b'[') => self.is_of_set(byte, p, end),
            other => other == Some(&byte),
        }
    }

    /// Whether a byte is of the set from `[` to before `end`.
    fn is_of_set(&self, byte: u8, p: usize, end: usize) -> bool {
        let set = self.pattern.get(p + 1..end.saturating_sub(1)).unwrap_or_default();
        let (mut rest, negated) = match set {
            [b'^', rest @ ..] => (rest, true),
            rest => (rest, false),
        };
        loop {
            let (is_in, after) = match rest {
                [] => return negated,
                [b'%', class, after @ ..] => (is_of_class(byte, *class), after),
                [first, b'-', last, after @ ..] => ((*first..=*last).contains(&byte), after),
                [one, after @ ..] => (*one == byte, after),
            };
            if is_in {
                return !negated;
            }
            rest = after;
        }
    }
}

fn is_of_class(byte: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'g' => byte.is_ascii_graphic(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_in != class.is_ascii_uppercase()
}
