//! By which names the proxies of a mesh know each other: their SPIFFE ids.

use std::collections::BTreeSet;

use weir_xds::matcher::{StringMatcher, string_matcher::MatchPattern};
use weir_xds::tls::{SubjectAltNameMatcher, subject_alt_name_matcher::SanType};

use crate::context::Context;

/// Whoever is of the mesh: its trust domain or one that stands for it.
pub(crate) fn any_of_mesh(context: &Context<'_>) -> Vec<SubjectAltNameMatcher> {
    let mesh = &context.mesh.config;
    let domains: BTreeSet<&String> = std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases).collect();
    domains.into_iter().map(|domain| in_trust_domain(domain)).collect()
}

fn in_trust_domain(domain: &str) -> SubjectAltNameMatcher {
    let matcher = StringMatcher { match_pattern: Some(MatchPattern::Prefix(format!("spiffe://{domain}/"))), ..Default::default() };
    SubjectAltNameMatcher { san_type: SanType::Uri.into(), matcher: Some(matcher), ..Default::default() }
}
