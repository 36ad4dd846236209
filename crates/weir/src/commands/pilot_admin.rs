//! What the admin interface of a process with a pilot tells of it: the resources of the mesh, and how its proxies stand.

use std::sync::Arc;

use http::StatusCode;
use weir_pilot::Pilot;
use weir_proxy::admin::{AdminAnswer, AdminQuery, Answers, More};

use super::get;

/// How the proxies stand, as Istio's pilot calls it.
pub(crate) const SYNCZ: &str = "/debug/syncz";
/// What proxies were sent.
pub(crate) const DUMP: &str = "/debug/config_dump";
/// Which objects are in force, and the version of the configuration.
pub(crate) const VERSIONS: &str = "/weir/versions";

/// What is counted, as Istio's pilot calls it.
const METRICS: &str = "/metrics";

const INDEX: &str = "\
/debug/syncz            which proxies follow the pilot, and which of them have what they were sent
/debug/config_dump      what the pilot sent to proxies (?proxyID=NAME chooses, ?include_eds adds the instances)
/weir/resources         the mesh's resources (?kind=virtualservices, ?name=, ?namespace=, ?output=json)
/metrics                certificates that were issued, and who and what was refused
/weir/versions          the version of the configuration, and what identifies each object in it
";

/// Beside the proxies of the same process.
pub(crate) fn more(pilot: Pilot) -> More {
    Arc::new(move |path, query| answer(path, query, &pilot))
}

/// For a process that has no proxies, in which more may be counted than what the pilot counts.
pub(crate) fn alone(pilot: Pilot, more: impl Fn() -> String + Send + Sync + 'static) -> Answers {
    Arc::new(move |path, query| match path {
        // It still serves, but whoever looks for a pilot is to find another.
        "/ready" if pilot.is_leaving() => AdminAnswer::text("DRAINING\n").with_status(StatusCode::SERVICE_UNAVAILABLE),
        "/ready" => AdminAnswer::text("LIVE\n"),
        METRICS => AdminAnswer::text(pilot.statistics() + &more()),
        // Where a proxy tells what it has, a pilot tells what it sent.
        "/config_dump" => dump(&pilot, query.get("proxy"), query),
        _ => answer(path, query, &pilot).unwrap_or_else(|| AdminAnswer::not_found(format!("no such path; there are\n{INDEX}"))),
    })
}

fn answer(path: &str, query: &AdminQuery, pilot: &Pilot) -> Option<AdminAnswer> {
    Some(match path {
        "/" => AdminAnswer::text(INDEX),
        SYNCZ => AdminAnswer::json(&pilot.syncz()),
        DUMP => dump(pilot, query.get("proxyID"), query),
        VERSIONS => AdminAnswer::json(&pilot.versions()),
        METRICS => AdminAnswer::text(pilot.statistics()),
        get::PATH => resources(pilot, query),
        _ => return None,
    })
}

fn dump(pilot: &Pilot, proxy: Option<&str>, query: &AdminQuery) -> AdminAnswer {
    match pilot.config_dump(proxy, query.has("include_eds")) {
        Ok(dump) => AdminAnswer::json(&dump),
        Err(message) => AdminAnswer::not_found(message),
    }
}

fn resources(pilot: &Pilot, query: &AdminQuery) -> AdminAnswer {
    let query = get::Query::from_admin(|name| query.get(name).map(str::to_owned));
    match query.and_then(|query| query.answer(&pilot.catalog().borrow(), &pilot.mesh().borrow())) {
        Ok(text) => AdminAnswer::text(text),
        Err(message) => AdminAnswer::not_found(message + "\n"),
    }
}
