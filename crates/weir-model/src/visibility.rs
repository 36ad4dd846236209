//! Who may see a service or a rule: `exportTo`.

use std::collections::BTreeSet;

/// The namespaces that something is exported to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visibility {
    /// All.
    Public,
    /// These; none if the set is empty.
    Namespaces(BTreeSet<String>),
}

impl Visibility {
    /// Reads `exportTo` of something in a namespace; where it is empty, the mesh's default counts. `*` beside anything
    /// is for all, `~` beside others for nobody.
    pub fn parse(export_to: &[String], namespace: &str, default: &[String]) -> Self {
        let words = if export_to.is_empty() { default } else { export_to };
        if words.is_empty() || words.iter().any(|word| word == "*") {
            return Self::Public;
        }
        if words.iter().any(|word| word == "~") {
            return Self::Namespaces(BTreeSet::new());
        }
        Self::Namespaces(words.iter().map(|word| if word == "." { namespace.to_owned() } else { word.clone() }).collect())
    }

    /// Only its own namespace.
    pub fn private(namespace: &str) -> Self {
        Self::Namespaces(BTreeSet::from([namespace.to_owned()]))
    }

    /// Whether a namespace may see it.
    pub fn allows(&self, namespace: &str) -> bool {
        match self {
            Self::Public => true,
            Self::Namespaces(names) => names.contains(namespace),
        }
    }

    /// Whether only its own namespace may see it.
    pub fn is_private_to(&self, namespace: &str) -> bool {
        matches!(self, Self::Namespaces(names) if names.len() == 1 && names.contains(namespace))
    }

    /// Whether everybody who may see `other` may see this.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Public, _) => true,
            (Self::Namespaces(_), Self::Public) => false,
            (Self::Namespaces(these), Self::Namespaces(those)) => those.is_subset(these),
        }
    }

    /// In which order Istio looks at what a namespace may see: its own that not all may see, what is exported to it by
    /// name, what is exported to all.
    pub fn rank(&self, owner: &str, viewer: &str) -> u8 {
        match self {
            Self::Public => 2,
            Self::Namespaces(_) if owner == viewer => 0,
            Self::Namespaces(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_to_is_read_as_istio_reads_it() {
        let parse = |words: &[&str], default: &[&str]| {
            let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
            Visibility::parse(&list(words), "a", &list(default))
        };
        assert_eq!(parse(&[], &[]), Visibility::Public);
        assert!(parse(&[], &["."]).is_private_to("a"));
        assert!(parse(&["b", "*"], &[]).allows("c"));
        assert!(!parse(&["~"], &[]).allows("a") && !parse(&["~", "a"], &[]).allows("a"));
        let some = parse(&[".", "b"], &[]);
        assert!(some.allows("a") && some.allows("b") && !some.allows("c") && !some.is_private_to("a"));
        assert_eq!((some.rank("a", "a"), some.rank("a", "b"), Visibility::Public.rank("a", "a")), (0, 1, 2));
    }
}
