//! The admin interface: what the proxies do, for people and tools. Paths and shapes are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/operations/admin>); where a process hosts several proxies,
//! `?proxy=ID` chooses one. Who is answered, [`admission`] says. [`serve_answers`] serves any other process's answers in the same way.

mod admission;
mod dump;
mod filters;
mod prometheus;
mod server;
mod text;

use std::io;
use std::sync::Arc;

use http::StatusCode;
use tokio::net::TcpListener;
use weir_xds::node_id;

use crate::DataPlane;
use crate::checks;
use prometheus::Families;
pub use server::{AdminAnswer, AdminQuery, Answers, serve_answers};

/// More paths, of whoever embeds the data plane: the answer to a path and its query, if it knows them.
pub type More = Arc<dyn Fn(&str, &AdminQuery) -> Option<AdminAnswer> + Send + Sync>;

/// Serves until the task is dropped.
///
/// # Errors
/// If the listener fails for good.
pub async fn serve(listener: TcpListener, plane: Arc<DataPlane>, more: More) -> io::Result<()> {
    serve_answers(listener, Arc::new(move |path, query| route(path, query, &plane, &more))).await
}

const INDEX: &str = "\
/ready                  whether all proxies are ready
/listeners              what listens where
/clusters               clusters and their instances
/config_dump            all xDS resources (?include_eds adds the instances)
/stats/prometheus       all statistics
?proxy=ID chooses one proxy, where a process hosts several
";

fn route(path: &str, query: &AdminQuery, plane: &DataPlane, more: &More) -> AdminAnswer {
    let wanted = match query.get("proxy") {
        None => plane.ids(),
        Some(id) => plane.ids().into_iter().filter(|known| node_id::is_meant(known, id)).collect(),
    };
    if query.has("proxy") && wanted.is_empty() {
        let known = plane.ids().iter().map(|id| format!("  {}\n", node_id::short(id))).collect::<String>();
        return AdminAnswer::text(format!("there is no such proxy; there are\n{known}")).with_status(StatusCode::NOT_FOUND);
    }
    match path {
        "/" => AdminAnswer::text(INDEX.to_owned() + &more(path, query).map(AdminAnswer::into_text).unwrap_or_default()),
        "/ready" => ready(plane),
        "/stats" | "/stats/prometheus" => AdminAnswer::text(statistics(plane)),
        "/config_dump" => AdminAnswer::json(&dump::config_dump(plane, &wanted, query.has("include_eds"))),
        "/clusters" => AdminAnswer::text(text::clusters(plane, &wanted)),
        "/listeners" => AdminAnswer::text(text::listeners(plane, &wanted)),
        _ => more(path, query)
            .unwrap_or_else(|| AdminAnswer::text(format!("no such path; there are\n{INDEX}")).with_status(StatusCode::NOT_FOUND)),
    }
}

fn ready(plane: &DataPlane) -> AdminAnswer {
    match readiness(plane) {
        Ok(()) => AdminAnswer::text("LIVE\n"),
        Err(state) => AdminAnswer::text(format!("{state}\n")).with_status(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// Whether all proxies are ready.
///
/// # Errors
/// Envoy's word for what they are instead.
pub(crate) fn readiness(plane: &DataPlane) -> Result<(), &'static str> {
    if plane.is_draining() {
        return Err("DRAINING");
    }
    let is_ready = |id: &Arc<str>| plane.status(id).is_some_and(|status| status.borrow().ready);
    if plane.ids().iter().all(is_ready) { Ok(()) } else { Err("PRE_INITIALIZING") }
}

/// All statistics, as Prometheus reads them.
pub(crate) fn statistics(plane: &DataPlane) -> String {
    let mut families = Families::default();
    for id in plane.ids() {
        let Some(config) = plane.config(&id) else { continue };
        for (name, cluster) in config.clusters.iter() {
            families.cluster(&id, name, cluster);
            if cluster.policy.health_check.is_some() {
                families.health_checks(&id, name, checks::passing(&cluster.hosts), &cluster.stats.health_checks);
            }
        }
        for open in config.listeners.iter() {
            families.listener(&id, &open.listener.name, &open.stats);
            families.connection_limits(&id, &open.listener);
            families.scripts(&id, &open.listener);
            families.tokens(&id, &open.listener);
            families.access_rules(&id, &open.listener);
            families.asked_about_connections(&id, &open.listener);
            families.filters(&id, &open.listener);
        }
        families.local_limits(&id, &config);
        if let Some(status) = plane.status(&id) {
            families.proxy(&id, &status.borrow());
        }
    }
    families.requests(plane.series());
    families.process(plane);
    families.encode()
}
