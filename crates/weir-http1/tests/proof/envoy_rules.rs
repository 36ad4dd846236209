//! Where the codec and Envoy may differ, and why.

use crate::against_envoy::Difference;

/// A reason to differ.
pub struct Rule {
    pub name: &'static str,
    #[expect(dead_code, reason = "it is read in the list")]
    pub why: &'static str,
    pub explains: fn(&Difference) -> bool,
}

pub const RULES: &[Rule] = &[];

/// The rule that explains a difference.
pub fn explain(difference: &Difference) -> Option<&'static Rule> {
    RULES.iter().find(|rule| (rule.explains)(difference))
}
