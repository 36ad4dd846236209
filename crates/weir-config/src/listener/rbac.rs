//! The network filter that says who may connect: Envoy's RBAC of connections
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/rbac_filter>).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_routing::CompileError;
use weir_routing::dynamic_metadata::DynamicMetadata;
use weir_routing::filters::rbac::shadow_metadata;
use weir_routing::rbac::{ConnectionFacts, Count, Counted, Facts, Rules};
use weir_xds::network_rbac::Rbac;
use weir_xds::values::std_duration;

/// The namespace of what it leaves behind, whatever name it has in its chain.
const NAMESPACE: &str = "envoy.filters.network.rbac";

/// Who may connect.
#[derive(Debug)]
pub struct ConnectionRbac {
    /// Names it in statistics.
    pub stat_prefix: Arc<str>,
    /// What stands before the names of what is counted of rules that are only tried.
    pub shadow_prefix: Box<str>,
    /// How long who is refused stays, so that he does not come again at once.
    pub delay: Option<Duration>,
    /// The rules; without any, everybody may.
    rules: Option<Rules>,
    /// Rules that are only tried.
    shadow: Option<Rules>,
    /// How often they let somebody in.
    pub counted: Counted,
}

impl ConnectionRbac {
    /// Compiles the filter.
    ///
    /// # Errors
    /// If it is not valid, or asks for something that is not carried out: nobody may be let in by what was not understood.
    pub fn compile(filter: &Rbac) -> Result<Self, CompileError> {
        let Rbac {
            rules,
            matcher,
            shadow_rules,
            shadow_matcher,
            shadow_rules_stat_prefix,
            stat_prefix,
            // What it looks at does not change while a connection lasts.
            enforcement_type: _,
            delay_deny,
        } = filter;
        if stat_prefix.is_empty() {
            return Err(CompileError::missing("stat_prefix"));
        }
        for (field, is_there) in [("matcher", matcher.is_some()), ("shadow_matcher", shadow_matcher.is_some())] {
            if is_there {
                return Err(CompileError::unsupported(field));
            }
        }
        Ok(Self {
            stat_prefix: stat_prefix.as_str().into(),
            shadow_prefix: shadow_rules_stat_prefix.as_str().into(),
            delay: delay_deny.as_ref().map(std_duration).filter(|delay| !delay.is_zero()),
            rules: rules.as_ref().map(Rules::compile).transpose().map_err(|error| error.within("rules"))?,
            shadow: shadow_rules.as_ref().map(Rules::compile).transpose().map_err(|error| error.within("shadow_rules"))?,
            counted: Counted::default(),
        })
    }

    /// Whether a connection is let in, and counts that. Where it is not: the policy that refuses it, if any does. It looks at what
    /// filters before have left, and leaves what rules say that are only tried.
    ///
    /// # Errors
    /// If it is not let in.
    pub fn admit(&self, connection: &ConnectionFacts<'_>, remote: IpAddr, left: &mut DynamicMetadata) -> Result<(), Option<&str>> {
        let facts = Facts { connection: *connection, remote, request: None, metadata: left, route: None };
        if let Some(shadow) = &self.shadow {
            let verdict = shadow.judge(&facts);
            self.counted.add(Count::of(verdict.allowed, true));
            let said = shadow_metadata(&self.shadow_prefix, verdict);
            left.entry(NAMESPACE.to_owned()).or_default().fields.extend(said.fields);
        }
        let Some(rules) = &self.rules else { return Ok(()) };
        let verdict = rules.judge(&Facts { connection: *connection, remote, request: None, metadata: left, route: None });
        self.counted.add(Count::of(verdict.allowed, false));
        if verdict.allowed { Ok(()) } else { Err(verdict.policy) }
    }

    /// What the rules say of a connection, which is not counted.
    pub fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }
}
