//! How people name a proxy: not by the whole id of its node, `sidecar~10.0.0.1~reviews-v1.default~default.svc.cluster.local`.

/// The name and namespace of a proxy, `reviews-v1.default`; an id of another shape is its own name.
pub fn short(id: &str) -> &str {
    id.split('~').nth(2).filter(|name| !name.is_empty()).unwrap_or(id)
}

/// Whether somebody who says `asked` may mean this proxy: its id, its name with its namespace, or its name alone.
pub fn is_meant(id: &str, asked: &str) -> bool {
    let name = short(id);
    id == asked || name == asked || name.rsplit_once('.').is_some_and(|(name, _)| name == asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_by_its_id_or_its_name() {
        let id = "sidecar~10.0.0.1~reviews-v1.default~default.svc.cluster.local";
        assert_eq!((short(id), short("envoy-1"), short("a~b~~c")), ("reviews-v1.default", "envoy-1", "a~b~~c"));
        for (asked, is) in [(id, true), ("reviews-v1.default", true), ("reviews-v1", true), ("reviews", false), ("default", false)] {
            assert_eq!(is_meant(id, asked), is, "{asked}");
        }
    }
}
