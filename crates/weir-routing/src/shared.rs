//! What the routes of one virtual host have in common, while they are compiled.

use std::collections::HashMap;
use std::sync::Arc;

use weir_xds::route::RetryPolicy as XdsRetryPolicy;
use weir_xds::route::route_action::RequestMirrorPolicy;

use crate::error::CompileError;
use crate::retry::RetryPolicy;

/// A cluster, by its position among the names of its virtual host.
pub type ClusterIndex = u32;

/// What the routes of one virtual host have in common, while they are compiled.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The names of the clusters that they lead to, each once.
    pub(crate) clusters: Vec<Arc<str>>,
    known: HashMap<Arc<str>, ClusterIndex>,
    /// The policy of routes that have none of their own.
    default_retry: Option<Arc<RetryPolicy>>,
    /// The copies of routes that ask for none of their own.
    pub(crate) mirrors: Arc<[RequestMirrorPolicy]>,
    /// No body that the proxy answers with may be longer.
    pub(crate) max_body: usize,
    /// The last policy, and what it was compiled from: most routes have the same.
    retry: Option<(XdsRetryPolicy, Arc<RetryPolicy>)>,
}

impl Shared {
    pub(crate) fn new(default_retry: Option<Arc<RetryPolicy>>, mirrors: Arc<[RequestMirrorPolicy]>, max_body: usize) -> Self {
        Self { default_retry, mirrors, max_body, ..Default::default() }
    }

    pub(crate) fn retry(&mut self, policy: Option<&XdsRetryPolicy>) -> Result<Option<Arc<RetryPolicy>>, CompileError> {
        let Some(policy) = policy else { return Ok(self.default_retry.clone()) };
        if let Some((_, known)) = self.retry.as_ref().filter(|(written, _)| written == policy) {
            return Ok(Some(known.clone()));
        }
        let compiled = Arc::new(RetryPolicy::compile(policy)?);
        self.retry = Some((policy.clone(), compiled.clone()));
        Ok(Some(compiled))
    }

    pub(crate) fn index(&mut self, name: &str) -> ClusterIndex {
        if let Some(index) = self.known.get(name) {
            return *index;
        }
        let name: Arc<str> = name.into();
        let index = self.clusters.len() as ClusterIndex;
        self.clusters.push(name.clone());
        self.known.insert(name, index);
        index
    }
}
