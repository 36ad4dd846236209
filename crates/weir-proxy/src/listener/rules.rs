//! Who may connect: what the rules of a filter chain say of a connection, and the services that it asks, in their order.

use std::rc::Rc;
use std::time::Duration;

use weir_config::flags::ResponseFlags;
use weir_config::listener::NetworkFilter;
use weir_routing::dynamic_metadata::DynamicMetadata;
use weir_routing::rbac::details;

use crate::exchange::ConnectionInfo;
use crate::http::ask_about_connection;
use crate::upstream::clusters::Clusters;

/// Why a connection is not let in.
pub(super) struct Refused {
    /// As logs have it.
    pub why: String,
    /// What its record is marked with.
    pub flag: ResponseFlags,
    /// How long it stays, so that its client does not come again at once.
    pub delay: Option<Duration>,
}

/// Whether a service is asked.
pub(super) fn asks(filters: &[NetworkFilter]) -> bool {
    filters.iter().any(|filter| matches!(filter, NetworkFilter::ExtAuthz(_)))
}

/// What rules say of a connection where no service is asked; none if it is let in.
pub(super) fn judge(filters: &[NetworkFilter], info: &ConnectionInfo) -> Option<Refused> {
    let mut left = DynamicMetadata::new();
    filters.iter().find_map(|filter| by_rules(filter, info, &mut left))
}

/// The same where one is.
pub(super) async fn judge_or_ask(filters: &[NetworkFilter], info: &Rc<ConnectionInfo>, clusters: &Clusters) -> Option<Refused> {
    let mut left = DynamicMetadata::new();
    for filter in filters {
        let refused = match filter {
            NetworkFilter::ExtAuthz(authz) if authz.is_about(&left) => {
                let refused = |why: &str| Refused { why: why.to_owned(), flag: ResponseFlags::UNAUTHORIZED, delay: None };
                ask_about_connection(authz, info, clusters).await.err().map(refused)
            }
            filter => by_rules(filter, info, &mut left),
        };
        if refused.is_some() {
            return refused;
        }
    }
    None
}

/// What a filter's rules say, and what they leave for those behind it.
fn by_rules(filter: &NetworkFilter, info: &ConnectionInfo, left: &mut DynamicMetadata) -> Option<Refused> {
    let NetworkFilter::Rbac(rbac) = filter else { return None };
    let policy = rbac.admit(&info.facts(), info.remote.ip(), left).err()?;
    Some(Refused { why: details(policy), flag: ResponseFlags::default(), delay: rbac.delay })
}
