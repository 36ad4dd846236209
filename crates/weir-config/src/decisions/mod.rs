//! What is decided about each field of the xDS messages that a proxy gets: data, and nothing else.
//!
//! A field that nobody has decided about counts as not carried out, so that it is reported (see [`super::unsupported`]); a test
//! goes over everything that the messages could say and fails for such a field. What lies below a field that is not looked into
//! (carried out as a whole, without effect, refused or reported) needs no word of its own.

mod access_log;
mod cluster;
mod endpoints;
mod filters;
mod health_check;
mod http;
mod jwt;
mod listener;
mod load_balancing;
mod options;
mod rate_limits;
mod rbac;
mod routes;
mod services;
mod shared;
mod tls;

use std::collections::HashMap;
use std::sync::OnceLock;

/// What is decided about a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldDecision {
    /// It is carried out. What it holds is decided about for itself.
    CarriedOut,
    /// It is carried out with everything that it holds.
    AsWhole,
    /// It changes nothing that a client or an instance could see.
    Unseen,
    /// The resource is refused: traffic could go where it must not, or be let in where it must not.
    Refused,
    /// It is passed over and reported. The text says what happens instead.
    Reported(&'static str),
    /// The same, but where it is zero it asks for nothing.
    ReportedUnlessZero(&'static str),
}

/// Decisions about the fields of one type of message. Names of fields are separated by spaces.
#[derive(Clone, Copy)]
struct Decided {
    package: &'static str,
    name: &'static str,
    /// Whether it may stand packed in another message.
    is_packed: bool,
    carried_out: &'static str,
    as_whole: &'static str,
    unseen: &'static str,
    refused: &'static str,
    reported: &'static [Reported],
    reported_unless_zero: &'static [Reported],
}

/// Fields, and what happens instead of what they say.
type Reported = (&'static str, &'static str);

/// Decisions about a message, to be given one by one.
const fn of(package: &'static str, name: &'static str) -> Decided {
    Decided {
        package,
        name,
        is_packed: false,
        carried_out: "",
        as_whole: "",
        unseen: "",
        refused: "",
        reported: &[],
        reported_unless_zero: &[],
    }
}

impl Decided {
    const fn packed(self) -> Self {
        Self { is_packed: true, ..self }
    }

    const fn carried_out(self, carried_out: &'static str) -> Self {
        Self { carried_out, ..self }
    }

    const fn as_whole(self, as_whole: &'static str) -> Self {
        Self { as_whole, ..self }
    }

    const fn unseen(self, unseen: &'static str) -> Self {
        Self { unseen, ..self }
    }

    const fn refused(self, refused: &'static str) -> Self {
        Self { refused, ..self }
    }

    const fn reported(self, reported: &'static [Reported]) -> Self {
        Self { reported, ..self }
    }

    const fn reported_unless_zero(self, reported_unless_zero: &'static [Reported]) -> Self {
        Self { reported_unless_zero, ..self }
    }

    fn full_name(&self) -> String {
        format!("{}.{}", self.package, self.name)
    }

    fn fields(&self) -> impl Iterator<Item = (&'static str, FieldDecision)> {
        let plain = [
            (self.carried_out, FieldDecision::CarriedOut),
            (self.as_whole, FieldDecision::AsWhole),
            (self.unseen, FieldDecision::Unseen),
            (self.refused, FieldDecision::Refused),
        ];
        let reported = self.reported.iter().map(|(names, instead)| (*names, FieldDecision::Reported(instead)));
        let unless_zero = self.reported_unless_zero.iter().map(|(names, instead)| (*names, FieldDecision::ReportedUnlessZero(instead)));
        let all = plain.into_iter().chain(reported).chain(unless_zero);
        all.flat_map(|(names, decision)| names.split_whitespace().map(move |name| (name, decision)))
    }
}

fn tables() -> impl Iterator<Item = &'static Decided> {
    let tables: [&'static [Decided]; 16] = [
        access_log::TABLE,
        cluster::TABLE,
        endpoints::TABLE,
        filters::TABLE,
        health_check::TABLE,
        http::TABLE,
        jwt::TABLE,
        listener::TABLE,
        load_balancing::TABLE,
        options::TABLE,
        rate_limits::TABLE,
        rbac::TABLE,
        routes::TABLE,
        services::TABLE,
        shared::TABLE,
        tls::TABLE,
    ];
    tables.into_iter().flatten()
}

/// A message's decisions, found by its full name.
struct Found {
    is_packed: bool,
    fields: HashMap<&'static str, FieldDecision>,
}

/// They are asked for at every field of every resource.
fn found(message: &str) -> Option<&'static Found> {
    static INDEX: OnceLock<HashMap<String, Found>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let found = |decided: &Decided| Found { is_packed: decided.is_packed, fields: decided.fields().collect() };
        tables().map(|decided| (decided.full_name(), found(decided))).collect()
    });
    index.get(message)
}

/// What is decided about a field of a message, which is named in full; `None` if nobody has decided.
pub fn decision(message: &str, field: &str) -> Option<FieldDecision> {
    found(message)?.fields.get(field).copied()
}

/// Whether a packed message of this type, which is named in full, is looked into.
pub fn may_be_packed(message: &str) -> bool {
    found(message).is_some_and(|found| found.is_packed)
}

/// A field whose absence asks for something that is not carried out.
pub struct Default {
    /// The full name of the message that holds the field.
    pub holder: &'static str,
    /// The field that holds the message in question.
    pub field: &'static str,
    /// That message's name.
    pub message: &'static str,
    /// The field that is absent.
    pub absent: &'static str,
    /// What happens instead.
    pub instead: &'static str,
}

/// All such fields.
pub const DEFAULTS: &[Default] = &[Default {
    holder: "envoy.config.cluster.v3.Cluster",
    field: "outlier_detection",
    message: "OutlierDetection",
    absent: "enforcing_success_rate",
    instead: "its default, 100, is not carried out either: no endpoint is ejected for its success rate",
}];

#[cfg(test)]
mod tests;
