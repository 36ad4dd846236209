//! TLS towards clients, where a filter chain terminates it: `DownstreamTlsContext`.

use std::sync::Arc;

use weir_routing::CompileError;
use weir_xds::tls::DownstreamTlsContext;
use weir_xds::tls::downstream_tls_context::{OcspStaplePolicy, SessionTicketKeysType};

use super::common::Common;
use super::parameters::Parameters;
use super::sources::Certificate;
use super::validation::{Validation, ValidationSource};

/// How TLS is terminated.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerTls {
    /// The certificates to choose from, in the order of the configuration.
    pub certificates: Vec<Certificate>,
    /// What a handshake may agree on.
    pub parameters: Parameters,
    /// What is offered by ALPN, the most wanted first.
    pub alpn: Vec<Vec<u8>>,
    /// Whether clients are asked for a certificate; none if not.
    pub clients: Option<ClientCertificates>,
    /// Whether a client must name the server that it wants.
    pub requires_sni: bool,
    /// How clients may resume their sessions.
    pub resumption: Resumption,
    /// Whether a certificate is shown about which no authority says anything.
    pub staples: Staples,
}

/// How clients may resume their sessions; never where they are asked for certificates, which may hold no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumption {
    /// By tickets that they keep.
    pub by_tickets: bool,
    /// By what the proxy keeps, which it does only where there are no tickets.
    pub by_memory: bool,
}

/// What an authority must say of a certificate (OCSP) so that it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staples {
    /// Nothing. What is out of date is left out.
    Optional,
    /// Nothing, but nothing that is out of date.
    Current,
    /// Something, and nothing that is out of date.
    Required,
}

impl Staples {
    fn of(policy: OcspStaplePolicy) -> Self {
        match policy {
            OcspStaplePolicy::LenientStapling => Self::Optional,
            OcspStaplePolicy::StrictStapling => Self::Current,
            OcspStaplePolicy::MustStaple => Self::Required,
        }
    }
}

/// What is asked of clients' certificates. One that is shown must always hold.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCertificates {
    /// Whether a client must show one.
    pub is_required: bool,
    /// What is asked of it.
    pub validation: ValidationSource,
}

impl ServerTls {
    /// Compiles an xDS context.
    ///
    /// # Errors
    /// If it is not valid, or asks for what is not carried out.
    pub fn compile(context: &DownstreamTlsContext) -> Result<Self, CompileError> {
        let DownstreamTlsContext {
            common_tls_context,
            require_client_certificate,
            require_sni,
            disable_stateful_session_resumption,
            session_ticket_keys_type,
            // A ticket is good for half a day at most, whatever is said: it only spares a client a handshake.
            session_timeout: _,
            // Read below.
            ocsp_staple_policy: _,
            // The first certificate that a client can use is chosen, and ciphers by the client's order.
            full_scan_certs_on_sni_mismatch: _,
            prefer_client_ciphers: _,
        } = context;
        // Keys that are written are reported: the proxy makes its own.
        let by_tickets = !matches!(session_ticket_keys_type, Some(SessionTicketKeysType::DisableStatelessSessionResumption(true)));
        let common = Common::compile(common_tls_context.as_ref())?;
        if common.certificates.is_empty() {
            return Err(CompileError::missing("common_tls_context.tls_certificates"));
        }
        Ok(Self {
            certificates: common.certificates,
            parameters: common.parameters,
            alpn: common.alpn,
            clients: client_certificates(common.validation, require_client_certificate.unwrap_or(false)),
            requires_sni: require_sni.unwrap_or(false),
            resumption: Resumption { by_tickets, by_memory: !*disable_stateful_session_resumption },
            staples: Staples::of(context.ocsp_staple_policy()),
        })
    }

    /// The names of the secrets that come by SDS.
    pub fn secret_names(&self) -> impl Iterator<Item = &Arc<str>> {
        let validation = self.clients.as_ref().and_then(|clients| clients.validation.secret_name());
        self.certificates.iter().filter_map(Certificate::secret_name).chain(validation)
    }
}

/// A validation context alone makes Envoy ask for a certificate, unless nothing could be wrong with one.
fn client_certificates(validation: Option<ValidationSource>, is_required: bool) -> Option<ClientCertificates> {
    let asks = |validation: &ValidationSource| match validation {
        ValidationSource::Written(written) => !written.verifies_nothing() || written.accepts_untrusted,
        ValidationSource::Named(_) | ValidationSource::Combined { .. } => true,
    };
    if !is_required && !validation.as_ref().is_some_and(asks) {
        return None;
    }
    let validation = validation.unwrap_or_else(|| ValidationSource::Written(Validation::default()));
    Some(ClientCertificates { is_required, validation })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn compile(more: Value, common: Value) -> Result<ServerTls, String> {
        let mut all = json!({"tlsCertificateSdsSecretConfigs": [{"name": "own"}]});
        all.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        let mut context = json!({ "commonTlsContext": all });
        context.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let context: DownstreamTlsContext = weir_xds::json::from_value(context).unwrap();
        ServerTls::compile(&context).map_err(|error| error.to_string())
    }

    #[test]
    fn a_validation_context_alone_asks_for_a_certificate() {
        let asked = |more: Value, common: Value| compile(more, common).unwrap().clients.map(|clients| clients.is_required);
        let ca = json!({"validationContext": {"trustedCa": {"filename": "/ca"}}});
        assert_eq!(asked(json!({}), json!({})), None);
        assert_eq!(asked(json!({}), json!({"validationContext": {}})), None);
        assert_eq!(asked(json!({}), ca.clone()), Some(false));
        assert_eq!(asked(json!({"requireClientCertificate": true}), ca), Some(true));
        assert_eq!(asked(json!({"requireClientCertificate": true}), json!({})), Some(true));
        assert_eq!(asked(json!({}), json!({"validationContext": {"trustChainVerification": "ACCEPT_UNTRUSTED"}})), Some(false));
        assert_eq!(asked(json!({}), json!({"validationContextSdsSecretConfig": {"name": "ca"}})), Some(false));
    }

    #[test]
    fn sessions_are_resumed_by_tickets_unless_that_is_forbidden() {
        let of = |context: Value| compile(context, json!({})).unwrap().resumption;
        assert_eq!(of(json!({})), Resumption { by_tickets: true, by_memory: true });
        assert_eq!(of(json!({"disableStatelessSessionResumption": true})), Resumption { by_tickets: false, by_memory: true });
        assert_eq!(of(json!({"disableStatefulSessionResumption": true})), Resumption { by_tickets: true, by_memory: false });
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_by_its_name() {
        let nothing = weir_xds::json::from_value::<DownstreamTlsContext>(json!({"commonTlsContext": {}})).unwrap();
        assert_eq!(ServerTls::compile(&nothing).unwrap_err().to_string(), "common_tls_context.tls_certificates: is missing");
    }
}
