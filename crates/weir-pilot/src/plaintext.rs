//! What a proxy may ask for where others can read along: no certificate with its key.
//!
//! The names of files are no secrets: a proxy may ask for those.

use weir_ads::Request;
use weir_translate::is_of_files;
use weir_xds::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use weir_xds::resource::ResourceType;

/// Whether a request is about secrets.
pub(crate) fn is_about_secrets(request: &Request) -> bool {
    ResourceType::from_type_url(request.type_url()) == Some(ResourceType::Secret)
}

/// A request without the secrets that it asks for; none if it asks for nothing else.
pub(crate) fn without_secrets(request: &Request) -> Option<Request> {
    let may_have = |names: &[String]| -> Vec<String> { names.iter().filter(|name| is_of_files(name)).cloned().collect() };
    if !is_about_secrets(request) {
        return Some(request.clone());
    }
    match request {
        Request::Delta(request) => {
            let names = may_have(&request.resource_names_subscribe);
            // Who names nothing in its first message asks for everything.
            let is_first = request.response_nonce.is_empty() && request.resource_names_unsubscribe.is_empty();
            if names.is_empty() && (is_first || !request.resource_names_subscribe.is_empty()) {
                return None;
            }
            Some(Request::Delta(DeltaDiscoveryRequest { resource_names_subscribe: names, ..request.clone() }))
        }
        Request::State(request) => {
            let names = may_have(&request.resource_names);
            (!names.is_empty()).then(|| Request::State(DiscoveryRequest { resource_names: names, ..request.clone() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(kind: ResourceType, names: &[&str], nonce: &str) -> Request {
        Request::Delta(DeltaDiscoveryRequest {
            type_url: kind.type_url(),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            response_nonce: nonce.to_owned(),
            ..Default::default()
        })
    }

    fn state(names: &[&str]) -> Request {
        let resource_names = names.iter().map(|name| (*name).to_owned()).collect();
        Request::State(DiscoveryRequest { type_url: ResourceType::Secret.type_url(), resource_names, ..Default::default() })
    }

    #[test]
    fn only_names_of_files_are_asked_for_where_others_read_along() {
        let of = |names: &[&str], nonce: &str| delta(ResourceType::Secret, names, nonce);
        let cases = [
            (of(&["kubernetes://a", "file-cert:/a~/b"], ""), Some(of(&["file-cert:/a~/b"], ""))),
            (of(&["kubernetes://a"], ""), None),
            (of(&["*"], ""), None),
            (of(&[], ""), None),
            (of(&[], "1"), Some(of(&[], "1"))),
            (of(&["kubernetes://a"], "1"), None),
            (state(&["kubernetes://a", "file-root:/a"]), Some(state(&["file-root:/a"]))),
            (state(&["kubernetes://a"]), None),
            (state(&[]), None),
            (delta(ResourceType::Cluster, &["*"], ""), Some(delta(ResourceType::Cluster, &["*"], ""))),
        ];
        for (request, wanted) in cases {
            assert_eq!(without_secrets(&request), wanted, "{request:?}");
        }
    }
}
