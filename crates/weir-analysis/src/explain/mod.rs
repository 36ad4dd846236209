//! Where a request goes, and why: the way of one [`Call`] through a proxy, step by step.
//!
//! The steps are those of the proxy: a listener ([`listener`]), one of its filter chains ([`chain`]), and for HTTP a virtual
//! host and a route ([`request`]); then what becomes of it ([`outcome`]). Each says what was decided and why, and, where a
//! person's rule decided, the place where it stands.

mod access;
mod answer;
mod call;
mod chain;
mod listener;
mod outcome;
mod patched;
mod request;
mod tokens;
mod words;

use std::cell::OnceCell;
use std::collections::HashMap;

use weir_config::cluster::ClusterPolicy;
use weir_model::AuthorizationPolicy;
use weir_routing::RouteTable;
use weir_translate::{Change, TokenRule, Translation};
use weir_xds::cluster::Cluster;
use weir_xds::resource::ResourceType;
use weir_xds::route::RouteConfiguration;

use crate::preview::resolved;
pub use answer::{Answer, Error, Place, Share, Step};
pub use call::{Call, Direction, Protocol, Tls, UNKNOWN_ADDRESS};

/// Explains calls through one proxy. What many calls need is compiled once.
pub struct Explainer<'t> {
    translation: &'t Translation,
    /// What EnvoyFilters changed of it.
    changes: &'t [Change],
    /// Where access rules come from.
    policies: &'t [AuthorizationPolicy],
    /// Compiled when they are first asked for; a text says why one cannot be.
    tables: HashMap<&'t str, Table<'t>>,
    /// The same of clusters.
    clusters: HashMap<&'t str, Refusal<'t>>,
    /// The rules about tokens that are for the proxy.
    token_rules: &'t [TokenRule],
    /// What time it is, in seconds since 1970.
    now: u64,
}

type Table<'t> = (&'t RouteConfiguration, OnceCell<Result<RouteTable, String>>);
type Refusal<'t> = (&'t Cluster, OnceCell<Option<String>>);

impl<'t> Explainer<'t> {
    /// For a proxy that gets this.
    pub fn new(translation: &'t Translation) -> Self {
        let tables = translation.routes.iter().map(|routes| (routes.name.as_str(), (routes, OnceCell::new())));
        let clusters = translation.clusters.iter().map(|cluster| (cluster.name.as_str(), (cluster, OnceCell::new())));
        Self { translation, changes: &[], policies: &[], tables: tables.collect(), clusters: clusters.collect(), token_rules: &[], now: 0 }
    }

    /// With the rules about tokens that are for the proxy, at this time, in seconds since 1970.
    #[must_use]
    pub fn with_tokens(self, token_rules: &'t [TokenRule], now: u64) -> Self {
        Self { token_rules, now, ..self }
    }

    /// What becomes of a call.
    pub fn explain(&self, call: &Call) -> Answer {
        let mut answer = Answer::default();
        if let Err(error) = self.follow(call, &mut answer) {
            answer.error = Some(error);
        }
        answer
    }

    fn follow(&self, call: &Call, answer: &mut Answer) -> Result<(), Error> {
        let listener = listener::find(&self.translation.listeners, call, answer)?;
        self.patched(ResourceType::Listener, &listener.name, answer);
        // Seldom is there any.
        let whole = if self.translation.extensions.is_empty() { None } else { Some(resolved(listener, &self.translation.extensions)) };
        let listener = match &whole {
            None => listener,
            Some(Ok(Some(whole))) => &**whole,
            Some(Ok(None)) => {
                answer.step("the listener waits", "for the configuration of a filter that nobody gives");
                return Err(Error::NoListener);
            }
            Some(Err(error)) => {
                answer.step("the listener is refused", error.to_string());
                return Err(Error::NoRoute);
            }
        };
        let chain::Found { rules, handler } = chain::find(listener, call, answer)?;
        self.connect(&rules, call, answer)?;
        match handler {
            chain::Handler::Tcp(proxy) => self.tcp(&proxy, answer),
            chain::Handler::Respond => answer.step("an answer of its own", "the connection is answered and closed, whatever it says"),
            chain::Handler::Http(manager) => self.http(&manager, call, answer)?,
        }
        Ok(())
    }

    /// A route configuration as a proxy would compile it.
    fn table(&self, name: &str) -> Option<Result<&RouteTable, &String>> {
        let (config, table) = self.tables.get(name)?;
        let compile = || RouteTable::compile(config, None).map_err(|error| error.to_string());
        Some(table.get_or_init(compile).as_ref())
    }

    /// A cluster, and why a proxy would refuse it, if it would.
    fn cluster(&self, name: &str) -> Option<(&Cluster, Option<&String>)> {
        let (cluster, refusal) = self.clusters.get(name)?;
        let compile = || ClusterPolicy::compile(cluster).err().map(|error| error.to_string());
        Some((cluster, refusal.get_or_init(compile).as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_xds::json::from_value;

    use super::*;

    #[test]
    fn what_a_proxy_refuses_is_told_on_the_way() {
        let tcp = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        let filter = |cluster: &str| json!([{"typedConfig": {"@type": tcp, "statPrefix": "p", "cluster": cluster}}]);
        let address = |port: u16| json!({"socketAddress": {"address": "10.0.0.1", "portValue": port}});
        let mut refused = filter("c");
        refused[0]["typedConfig"]["tunnelingConfig"] = json!({"hostname": "a:1", "headersToAdd": [{}]});
        let listener = |port: u16, filters| json!({"name": "l", "address": address(port), "filterChains": [{"filters": filters}]});
        let translation = Translation {
            listeners: [listener(1, filter("c")), listener(2, refused)].into_iter().map(|l| from_value(l).expect("valid")).collect(),
            clusters: vec![from_value(json!({"name": "c", "transportSocket": {"name": "unknown"}})).expect("valid")],
            ..Default::default()
        };
        let explainer = Explainer::new(&translation);
        let told = |port: u16| {
            let call = json!({"address": "10.0.0.1", "port": port, "protocol": "TCP"});
            let answer = explainer.explain(&serde_json::from_value(call).expect("a call"));
            let last = answer.steps.last().expect("a step");
            (format!("{}: {}", last.what, last.why), answer.error)
        };
        let (cluster, error) = told(1);
        assert!(cluster.starts_with("cluster c is refused: by Weir's own proxy, which answers 503: transport_socket"), "{cluster}");
        assert_eq!(error, None);
        assert_eq!(
            told(2),
            ("the listener is refused: tunneling_config.headers_to_add: is not supported".to_owned(), Some(Error::NoRoute))
        );
    }
}
