//! Trees of conditions on an answer: xDS's `Matcher`
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/matching/matching_api>).

use std::borrow::Cow;
use std::collections::BTreeMap;

use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::Any;
use weir_xds::matcher::string_matcher::MatchPattern;
use weir_xds::matcher::{
    HttpRequestHeaderMatchInput, HttpResponseHeaderMatchInput, HttpResponseStatusCodeClassMatchInput, HttpResponseStatusCodeMatchInput,
    RegexMatcher, StringMatcher,
};
use weir_xds::xds::core::v3::TypedExtensionConfig;
use weir_xds::xds::r#type::matcher::v3 as xds;
use weir_xds::xds::r#type::matcher::v3::matcher::matcher_list::predicate::{MatchType, PredicateList, SinglePredicate, single_predicate};
use weir_xds::xds::r#type::matcher::v3::matcher::matcher_list::{FieldMatcher, Predicate as XdsPredicate};
use weir_xds::xds::r#type::matcher::v3::matcher::matcher_tree::{MatchMap, TreeType};
use weir_xds::xds::r#type::matcher::v3::matcher::{MatcherList, MatcherTree, MatcherType, OnMatch as XdsOnMatch, on_match};
use weir_xds::xds::r#type::matcher::v3::string_matcher::MatchPattern as XdsPattern;

use crate::error::CompileError;
use crate::text_match::TextMatch;

/// So deep may matchers stand within each other.
const DEEPEST: usize = 16;

/// What is looked at of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub headers: &'a Headers,
    /// Those of the request.
    pub request: &'a Headers,
}

/// What matches leads to something.
#[derive(Debug, Clone)]
pub(super) struct Matcher<T> {
    kind: Kind<T>,
    otherwise: Option<Box<OnMatch<T>>>,
}

#[derive(Debug, Clone)]
enum Kind<T> {
    Nothing,
    First(Box<[(Predicate, OnMatch<T>)]>),
    Exact(Input, BTreeMap<Box<[u8]>, OnMatch<T>>),
    /// The longest first.
    Prefix(Input, Box<[Entry<T>]>),
}

/// A value, or how it begins, and what it leads to.
type Entry<T> = (Box<[u8]>, OnMatch<T>);

#[derive(Debug, Clone)]
enum OnMatch<T> {
    Found(T),
    Matcher(Matcher<T>),
}

#[derive(Debug, Clone)]
enum Predicate {
    Is(Input, TextMatch),
    Any(Box<[Predicate]>),
    All(Box<[Predicate]>),
    Not(Box<Predicate>),
}

#[derive(Debug, Clone)]
enum Input {
    Status,
    /// `4xx` and the like.
    Class,
    OfAnswer(HeaderName),
    OfRequest(HeaderName),
}

/// Compiles what a match leads to.
type Compile<'c, T> = &'c dyn Fn(&Any) -> Result<T, CompileError>;

impl<T> Matcher<T> {
    pub(super) fn compile(matcher: &xds::Matcher, compile: Compile<'_, T>) -> Result<Self, CompileError> {
        Self::at(DEEPEST, matcher, compile)
    }

    fn at(deep: usize, matcher: &xds::Matcher, compile: Compile<'_, T>) -> Result<Self, CompileError> {
        let xds::Matcher { matcher_type, on_no_match } = matcher;
        let deep = deep.checked_sub(1).ok_or_else(|| CompileError::new("", "stands too deep"))?;
        let kind = match matcher_type {
            None => Kind::Nothing,
            Some(MatcherType::MatcherList(MatcherList { matchers })) => {
                let one = |(i, field): (usize, &FieldMatcher)| {
                    let FieldMatcher { predicate, on_match } = field;
                    let within = |error: CompileError| error.within(&format!("matcher_list.matchers[{i}]"));
                    let predicate = predicate.as_ref().ok_or_else(|| within(CompileError::missing("predicate")))?;
                    let predicate = Predicate::at(deep, predicate).map_err(|error| within(error.within("predicate")))?;
                    let on_match = on_match.as_ref().ok_or_else(|| within(CompileError::missing("on_match")))?;
                    Ok((predicate, OnMatch::at(deep, on_match, compile).map_err(|error| within(error.within("on_match")))?))
                };
                Kind::First(matchers.iter().enumerate().map(one).collect::<Result<_, _>>()?)
            }
            Some(MatcherType::MatcherTree(tree)) => Self::tree(deep, tree, compile).map_err(|error| error.within("matcher_tree"))?,
        };
        let otherwise = on_no_match.as_ref().map(|on_match| OnMatch::at(deep, on_match, compile)).transpose();
        Ok(Self { kind, otherwise: otherwise.map_err(|error| error.within("on_no_match"))?.map(Box::new) })
    }

    fn tree(deep: usize, tree: &MatcherTree, compile: Compile<'_, T>) -> Result<Kind<T>, CompileError> {
        let MatcherTree { input, tree_type } = tree;
        let input = Input::compile(input.as_ref())?;
        let entries = |MatchMap { map }: &MatchMap| {
            let entry = |(key, on_match): (&String, &XdsOnMatch)| {
                let on_match = OnMatch::at(deep, on_match, compile).map_err(|error| error.within(&format!("map[{key}]")))?;
                Ok((Box::from(key.as_bytes()), on_match))
            };
            map.iter().map(entry).collect::<Result<Vec<Entry<T>>, CompileError>>()
        };
        match tree_type {
            Some(TreeType::ExactMatchMap(map)) => Ok(Kind::Exact(input, entries(map)?.into_iter().collect())),
            Some(TreeType::PrefixMatchMap(map)) => {
                let mut entries = entries(map)?;
                entries.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
                Ok(Kind::Prefix(input, entries.into()))
            }
            Some(TreeType::CustomMatch(_)) => Err(CompileError::unsupported("custom_match")),
            None => Err(CompileError::missing("tree_type")),
        }
    }

    /// What an answer leads to. What stands within another and finds nothing leaves it to what follows.
    pub(super) fn find(&self, answer: &Answer<'_>) -> Option<&T> {
        let found = match &self.kind {
            Kind::Nothing => None,
            Kind::First(matchers) => {
                matchers.iter().filter(|(predicate, _)| predicate.holds(answer)).find_map(|(_, on_match)| on_match.find(answer))
            }
            Kind::Exact(input, map) => input.value(answer).and_then(|value| map.get(&*value)?.find(answer)),
            Kind::Prefix(input, entries) => input.value(answer).and_then(|value| {
                entries.iter().filter(|(prefix, _)| value.starts_with(prefix)).find_map(|(_, on_match)| on_match.find(answer))
            }),
        };
        found.or_else(|| self.otherwise.as_ref()?.find(answer))
    }
}

impl<T> OnMatch<T> {
    fn at(deep: usize, on_match: &XdsOnMatch, compile: Compile<'_, T>) -> Result<Self, CompileError> {
        let XdsOnMatch { on_match, keep_matching } = on_match;
        if *keep_matching {
            return Err(CompileError::unsupported("keep_matching"));
        }
        match on_match {
            Some(on_match::OnMatch::Matcher(matcher)) => {
                Matcher::at(deep, matcher, compile).map(Self::Matcher).map_err(|error| error.within("matcher"))
            }
            Some(on_match::OnMatch::Action(TypedExtensionConfig { name: _, typed_config })) => {
                let action = typed_config.as_ref().ok_or_else(|| CompileError::missing("action.typed_config"))?;
                compile(action).map(Self::Found).map_err(|error| error.within("action.typed_config"))
            }
            None => Err(CompileError::missing("on_match")),
        }
    }

    fn find(&self, answer: &Answer<'_>) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            Self::Matcher(matcher) => matcher.find(answer),
        }
    }
}

impl Predicate {
    fn at(deep: usize, predicate: &XdsPredicate) -> Result<Self, CompileError> {
        let XdsPredicate { match_type } = predicate;
        let deep = deep.checked_sub(1).ok_or_else(|| CompileError::new("", "stands too deep"))?;
        let list = |PredicateList { predicate }: &PredicateList| {
            if predicate.len() < 2 {
                return Err(CompileError::new("predicate", "must have two or more"));
            }
            predicate.iter().map(|predicate| Self::at(deep, predicate)).collect::<Result<Box<[_]>, _>>()
        };
        match match_type {
            Some(MatchType::SinglePredicate(single)) => Self::single(single).map_err(|error| error.within("single_predicate")),
            Some(MatchType::OrMatcher(any)) => list(any).map(Self::Any).map_err(|error| error.within("or_matcher")),
            Some(MatchType::AndMatcher(all)) => list(all).map(Self::All).map_err(|error| error.within("and_matcher")),
            Some(MatchType::NotMatcher(not)) => {
                Self::at(deep, not).map(|not| Self::Not(Box::new(not))).map_err(|error| error.within("not_matcher"))
            }
            None => Err(CompileError::missing("match_type")),
        }
    }

    fn single(single: &SinglePredicate) -> Result<Self, CompileError> {
        let SinglePredicate { input, matcher } = single;
        match matcher {
            Some(single_predicate::Matcher::ValueMatch(value)) => {
                let text = TextMatch::compile(&plain(value)?).map_err(|error| error.within("value_match"))?;
                Ok(Self::Is(Input::compile(input.as_ref())?, text))
            }
            Some(single_predicate::Matcher::CustomMatch(_)) => Err(CompileError::unsupported("custom_match")),
            None => Err(CompileError::missing("matcher")),
        }
    }

    fn holds(&self, answer: &Answer<'_>) -> bool {
        match self {
            Self::Is(input, text) => input.value(answer).is_some_and(|value| text.matches(&value)),
            Self::Any(any) => any.iter().any(|predicate| predicate.holds(answer)),
            Self::All(all) => all.iter().all(|predicate| predicate.holds(answer)),
            Self::Not(not) => !not.holds(answer),
        }
    }
}

/// The same as Envoy's own message.
fn plain(matcher: &xds::StringMatcher) -> Result<StringMatcher, CompileError> {
    let xds::StringMatcher { ignore_case, match_pattern } = matcher;
    let pattern = match match_pattern {
        Some(XdsPattern::Exact(text)) => MatchPattern::Exact(text.clone()),
        Some(XdsPattern::Prefix(text)) => MatchPattern::Prefix(text.clone()),
        Some(XdsPattern::Suffix(text)) => MatchPattern::Suffix(text.clone()),
        Some(XdsPattern::Contains(text)) => MatchPattern::Contains(text.clone()),
        Some(XdsPattern::SafeRegex(xds::RegexMatcher { regex, engine_type: _ })) => {
            MatchPattern::SafeRegex(RegexMatcher { regex: regex.clone(), ..RegexMatcher::default() })
        }
        Some(XdsPattern::Custom(_)) => return Err(CompileError::unsupported("value_match.custom")),
        None => return Err(CompileError::missing("value_match.match_pattern")),
    };
    Ok(StringMatcher { match_pattern: Some(pattern), ignore_case: *ignore_case })
}

impl Input {
    fn compile(input: Option<&TypedExtensionConfig>) -> Result<Self, CompileError> {
        let TypedExtensionConfig { name: _, typed_config } = input.ok_or_else(|| CompileError::missing("input"))?;
        let config = typed_config.as_ref().ok_or_else(|| CompileError::missing("input.typed_config"))?;
        let wrong = |what: String| CompileError::new("input.typed_config", what);
        let header = |name: &str| HeaderName::try_from(name).map_err(|_| wrong(format!("`{name}` is no name of a header")));
        if config.is::<HttpResponseStatusCodeMatchInput>() {
            return Ok(Self::Status);
        }
        if config.is::<HttpResponseStatusCodeClassMatchInput>() {
            return Ok(Self::Class);
        }
        if config.is::<HttpResponseHeaderMatchInput>() {
            let HttpResponseHeaderMatchInput { header_name } = config.unpack().map_err(|error| wrong(error.to_string()))?;
            return header(&header_name).map(Self::OfAnswer);
        }
        if config.is::<HttpRequestHeaderMatchInput>() {
            let HttpRequestHeaderMatchInput { header_name } = config.unpack().map_err(|error| wrong(error.to_string()))?;
            return header(&header_name).map(Self::OfRequest);
        }
        Err(wrong(format!("the input `{}` is not supported", config.type_name())))
    }

    /// The value in an answer, if there is one; several are one.
    fn value<'a>(&self, answer: &Answer<'a>) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Status => Some(Cow::Owned(answer.status.to_string().into_bytes())),
            Self::Class => Some(Cow::Owned(format!("{}xx", answer.status / 100).into_bytes())),
            Self::OfAnswer(name) => joined(answer.headers, name),
            Self::OfRequest(name) => joined(answer.request, name),
        }
    }
}

fn joined<'h>(headers: &'h Headers, name: &HeaderName) -> Option<Cow<'h, [u8]>> {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    match values.as_slice() {
        [] => None,
        [one] => Some(Cow::Borrowed(one)),
        several => Some(Cow::Owned(several.join(&b","[..]))),
    }
}
