//! What a proxy tells others of its own workload: made once, and the same for all.

use http::{HeaderMap, HeaderName};
use weir_config::peer_metadata::PeerMetadata;
use weir_config::workload::Workload;
use weir_http1::Headers;
use weir_http1::header::{HeaderValue, NameSet, X_ENVOY_PEER_METADATA, X_ENVOY_PEER_METADATA_ID};
use weir_xds::core::Node;

/// The headers by which it is told.
const TOLD: NameSet = NameSet::of(&["x-envoy-peer-metadata", "x-envoy-peer-metadata-id"]);
/// The same for the library of HTTP/2.
const METADATA: HeaderName = HeaderName::from_static("x-envoy-peer-metadata");
const ID: HeaderName = HeaderName::from_static("x-envoy-peer-metadata-id");

/// What a proxy tells of its own workload.
#[derive(Debug)]
pub struct Introduction {
    metadata: HeaderValue,
    id: HeaderValue,
    /// Both for the library of HTTP/2.
    of_stream: (http::HeaderValue, http::HeaderValue),
}

impl Introduction {
    /// Of a proxy that calls itself so, beside this workload. None if its id can stand in no header.
    pub fn new(node: &Node, workload: &Workload) -> Option<Self> {
        let metadata = PeerMetadata::of_node(node, workload).write();
        Some(Self {
            id: HeaderValue::from_str(&node.id).ok()?,
            metadata: HeaderValue::from_shared(metadata.clone().into()).ok()?,
            of_stream: (metadata.try_into().ok()?, http::HeaderValue::from_str(&node.id).ok()?),
        })
    }

    /// The same in memory of its own. A value is cloned for each request, and counts its clones: on one count all workers would wait for
    /// each other.
    pub fn copy(&self) -> Option<Self> {
        let (metadata, id) = (self.metadata.as_bytes(), self.id.as_bytes());
        Some(Self {
            metadata: HeaderValue::from_bytes(metadata).ok()?,
            id: HeaderValue::from_bytes(id).ok()?,
            of_stream: (http::HeaderValue::from_bytes(metadata).ok()?, http::HeaderValue::from_bytes(id).ok()?),
        })
    }

    /// Tells it in these headers, if it is to be told there; of who was asked before it says nothing.
    pub fn tell(&self, headers: &mut Headers, is_told: bool) {
        if is_told {
            headers.insert(X_ENVOY_PEER_METADATA_ID, self.id.clone());
            headers.insert(X_ENVOY_PEER_METADATA, self.metadata.clone());
        } else {
            headers.remove_all(&TOLD);
        }
    }

    /// The same on a stream of HTTP/2.
    pub fn tell_stream(&self, headers: &mut HeaderMap, is_told: bool) {
        if is_told {
            let (metadata, id) = self.of_stream.clone();
            headers.insert(ID, id);
            headers.insert(METADATA, metadata);
        } else {
            headers.remove(ID);
            headers.remove(METADATA);
        }
    }
}

/// Takes away what is told, whoever tells it.
pub fn take(headers: &mut Headers) -> Option<HeaderValue> {
    let told = headers.get(X_ENVOY_PEER_METADATA).cloned();
    headers.remove_all(&TOLD);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduction(id: &str) -> Option<Introduction> {
        let workload = Workload { name: "web".to_owned(), namespace: "shop".to_owned(), ..Workload::default() };
        Introduction::new(&Node { id: id.to_owned(), ..Node::default() }, &workload)
    }

    #[test]
    fn it_is_told_and_taken_back() {
        let own = introduction("sidecar~10.0.0.1~web.shop~shop.svc.cluster.local").expect("an id");
        let mut headers = Headers::new();
        headers.append("x-own", HeaderValue::from_static("1"));
        headers.append(X_ENVOY_PEER_METADATA, HeaderValue::from_static("forged"));
        own.tell(&mut headers, true);
        let mut stream = HeaderMap::new();
        own.tell_stream(&mut stream, true);
        assert_eq!((headers.len(), stream.len()), (3, 2));
        assert_eq!(headers.get(X_ENVOY_PEER_METADATA).map(HeaderValue::as_bytes), stream.get(METADATA).map(http::HeaderValue::as_bytes));
        let read = headers.get(X_ENVOY_PEER_METADATA).and_then(|told| PeerMetadata::read(told.as_bytes(), "shop"));
        assert_eq!(read.map(|read| read.workload.name).as_deref(), Some("web"));
        own.tell(&mut headers, false);
        own.tell_stream(&mut stream, false);
        assert_eq!((headers.len(), stream.len()), (1, 0));
        assert!(introduction("a\nb").is_none());
    }

    /// Or all workers would count on one place in memory for each request.
    #[test]
    fn a_copy_shares_no_memory() {
        let own = introduction("sidecar~10.0.0.1~web.shop~shop.svc.cluster.local").expect("an id");
        let copy = own.copy().expect("it was told before");
        let places = |one: &Introduction| {
            let (metadata, id) = &one.of_stream;
            [one.metadata.as_bytes().as_ptr(), one.id.as_bytes().as_ptr(), metadata.as_bytes().as_ptr(), id.as_bytes().as_ptr()]
        };
        assert!(places(&own).iter().all(|place| !places(&copy).contains(place)));
        assert_eq!((&own.metadata, &own.id, &own.of_stream), (&copy.metadata, &copy.id, &copy.of_stream));
    }

    #[test]
    fn all_that_is_told_is_taken_away() {
        let mut headers = Headers::new();
        for value in ["a", "b"] {
            headers.append(X_ENVOY_PEER_METADATA, HeaderValue::from_static(value));
            headers.append(X_ENVOY_PEER_METADATA_ID, HeaderValue::from_static(value));
        }
        assert_eq!(take(&mut headers), Some(HeaderValue::from_static("a")));
        assert!(headers.is_empty());
        assert_eq!(take(&mut headers), None);
    }
}
