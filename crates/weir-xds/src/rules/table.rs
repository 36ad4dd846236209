//! The rules, as `build/rules.rs` has written them.

use crate::rule::Form::{HeaderName, HeaderValue, OneLine};
use crate::rule::Rule::{Anything, Bool, Duration, Enum, Float, Integer, List, Map, Text};
use crate::rule::{Bounds, Choice, Counts, EnumValue, FieldRules, Name, Span, TextRule};

include!(concat!(env!("OUT_DIR"), "/rules.rs"));

/// What is said in a place.
pub(super) fn rules(place: u16) -> Option<&'static FieldRules> {
    RULES.get(usize::from(place))
}

/// Alternatives of which one must be set.
pub(super) fn choices(span: Span) -> &'static [Choice] {
    span.of(&CHOICES)
}

/// The values that an enum has.
pub(super) fn enum_values(span: Span) -> &'static [EnumValue] {
    span.of(&ENUM_VALUES)
}

/// The texts of which a text must be one.
pub(super) fn texts(span: Span) -> &'static [Name] {
    span.of(&TEXTS)
}

impl Span {
    fn of<T>(self, table: &[T]) -> &[T] {
        table.get(usize::from(self.from)..usize::from(self.to)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::table::Message;

    use super::*;

    #[test]
    fn a_field_has_what_its_file_says() {
        let cluster = Message::named("envoy.config.cluster.v3.Cluster").expect("known");
        let rule = |number| cluster.field(number).and_then(|field| rules(field.rules)).map(|rules| &rules.rule);
        let zero = Bounds { less: None, at_most: None, greater: Some(0), at_least: None };
        // `connect_timeout`, and `alt_stat_name`, of which nothing is said.
        assert_eq!(rule(4), Some(&Duration(zero)));
        assert_eq!(rule(28), Some(&Anything));
        let specifiers = Message::named("envoy.config.route.v3.RouteMatch").expect("known").choices;
        assert_eq!(choices(specifiers).iter().map(|choice| choice.name.text()).collect::<Vec<_>>(), ["path_specifier"]);
    }
}
