//! The rules of the messages themselves: lengths, bounds, what must be set. Envoy refuses a resource that breaks one before it
//! looks at what the resource means, so whatever it means, it is refused here too.

use weir_routing::CompileError;
use weir_xds::Any;
use weir_xds::rules::{Violation, first_violation};

use super::decisions;

/// Holds a resource, and what is packed in it, to the rules of its messages.
///
/// # Errors
/// If it breaks one.
pub fn check(resource: &Any) -> Result<(), CompileError> {
    // What cannot be read is refused by who compiles it.
    match first_violation(resource, decisions::may_be_packed).ok().flatten() {
        Some(Violation { path, what }) => Err(CompileError::new(path, what)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_xds::cluster::Cluster;
    use weir_xds::json::from_value;

    use super::*;

    #[test]
    fn numbers_out_of_bounds_are_refused_even_where_they_are_not_carried_out() {
        let of = |cluster: serde_json::Value| check(&Any::pack(&from_value::<Cluster>(cluster).expect("well formed")));
        let error = of(json!({"name": "a", "outlierDetection": {"enforcingFailurePercentage": 101}})).expect_err("too much");
        assert_eq!(error.to_string(), "outlier_detection.enforcing_failure_percentage: must be at most 100");
        assert_eq!(of(json!({"name": "a", "outlierDetection": {"enforcingFailurePercentage": 100}})), Ok(()));
    }

    #[test]
    fn what_is_packed_is_held_to_its_rules() {
        let options = json!({
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicitHttpConfig": {"http2ProtocolOptions": {"maxConcurrentStreams": 0}},
        });
        let cluster = json!({"name": "a", "typedExtensionProtocolOptions": {"o": options}});
        let error = check(&Any::pack(&from_value::<Cluster>(cluster).expect("well formed"))).expect_err("too few");
        assert!(error.path.ends_with("http2_protocol_options.max_concurrent_streams"), "{error}");
    }
}
