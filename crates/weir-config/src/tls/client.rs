//! TLS towards the instances of a cluster: `UpstreamTlsContext`.

use std::sync::Arc;

use weir_routing::CompileError;
use weir_xds::tls::UpstreamTlsContext;

use super::common::Common;
use super::parameters::Parameters;
use super::sources::Certificate;
use super::validation::{Validation, ValidationSource};

/// How a cluster's instances are spoken to by TLS.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientTls {
    /// Our own certificates, the most wanted first; none where we show none.
    pub certificates: Vec<Certificate>,
    /// What is asked of an instance's certificate.
    pub validation: ValidationSource,
    /// What a handshake may agree on.
    pub parameters: Parameters,
    /// What is offered by ALPN. Where nothing is said, that follows from what is spoken.
    pub alpn: Vec<Vec<u8>>,
    /// The server name that is asked for.
    pub sni: Option<Arc<str>>,
    /// Whether the instance's own name is asked for, where it has one.
    pub sni_of_endpoint: bool,
    /// Whether the certificate must be for the name that is asked for.
    pub verifies_sni: bool,
}

impl ClientTls {
    /// Compiles an xDS context.
    ///
    /// # Errors
    /// If it is not valid, or asks for what is not carried out and cannot be passed over.
    #[allow(deprecated)] // One of its fields is, and is reported.
    pub fn compile(context: &UpstreamTlsContext) -> Result<Self, CompileError> {
        let UpstreamTlsContext {
            common_tls_context,
            sni,
            auto_host_sni,
            auto_sni_san_validation,
            // A server that wants to renegotiate is refused: reported, see `unsupported`.
            allow_renegotiation: _,
            // Sessions are not resumed, so that each handshake verifies the instance anew.
            max_session_keys: _,
            // Reported, see `unsupported`.
            enforce_rsa_key_usage: _,
        } = context;
        let common = Common::compile(common_tls_context.as_ref())?;
        let validation = common.validation.unwrap_or_else(|| ValidationSource::Written(Validation::default()));
        if *auto_sni_san_validation && validation.verifies_nothing() {
            return Err(CompileError::new("auto_sni_san_validation", "needs a validation context with a trusted CA"));
        }
        Ok(Self {
            certificates: common.certificates,
            validation,
            parameters: common.parameters,
            alpn: common.alpn,
            sni: (!sni.is_empty()).then(|| sni.as_str().into()),
            sni_of_endpoint: *auto_host_sni,
            verifies_sni: *auto_sni_san_validation,
        })
    }

    /// The names of the secrets that come by SDS.
    pub fn secret_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.certificates.iter().filter_map(Certificate::secret_name).chain(self.validation.secret_name())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compile(context: serde_json::Value) -> Result<ClientTls, String> {
        let context: UpstreamTlsContext = weir_xds::json::from_value(context).unwrap();
        ClientTls::compile(&context).map_err(|error| error.to_string())
    }

    #[test]
    fn a_context_is_read() {
        let common = json!({
            "alpnProtocols": ["h2"],
            "tlsCertificateSdsSecretConfigs": [{"name": "own"}],
            "combinedValidationContext": {"defaultValidationContext": {}, "validationContextSdsSecretConfig": {"name": "ca"}},
        });
        let tls = compile(json!({"commonTlsContext": common, "sni": "a.test", "autoHostSni": true, "autoSniSanValidation": true})).unwrap();
        assert_eq!((tls.sni.as_deref(), tls.sni_of_endpoint, tls.verifies_sni), (Some("a.test"), true, true));
        assert_eq!(tls.secret_names().map(|name| &**name).collect::<Vec<_>>(), ["own", "ca"]);
        assert_eq!(tls.alpn, [b"h2".to_vec()]);
    }

    #[test]
    fn a_context_may_say_nothing_but_a_name() {
        assert_eq!(compile(json!({"sni": "a.test"})).unwrap().sni.as_deref(), Some("a.test"));
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_by_its_name() {
        let of = |common: serde_json::Value| json!({"commonTlsContext": common});
        let cases = [
            (of(json!({"customHandshaker": {"name": "a"}})), "common_tls_context.custom_handshaker: is not supported"),
            (
                of(json!({"tlsCertificates": [{"pkcs12": {"filename": "/a"}}]})),
                "common_tls_context.tls_certificates.pkcs12: is not supported",
            ),
            (
                of(json!({"tlsCertificates": [{"certificateChain": {"filename": "/a"}}]})),
                "common_tls_context.tls_certificates.private_key.inline_bytes: is missing",
            ),
            (
                of(json!({"validationContext": {"customValidatorConfig": {"name": "envoy.tls.cert_validator.spiffe"}}})),
                "common_tls_context.validation_context.custom_validator_config: is not supported",
            ),
            (
                json!({"commonTlsContext": {}, "autoSniSanValidation": true}),
                "auto_sni_san_validation: needs a validation context with a trusted CA",
            ),
        ];
        for (context, error) in cases {
            assert_eq!(compile(context).unwrap_err(), error);
        }
    }
}
