//! How each instance of a cluster is spoken to, made ready.

use std::sync::Arc;

use weir_config::CompileError;
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

/// The transports of a cluster.
#[derive(Debug, Default)]
pub struct Transports {
    policy: TransportPolicies,
    /// In the order of [`TransportPolicies::all`]; none is plaintext.
    ready: Vec<Option<Arc<ClientTransport>>>,
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
        let known: Vec<Arc<ClientTransport>> = before.iter().flat_map(|before| before.ready.iter().flatten()).cloned().collect();
        let mut ready = |tls: &Arc<ClientTls>| match known.iter().find(|known| known.policy == *tls) {
            Some(same) => Ok(same.clone()),
            None => ClientTransport::new(tls, secrets).map(Arc::new),
        };
        let all = policy.all().map(|transport| match transport {
            TransportPolicy::Plain => Ok(None),
            TransportPolicy::Tls(tls) => ready(tls).map(Some),
        });
        let ready = all.collect::<Result<_, _>>().map_err(|error: CompileError| error.within("transport_socket"))?;
        Ok(Arc::new(Self { policy: policy.clone(), ready }))
    }

    /// How an endpoint is spoken to; none is plaintext.
    pub fn of(&self, said: &Said) -> Option<&Arc<ClientTransport>> {
        self.ready.get(self.policy.choose(&said.endpoint, &said.locality))?.as_ref()
    }

    /// Whether a secret has not come yet.
    pub fn is_waiting(&self) -> bool {
        self.ready.iter().flatten().any(|transport| transport.missing().is_some())
    }
}
