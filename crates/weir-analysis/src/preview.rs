//! What Weir's own proxy will say of what it gets: which resources it will refuse, and which fields it will pass over.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use weir_config::cluster::ClusterPolicy;
use weir_config::endpoints::Assignment;
use weir_config::listener::Listener;
use weir_config::listener::discovered::{self, Known};
use weir_config::rules;
use weir_config::unsupported::{self, Unsupported};
use weir_routing::filters::compile_chain;
use weir_routing::{CompileError, RouteTable};
use weir_translate::Translation;
use weir_xds::cluster::Cluster;
use weir_xds::core::TypedExtensionConfig;
use weir_xds::hcm::{HttpFilter, http_filter};
use weir_xds::listener::Listener as XdsListener;
use weir_xds::resource::ResourceType;
use weir_xds::route::{Route, RouteConfiguration, VirtualHost};
use weir_xds::router::Router;
use weir_xds::{Any, Message, Name};

/// What will be said of a resource, and of others that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Its kind.
    pub kind: ResourceType,
    /// Its name.
    pub name: String,
    /// Of how many others of its kind the same will be said.
    pub others: usize,
    /// What.
    pub what: Said,
}

/// What a proxy says of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It does not take it, for this reason.
    Refused(String),
    /// It takes it, but for this field.
    PassedOver(Unsupported),
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, others, what } = self;
        let kind = kind.name();
        let others = if *others > 0 { format!(" and {others} more") } else { String::new() };
        match what {
            Said::Refused(reason) => write!(f, "Weir's own proxy will refuse {kind} {name}{others}: {reason}"),
            Said::PassedOver(unsupported) => write!(f, "Weir's own proxy passes over a part of {kind} {name}{others}: {unsupported}"),
        }
    }
}

/// What a proxy that gets this will say, each thing once.
pub fn preview(translation: &Translation) -> Vec<Preview> {
    let mut previews = Previews::default();
    let Translation { listeners, routes, clusters, endpoints, secrets, extensions, findings: _ } = translation;
    for cluster in clusters {
        previews.add(ResourceType::Cluster, &cluster.name, cluster, ClusterPolicy::compile(cluster).err());
    }
    for assignment in endpoints {
        previews.add(ResourceType::Endpoint, &assignment.cluster_name, assignment, Assignment::compile(assignment).err());
    }
    for secret in secrets {
        // Whether it is good only its files can tell.
        previews.add(ResourceType::Secret, &secret.name, secret, None);
    }
    for listener in listeners {
        let refused = match resolved(listener, extensions) {
            // The proxy waits for what it asks for.
            Ok(None) => None,
            Ok(Some(whole)) => Listener::compile(&whole, None).err(),
            Err(error) => Some(error),
        };
        previews.add(ResourceType::Listener, &listener.name, listener, refused);
    }
    for config in extensions {
        previews.add(ResourceType::Extension, &config.name, config, None);
    }
    for config in routes {
        previews.add(ResourceType::Route, &config.name, config, RouteTable::compile(config, None).err());
    }
    previews.all
}

/// A listener as a proxy has it that also gets these configurations of filters; none while it waits for more.
pub(crate) fn resolved<'l>(
    listener: &'l XdsListener,
    extensions: &[TypedExtensionConfig],
) -> Result<Option<Cow<'l, XdsListener>>, CompileError> {
    if discovered::names(listener).is_empty() {
        return Ok(Some(Cow::Borrowed(listener)));
    }
    let of = |name: &str| extensions.iter().find(|config| config.name == name)?.typed_config.clone();
    Ok(discovered::resolve(listener, &Known { of: &of, is_late: true })?.map(Cow::Owned))
}

/// What a proxy will say of what a patch puts in; one that is not whole is merged into something that is not known here.
pub fn of_patch(value: &Any, is_whole: bool) -> Vec<Said> {
    match refusal(value).filter(|_| is_whole) {
        Some(error) => vec![Said::Refused(error.to_string())],
        None => unsupported::report(value).into_iter().map(Said::PassedOver).collect(),
    }
}

/// Why what a patch puts in is refused, whatever it is put into.
fn refusal(value: &Any) -> Option<CompileError> {
    if let Some(filter) = read::<HttpFilter>(value) {
        let router = HttpFilter {
            name: "router".to_owned(),
            config_type: Some(http_filter::ConfigType::TypedConfig(Any::pack(&Router::default()))),
            ..Default::default()
        };
        let is_discovered = matches!(filter.config_type, Some(http_filter::ConfigType::ConfigDiscovery(_)));
        let is_last = matches!(&filter.config_type, Some(http_filter::ConfigType::TypedConfig(config)) if config.is::<Router>());
        let chain = if is_last { vec![filter] } else { vec![filter, router] };
        return compile_chain(&chain).err().filter(|_| !is_discovered);
    }
    if let Some(cluster) = read::<Cluster>(value) {
        return ClusterPolicy::compile(&cluster).err();
    }
    let hosts = match (read::<Route>(value), read::<VirtualHost>(value)) {
        (Some(route), _) => {
            vec![VirtualHost { name: "any".to_owned(), domains: vec!["*".to_owned()], routes: vec![route], ..Default::default() }]
        }
        (None, Some(host)) => vec![host],
        (None, None) => return None,
    };
    RouteTable::compile(&RouteConfiguration { virtual_hosts: hosts, ..Default::default() }, None).err()
}

fn read<M: Message + Name + Default>(value: &Any) -> Option<M> {
    if value.is::<M>() { value.unpack().ok() } else { None }
}

#[derive(Default)]
struct Previews {
    all: Vec<Preview>,
    /// Where in `all` something stands.
    places: HashMap<(ResourceType, String), usize>,
}

impl Previews {
    fn add<M: Message + Name>(&mut self, kind: ResourceType, name: &str, resource: &M, refused: Option<CompileError>) {
        let resource = Any::pack(resource);
        match rules::check(&resource).err().or(refused) {
            Some(error) => self.say(kind, name, error.to_string(), Said::Refused(error.to_string())),
            None => unsupported::report(&resource)
                .into_iter()
                .for_each(|unsupported| self.say(kind, name, unsupported.field.clone(), Said::PassedOver(unsupported))),
        }
    }

    /// `key` is the same for what is alike.
    fn say(&mut self, kind: ResourceType, name: &str, key: String, what: Said) {
        match self.places.get(&(kind, key.clone())).and_then(|place| self.all.get_mut(*place)) {
            Some(known) => known.others += 1,
            None => {
                self.places.insert((kind, key), self.all.len());
                self.all.push(Preview { kind, name: name.to_owned(), others: 0, what });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::cluster::OutlierDetection;
    use weir_xds::core::config_source::ConfigSourceSpecifier;
    use weir_xds::core::{ConfigSource, TransportSocket};
    use weir_xds::route::Vhds;

    use super::*;

    fn said(translation: &Translation) -> Vec<String> {
        preview(translation).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_refused_or_passed_over_is_said_once() {
        let good = |name: &str| Cluster { name: name.into(), ..Default::default() };
        let socket = || TransportSocket { name: "unknown".into(), config_type: None };
        let bad = |name: &str| Cluster { transport_socket: Some(socket()), ..good(name) };
        let partly = |name: &str| {
            let outlier = OutlierDetection { enforcing_success_rate: Some(0), failure_percentage_threshold: Some(5), ..Default::default() };
            Cluster { outlier_detection: Some(outlier), ..good(name) }
        };
        let source = ConfigSource { config_source_specifier: Some(ConfigSourceSpecifier::Ads(Default::default())), ..Default::default() };
        let vhds = Vhds { config_source: Some(source) };
        let translation = Translation {
            clusters: vec![good("a"), partly("b"), partly("c"), partly("d"), bad("e")],
            routes: vec![RouteConfiguration { name: "r".into(), vhds: Some(vhds), ..Default::default() }],
            ..Default::default()
        };
        let said = said(&translation);
        assert_eq!(
            said[0],
            "Weir's own proxy passes over a part of cluster b and 2 more: OutlierDetection.failure_percentage_threshold is not carried out: no endpoint is ejected for its share \
             of failures (at outlier_detection.failure_percentage_threshold)"
        );
        assert!(said[1].starts_with("Weir's own proxy will refuse cluster e: transport_socket"), "{said:?}");
        assert_eq!(
            said[2],
            "Weir's own proxy will refuse route configuration r: vhds: is for route configurations that come by themselves"
        );
        assert_eq!(said.len(), 3);
    }

    #[test]
    fn what_breaks_the_rules_of_its_message_will_be_refused() {
        let outlier = OutlierDetection { enforcing_failure_percentage: Some(101), ..Default::default() };
        let cluster = Cluster { name: "a".into(), outlier_detection: Some(outlier), ..Default::default() };
        let said = said(&Translation { clusters: vec![cluster], ..Default::default() });
        assert_eq!(said, ["Weir's own proxy will refuse cluster a: outlier_detection.enforcing_failure_percentage: must be at most 100"]);
    }
}
