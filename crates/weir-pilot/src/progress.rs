//! How far the proxies of a pilot are: who has taken which version of the configuration.

/// How far the proxies are that follow a pilot, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many there are.
    pub proxies: usize,
    /// The versions of those that refuse nothing: each has taken everything up to its version.
    taken: Vec<u64>,
    /// One of those that refuse something, and why.
    refusal: Option<(String, String)>,
}

impl Progress {
    /// Adds a proxy: the version that it has answered, and what it refuses of what it was sent last.
    pub fn add(&mut self, proxy: &str, answered: u64, refused: Option<&str>) {
        self.proxies += 1;
        match refused {
            None => self.taken.push(answered),
            Some(reason) if self.refusal.is_none() => self.refusal = Some((proxy.to_owned(), reason.to_owned())),
            Some(_) => {}
        }
    }

    /// How many have taken everything up to this version of the configuration: see [`Pilot::version`](crate::Pilot::version).
    pub fn having(&self, version: u64) -> usize {
        self.taken.iter().filter(|taken| **taken >= version).count()
    }

    /// Who refuses something of what it was sent last, and why: one of them. They have what they had before.
    pub fn refusal(&self) -> Option<(&str, &str)> {
        self.refusal.as_ref().map(|(proxy, reason)| (proxy.as_str(), reason.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_something_has_not_taken_it() {
        let mut progress = Progress::default();
        for (proxy, answered, refused) in [("a", 3, None), ("b", 4, None), ("c", 5, Some("no")), ("d", 5, Some("never"))] {
            progress.add(proxy, answered, refused);
        }
        assert_eq!((progress.proxies, progress.refusal()), (4, Some(("c", "no"))));
        assert_eq!([3, 4, 5].map(|version| progress.having(version)), [2, 1, 0]);
    }
}
