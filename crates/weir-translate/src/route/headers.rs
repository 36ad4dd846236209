//! What a rule changes in headers.

use std::collections::BTreeMap;

use weir_api::resources::http_policy::{HeaderOperations, Headers};
use weir_xds::core::header_value_option::HeaderAppendAction;
use weir_xds::core::{HeaderValue, HeaderValueOption};

/// Changes of headers, in Envoy's terms.
#[derive(Debug, Default)]
pub(crate) struct HeaderChanges {
    pub request_add: Vec<HeaderValueOption>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<HeaderValueOption>,
    pub response_remove: Vec<String>,
    /// What the host is set to; it is no header that can be changed as others.
    pub authority: Option<String>,
}

impl HeaderChanges {
    /// What a rule, or one of its destinations, says.
    pub fn new(headers: Option<&Headers>) -> Self {
        let Some(headers) = headers else { return Self::default() };
        let request = headers.request.as_ref();
        let response = headers.response.as_ref();
        Self {
            request_add: request.map(additions).unwrap_or_default(),
            request_remove: request.map(removals).unwrap_or_default(),
            response_add: response.map(additions).unwrap_or_default(),
            response_remove: response.map(removals).unwrap_or_default(),
            authority: request.and_then(|request| authority(&request.set).or_else(|| authority(&request.add))),
        }
    }
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// Pseudo-headers and the host cannot be changed as headers are.
fn is_internal(name: &str) -> bool {
    name.starts_with(':') || is_authority(name)
}

fn authority(values: &BTreeMap<String, String>) -> Option<String> {
    values.iter().rfind(|(name, _)| is_authority(name)).map(|(_, value)| value.clone())
}

/// What is set comes before what is added.
fn additions(operations: &HeaderOperations) -> Vec<HeaderValueOption> {
    let set = operations.set.iter().map(|(name, value)| (name, value, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = operations.add.iter().map(|(name, value)| (name, value, HeaderAppendAction::AppendIfExistsOrAdd));
    let all = set.chain(add).filter(|(name, _, _)| !is_internal(name));
    all.map(|(name, value, action)| HeaderValueOption {
        header: Some(HeaderValue { key: name.clone(), value: value.clone(), ..Default::default() }),
        append_action: action.into(),
        ..Default::default()
    })
    .collect()
}

fn removals(operations: &HeaderOperations) -> Vec<String> {
    operations.remove.iter().filter(|name| !is_internal(name)).cloned().collect()
}
