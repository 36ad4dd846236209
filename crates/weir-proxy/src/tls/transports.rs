//! How each instance of a cluster is spoken to, made ready.

use std::sync::Arc;

use weir_config::CompileError;
use weir_config::proxy_protocol::ProxyVersion;
use weir_config::tls::ClientTls;
use weir_config::transport::{Criteria, TransportPolicies, TransportPolicy};

use super::client::ClientTransport;
use super::secrets::Secrets;

/// What an endpoint, and its locality, say of its transport.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// The endpoint itself.
    pub endpoint: Criteria,
    /// Its locality.
    pub locality: Criteria,
}

/// How an instance is spoken to, made ready.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// By TLS; none is plaintext.
    pub tls: Option<Arc<ClientTransport>>,
    /// Whether connections begin with who the client is, and how that is told.
    pub proxy_protocol: Option<ProxyVersion>,
}

impl Way {
    /// Whether a connection that was made in one way may go on in the other.
    pub fn is(&self, other: &Self) -> bool {
        self.tls.as_ref().map(Arc::as_ptr) == other.tls.as_ref().map(Arc::as_ptr) && self.proxy_protocol == other.proxy_protocol
    }
}

/// The transports of a cluster.
#[derive(Debug, Default)]
pub struct Transports {
    policy: TransportPolicies,
    /// In the order of [`TransportPolicies::all`].
    ready: Vec<Way>,
}

impl Transports {
    /// Makes a cluster's transports ready. Those that are as before stay the same: their connections may go on.
    ///
    /// # Errors
    /// If a certificate or authority that stands in the configuration cannot be used.
    pub fn new(policy: &TransportPolicies, before: Option<&Arc<Self>>, secrets: &mut Secrets) -> Result<Arc<Self>, CompileError> {
        if let Some(same) = before.filter(|before| before.policy == *policy) {
            return Ok(same.clone());
        }
        let known: Vec<Arc<ClientTransport>> =
            before.iter().flat_map(|before| before.ready.iter().filter_map(|way| way.tls.clone())).collect();
        let mut ready = |tls: &Arc<ClientTls>| match known.iter().find(|known| known.policy == *tls) {
            Some(same) => Ok(same.clone()),
            None => ClientTransport::new(tls, secrets).map(Arc::new),
        };
        let all = policy.all().map(|transport| {
            let TransportPolicy { proxy_protocol, tls } = transport;
            Ok(Way { tls: tls.as_ref().map(&mut ready).transpose()?, proxy_protocol: *proxy_protocol })
        });
        let ready = all.collect::<Result<_, _>>().map_err(|error: CompileError| error.within("transport_socket"))?;
        Ok(Arc::new(Self { policy: policy.clone(), ready }))
    }

    /// How an endpoint is spoken to.
    pub fn of(&self, said: &Said) -> Way {
        self.ready.get(self.policy.choose(&said.endpoint, &said.locality)).cloned().unwrap_or_default()
    }

    /// Whether a secret has not come yet.
    pub fn is_missing(&self) -> bool {
        self.ready.iter().filter_map(|way| way.tls.as_ref()).any(|transport| transport.missing().is_some())
    }

    /// Whether one has not come of which its server has not said that there is none.
    pub fn is_waiting(&self) -> bool {
        self.ready.iter().filter_map(|way| way.tls.as_ref()).any(|transport| transport.is_waiting())
    }
}
