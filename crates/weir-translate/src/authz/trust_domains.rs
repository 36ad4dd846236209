//! Trust domains that are the same: the mesh's own and its aliases stand for one another.

use weir_api::resources::MeshConfig;

/// Stands for the mesh's own, whatever that is called.
const OWN: &str = "cluster.local";

/// The mesh's own trust domain, and its aliases.
pub(super) struct TrustDomains(Vec<String>);

impl TrustDomains {
    pub(super) fn of(mesh: &MeshConfig) -> Self {
        Self(std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases).cloned().collect())
    }

    /// Principals, with those that are the same in another trust domain. Only those of five parts name one.
    pub(super) fn principals(&self, written: &[String]) -> Vec<String> {
        let all = |principal: &String| match self.parts(principal) {
            Some((domain, rest)) => self.replaced(principal, domain, rest),
            None => vec![principal.clone()],
        };
        written.iter().flat_map(all).collect()
    }

    /// The trust domain of a principal and the rest of it, if the trust domain is one of the mesh's.
    fn parts<'p>(&self, principal: &'p str) -> Option<(&'p str, &'p str)> {
        let (domain, rest) = principal.split_once('/')?;
        (rest.split('/').count() == 4 && domain != "*" && (domain == OWN || self.has(domain))).then_some((domain, rest))
    }

    fn has(&self, domain: &str) -> bool {
        self.0
            .iter()
            .any(|own| own == domain || own == "*" || starts(domain, own) || starts(own, domain) || ends(domain, own) || ends(own, domain))
    }

    fn replaced(&self, principal: &str, domain: &str, rest: &str) -> Vec<String> {
        let mut all: Vec<String> = vec![];
        for own in &self.0 {
            // A wildcard that means this one already stays as it is.
            let replaced = if ends(own, domain) { principal.to_owned() } else { format!("{own}/{rest}") };
            if !all.contains(&replaced) {
                all.push(replaced);
            }
        }
        all
    }

    /// Trust domains, with those that are the same.
    pub(super) fn domains(&self, written: &[String]) -> Vec<String> {
        let mut all: Vec<String> = vec![];
        for domain in written {
            let same = if self.0.contains(domain) { self.0.as_slice() } else { std::slice::from_ref(domain) };
            for domain in same {
                if !all.contains(domain) {
                    all.push(domain.clone());
                }
            }
        }
        all
    }
}

/// Whether a text begins as a pattern `x*` says.
fn starts(text: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').is_some_and(|prefix| text.starts_with(prefix))
}

/// Whether a text ends as a pattern `*x` says.
fn ends(text: &str, pattern: &str) -> bool {
    pattern.strip_prefix('*').is_some_and(|suffix| text.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_of_the_mesh_are_those_of_its_aliases_too() {
        let domains = TrustDomains(vec!["td1".into(), "old-td".into()]);
        let all = |written: &str| domains.principals(&[written.to_owned()]);
        assert_eq!(all("td1/ns/a/sa/b"), ["td1/ns/a/sa/b", "old-td/ns/a/sa/b"]);
        assert_eq!(all("cluster.local/ns/a/sa/b"), ["td1/ns/a/sa/b", "old-td/ns/a/sa/b"]);
        assert_eq!(all("*-td/ns/a/sa/b"), ["td1/ns/a/sa/b", "*-td/ns/a/sa/b"]);
        for other in ["other/ns/a/sa/b", "*/ns/a/sa/b", "*", "td1/ns/a", "td1"] {
            assert_eq!(all(other), [other]);
        }
        assert_eq!(domains.domains(&["td1".into(), "x".into(), "old-td".into()]), ["td1", "old-td", "x"]);
    }
}
