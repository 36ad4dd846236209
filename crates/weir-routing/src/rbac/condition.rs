//! What a policy asks for: a tree of conditions.

use std::borrow::Cow;
use std::collections::HashSet;

use super::address::AddressIn;
use super::facts::Facts;
use super::principal::PrincipalMatch;
use super::subject::{Part, Subject};
use super::template::PathTemplate;
use crate::condition::{HeaderCondition, HeaderTest};
use crate::metadata_match::MetadataMatch;
use crate::text_match::TextMatch;

/// From so many texts on they are looked up, and not compared one after the other.
const MANY: usize = 4;

/// A condition.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Always,
    All(Box<[Condition]>),
    Any(Box<[Condition]>),
    Not(Box<Condition>),
    Header(HeaderCondition),
    /// On the path without its query.
    Path(TextMatch),
    Template(PathTemplate),
    Address(AddressIn),
    /// From the first to before the second.
    Port(u32, u32),
    ServerName(TextMatch),
    Principal(PrincipalMatch),
    Metadata(MetadataMatch),
    /// The same of what the route tells filters.
    OfRoute(MetadataMatch),
    /// The subject is one of these texts.
    OneOf(Subject, HashSet<Box<[u8]>, foldhash::fast::RandomState>),
}

impl Condition {
    /// One of several. Texts that one subject may be are looked up together.
    pub(super) fn any(conditions: Vec<Self>) -> Self {
        let mut groups: Vec<(Subject, Vec<usize>)> = vec![];
        for (i, condition) in conditions.iter().enumerate() {
            let Some((subject, _)) = condition.exact() else { continue };
            match groups.iter_mut().find(|(known, _)| *known == subject) {
                Some((_, members)) => members.push(i),
                None => groups.push((subject, vec![i])),
            }
        }
        groups.retain(|(_, members)| members.len() >= MANY);
        let taken: HashSet<usize> = groups.iter().flat_map(|(_, members)| members).copied().collect();
        let text = |i: &usize| conditions.get(*i).and_then(Self::exact).map(|(_, text)| text.into());
        let mut all: Vec<Self> =
            groups.iter().map(|(subject, members)| Self::OneOf(subject.clone(), members.iter().filter_map(text).collect())).collect();
        all.extend(conditions.iter().enumerate().filter(|(i, _)| !taken.contains(i)).map(|(_, condition)| condition.clone()));
        Self::flat(all, Self::Any)
    }

    /// All of several.
    pub(super) fn all(conditions: Vec<Self>) -> Self {
        Self::flat(conditions, Self::All)
    }

    fn flat(mut conditions: Vec<Self>, join: impl FnOnce(Box<[Self]>) -> Self) -> Self {
        match conditions.len() {
            1 => conditions.remove(0),
            _ => join(conditions.into()),
        }
    }

    /// The subject and the one text that it must be, where the condition is as simple as that.
    fn exact(&self) -> Option<(Subject, Cow<'_, [u8]>)> {
        self.literal().and_then(|(subject, part, text)| (part == Part::Whole).then_some((subject, text)))
    }

    /// The subject and the one text that it must be, begin with or end with, where the condition is as simple as that.
    pub(super) fn literal(&self) -> Option<(Subject, Part, Cow<'_, [u8]>)> {
        let (subject, text) = match self {
            Self::Address(address) => {
                let (subject, network) = address.network();
                return Some((subject, Part::Whole, Cow::Owned(network)));
            }
            Self::Port(port, end) if *end == port + 1 => {
                let port = u16::try_from(*port).ok()?;
                return Some((Subject::Port, Part::Whole, Cow::Owned(port.to_be_bytes().to_vec())));
            }
            Self::Path(text) => (Subject::Path, text),
            Self::ServerName(text) => (Subject::ServerName, text),
            Self::Principal(PrincipalMatch::Text(text)) => (Subject::Principal, text),
            Self::Header(HeaderCondition { subject, test: HeaderTest::Text(text), invert: false, absent_is_empty: false }) => match text {
                TextMatch::IgnoreCase(folded) => (Subject::FoldedHeader(subject.clone()), &**folded),
                text => (Subject::Header(subject.clone()), text),
            },
            _ => return None,
        };
        let (part, text) = match text {
            TextMatch::Exact(text) => (Part::Whole, text),
            TextMatch::Prefix(text) => (Part::Begin, text),
            TextMatch::Suffix(text) => (Part::End, text),
            _ => return None,
        };
        Some((subject, part, Cow::Borrowed(text)))
    }

    /// Whether somebody satisfies it.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::All(all) => all.iter().all(|condition| condition.holds(facts)),
            Self::Any(any) => any.iter().any(|condition| condition.holds(facts)),
            Self::Not(not) => !not.holds(facts),
            Self::Header(header) => match &facts.request {
                Some(head) => header.holds(head),
                None => header.holds_for_nothing(),
            },
            Self::Path(text) => facts.path().is_some_and(|path| text.matches(path.as_bytes())),
            Self::Template(template) => facts.path().is_some_and(|path| template.holds(path)),
            Self::Address(address) => address.holds(facts),
            Self::Port(start, end) => (*start..*end).contains(&u32::from(facts.connection.local.port())),
            Self::ServerName(text) => text.matches(facts.connection.server_name.as_bytes()),
            Self::Principal(principal) => principal.holds(facts),
            Self::Metadata(value) => value.holds(facts.metadata),
            Self::OfRoute(value) => facts.route.is_some_and(|route| value.holds_in(route.get(&value.namespace).map(|fields| &**fields))),
            Self::OneOf(subject, texts) => subject.any(facts, &mut |text| texts.contains(text)),
        }
    }
}
