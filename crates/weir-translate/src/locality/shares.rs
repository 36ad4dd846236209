//! Shares of localities: `distribute`.

use weir_api::resources::load_balancer::Distribute;
use weir_model::topology::parts;
use weir_xds::endpoint::LocalityLbEndpoints;

use super::{Group, as_they_are};

/// The shares for a proxy of one locality.
pub(super) struct Shares<'p> {
    /// The proxy's locality.
    pub from: &'p str,
    /// The shares for proxies of all localities.
    pub all: &'p [Distribute],
}

impl Shares<'_> {
    /// Each locality that is named gets its share; if it stands for several, they divide it by their weights. What is
    /// not named gets nothing. Without shares for the proxy's locality, all stays as it is.
    pub fn arrange(&self, groups: Vec<Group<'_>>) -> Vec<LocalityLbEndpoints> {
        let Some(own) = self.all.iter().find(|shares| covers(&shares.from, self.from)) else { return as_they_are(groups) };
        let share_of = |group: &Group<'_>| own.to.iter().position(|(locality, _)| covers(locality, group.locality));
        let mut totals = vec![0_u64; own.to.len()];
        let mut named = vec![];
        for group in groups {
            let Some(index) = share_of(&group) else { continue };
            let weight = u64::from(group.weight());
            if let Some(total) = totals.get_mut(index) {
                *total += weight;
            }
            named.push((index, weight, group));
        }
        let shares: Vec<u64> = own.to.values().map(|share| u64::from(*share)).collect();
        let finish = |(index, weight, group): (usize, u64, Group<'_>)| {
            let (share, total) = (shares.get(index)?, totals.get(index).filter(|total| **total > 0)?);
            // Rounded up: a small locality does not lose all.
            let weight = (weight * share).div_ceil(*total);
            Some(group.finish(u32::try_from(weight).unwrap_or(u32::MAX), 0))
        };
        named.into_iter().filter_map(finish).collect()
    }
}

/// Whether a rule's locality stands for another: `*` stands for every part, as does what is left away at its end.
fn covers(rule: &str, locality: &str) -> bool {
    let [region, zone, subzone] = parts(rule);
    let [own_region, own_zone, own_subzone] = parts(locality);
    let any = |part: &str| part.is_empty() || part == "*";
    (region == "*" || region == own_region) && (any(zone) || zone == own_zone) && (any(subzone) || subzone == own_subzone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rules_locality_stands_for_what_lies_within() {
        for (rule, locality, expected) in [
            ("*", "", true),
            ("*", "eu/a/1", true),
            ("", "", true),
            ("", "eu", false),
            ("eu", "eu/a/1", true),
            ("eu", "us/a/1", false),
            ("eu/*", "eu/a/1", true),
            ("eu/*", "eu", true),
            ("eu/*", "us/a", false),
            ("eu/a", "eu/a/1", true),
            ("eu/a", "eu/b/1", false),
            ("eu/a/*", "eu/a/1", true),
            ("eu/a/1", "eu/a/1", true),
            ("eu/a/1", "eu/a", false),
            ("eu/*/1", "eu/b/1", true),
            ("*/a", "us/a", true),
        ] {
            assert_eq!(covers(rule, locality), expected, "{rule} {locality}");
        }
    }
}
