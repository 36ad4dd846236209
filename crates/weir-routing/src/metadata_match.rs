//! Conditions on what filters have learnt of a request: Envoy's `MetadataMatcher` and `ValueMatcher`, compiled.

use weir_xds::matcher::double_matcher::MatchPattern as NumberPattern;
use weir_xds::matcher::list_matcher::MatchPattern as ListPattern;
use weir_xds::matcher::metadata_matcher::PathSegment;
use weir_xds::matcher::metadata_matcher::path_segment::Segment;
use weir_xds::matcher::value_matcher::MatchPattern;
use weir_xds::matcher::{DoubleMatcher, ListMatcher, MetadataMatcher, OrMatcher, ValueMatcher};
use weir_xds::prost_types::value::Kind;
use weir_xds::types::DoubleRange;

use crate::dynamic_metadata::{DynamicMetadata, value_at};
use crate::error::CompileError;
use crate::text_match::TextMatch;

/// A condition on a value by its namespace and the keys below that.
#[derive(Debug, Clone)]
pub struct MetadataCondition {
    /// The namespace, mostly the name of the filter that left it.
    pub namespace: String,
    /// The way to the value within that.
    pub path: Box<[String]>,
    /// What it must be.
    pub test: ValueTest,
    /// Whether the test must fail instead.
    pub invert: bool,
}

/// What a value must be.
#[derive(Debug, Clone)]
pub enum ValueTest {
    /// Null.
    Null,
    /// This number.
    Number(f64),
    /// A number from the first (included) to the second (excluded).
    Range(f64, f64),
    /// A text.
    Text(TextMatch),
    /// This truth value.
    Truth(bool),
    /// It must be there (or, if false, not be there).
    Present(bool),
    /// A list of which one is this.
    OneOf(Box<ValueTest>),
    /// One of these.
    Any(Box<[ValueTest]>),
}

impl MetadataCondition {
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
        let key = |PathSegment { segment }: &PathSegment| match segment {
            Some(Segment::Key(key)) if !key.is_empty() => Ok(key.clone()),
            _ => Err(CompileError::missing("path.key")),
        };
        let value = value.as_ref().ok_or_else(|| CompileError::missing("value"))?;
        Ok(Self {
            namespace: filter.clone(),
            path: path.iter().map(key).collect::<Result<_, _>>()?,
            test: ValueTest::compile(value).map_err(|error| error.within("value"))?,
            invert: *invert,
        })
    }

    /// Whether it holds for what filters have learnt.
    pub fn holds(&self, known: &DynamicMetadata) -> bool {
        self.test.matches(value_at(known, &self.namespace, &self.path)) != self.invert
    }
}

impl ValueTest {
    /// Compiles Envoy's matcher.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn compile(matcher: &ValueMatcher) -> Result<Self, CompileError> {
        let ValueMatcher { match_pattern } = matcher;
        Ok(match match_pattern {
            None => return Err(CompileError::missing("match_pattern")),
            Some(MatchPattern::NullMatch(_)) => Self::Null,
            Some(MatchPattern::DoubleMatch(DoubleMatcher { match_pattern })) => match match_pattern {
                Some(NumberPattern::Exact(number)) => Self::Number(*number),
                Some(NumberPattern::Range(DoubleRange { start, end })) => Self::Range(*start, *end),
                None => return Err(CompileError::missing("double_match")),
            },
            Some(MatchPattern::StringMatch(text)) => Self::Text(TextMatch::compile(text).map_err(|error| error.within("string_match"))?),
            Some(MatchPattern::BoolMatch(flag)) => Self::Truth(*flag),
            Some(MatchPattern::PresentMatch(present)) => Self::Present(*present),
            Some(MatchPattern::ListMatch(list)) => {
                let ListMatcher { match_pattern: Some(ListPattern::OneOf(one)) } = &**list else {
                    return Err(CompileError::missing("list_match.one_of"));
                };
                Self::OneOf(Box::new(Self::compile(one).map_err(|error| error.within("list_match.one_of"))?))
            }
            Some(MatchPattern::OrMatch(OrMatcher { value_matchers })) => {
                let one = |(i, one)| Self::compile(one).map_err(|error| error.within(&format!("or_match.value_matchers[{i}]")));
                Self::Any(value_matchers.iter().enumerate().map(one).collect::<Result<_, _>>()?)
            }
        })
    }

    /// Whether a value is that; none if it is not there.
    pub fn matches(&self, value: Option<&Kind>) -> bool {
        match (self, value) {
            (Self::Present(expected), value) => value.is_some() == *expected,
            (Self::Any(tests), value) => tests.iter().any(|test| test.matches(value)),
            (Self::Null, Some(Kind::NullValue(_))) => true,
            (Self::Number(expected), Some(Kind::NumberValue(number))) => expected == number,
            (Self::Range(start, end), Some(Kind::NumberValue(number))) => (*start..*end).contains(number),
            (Self::Text(test), Some(Kind::StringValue(text))) => test.matches(text.as_bytes()),
            (Self::Truth(expected), Some(Kind::BoolValue(flag))) => expected == flag,
            (Self::OneOf(test), Some(Kind::ListValue(list))) => list.values.iter().any(|value| test.matches(value.kind.as_ref())),
            _ => false,
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
        MetadataCondition::compile(&matcher).expect("valid").holds(&known())
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
            (&["missing"], json!({"presentMatch": false}), true),
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
            json!({"filter": "f", "path": path, "value": {"orMatch": {"valueMatchers": [{}]}}}),
        ] {
            let matcher: MetadataMatcher = from_value(wrong.clone()).expect("well formed");
            assert!(MetadataCondition::compile(&matcher).is_err(), "{wrong}");
        }
    }
}
