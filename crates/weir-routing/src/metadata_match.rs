//! Conditions on the metadata of a request: Envoy's `MetadataMatcher` and `ValueMatcher`, compiled.

use weir_xds::matcher::list_matcher::MatchPattern as ListPattern;
use weir_xds::matcher::metadata_matcher::PathSegment;
use weir_xds::matcher::metadata_matcher::path_segment::Segment;
use weir_xds::matcher::value_matcher::MatchPattern;
use weir_xds::matcher::{DoubleMatcher, ListMatcher, MetadataMatcher, OrMatcher, ValueMatcher, double_matcher};
use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{Struct, Value};
use weir_xds::types::DoubleRange;

use crate::dynamic_metadata::DynamicMetadata;
use crate::error::CompileError;
use crate::text_match::TextMatch;

/// So deep may conditions stand within each other.
const DEEPEST: usize = 16;

/// A condition on a value in a request's metadata.
#[derive(Debug, Clone)]
pub struct MetadataMatch {
    /// The namespace, usually a filter's name.
    pub namespace: Box<str>,
    /// The keys that lead to the value within that.
    pub path: Box<[Box<str>]>,
    /// What the value must be.
    pub value: ValueMatch,
    /// Whether it must be anything else instead.
    pub invert: bool,
}

/// What a value must be.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// Null.
    Null,
    /// This number.
    Number(f64),
    /// A number from the first to before the second.
    Range(f64, f64),
    /// A text.
    Text(TextMatch),
    /// True or false.
    Flag(bool),
    /// Anything; nothing, if false.
    Present(bool),
    /// A list of which one item matches.
    OneOf(Box<ValueMatch>),
    /// One of these.
    Any(Box<[ValueMatch]>),
}

impl MetadataMatch {
    /// Compiles Envoy's matcher.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn compile(matcher: &MetadataMatcher) -> Result<Self, CompileError> {
        let MetadataMatcher { filter, path, value, invert } = matcher;
        if filter.is_empty() {
            return Err(CompileError::missing("filter"));
        }
        if path.is_empty() {
            return Err(CompileError::missing("path"));
        }
        let segment = |PathSegment { segment }: &PathSegment| match segment {
            Some(Segment::Key(key)) if !key.is_empty() => Ok(Box::from(key.as_str())),
            _ => Err(CompileError::missing("path.key")),
        };
        let value = value.as_ref().ok_or_else(|| CompileError::missing("value"))?;
        Ok(Self {
            namespace: filter.as_str().into(),
            path: path.iter().map(segment).collect::<Result<_, _>>()?,
            value: ValueMatch::compile(value, DEEPEST).map_err(|error| error.within("value"))?,
            invert: *invert,
        })
    }

    /// Whether what filters have left satisfies it.
    pub fn holds(&self, metadata: &DynamicMetadata) -> bool {
        self.holds_in(metadata.get(&*self.namespace))
    }

    /// The same of what stands in its namespace.
    pub(crate) fn holds_in(&self, fields: Option<&Struct>) -> bool {
        self.value.holds(fields.and_then(|fields| at(fields, &self.path))) != self.invert
    }
}

/// The value at a path.
pub(crate) fn at<'f>(fields: &'f Struct, path: &[Box<str>]) -> Option<&'f Kind> {
    let (key, inner) = path.split_first()?;
    let Value { kind } = fields.fields.get(&**key)?;
    match (kind.as_ref()?, inner) {
        (kind, []) => Some(kind),
        (Kind::StructValue(fields), inner) => at(fields, inner),
        _ => None,
    }
}

impl ValueMatch {
    fn compile(matcher: &ValueMatcher, deep: usize) -> Result<Self, CompileError> {
        let deep = deep.checked_sub(1).ok_or_else(|| CompileError::new("", "stands too deep"))?;
        let ValueMatcher { match_pattern } = matcher;
        Ok(match match_pattern {
            None => return Err(CompileError::missing("match_pattern")),
            Some(MatchPattern::NullMatch(_)) => Self::Null,
            Some(MatchPattern::DoubleMatch(DoubleMatcher { match_pattern })) => match match_pattern {
                Some(double_matcher::MatchPattern::Exact(number)) => Self::Number(*number),
                Some(double_matcher::MatchPattern::Range(DoubleRange { start, end })) => Self::Range(*start, *end),
                None => return Err(CompileError::missing("double_match.match_pattern")),
            },
            Some(MatchPattern::StringMatch(text)) => Self::Text(TextMatch::compile(text)?),
            Some(MatchPattern::BoolMatch(flag)) => Self::Flag(*flag),
            Some(MatchPattern::PresentMatch(present)) => Self::Present(*present),
            Some(MatchPattern::ListMatch(list)) => {
                let ListMatcher { match_pattern } = &**list;
                let Some(ListPattern::OneOf(value)) = match_pattern else { return Err(CompileError::missing("list_match.one_of")) };
                Self::OneOf(Box::new(Self::compile(value, deep)?))
            }
            Some(MatchPattern::OrMatch(OrMatcher { value_matchers })) => {
                if value_matchers.len() < 2 {
                    return Err(CompileError::new("or_match.value_matchers", "must have two or more"));
                }
                Self::Any(value_matchers.iter().map(|value| Self::compile(value, deep)).collect::<Result<_, _>>()?)
            }
        })
    }

    fn holds(&self, value: Option<&Kind>) -> bool {
        match (self, value) {
            (Self::Any(any), value) => any.iter().any(|matcher| matcher.holds(value)),
            (Self::Present(present), value) => *present && value.is_some(),
            (_, None) => false,
            (Self::Null, Some(kind)) => matches!(kind, Kind::NullValue(_)),
            (Self::Number(wanted), Some(Kind::NumberValue(number))) => wanted == number,
            (Self::Range(start, end), Some(Kind::NumberValue(number))) => (*start..*end).contains(number),
            (Self::Text(text), Some(Kind::StringValue(value))) => text.matches(value.as_bytes()),
            (Self::Flag(wanted), Some(Kind::BoolValue(flag))) => wanted == flag,
            (Self::OneOf(matcher), Some(Kind::ListValue(list))) => list.values.iter().any(|value| matcher.holds(value.kind.as_ref())),
            _ => false,
        }
    }

    /// The texts of which a value must be one, or of which one must be in a list; none if it may be another.
    pub(crate) fn exact(&self) -> Option<Vec<&[u8]>> {
        match self {
            // A list within a list is not looked into.
            Self::OneOf(inner) => inner.exact_text(),
            Self::Any(any) => any.iter().map(Self::exact).collect::<Option<Vec<_>>>().map(|all| all.concat()),
            _ => self.exact_text(),
        }
    }

    fn exact_text(&self) -> Option<Vec<&[u8]>> {
        match self {
            Self::Text(text) => Some(vec![text.exact()?]),
            Self::Any(any) => any.iter().map(Self::exact_text).collect::<Option<Vec<_>>>().map(|all| all.concat()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_xds::json::from_value;
    use weir_xds::values::structure;

    use super::*;

    fn known() -> DynamicMetadata {
        let fields = json!({"payload": {
            "text": "admin", "list": ["dev", "ops"], "number": 7, "flag": true, "nothing": null, "empty": "", "inner": {"a.b": "x"}, "none": []
        }});
        [("jwt".to_owned(), structure(fields.as_object().expect("an object")))].into()
    }

    fn holds(path: &[&str], value: serde_json::Value, invert: bool) -> bool {
        let path: Vec<_> = std::iter::once("payload").chain(path.iter().copied()).map(|key| json!({"key": key})).collect();
        let matcher = from_value(json!({"filter": "jwt", "path": path, "value": value, "invert": invert})).expect("well formed");
        MetadataMatch::compile(&matcher).expect("valid").holds(&known())
    }

    #[test]
    fn values_are_of_a_kind_and_are_compared_within_it() {
        let exact = |text: &str| json!({"stringMatch": {"exact": text}});
        let one_of = |value: serde_json::Value| json!({"listMatch": {"oneOf": value}});
        let either = |text: &str| json!({"orMatch": {"valueMatchers": [one_of(exact(text)), exact(text)]}});
        let cases: [(&[&str], serde_json::Value, bool); 23] = [
            (&["text"], exact("admin"), true),
            (&["text"], exact("Admin"), false),
            (&["text"], one_of(exact("admin")), false),
            (&["text"], either("admin"), true),
            (&["list"], exact("ops"), false),
            (&["list"], one_of(exact("ops")), true),
            (&["list"], either("ops"), true),
            (&["list"], either("o"), false),
            (&["none"], either("ops"), false),
            (&["number"], exact("7"), false),
            (&["number"], json!({"doubleMatch": {"exact": 7}}), true),
            (&["number"], json!({"doubleMatch": {"range": {"start": 1, "end": 7}}}), false),
            (&["number"], json!({"doubleMatch": {"range": {"start": 7, "end": 8}}}), true),
            (&["flag"], json!({"boolMatch": true}), true),
            (&["flag"], json!({"boolMatch": false}), false),
            (&["nothing"], json!({"nullMatch": {}}), true),
            (&["missing"], json!({"nullMatch": {}}), false),
            (&["text"], json!({"presentMatch": true}), true),
            (&["missing"], json!({"presentMatch": true}), false),
            // As in Envoy that asks for nothing that could be; it is not the opposite.
            (&["missing"], json!({"presentMatch": false}), false),
            (&["inner", "a.b"], exact("x"), true),
            (&["inner", "a", "b"], exact("x"), false),
            (&["text", "inner"], exact("admin"), false),
        ];
        for (path, value, expected) in cases {
            assert_eq!(holds(path, value.clone(), false), expected, "{path:?} {value}");
            assert_eq!(holds(path, value.clone(), true), !expected, "inverted: {path:?} {value}");
        }
    }

    #[test]
    fn what_asks_for_nothing_is_refused() {
        let path = json!([{"key": "a"}]);
        let value = json!({"presentMatch": true});
        for wrong in [
            json!({"path": path, "value": value}),
            json!({"filter": "f", "value": value}),
            json!({"filter": "f", "path": [{}], "value": value}),
            json!({"filter": "f", "path": path}),
            json!({"filter": "f", "path": path, "value": {}}),
            json!({"filter": "f", "path": path, "value": {"doubleMatch": {}}}),
            json!({"filter": "f", "path": path, "value": {"listMatch": {}}}),
            json!({"filter": "f", "path": path, "value": {"orMatch": {"valueMatchers": [value]}}}),
            json!({"filter": "f", "path": path, "value": {"orMatch": {"valueMatchers": [value, {}]}}}),
        ] {
            let matcher: MetadataMatcher = from_value(wrong.clone()).expect("well formed");
            assert!(MetadataMatch::compile(&matcher).is_err(), "{wrong}");
        }
    }
}
