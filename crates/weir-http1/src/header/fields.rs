//! The fields of a head, in their order.

use std::fmt;
use std::ops::Index;

use super::known::number_of;
use super::name::Name;
use super::{HeaderName, HeaderValue, NameSet};

/// The fields of a head, in the order in which they came or were added.
#[derive(Clone, Default)]
pub struct Headers {
    lines: Vec<Line>,
    /// Which known names there are: to ask for one that is missing, as most are, costs next to nothing.
    known: NameSet,
    /// Those of them that may be there more than once.
    repeated: NameSet,
}

/// A field.
type Line = (HeaderName, HeaderValue);

/// A name to look for, which the caller keeps.
pub trait AsName {
    /// What is compared.
    #[doc(hidden)]
    fn as_name(&self) -> Wanted<'_>;
}

/// A name that a field gets.
pub trait IntoName {
    /// The name.
    #[doc(hidden)]
    fn into_name(self) -> HeaderName;
}

/// What a search compares.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'n> {
    Known(u8),
    Other(&'n [u8]),
}

impl AsName for HeaderName {
    fn as_name(&self) -> Wanted<'_> {
        match &self.0 {
            Name::Known(number) => Wanted::Known(*number),
            Name::Other(name) => Wanted::Other(name),
        }
    }
}

impl AsName for str {
    fn as_name(&self) -> Wanted<'_> {
        number_of(self.as_bytes()).map_or(Wanted::Other(self.as_bytes()), Wanted::Known)
    }
}

impl<N: AsName + ?Sized> AsName for &N {
    fn as_name(&self) -> Wanted<'_> {
        (**self).as_name()
    }
}

impl IntoName for HeaderName {
    fn into_name(self) -> HeaderName {
        self
    }
}

impl IntoName for &HeaderName {
    fn into_name(self) -> HeaderName {
        self.clone()
    }
}

impl IntoName for &'static str {
    /// # Panics
    /// If it is no name in lower case.
    fn into_name(self) -> HeaderName {
        HeaderName::from_static(self)
    }
}

impl Wanted<'_> {
    fn is(self, name: &HeaderName) -> bool {
        match (self, &name.0) {
            (Self::Known(wanted), Name::Known(number)) => wanted == *number,
            (Self::Other(wanted), Name::Other(name)) => wanted.eq_ignore_ascii_case(name),
            _ => false,
        }
    }
}

impl Headers {
    /// None yet.
    pub const fn new() -> Self {
        Self { lines: Vec::new(), known: NameSet::of(&[]), repeated: NameSet::of(&[]) }
    }

    /// With room for so many fields.
    pub fn with_capacity(fields: usize) -> Self {
        Self { lines: Vec::with_capacity(fields), ..Self::new() }
    }

    /// For how many fields there is room.
    pub fn capacity(&self) -> usize {
        self.lines.capacity()
    }

    /// Makes room for so many more fields.
    pub fn reserve(&mut self, fields: usize) {
        self.lines.reserve(fields);
    }

    /// Takes all away, but keeps the memory.
    pub fn clear(&mut self) {
        self.lines.clear();
        (self.known, self.repeated) = (NameSet::default(), NameSet::default());
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// All fields.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&HeaderName, &HeaderValue)> + ExactSizeIterator {
        self.lines.iter().map(|(name, value)| (name, value))
    }

    /// The name of each field: one that is there twice comes twice.
    pub fn keys(&self) -> impl Iterator<Item = &HeaderName> {
        self.lines.iter().map(|(name, _)| name)
    }

    /// Which known names there are.
    pub fn known(&self) -> &NameSet {
        &self.known
    }

    /// Known names that may be there more than once; each that is stands here.
    pub fn repeated(&self) -> &NameSet {
        &self.repeated
    }

    /// Whether there is such a field.
    #[inline]
    pub fn contains_key(&self, name: impl AsName) -> bool {
        match name.as_name() {
            Wanted::Known(number) => self.known.has(number),
            wanted => self.place_of(wanted).is_some(),
        }
    }

    /// The first value of a field.
    #[inline]
    pub fn get(&self, name: impl AsName) -> Option<&HeaderValue> {
        let place = self.place_of(name.as_name())?;
        self.lines.get(place).map(|(_, value)| value)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, name: impl AsName) -> Option<&mut HeaderValue> {
        let place = self.place_of(name.as_name())?;
        self.lines.get_mut(place).map(|(_, value)| value)
    }

    /// All values of a field.
    #[inline]
    pub fn get_all(&self, name: impl AsName) -> GetAll<'_> {
        let place = self.place_of(name.as_name());
        let lines = place.and_then(|place| self.lines.get(place..)).unwrap_or_default();
        GetAll { lines, repeats: self.may_repeat(name) }
    }

    /// Gives a field one value, in the place of the first that it had, which is returned.
    pub fn insert(&mut self, name: impl IntoName, value: HeaderValue) -> Option<HeaderValue> {
        let name = name.into_name();
        let wanted = name.as_name();
        let Some(place) = self.place_of(wanted) else {
            self.push(name, value);
            return None;
        };
        if self.is_marked(wanted) {
            let mut at = 0;
            self.lines.retain(|(known, _)| {
                at += 1;
                at <= place + 1 || !wanted.is(known)
            });
            self.is_single(wanted);
        }
        self.lines.get_mut(place).map(|(_, known)| std::mem::replace(known, value))
    }

    /// Adds a field; whether there was one of its name before.
    pub fn append(&mut self, name: impl IntoName, value: HeaderValue) -> bool {
        let name = name.into_name();
        match name.as_name() {
            Wanted::Known(_) => self.push(name, value),
            wanted => {
                let is_there = self.place_of(wanted).is_some();
                self.push(name, value);
                is_there
            }
        }
    }

    /// Adds a field, unless there is one of its name.
    pub fn insert_if_absent(&mut self, name: impl IntoName, value: impl FnOnce() -> HeaderValue) {
        let name = name.into_name();
        if !self.contains_key(&name) {
            self.push(name, value());
        }
    }

    /// Takes all fields of a name away; the first value that there was.
    pub fn remove(&mut self, name: impl AsName) -> Option<HeaderValue> {
        let wanted = name.as_name();
        let place = self.place_of(wanted)?;
        let (_, value) = self.lines.remove(place);
        if self.is_marked(wanted) {
            self.lines.retain(|(known, _)| !wanted.is(known));
            self.is_single(wanted);
        }
        if let Wanted::Known(number) = wanted {
            self.known.take(number);
        }
        Some(value)
    }

    /// Takes all fields of these names away.
    #[inline]
    pub fn remove_all(&mut self, names: &NameSet) {
        let there = self.known.and(names);
        if !there.is_empty() {
            there.iter().for_each(|name| drop(self.remove(name)));
        }
    }

    /// Keeps only the fields that it is said of.
    pub fn retain(&mut self, mut keeps: impl FnMut(&HeaderName, &HeaderValue) -> bool) {
        self.lines.retain(|(name, value)| keeps(name, value));
        (self.known, self.repeated) = (NameSet::default(), NameSet::default());
        let Self { lines, known, repeated } = self;
        for (name, _) in lines {
            note(name, known, repeated);
        }
    }

    /// Adds a field behind all others; whether its name was there before, if it is a known one.
    pub(crate) fn push(&mut self, name: HeaderName, value: HeaderValue) -> bool {
        let was_there = note(&name, &mut self.known, &mut self.repeated);
        self.lines.push((name, value));
        was_there
    }

    /// Most that are asked for are not there: that is found without a call.
    #[inline]
    fn place_of(&self, wanted: Wanted<'_>) -> Option<usize> {
        match wanted {
            Wanted::Known(number) if !self.known.has(number) => None,
            wanted => self.search(wanted),
        }
    }

    #[inline(never)]
    fn search(&self, wanted: Wanted<'_>) -> Option<usize> {
        match wanted {
            Wanted::Known(number) => self.lines.iter().position(|(name, _)| matches!(name.0, Name::Known(known) if known == number)),
            Wanted::Other(_) => self.lines.iter().position(|(name, _)| wanted.is(name)),
        }
    }

    /// Whether there may be more than one field of a name; that there are not is certain for known names.
    pub fn may_repeat(&self, name: impl AsName) -> bool {
        self.is_marked(name.as_name())
    }

    fn is_marked(&self, wanted: Wanted<'_>) -> bool {
        match wanted {
            Wanted::Known(number) => self.repeated.has(number),
            Wanted::Other(_) => true,
        }
    }

    fn is_single(&mut self, wanted: Wanted<'_>) {
        if let Wanted::Known(number) = wanted {
            self.repeated.take(number);
        }
    }
}

/// Notes a name; whether it is a known one that was there.
fn note(name: &HeaderName, known: &mut NameSet, repeated: &mut NameSet) -> bool {
    let Name::Known(number) = name.0 else { return false };
    let was_there = known.add(number);
    if was_there {
        repeated.add(number);
    }
    was_there
}

/// All values of a field.
#[derive(Debug, Clone, Copy)]
pub struct GetAll<'h> {
    /// From the first on.
    lines: &'h [Line],
    repeats: bool,
}

impl<'h> GetAll<'h> {
    /// One after the other.
    pub fn iter(self) -> Values<'h> {
        let Some(((name, _), others)) = self.lines.split_first() else { return Values { lines: [].iter(), name: None } };
        let first = self.lines.get(..self.lines.len() - others.len()).unwrap_or_default();
        Values { lines: if self.repeats { self.lines } else { first }.iter(), name: Some(name) }
    }
}

impl<'h> IntoIterator for GetAll<'h> {
    type Item = &'h HeaderValue;
    type IntoIter = Values<'h>;

    fn into_iter(self) -> Values<'h> {
        self.iter()
    }
}

/// The values of a field.
#[derive(Debug, Clone)]
pub struct Values<'h> {
    lines: std::slice::Iter<'h, Line>,
    name: Option<&'h HeaderName>,
}

impl<'h> Iterator for Values<'h> {
    type Item = &'h HeaderValue;

    fn next(&mut self) -> Option<Self::Item> {
        let wanted = self.name?;
        self.lines.find(|(name, _)| name == wanted).map(|(_, value)| value)
    }
}

impl DoubleEndedIterator for Values<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let wanted = self.name?;
        self.lines.rfind(|(name, _)| name == wanted).map(|(_, value)| value)
    }
}

/// The order between fields of different names says nothing (RFC 9110, 5.3).
impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.keys().all(|name| self.get_all(name).iter().eq(other.get_all(name).iter()))
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: AsName> Index<N> for Headers {
    type Output = HeaderValue;

    /// # Panics
    /// If there is no such field.
    #[expect(clippy::panic, reason = "as with every index; who is not sure asks by `get`")]
    fn index(&self, name: N) -> &HeaderValue {
        match self.get(&name) {
            Some(value) => value,
            None => panic!("no such header"),
        }
    }
}

impl Extend<(HeaderName, HeaderValue)> for Headers {
    fn extend<T: IntoIterator<Item = (HeaderName, HeaderValue)>>(&mut self, fields: T) {
        for (name, value) in fields {
            self.push(name, value);
        }
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Headers {
    fn from_iter<T: IntoIterator<Item = (HeaderName, HeaderValue)>>(fields: T) -> Self {
        let mut headers = Self::new();
        headers.extend(fields);
        headers
    }
}

impl IntoIterator for Headers {
    type Item = (HeaderName, HeaderValue);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.lines.into_iter()
    }
}

impl<'h> IntoIterator for &'h Headers {
    type Item = (&'h HeaderName, &'h HeaderValue);
    type IntoIter = std::iter::Map<std::slice::Iter<'h, Line>, fn(&'h Line) -> (&'h HeaderName, &'h HeaderValue)>;

    fn into_iter(self) -> Self::IntoIter {
        self.lines.iter().map(|(name, value)| (name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{HOST, SET_COOKIE, TE};

    const OWN: HeaderName = HeaderName::from_static("x-own");

    fn headers(fields: &[(&'static str, &'static str)]) -> Headers {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn lines(headers: &Headers) -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().expect("ASCII"))).collect()
    }

    #[test]
    fn fields_keep_their_order() {
        let mut headers = headers(&[("host", "a"), ("x-own", "1"), ("set-cookie", "b"), ("x-own", "2"), ("set-cookie", "c")]);
        assert_eq!(lines(&headers), ["host=a", "x-own=1", "set-cookie=b", "x-own=2", "set-cookie=c"]);
        assert_eq!(headers.insert(OWN, HeaderValue::from_static("3")), Some(HeaderValue::from_static("1")));
        assert_eq!(headers.insert(SET_COOKIE, HeaderValue::from_static("d")), Some(HeaderValue::from_static("b")));
        assert_eq!(lines(&headers), ["host=a", "x-own=3", "set-cookie=d"]);
        assert_eq!(headers.remove("host"), Some(HeaderValue::from_static("a")));
        assert_eq!(lines(&headers), ["x-own=3", "set-cookie=d"]);
        assert!(headers.append(OWN, HeaderValue::from_static("4")) && !headers.append(TE, HeaderValue::from_static("5")));
        assert!(headers.append(TE, HeaderValue::from_static("6")));
        assert_eq!((headers.remove(OWN), headers.remove(TE)), (Some(HeaderValue::from_static("3")), Some(HeaderValue::from_static("5"))));
        assert_eq!(lines(&headers), ["set-cookie=d"]);
        headers.clear();
        assert!(headers.is_empty() && !headers.contains_key(SET_COOKIE) && headers.capacity() > 0);
    }

    #[test]
    fn fields_are_found_whatever_the_name_is_and_however_it_is_spelled() {
        let headers = headers(&[("x-own", "1"), ("te", "2"), ("x-own", "3"), ("te", "4")]);
        for name in ["x-own", "X-Own", "te", "TE"] {
            assert!(headers.contains_key(name), "{name}");
            assert_eq!(headers.get_all(name).iter().count(), 2, "{name}");
        }
        assert_eq!((&headers[OWN], &headers[TE]), (&HeaderValue::from_static("1"), &HeaderValue::from_static("2")));
        assert_eq!(headers.get_all(TE).iter().next_back(), Some(&HeaderValue::from_static("4")));
        for name in ["x-owned", "host", ""] {
            assert!(!headers.contains_key(name) && headers.get(name).is_none() && headers.get_all(name).iter().next().is_none(), "{name}");
        }
    }

    #[test]
    fn known_names_are_a_set() {
        const SET: NameSet = NameSet::of(&["host", "te", "connection"]);
        let mut headers = headers(&[("te", "1"), ("x-own", "2"), ("x-own", "3"), ("te", "4"), ("host", "5")]);
        assert_eq!(headers.known().iter().collect::<Vec<_>>(), [HOST, TE]);
        assert_eq!(headers.repeated().iter().collect::<Vec<_>>(), [TE]);
        headers.retain(|_, value| value != "1" && value != "5");
        assert_eq!((headers.known(), headers.repeated().is_empty()), (&NameSet::of(&["te"]), true));
        headers.remove_all(&SET);
        assert_eq!(lines(&headers), ["x-own=2", "x-own=3"]);
    }

    #[test]
    fn heads_are_the_same_whose_names_have_the_same_values() {
        let one = headers(&[("te", "1"), ("x-own", "2"), ("x-own", "3")]);
        assert_eq!(one, headers(&[("x-own", "2"), ("te", "1"), ("x-own", "3")]));
        for other in [&[("x-own", "3"), ("te", "1"), ("x-own", "2")][..], &[("te", "1"), ("x-own", "2")], &[]] {
            assert_ne!(one, headers(other));
        }
    }
}
