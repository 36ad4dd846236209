//! What the rules of VirtualServices have in common, whatever they are for.

use super::checker::Checker;
use super::{hosts, values};
use crate::resources::meta::Labels;

/// Checks what all conditions have in common: the port, and who the client is.
pub(super) fn check_source(c: &mut Checker<'_>, port: u32, labels: &Labels, gateways: &[String], namespace: &str) {
    if port != 0 {
        c.field("port", |c| values::check_port(c, port));
    }
    values::check_labels(c, "sourceLabels", labels);
    c.each("gateways", gateways, |c, gateway| hosts::check_gateway_name(c, gateway));
    if !namespace.is_empty() {
        c.field("sourceNamespace", |c| hosts::check_label(c, namespace, "a namespace"));
    }
}

/// Checks the weights of a rule's destinations.
pub(super) fn check_weights(c: &mut Checker<'_>, weights: impl ExactSizeIterator<Item = i32>) {
    let several = weights.len() > 1;
    let mut sum = 0;
    c.field("route", |c| {
        for (index, weight) in weights.enumerate() {
            sum += i64::from(weight);
            c.item(index, |c| values::check_not_negative(c, "weight", weight));
        }
        if several && sum == 0 {
            c.error_help("the weights add up to 0, so no destination gets anything", "give each destination its share as `weight`");
        }
    });
}
