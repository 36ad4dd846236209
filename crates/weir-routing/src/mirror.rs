//! Copies of requests: Envoy's `request_mirror_policies`, compiled.

use weir_http1::HeaderName;
use weir_xds::envoy::config::common::mutation_rules::v3::HeaderMutation;
use weir_xds::envoy::config::common::mutation_rules::v3::header_mutation::Action;
use weir_xds::route::route_action::RequestMirrorPolicy;
use weir_xds::values::millionths;

use crate::clusters::ClusterChoice;
use crate::error::CompileError;
use crate::header_changes::HeaderChanges;
use crate::shared::Shared;

/// A copy of a request that is sent on without waiting for an answer.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Where to.
    pub cluster: ClusterChoice,
    /// How many of a million requests.
    pub millionths: u32,
    /// Whether `-shadow` is added to the authority.
    pub shadow_suffix: bool,
    /// What the authority becomes, before that.
    pub host: Option<Box<str>>,
    /// Headers that are taken from the copy.
    pub remove: Box<[HeaderName]>,
}

impl Mirror {
    pub(crate) fn compile(policy: &RequestMirrorPolicy, shared: &mut Shared) -> Result<Self, CompileError> {
        // There is no tracing that could sample the copy.
        let RequestMirrorPolicy {
            cluster,
            cluster_header,
            runtime_fraction,
            trace_sampled: _,
            disable_shadow_host_suffix_append,
            request_headers_mutations,
            host_rewrite_literal,
        } = policy;
        let fraction = runtime_fraction.as_ref().map(|fraction| fraction.default_value.as_ref().map_or(0, millionths));
        Ok(Self {
            cluster: ClusterChoice::compile(cluster, cluster_header, shared)?,
            millionths: fraction.unwrap_or(1_000_000),
            shadow_suffix: !disable_shadow_host_suffix_append,
            host: (!host_rewrite_literal.is_empty()).then(|| host_rewrite_literal.as_str().into()),
            remove: removals(request_headers_mutations)?,
        })
    }

    /// A route's own copies, or else those that its virtual host or its table asks for.
    pub(crate) fn all(policies: &[RequestMirrorPolicy], shared: &mut Shared) -> Result<Box<[Self]>, CompileError> {
        let inherited = shared.mirrors.clone();
        let policies = if policies.is_empty() { &*inherited } else { policies };
        let compile = |(i, policy)| Self::compile(policy, shared).map_err(|error| error.within(&format!("request_mirror_policies[{i}]")));
        policies.iter().enumerate().map(compile).collect()
    }
}

/// Copies may lose headers, which no longer says too much of a request; to give them some is not carried out.
fn removals(mutations: &[HeaderMutation]) -> Result<Box<[HeaderName]>, CompileError> {
    let mut names = vec![];
    for HeaderMutation { action } in mutations {
        match action {
            Some(Action::Remove(name)) => names.push(name.clone()),
            Some(_) => return Err(CompileError::unsupported("request_headers_mutations")),
            None => return Err(CompileError::missing("request_headers_mutations.action")),
        }
    }
    Ok(HeaderChanges::of_route(&[], &names)?.remove)
}

#[cfg(test)]
mod tests {
    use weir_xds::core::HeaderValueOption;

    use super::*;

    fn policy(cluster: &str, header: &str) -> RequestMirrorPolicy {
        RequestMirrorPolicy { cluster: cluster.into(), cluster_header: header.into(), ..Default::default() }
    }

    #[test]
    fn a_copy_goes_to_one_cluster() {
        let compile = |policy: &RequestMirrorPolicy| Mirror::compile(policy, &mut Shared::default());
        assert!(matches!(compile(&policy("a", "")).expect("valid").cluster, ClusterChoice::Named(0)));
        assert!(matches!(compile(&policy("", "x-cluster")).expect("valid").cluster, ClusterChoice::Header(_)));
        assert!(compile(&policy("", "")).is_err() && compile(&policy("a", "x-cluster")).is_err());
    }

    #[test]
    fn a_copy_may_lose_headers_and_gets_none() {
        let with =
            |action| RequestMirrorPolicy { request_headers_mutations: vec![HeaderMutation { action: Some(action) }], ..policy("a", "") };
        let compile = |action| Mirror::compile(&with(action), &mut Shared::default()).map(|mirror| mirror.remove);
        assert_eq!(*compile(Action::Remove("X-A".into())).expect("valid"), [HeaderName::from_static("x-a")]);
        assert!(compile(Action::Append(HeaderValueOption::default())).is_err());
    }

    #[test]
    fn a_route_that_names_no_copies_has_its_virtual_hosts() {
        let mut shared = Shared::new(None, vec![policy("of-host", "")].into(), 0);
        let names = |own: &[RequestMirrorPolicy], shared: &mut Shared| Mirror::all(own, shared).expect("valid").len();
        assert_eq!((names(&[], &mut shared), names(&[policy("a", ""), policy("b", "")], &mut shared)), (1, 2));
        assert_eq!(shared.clusters.iter().map(|name| &**name).collect::<Vec<_>>(), ["of-host", "a", "b"]);
    }
}
