//! Listener filters: what is found out of a connection before its filter chain is chosen.

use std::time::Duration;

use weir_routing::CompileError;
use weir_xds::envoy::extensions::filters::listener::original_src::v3::OriginalSrc;
use weir_xds::http_inspector::HttpInspector;
use weir_xds::listener::listener_filter::ConfigType;
use weir_xds::listener::listener_filter_chain_match_predicate::Rule;
use weir_xds::listener::{ListenerFilter as XdsFilter, ListenerFilterChainMatchPredicate};
use weir_xds::prost_types;
use weir_xds::proxy_protocol_filter::ProxyProtocol;
use weir_xds::tls_inspector::TlsInspector;
use weir_xds::values::std_duration;

use crate::proxy_protocol::AnnouncedClients;

/// Envoy's limit for the first bytes of a connection, where none is given. Where there is to be none, it still is what a
/// connection may take that has begun: one that never finishes is given up.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Where there is to be no limit, a client may keep a connection for later that it has said nothing on: for so long, as when it
/// has been understood and is idle.
const SILENCE: Duration = Duration::from_secs(3600);

/// The listener filters of a listener, in the order of the configuration.
#[derive(Debug)]
pub struct ListenerFilters {
    filters: Vec<(ListenerFilter, Option<Ports>)>,
    /// How long they may take; `None` where no limit is asked for.
    timeout: Option<Duration>,
    /// Whether a connection that says nothing in time goes on as one of which nothing is known, or is closed.
    go_on: bool,
}

/// A listener filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerFilter {
    /// Finds out whether it is TLS, and for which server.
    TlsInspector,
    /// Finds out whether it is HTTP, and which.
    HttpInspector,
    /// Finds out where it was going to before the kernel redirected it.
    OriginalDestination,
    /// Calls instances in the client's name.
    OriginalSource(OriginalSource),
    /// Reads who the client is, as a proxy tells it that stands before this one.
    ProxyProtocol(AnnouncedClients),
}

/// How instances are called in a client's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginalSource {
    /// What marks the packets of such connections; 0 is no mark.
    pub mark: u32,
    /// Whether they come from the client's port, too.
    pub with_port: bool,
}

/// What is found out of a connection's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspect {
    /// Whether it is TLS, and for which server.
    pub tls: bool,
    /// Whether it is HTTP.
    pub http: bool,
    /// How long that may take.
    pub timeout: Duration,
    /// How long it may take from the first byte on, where that is counted on its own.
    pub once_begun: Option<Duration>,
    /// Whether a connection that is not understood in time goes on as one that is neither, or is closed.
    pub go_on: bool,
}

impl ListenerFilters {
    /// Compiles a listener's filters and their time.
    ///
    /// # Errors
    /// If one is of a kind that is not carried out: what it would do may decide who is let in.
    pub(super) fn compile(filters: &[XdsFilter], timeout: Option<&prost_types::Duration>, go_on: bool) -> Result<Self, CompileError> {
        let compiled = filters.iter().enumerate().map(|(i, filter)| {
            let XdsFilter { name: _, filter_disabled, config_type: _ } = filter;
            let within = |error: CompileError| error.within(&format!("listener_filters[{i}]"));
            let disabled = filter_disabled.as_ref().map(Ports::compile).transpose();
            Ok((kind(filter).map_err(within)?, disabled.map_err(|error| within(error.within("filter_disabled")))?))
        });
        let filters = compiled.collect::<Result<Vec<_>, _>>()?;
        // An inspector would take the header for what it looks for.
        let announced = filters.iter().rposition(|(filter, _)| matches!(filter, ListenerFilter::ProxyProtocol(_)));
        let inspector =
            filters.iter().position(|(filter, _)| matches!(filter, ListenerFilter::TlsInspector | ListenerFilter::HttpInspector));
        if let Some((announced, _)) = announced.zip(inspector).filter(|(announced, inspector)| announced > inspector) {
            return Err(CompileError::new(format!("listener_filters[{announced}]"), "comes after an inspector, which is not supported"));
        }
        let timeout = timeout.map_or(TIMEOUT, std_duration);
        Ok(Self { filters, timeout: Some(timeout).filter(|timeout| !timeout.is_zero()), go_on })
    }

    /// What is found out of a connection to this port.
    pub fn inspect(&self, port: u16) -> Inspect {
        let looks = |wanted| {
            let mut alike = self.filters.iter().filter(|(filter, _)| *filter == wanted);
            alike.any(|(_, disabled)| !disabled.as_ref().is_some_and(|ports| ports.contains(port)))
        };
        let (tls, http) = (looks(ListenerFilter::TlsInspector), looks(ListenerFilter::HttpInspector));
        match self.timeout {
            Some(timeout) => Inspect { tls, http, timeout, once_begun: None, go_on: self.go_on },
            // Nobody has said that what is not understood is to go on after this time: it could pass by what is for HTTP alone.
            None => {
                let may_be_kept = http || self.go_on;
                Inspect { tls, http, timeout: if may_be_kept { SILENCE } else { TIMEOUT }, once_begun: Some(TIMEOUT), go_on: false }
            }
        }
    }

    /// Which connections to this port are taken, where they are to begin with who the client is.
    pub fn announced_clients(&self, port: u16) -> Option<AnnouncedClients> {
        self.filters.iter().find_map(|(filter, disabled)| match filter {
            ListenerFilter::ProxyProtocol(clients) if !disabled.as_ref().is_some_and(|ports| ports.contains(port)) => Some(*clients),
            _ => None,
        })
    }

    /// Whether, and how, instances are called in the name of clients that come to this port.
    pub fn original_source(&self, port: u16) -> Option<OriginalSource> {
        self.filters.iter().find_map(|(filter, disabled)| match filter {
            ListenerFilter::OriginalSource(source) if !disabled.as_ref().is_some_and(|ports| ports.contains(port)) => Some(*source),
            _ => None,
        })
    }

    /// Whether connections count as going where they were going before they were redirected.
    pub(super) fn restore_destination(&self) -> bool {
        self.filters.iter().any(|(filter, _)| *filter == ListenerFilter::OriginalDestination)
    }
}

/// A filter is what its configuration says. Only where it has none its name counts, as older control planes write it.
fn kind(filter: &XdsFilter) -> Result<ListenerFilter, CompileError> {
    const ORIGINAL_DESTINATION: &str = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
    match (&filter.config_type, filter.name.as_str()) {
        (Some(ConfigType::TypedConfig(config)), _) if config.is::<TlsInspector>() => Ok(ListenerFilter::TlsInspector),
        (Some(ConfigType::TypedConfig(config)), _) if config.is::<HttpInspector>() => Ok(ListenerFilter::HttpInspector),
        (Some(ConfigType::TypedConfig(config)), _) if config.type_name() == ORIGINAL_DESTINATION => Ok(ListenerFilter::OriginalDestination),
        (Some(ConfigType::TypedConfig(config)), _) if config.is::<OriginalSrc>() => {
            let OriginalSrc { bind_port, mark } = config.unpack().map_err(|error| CompileError::new("typed_config", error.to_string()))?;
            Ok(ListenerFilter::OriginalSource(OriginalSource { mark, with_port: bind_port }))
        }
        (Some(ConfigType::TypedConfig(config)), _) if config.is::<ProxyProtocol>() => {
            let filter = config.unpack::<ProxyProtocol>().map_err(|error| CompileError::new("typed_config", error.to_string()))?;
            Ok(ListenerFilter::ProxyProtocol(AnnouncedClients::compile(&filter)))
        }
        (None, "envoy.filters.listener.tls_inspector") => Ok(ListenerFilter::TlsInspector),
        (None, "envoy.filters.listener.http_inspector") => Ok(ListenerFilter::HttpInspector),
        (None, "envoy.filters.listener.original_dst") => Ok(ListenerFilter::OriginalDestination),
        (Some(ConfigType::ConfigDiscovery(_)), _) => Err(CompileError::unsupported("config_discovery")),
        (_, name) => Err(CompileError::new("", format!("the listener filter `{name}` is not supported"))),
    }
}

/// Ports at which a filter is left out: a `ListenerFilterChainMatchPredicate`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ports {
    Any(bool),
    /// From the first to just before the second.
    Range(i32, i32),
    Not(Box<Self>),
    AnyOf(Vec<Self>),
    AllOf(Vec<Self>),
}

impl Ports {
    fn compile(predicate: &ListenerFilterChainMatchPredicate) -> Result<Self, CompileError> {
        let all = |rules: &[ListenerFilterChainMatchPredicate]| rules.iter().map(Self::compile).collect::<Result<Vec<_>, _>>();
        Ok(match &predicate.rule {
            Some(Rule::AnyMatch(any)) => Self::Any(*any),
            Some(Rule::DestinationPortRange(range)) => Self::Range(range.start, range.end),
            Some(Rule::NotMatch(rule)) => Self::Not(Box::new(Self::compile(rule)?)),
            Some(Rule::OrMatch(set)) => Self::AnyOf(all(&set.rules)?),
            Some(Rule::AndMatch(set)) => Self::AllOf(all(&set.rules)?),
            None => return Err(CompileError::missing("rule")),
        })
    }

    fn contains(&self, port: u16) -> bool {
        match self {
            Self::Any(any) => *any,
            Self::Range(start, end) => (*start..*end).contains(&i32::from(port)),
            Self::Not(rule) => !rule.contains(port),
            Self::AnyOf(rules) => rules.iter().any(|rule| rule.contains(port)),
            Self::AllOf(rules) => rules.iter().all(|rule| rule.contains(port)),
        }
    }
}
