//! What the contexts of both sides have in common.

use weir_routing::CompileError;
use weir_xds::tls::CommonTlsContext;
use weir_xds::tls::common_tls_context::ValidationContextType;

use super::parameters::Parameters;
use super::sources::Certificate;
use super::validation::ValidationSource;

/// A `CommonTlsContext`, compiled.
pub(super) struct Common {
    pub certificates: Vec<Certificate>,
    pub validation: Option<ValidationSource>,
    pub parameters: Parameters,
    pub alpn: Vec<Vec<u8>>,
}

impl Common {
    pub(super) fn compile(context: Option<&CommonTlsContext>) -> Result<Self, CompileError> {
        // Without one all is as in an empty one.
        Self::compile_fields(context.unwrap_or(&CommonTlsContext::default())).map_err(|error| error.within("common_tls_context"))
    }

    #[allow(deprecated)] // So that they are refused.
    fn compile_fields(context: &CommonTlsContext) -> Result<Self, CompileError> {
        let CommonTlsContext {
            tls_params,
            tls_certificates,
            tls_certificate_sds_secret_configs,
            tls_certificate_provider_instance,
            custom_tls_certificate_selector,
            tls_certificate_certificate_provider,
            tls_certificate_certificate_provider_instance,
            alpn_protocols,
            custom_handshaker,
            // Reported, see `unsupported`.
            key_log: _,
            validation_context_type,
        } = context;
        let refused = [
            ("tls_certificate_provider_instance", tls_certificate_provider_instance.is_some()),
            ("custom_tls_certificate_selector", custom_tls_certificate_selector.is_some()),
            ("tls_certificate_certificate_provider", tls_certificate_certificate_provider.is_some()),
            ("tls_certificate_certificate_provider_instance", tls_certificate_certificate_provider_instance.is_some()),
            ("custom_handshaker", custom_handshaker.is_some()),
        ];
        if let Some((field, _)) = refused.into_iter().find(|(_, is_set)| *is_set) {
            return Err(CompileError::unsupported(field));
        }
        let named = tls_certificate_sds_secret_configs
            .iter()
            .map(|config| Certificate::named(config).map_err(|error| error.within("tls_certificate_sds_secret_configs")));
        let written =
            tls_certificates.iter().map(|certificate| Certificate::written(certificate).map_err(|error| error.within("tls_certificates")));
        Ok(Self {
            certificates: named.chain(written).collect::<Result<_, _>>()?,
            validation: validation_context_type.as_ref().map(validation).transpose()?,
            parameters: Parameters::compile(tls_params.as_ref()).map_err(|error| error.within("tls_params"))?,
            alpn: alpn_protocols.iter().map(|protocol| protocol.clone().into_bytes()).collect(),
        })
    }
}

#[allow(deprecated)] // So that they are refused.
fn validation(context: &ValidationContextType) -> Result<ValidationSource, CompileError> {
    match context {
        ValidationContextType::ValidationContext(context) => {
            ValidationSource::written(context).map_err(|error| error.within("validation_context"))
        }
        ValidationContextType::ValidationContextSdsSecretConfig(config) => {
            ValidationSource::named(config).map_err(|error| error.within("validation_context_sds_secret_config"))
        }
        ValidationContextType::CombinedValidationContext(context) => {
            ValidationSource::combined(context).map_err(|error| error.within("combined_validation_context"))
        }
        ValidationContextType::ValidationContextCertificateProvider(_) => {
            Err(CompileError::unsupported("validation_context_certificate_provider"))
        }
        ValidationContextType::ValidationContextCertificateProviderInstance(_) => {
            Err(CompileError::unsupported("validation_context_certificate_provider_instance"))
        }
    }
}
