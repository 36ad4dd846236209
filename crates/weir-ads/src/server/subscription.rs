//! What a client asks for.
//!
//! Most clients ask for nearly all that there is of a type, thousands of them for the same thousands of names. Of such a client only
//! the names are kept by which it differs from the server's set, so that it costs next to nothing, however large the mesh is.

use std::sync::Arc;

use weir_xds::resource::{ResourceType, route_configuration_of};

use crate::shared_map::HashSet;

/// So few names are not worth a thought; tests have few.
const FEW: usize = if cfg!(test) { 2 } else { 32 };

/// What a client asks for, of one type.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// Whether it asks for whatever there is.
    pub all: bool,
    pub names: Asked,
}

impl Subscription {
    pub fn is_empty(&self) -> bool {
        !self.all && self.names.is_empty()
    }

    /// Whether it asks for a resource: by its name, or for all virtual hosts of a route configuration by the name of that. `is_there`
    /// says whether the server's set has the resource.
    pub fn has(&self, kind: ResourceType, name: &str, is_there: impl FnOnce() -> bool) -> bool {
        // Whether there is a virtual host of the name of a route configuration does not matter: see [`Self::weigh`].
        let has_whole = |whole| self.names.contains(whole, || false);
        let by_route_configuration = || kind == ResourceType::VirtualHost && route_configuration_of(name).is_some_and(has_whole);
        self.all || self.names.contains(name, is_there) || by_route_configuration()
    }

    /// See [`Asked::weigh`]. Of virtual hosts the names stay listed: they are those of route configurations, which are few, and no
    /// names of the server's set.
    pub fn weigh<'a, I: Iterator<Item = &'a Arc<str>>>(&mut self, kind: ResourceType, there: impl Fn() -> I) {
        if kind != ResourceType::VirtualHost {
            self.names.weigh(there);
        }
    }
}

/// The names that a client asks for by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// Whether they are those of the server's set, but for `listed`; else they are `listed`.
    follows: bool,
    listed: HashSet<Arc<str>>,
    count: usize,
    /// How many were listed when it was last found out which of the two is shorter.
    weighed: usize,
}

impl Asked {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn contains(&self, name: &str, is_there: impl FnOnce() -> bool) -> bool {
        self.listed.contains(name) != (self.follows && is_there())
    }

    /// Adds a name, or takes it away.
    pub fn set(&mut self, name: &Arc<str>, is_asked: bool, is_there: bool) {
        match (self.contains(name, || is_there), is_asked) {
            (false, true) => self.count += 1,
            // Who asks for nothing is not told when the server's set changes.
            (true, false) if self.count == 1 => return *self = Self::default(),
            (true, false) => self.count -= 1,
            _ => return,
        }
        self.keep(name, is_asked, is_there);
    }

    /// Keeps of a name what it was, now that the server's set has it, or has it no more.
    pub fn keep(&mut self, name: &Arc<str>, is_asked: bool, is_there: bool) {
        if is_asked == (self.follows && is_there) {
            self.listed.remove(name);
        } else {
            self.listed.insert(name.clone());
        }
    }

    /// All names; `there` are those of the server's set.
    pub fn all<'a>(&'a self, there: impl Iterator<Item = &'a Arc<str>>) -> Vec<Arc<str>> {
        if !self.follows {
            return self.listed.iter().cloned().collect();
        }
        let mut elsewhere = self.listed.clone();
        let mut all: Vec<Arc<str>> = there.filter(|name| !elsewhere.remove(*name)).cloned().collect();
        all.extend(elsewhere);
        all
    }

    /// Finds out whether names are better listed, or told by the server's set, once there are many more than the last time.
    pub fn weigh<'a, I: Iterator<Item = &'a Arc<str>>>(&mut self, there: impl Fn() -> I) {
        if self.listed.len() < FEW.max(2 * self.weighed) {
            return;
        }
        let (mut both, mut all) = (0, 0);
        for name in there() {
            all += 1;
            both += usize::from(self.contains(name, || true));
        }
        let otherwise = if self.follows { self.count } else { (all - both) + (self.count - both) };
        if otherwise < self.listed.len() / 2 {
            let mut differing: HashSet<Arc<str>> = self.listed.iter().cloned().collect();
            for name in there() {
                if !differing.remove(name) {
                    differing.insert(name.clone());
                }
            }
            differing.shrink_to_fit();
            (self.follows, self.listed) = (!self.follows, differing);
        }
        self.weighed = self.listed.len();
    }
}

impl<'a> FromIterator<&'a Arc<str>> for Asked {
    fn from_iter<I: IntoIterator<Item = &'a Arc<str>>>(names: I) -> Self {
        let listed: HashSet<Arc<str>> = names.into_iter().cloned().collect();
        Self { follows: false, count: listed.len(), listed, weighed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Ask(u8, bool),
        /// A name comes into the server's set, or goes.
        Have(u8, bool),
        Weigh,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u8..100, prop::bool::weighted(0.8)).prop_map(|(name, is_asked)| Step::Ask(name, is_asked)),
            2 => (0u8..100, prop::bool::weighted(0.8)).prop_map(|(name, is_there)| Step::Have(name, is_there)),
            1 => Just(Step::Weigh),
        ]
    }

    proptest! {
        /// It is a set of names, however it is kept.
        #[test]
        fn it_is_a_set_whatever_the_server_has(
            there in prop::collection::btree_set(0u8..100, 0..100),
            steps in prop::collection::vec(step(), 0..300),
        ) {
            let names: Vec<Arc<str>> = (0..100).map(|name| format!("{name:02}").into()).collect();
            let (mut asked, mut plain, mut there) = (Asked::default(), BTreeSet::new(), there);
            for step in steps {
                match step {
                    Step::Ask(name, true) => {
                        asked.set(&names[usize::from(name)], true, there.contains(&name));
                        plain.insert(name);
                    }
                    Step::Ask(name, false) => {
                        asked.set(&names[usize::from(name)], false, there.contains(&name));
                        plain.remove(&name);
                    }
                    Step::Have(name, is_there) => {
                        if is_there { there.insert(name); } else { there.remove(&name); }
                        asked.keep(&names[usize::from(name)], plain.contains(&name), is_there);
                    }
                    Step::Weigh => asked.weigh(|| there.iter().map(|name| &names[usize::from(*name)])),
                }
            }
            for name in 0u8..100 {
                prop_assert_eq!(asked.contains(&names[usize::from(name)], || there.contains(&name)), plain.contains(&name));
            }
            prop_assert_eq!(asked.len(), plain.len());
            let mut all = asked.all(there.iter().map(|name| &names[usize::from(*name)]));
            all.sort();
            prop_assert!(all.iter().eq(plain.iter().map(|name| &names[usize::from(*name)])));
        }
    }

    #[test]
    fn who_asks_for_nothing_any_more_follows_nothing() {
        let names: Vec<Arc<str>> = ["a", "b"].map(Into::into).into();
        let mut asked: Asked = names.iter().collect();
        asked.weigh(|| names.iter());
        assert!(asked.follows);
        names.iter().for_each(|name| asked.set(name, false, true));
        assert!(!asked.contains("c", || true), "one that comes into the server's set later");
    }

    #[test]
    fn who_asks_for_nearly_all_costs_what_he_does_not_ask_for() {
        let names: Vec<Arc<str>> = (0..1000).map(|name| name.to_string().into()).collect();
        let mut asked: Asked = names[1..].iter().collect();
        asked.weigh(|| names.iter());
        assert_eq!((asked.len(), asked.listed.len()), (999, 1));
    }
}
