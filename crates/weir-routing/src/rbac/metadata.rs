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
    pub(super) namespace: Box<str>,
    pub(super) path: Box<[Box<str>]>,
    pub(super) value: ValueMatch,
    pub(super) invert: bool,
}

/// What a value must be.
#[derive(Debug, Clone)]
pub(super) enum ValueMatch {
    Null,
    Number(f64),
    /// From the first to before the second.
    Range(f64, f64),
    Text(TextMatch),
    Flag(bool),
    Present(bool),
    /// A list of which one item matches.
    OneOf(Box<ValueMatch>),
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
    pub(super) fn holds_in(&self, fields: Option<&Struct>) -> bool {
        self.value.holds(fields.and_then(|fields| at(fields, &self.path))) != self.invert
    }
}

/// The value at a path.
pub(super) fn at<'f>(fields: &'f Struct, path: &[Box<str>]) -> Option<&'f Kind> {
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
            // As in Envoy `false` asks for nothing that could be: it is not the opposite.
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
    pub(super) fn exact(&self) -> Option<Vec<&[u8]>> {
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
