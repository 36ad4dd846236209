//! Fields of xDS resources that are set, and that this proxy does not carry out.
//!
//! What could make traffic go where it must not is refused when it is compiled. Everything else that is passed over is at least
//! said, by what is decided in [`super::decisions`]. What nobody has decided about counts as not carried out, and so does what
//! should have been refused.

use std::collections::HashMap;
use std::fmt;

use weir_xds::Any;
use weir_xds::walk::{self, Below, Path, SetField, Unreadable, Visitor};

use super::decisions::{self, FieldDecision};
use super::tls;

/// Its lists are carried out in part.
const TLS_PARAMETERS: &str = "envoy.extensions.transport_sockets.tls.v3.TlsParameters";

/// Where an Envoy asks the agent beside it for the mesh's certificates. Weir's proxy is its own agent.
const AGENT: &str = "sds-grpc";
/// The way to the name of the cluster by which a source of configuration is reached.
const CLUSTER_OF_SOURCE: &[&str] = &["grpc_services", "envoy_grpc", "cluster_name"];

/// Answers by these statuses never have a body (RFC 9110, sections 15.3.5 and 15.4.5).
const NO_CONTENT: &[u32] = &[204, 304];
/// Headers that say where a request ends, and what it becomes.
const FRAMING: &[&str] = &["transfer-encoding", "content-length", "upgrade"];

/// A field that is set and not carried out, however often a resource has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The field, as `Message.field`; of a packed message its place.
    pub field: String,
    /// Where it stands first, as in `filter_chains[0].filters[0].typed_config.tracing`.
    pub path: String,
    /// How often it stands elsewhere.
    pub more: usize,
    /// What happens instead.
    pub instead: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, path, more, instead } = self;
        write!(f, "{field} is not carried out: {instead}")?;
        match (field == path, more) {
            (true, 0) => Ok(()),
            (true, more) => write!(f, " (and at {more} other places)"),
            (false, 0) => write!(f, " (at {path})"),
            (false, more) => write!(f, " (at {path} and {more} other places)"),
        }
    }
}

/// What of a resource is not carried out: each field once, in the order of their names.
pub fn report(resource: &Any) -> Vec<Unsupported> {
    let mut report = Report::default();
    // A resource of an unknown type was refused before this.
    let _ = walk::visit(resource, &mut report);
    let mut found = report.found;
    // Fields come in no order of their own.
    found.sort_unstable_by(|a, b| a.field.cmp(&b.field));
    found
}

/// What becomes of headers that a list adds and that do not arrive.
fn added_in_vain(field: &SetField<'_>) -> Option<String> {
    let (path, is_request): (&[&str], bool) = match field.name {
        "response_headers_to_add" => (&["header", "key"], false),
        "request_headers_to_add" => (&["header", "key"], true),
        "request_mutations" => (&["append", "header", "key"], true),
        _ => return None,
    };
    field.texts_at(path).find_map(|name| {
        if name.eq_ignore_ascii_case("te") {
            return Some(format!("`te` is not sent to {} of HTTP/2", if is_request { "instances" } else { "clients" }));
        }
        let is_framing = is_request && FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing));
        is_framing.then(|| format!("`{name}` is for the connection alone to say"))
    })
}

#[derive(Default)]
struct Report {
    found: Vec<Unsupported>,
    /// Where in `found` a field stands.
    places: HashMap<String, usize>,
}

impl Report {
    fn add(&mut self, key: String, field: impl FnOnce() -> String, path: &Path<'_>, instead: &str) {
        match self.places.get(&key).and_then(|place| self.found.get_mut(*place)) {
            Some(known) => known.more += 1,
            None => {
                self.places.insert(key, self.found.len());
                self.found.push(Unsupported { field: field(), path: path.to_string(), more: 0, instead: instead.to_owned() });
            }
        }
    }

    fn add_field(&mut self, message: &str, name: &str, path: &Path<'_>, instead: &str) {
        let short = || format!("{}.{name}", message.rsplit('.').next().unwrap_or_default());
        self.add(format!("{message}.{name}"), short, path, instead);
    }
}

impl Report {
    /// Looks for values that are left out of a field that is carried out.
    fn look_at_values(&mut self, field: &SetField<'_>) {
        if field.message == TLS_PARAMETERS {
            let left_out = tls::parameters::not_carried_out(field.name, &field.texts());
            if !left_out.is_empty() {
                let instead = format!("left out are {}", left_out.join(", "));
                self.add_field(field.message, field.name, field.path, &instead);
            }
        }
        if let Some(instead) = added_in_vain(field) {
            self.add_field(field.message, field.name, field.path, &instead);
        }
        if field.name == "direct_response"
            && let Some(status) = field.number("status").filter(|status| NO_CONTENT.contains(status))
            && !field.lacks("body")
        {
            self.add_field("DirectResponseAction", "body", field.path, &format!("an answer by status {status} has no body"));
        }
    }
}

impl Visitor for Report {
    fn field(&mut self, field: &SetField<'_>) -> Below {
        for default in decisions::DEFAULTS {
            if default.field == field.name && default.holder == field.message && field.lacks(default.absent) {
                self.add_field(default.message, default.absent, field.path, default.instead);
            }
        }
        let instead = match decisions::decision(field.message, field.name) {
            Some(FieldDecision::CarriedOut) => {
                self.look_at_values(field);
                return Below::Visit;
            }
            Some(FieldDecision::AsWhole | FieldDecision::Unseen) => return Below::Skip,
            // What says no, or limits nothing, asks for nothing.
            _ if field.is_false() || field.is_no_limit() => return Below::Skip,
            Some(FieldDecision::ReportedUnlessZero(_)) if field.is_zero() => return Below::Skip,
            _ if field.name == "api_config_source" && field.text_at(CLUSTER_OF_SOURCE) == Some(AGENT) => return Below::Skip,
            Some(FieldDecision::Reported(instead) | FieldDecision::ReportedUnlessZero(instead)) => instead,
            Some(FieldDecision::Refused) => "it has no effect",
            None => "nothing is known of it",
        };
        self.add_field(field.message, field.name, field.path, instead);
        Below::Skip
    }

    fn packed(&mut self, message: &str, path: &Path<'_>) -> Below {
        if decisions::may_be_packed(message) {
            return Below::Visit;
        }
        self.add(message.to_owned(), || path.to_string(), path, &format!("{message} has no effect"));
        Below::Skip
    }

    fn unreadable(&mut self, packed: &Unreadable<'_>) {
        self.add(packed.message.to_owned(), || packed.path.to_string(), packed.path, &packed.error.to_string());
    }
}

#[cfg(test)]
mod tests;
