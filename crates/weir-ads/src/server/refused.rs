//! What a client has refused, and has got nothing better for yet.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Names of one type.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Those that a refusal named.
    named: BTreeSet<Arc<str>>,
    /// Those of responses of which nobody knows what in them was refused.
    unnamed: BTreeSet<Arc<str>>,
}

impl Refused {
    /// All of them.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.named.iter().chain(&self.unnamed)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.named.contains(name) || self.unnamed.contains(name)
    }

    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.unnamed.is_empty()
    }

    /// Takes the answer to a response with these names. Which of them a refusal is about, the client tells in words, if it does.
    pub fn answered(&mut self, names: Vec<Arc<str>>, refused: Option<&str>) {
        names.iter().for_each(|name| self.forget(name));
        let Some(reason) = refused else { return };
        let mut named = names.iter().filter(|name| mentions(reason, name)).cloned().peekable();
        if named.peek().is_some() {
            self.named.extend(named);
        } else {
            drop(named);
            self.unnamed.extend(names);
        }
    }

    /// Forgets what it is not said of.
    pub fn retain(&mut self, is_asked_for: impl Fn(&str) -> bool) {
        self.named.retain(|name| is_asked_for(name));
        self.unnamed.retain(|name| is_asked_for(name));
    }

    /// The client has got something else for a name, or does not ask for it any more.
    pub fn forget(&mut self, name: &str) {
        self.named.remove(name);
        // It may have been any of them. That is taken to be mended rather than to be wrong for ever.
        if self.unnamed.contains(name) {
            self.unnamed.clear();
        }
    }
}

/// Whether a name stands in a text, and not as a part of a longer one.
pub(super) fn mentions(text: &str, name: &str) -> bool {
    let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '|' | '/' | '*');
    !name.is_empty()
        && text.match_indices(name).any(|(at, _)| {
            let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + name.len()..).unwrap_or_default());
            // A full stop may end a sentence.
            let after = after.strip_prefix('.').filter(|rest| !rest.starts_with(is_of_name)).unwrap_or(after);
            !before.ends_with(is_of_name) && !after.starts_with(is_of_name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn what_is_refused_stays_so_until_it_comes_again() {
        let mut refused = Refused::default();
        refused.answered(names(&["a", "b", "a.b"]), Some("Error adding/updating cluster(s) a.b: no"));
        refused.answered(names(&["a"]), None);
        assert!(!refused.is_empty(), "another one was accepted");
        refused.answered(names(&["a.b"]), None);
        assert!(refused.is_empty());
    }

    #[test]
    fn a_refusal_without_names_is_about_any_of_them() {
        let mut refused = Refused::default();
        refused.answered(names(&["a", "b"]), Some("malformed"));
        refused.answered(names(&["c"]), None);
        assert!(!refused.is_empty());
        refused.answered(names(&["b"]), None);
        assert!(refused.is_empty());
    }

    #[test]
    fn a_name_is_not_found_in_a_longer_one() {
        let cases = [
            ("outbound|80||a: no", "outbound|80||a", true),
            ("outbound|80||a.b: no", "outbound|80||a", false),
            ("outbound|80||a: no", "80", false),
            ("it is about 80.", "80", true),
            ("'80' and", "80", true),
            ("x80, 80", "80", true),
            ("", "", false),
        ];
        for (text, name, expected) in cases {
            assert_eq!(mentions(text, name), expected, "{name} in {text}");
        }
    }
}
