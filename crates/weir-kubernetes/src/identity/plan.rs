//! Which namespaces are to be written to, and when: those that have just come before the many that a change of the roots concerns, and those
//! where somebody else undoes what was written less and less often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// What has to be written again so soon, somebody undoes.
const CALM: Duration = Duration::from_secs(10);
/// How long then the first wait is, and the longest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// The namespaces that are known, and what is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    namespaces: BTreeMap<String, State>,
    urgent: BTreeSet<String>,
    later: BTreeSet<String>,
    delayed: BTreeSet<(Instant, String)>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether it is to have the roots.
    is_wanted: bool,
    /// Whether it has them, as far as is known.
    is_right: bool,
    /// When it was written to last, or that failed.
    tried: Option<Instant>,
    /// How long the last wait was.
    wait: Duration,
}

impl State {
    fn is_due(&self) -> bool {
        self.is_wanted && !self.is_right
    }
}

impl Plan {
    /// A namespace is there, and is to have the roots or not; or is gone.
    pub fn namespace(&mut self, name: &str, is_wanted: bool, now: Instant) {
        let state = self.namespaces.entry(name.to_owned()).or_default();
        let was_due = state.is_due();
        state.is_wanted = is_wanted;
        let is_news = state.is_due() && !was_due;
        self.settle(name, is_news, now);
    }

    /// A namespace has the roots, or not.
    pub fn content(&mut self, name: &str, is_right: bool, now: Instant) {
        let state = self.namespaces.entry(name.to_owned()).or_default();
        let was_right = std::mem::replace(&mut state.is_right, is_right);
        let is_news = was_right && state.is_due();
        self.settle(name, is_news, now);
    }

    fn settle(&mut self, name: &str, is_news: bool, now: Instant) {
        let Some(state) = self.namespaces.get(name) else { return };
        if !state.is_wanted && !state.is_right {
            self.namespaces.remove(name);
        } else if is_news {
            self.enqueue(name, now);
        }
    }

    fn enqueue(&mut self, name: &str, now: Instant) {
        let Some(state) = self.namespaces.get_mut(name) else { return };
        match state.tried.filter(|tried| now.saturating_duration_since(*tried) < CALM + state.wait) {
            Some(_) => {
                state.wait = (state.wait * 2).clamp(SHORTEST, LONGEST);
                self.delayed.insert((now + state.wait, name.to_owned()));
            }
            None => {
                state.wait = Duration::ZERO;
                self.urgent.insert(name.to_owned());
            }
        }
    }

    /// The roots are others now.
    pub fn begin_anew(&mut self) {
        for (name, state) in &mut self.namespaces {
            state.is_right = false;
            if state.is_wanted {
                self.later.insert(name.clone());
            }
        }
        self.namespaces.retain(|_, state| state.is_wanted);
    }

    /// When there is something to do; none if there is nothing.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        match self.urgent.is_empty() && self.later.is_empty() {
            true => self.delayed.first().map(|(at, _)| *at),
            false => Some(now),
        }
    }

    /// Where to write next.
    pub fn next(&mut self, now: Instant) -> Option<String> {
        while let Some((_, name)) = self.delayed.first().filter(|(at, _)| *at <= now).cloned() {
            self.delayed.pop_first();
            self.urgent.insert(name);
        }
        while let Some(name) = self.urgent.pop_first().or_else(|| self.later.pop_first()) {
            if self.namespaces.get(&name).is_some_and(State::is_due) {
                return Some(name);
            }
        }
        None
    }

    /// It was written to.
    pub fn written(&mut self, name: &str, now: Instant) {
        if let Some(state) = self.namespaces.get_mut(name) {
            (state.is_right, state.tried) = (true, Some(now));
        }
    }

    /// That failed; it is tried again.
    pub fn failed(&mut self, name: &str, now: Instant) {
        if let Some(state) = self.namespaces.get_mut(name) {
            state.tried = Some(now);
            self.enqueue(name, now);
        }
    }

    /// The names of all.
    pub fn known(&self) -> Vec<String> {
        self.namespaces.keys().cloned().collect()
    }

    /// How many are to have the roots.
    pub fn len(&self) -> usize {
        self.namespaces.values().filter(|state| state.is_wanted).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(plan: &mut Plan, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| plan.next(now).inspect(|name| plan.written(name, now))).collect()
    }

    #[test]
    fn only_what_differs_is_written_and_news_before_the_many() {
        let (mut plan, now) = (Plan::default(), Instant::now());
        for name in ["a", "b", "c"] {
            plan.namespace(name, name != "c", now);
        }
        plan.content("b", true, now);
        plan.content("c", false, now);
        assert_eq!(all(&mut plan, now), ["a"]);
        assert_eq!((plan.wake(now), plan.len()), (None, 2));
        plan.namespace("a", true, now);
        assert_eq!(plan.next(now), None, "another label of it changes nothing");
        plan.begin_anew();
        plan.namespace("z", true, now);
        assert_eq!(all(&mut plan, now), ["z", "a", "b"]);
        plan.begin_anew();
        plan.content("b", true, now);
        plan.namespace("a", false, now);
        assert_eq!(all(&mut plan, now), ["z"], "another pilot was faster, and one is gone");
    }

    #[test]
    fn who_undoes_what_is_written_is_followed_less_and_less_often() {
        let (mut plan, mut now) = (Plan::default(), Instant::now());
        plan.namespace("a", true, now);
        let mut waits = vec![];
        for _ in 0..8 {
            assert_eq!(all(&mut plan, now), ["a"]);
            plan.content("a", false, now);
            let wake = plan.wake(now).unwrap();
            assert_eq!(plan.next(wake - Duration::from_millis(1)), None);
            waits.push((wake - now).as_secs());
            now = wake;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(all(&mut plan, now), ["a"]);
        now += CALM + LONGEST;
        plan.content("a", false, now);
        assert_eq!(all(&mut plan, now), ["a"], "it was calm");
        plan.content("a", false, now);
        plan.failed("a", now);
        assert!(plan.wake(now).unwrap() > now && plan.next(now).is_none());
    }
}
