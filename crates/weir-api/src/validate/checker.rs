//! The walk through a resource: knows which field is looked at, and collects what is to be said of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Topic};
use crate::field_path::{FieldPath, Segment};

/// A walk through one resource.
pub(super) struct Checker<'a> {
    /// The namespace that the resource stands in.
    pub(super) namespace: &'a str,
    path: FieldPath,
    found: Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    /// A walk that begins at the root of a document.
    pub(super) fn new(namespace: &'a str) -> Self {
        Self { namespace, path: FieldPath::default(), found: vec![] }
    }

    /// What was found.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        self.found
    }

    /// Goes into a field, or an entry of a map.
    pub(super) fn field(&mut self, key: impl Into<Cow<'static, str>>, check: impl FnOnce(&mut Self)) {
        self.step(Segment::Key(key.into()), check);
    }

    /// Goes into an entry of a list.
    pub(super) fn item(&mut self, index: usize, check: impl FnOnce(&mut Self)) {
        self.step(Segment::Index(index), check);
    }

    /// Goes into a field if it is there.
    pub(super) fn some<T>(&mut self, key: &'static str, value: &Option<T>, check: impl FnOnce(&mut Self, &T)) {
        if let Some(value) = value {
            self.field(key, |c| check(c, value));
        }
    }

    /// Goes into each entry of a list.
    pub(super) fn each<T>(&mut self, key: &'static str, items: &[T], mut check: impl FnMut(&mut Self, &T)) {
        self.field(key, |c| {
            for (index, item) in items.iter().enumerate() {
                c.item(index, |c| check(c, item));
            }
        });
    }

    /// Goes into each entry of a map.
    pub(super) fn entries<T>(&mut self, key: &'static str, map: &BTreeMap<String, T>, mut check: impl FnMut(&mut Self, &str, &T)) {
        self.field(key, |c| {
            for (name, value) in map {
                c.field(name.clone(), |c| check(c, name, value));
            }
        });
    }

    fn step(&mut self, segment: Segment, check: impl FnOnce(&mut Self)) {
        self.path.0.push(segment);
        check(self);
        self.path.0.pop();
    }

    /// The place is wrong.
    pub(super) fn error(&mut self, message: impl Into<String>) {
        self.say(Diagnostic::error(message));
    }

    /// The place is wrong, and this would be right.
    pub(super) fn error_help(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.say(Diagnostic::error(message).with_help(help));
    }

    /// The place is accepted, but probably not what was meant.
    pub(super) fn warn(&mut self, message: impl Into<String>) {
        self.say(Diagnostic::warning(message));
    }

    /// The place is accepted, but probably not what was meant, and this would be better.
    pub(super) fn warn_help(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.say(Diagnostic::warning(message).with_help(help));
    }

    /// The place is accepted, but no traffic comes to it, or it is not needed.
    pub(super) fn warn_of(&mut self, topic: Topic, message: impl Into<String>, help: Option<&str>) {
        self.say(Diagnostic { help: help.map(str::to_owned), ..Diagnostic::warning(message).on(topic) });
    }

    /// Several fields stand beside one another of which only one may.
    pub(super) fn exclusive(&mut self, fields: &[(&str, bool)]) {
        let given: Vec<String> = fields.iter().filter(|(_, given)| *given).map(|(name, _)| format!("`{name}`")).collect();
        if let Some((last, others)) = given.split_last().filter(|(_, others)| !others.is_empty()) {
            self.error_help(format!("{} and {last} exclude one another", others.join(", ")), "keep one of them");
        }
    }

    fn say(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic.at(self.path.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_the_way_to_their_place() {
        let mut checker = Checker::new("default");
        checker.field("spec", |c| {
            c.each("http", &[1, 2], |c, number| {
                if *number == 2 {
                    c.field("name", |c| c.error("no"));
                }
            });
            c.entries("labels", &BTreeMap::from([("a b".to_owned(), ())]), |c, _, ()| c.warn("odd"));
            c.exclusive(&[("a", true), ("b", false), ("c", true)]);
            c.exclusive(&[("a", true), ("b", false)]);
        });
        let found: Vec<String> = checker.finish().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "error: spec.http[1].name: no",
                "warning: spec.labels[\"a b\"]: odd",
                "error: spec: `a` and `c` exclude one another (keep one of them)",
            ]
        );
    }
}
