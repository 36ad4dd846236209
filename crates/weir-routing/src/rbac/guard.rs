//! What a policy needs at least: texts of which a request must have one, so that the policy is found by them.

use super::condition::Condition;
use super::principal::PrincipalMatch;
use super::subject::{Part, Subject};

/// Something without which a policy does not match.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub subject: Subject,
    pub part: Part,
    pub text: Box<[u8]>,
}

impl Key {
    fn rank(&self) -> u8 {
        match self.part {
            Part::Whole => self.subject.rank(),
            Part::Begin | Part::End => self.subject.rank().max(3),
        }
    }

    /// Whether there are requests without it. Every path begins with `/`, and every text with nothing.
    fn tells_apart(&self) -> bool {
        match (self.part, &self.subject) {
            (Part::Whole, Subject::Network { length, .. }) => *length > 0,
            (Part::Whole, _) => true,
            (Part::Begin, Subject::Path) => self.text.len() > 1,
            (Part::Begin | Part::End, _) => !self.text.is_empty(),
        }
    }
}

/// Of these a request must have one; the lower the rank, the fewer requests do.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    rank: u8,
    pub keys: Vec<Key>,
}

impl Guard {
    fn of(key: Key) -> Option<Self> {
        key.tells_apart().then(|| Self { rank: key.rank(), keys: vec![key] })
    }

    /// One of several texts that a subject must be.
    fn any_of<'t>(subject: &Subject, texts: impl Iterator<Item = &'t [u8]>) -> Self {
        let key = |text: &[u8]| Key { subject: subject.clone(), part: Part::Whole, text: text.into() };
        Self { rank: subject.rank(), keys: texts.map(key).collect() }
    }

    /// The best guard has the lowest.
    pub(super) fn order(&self) -> (u8, usize) {
        (self.rank, self.keys.len())
    }
}

/// What a condition needs at least; none if nothing that could be looked up.
pub(super) fn guard(condition: &Condition) -> Option<Guard> {
    if let Some((subject, part, text)) = condition.literal() {
        return Guard::of(Key { subject, part, text: text.into() });
    }
    match condition {
        Condition::All(all) => all.iter().filter_map(guard).min_by_key(Guard::order),
        Condition::Any(any) => {
            let guards = any.iter().map(guard).collect::<Option<Vec<_>>>()?;
            let rank = guards.iter().map(|guard| guard.rank).max()?;
            Some(Guard { rank, keys: guards.into_iter().flat_map(|guard| guard.keys).collect() })
        }
        Condition::OneOf(Subject::Network { length: 0, .. }, _) => None,
        Condition::OneOf(subject, texts) => Some(Guard::any_of(subject, texts.iter().map(|text| &**text))),
        Condition::Template(template) => {
            Guard::of(Key { subject: Subject::Path, part: Part::Begin, text: template.prefix.as_bytes().into() })
        }
        Condition::Principal(PrincipalMatch::Namespace { name, .. } | PrincipalMatch::Within { name, .. }) => {
            Some(Guard::any_of(&Subject::Namespace, std::iter::once(name.as_bytes())))
        }
        Condition::Metadata(value) if !value.invert => {
            let subject = Subject::Metadata(value.namespace.clone(), value.path.clone());
            Some(Guard::any_of(&subject, value.value.exact()?.into_iter()))
        }
        _ => None,
    }
}
