//! Where the rules of a VirtualService lead to, each destination with its place.

use weir_api::FieldPath;
use weir_api::resources::VirtualService;
use weir_api::resources::virtual_service::Destination;

use super::finding::path;

/// A destination of a rule.
pub(super) struct Place<'v> {
    /// The destination; none where it is not written, though it must be.
    pub(super) destination: Option<&'v Destination>,
    /// Where it stands.
    pub(super) path: FieldPath,
    /// Whether it gets copies of requests.
    pub(super) is_mirror: bool,
}

impl Place<'_> {
    /// The host that is written; empty where none is.
    pub(super) fn host(&self) -> &str {
        self.destination.map(|destination| destination.host.as_str()).unwrap_or_default()
    }

    /// The subset that is written; empty where none is.
    pub(super) fn subset(&self) -> &str {
        self.destination.map(|destination| destination.subset.as_str()).unwrap_or_default()
    }
}

/// All destinations of a VirtualService.
pub(super) fn all(service: &VirtualService) -> Vec<Place<'_>> {
    let mut places = of_http(service);
    for (i, rule) in service.tls.iter().enumerate() {
        places.extend(routes("tls", i, rule.route.iter().map(|route| route.destination.as_ref())));
    }
    for (i, rule) in service.tcp.iter().enumerate() {
        places.extend(routes("tcp", i, rule.route.iter().map(|route| route.destination.as_ref())));
    }
    for (i, rule) in service.http.iter().enumerate() {
        let at = path("spec.http").index(i);
        let mirror = |destination, path| Place { destination, path, is_mirror: true };
        places.extend(rule.mirror.as_ref().map(|destination| mirror(Some(destination), at.key("mirror"))));
        let mirrors = rule.mirrors.iter().enumerate();
        places.extend(mirrors.map(|(j, copy)| mirror(copy.destination.as_ref(), at.key("mirrors").index(j).key("destination"))));
    }
    places
}

/// Those of its HTTP rules, without mirrors.
pub(super) fn of_http(service: &VirtualService) -> Vec<Place<'_>> {
    let rules = service.http.iter().enumerate();
    rules.flat_map(|(i, rule)| routes("http", i, rule.route.iter().map(|route| route.destination.as_ref()))).collect()
}

fn routes<'v>(
    protocol: &'static str,
    rule: usize,
    destinations: impl Iterator<Item = Option<&'v Destination>>,
) -> impl Iterator<Item = Place<'v>> {
    destinations.enumerate().map(move |(j, destination)| {
        let path = path("spec").key(protocol).index(rule).key("route").index(j).key("destination");
        Place { destination, path, is_mirror: false }
    })
}
