//! The codes of findings: one table. Numbers, names and levels are Istio's (`pkg/config/analysis/msg/messages.yaml`); what only Weir
//! says has codes that begin with WEIR.

use weir_api::Severity;
use weir_api::Severity::{Error, Info, Warning};

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Its number, such as `IST0101`.
    pub id: &'static str,
    /// Its name, such as `ReferencedResourceNotFound`.
    pub name: &'static str,
    /// How bad such a finding is.
    pub level: Severity,
}

macro_rules! codes {
    ($($constant:ident $id:literal $name:ident $level:ident;)*) => {
        $(pub(crate) const $constant: &Code = &Code { id: $id, name: stringify!($name), level: $level };)*

        /// All of them.
        pub const ALL: &[&Code] = &[$($constant),*];
    };
}

codes! {
    DEPRECATED "IST0002" Deprecated Warning;
    NOT_FOUND "IST0101" ReferencedResourceNotFound Error;
    NAMESPACE_NOT_INJECTED "IST0102" NamespaceNotInjected Info;
    POD_MISSING_PROXY "IST0103" PodMissingProxy Warning;
    SCHEMA_ERROR "IST0106" SchemaValidationError Error;
    MISPLACED_ANNOTATION "IST0107" MisplacedAnnotation Warning;
    UNKNOWN_ANNOTATION "IST0108" UnknownAnnotation Warning;
    CONFLICTING_MESH_HOSTS "IST0109" ConflictingMeshGatewayVirtualServiceHosts Error;
    CONFLICTING_SIDECARS "IST0110" ConflictingSidecarWorkloadSelectors Error;
    SIDECARS_WITHOUT_SELECTOR "IST0111" MultipleSidecarsWithoutWorkloadSelectors Error;
    PORT_REQUIRED "IST0112" VirtualServiceDestinationPortSelectorRequired Error;
    PROTOCOLS_OF_SERVICES "IST0116" DeploymentAssociatedToMultipleServices Warning;
    PORT_NAME "IST0118" PortNameIsNotUnderNamingConvention Info;
    INJECTION_LABELS "IST0123" NamespaceMultipleInjectionLabels Warning;
    INVALID_ANNOTATION "IST0125" InvalidAnnotation Warning;
    UNKNOWN_REGISTRY "IST0126" UnknownMeshNetworksServiceRegistry Error;
    NO_WORKLOADS "IST0127" NoMatchingWorkloadsFound Warning;
    UNVERIFIED_DESTINATION "IST0128" NoServerCertificateVerificationDestinationLevel Warning;
    UNVERIFIED_PORT "IST0129" NoServerCertificateVerificationPortLevel Warning;
    UNREACHABLE_RULE "IST0130" VirtualServiceUnreachableRule Warning;
    INEFFECTIVE_MATCH "IST0131" VirtualServiceIneffectiveMatch Info;
    HOST_NOT_IN_GATEWAY "IST0132" VirtualServiceHostNotFoundInGateway Warning;
    SCHEMA_WARNING "IST0133" SchemaWarning Warning;
    ADDRESSES_REQUIRED "IST0134" ServiceEntryAddressesRequired Warning;
    DEPRECATED_ANNOTATION "IST0135" DeprecatedAnnotation Info;
    ALPHA_ANNOTATION "IST0136" AlphaAnnotation Info;
    CONFLICTING_PORTS "IST0137" DeploymentConflictingPorts Warning;
    DUPLICATE_CERTIFICATE "IST0138" GatewayDuplicateCertificate Warning;
    INVALID_WEBHOOK "IST0139" InvalidWebhook Error;
    NOT_FOR_INGRESS "IST0140" IngressRouteRulesNotAffected Warning;
    APPLICATION_UID "IST0144" InvalidApplicationUID Warning;
    CONFLICTING_GATEWAYS "IST0145" ConflictingGateways Error;
    IMAGE_AUTO_DEPLOYMENT "IST0146" ImageAutoWithoutInjectionWarning Warning;
    IMAGE_AUTO_POD "IST0147" ImageAutoWithoutInjectionError Error;
    INJECTED_BY_DEFAULT "IST0148" NamespaceInjectionEnabledByDefault Info;
    CLAIMS_WITHOUT_AUTHENTICATION "IST0149" JwtClaimBasedRoutingWithoutRequestAuthN Error;
    EXTERNAL_NAME_PORT "IST0150" ExternalNameServiceTypeInvalidPortName Warning;
    RELATIVE_OPERATION "IST0151" EnvoyFilterUsesRelativeOperation Warning;
    REPLACE_OPERATION "IST0152" EnvoyFilterUsesReplaceOperationIncorrectly Error;
    ADD_OPERATION "IST0153" EnvoyFilterUsesAddOperationIncorrectly Error;
    REMOVE_OPERATION "IST0154" EnvoyFilterUsesRemoveOperationIncorrectly Error;
    RELATIVE_OPERATION_BY_VERSION "IST0155" EnvoyFilterUsesRelativeOperationWithProxyVersion Warning;
    TELEMETRY_WITHOUT_PROVIDER "IST0157" InvalidTelemetryProvider Warning;
    PROXY_IMAGE "IST0158" PodsIstioProxyImageMismatchInNamespace Warning;
    CONFLICTING_TELEMETRIES "IST0159" ConflictingTelemetryWorkloadSelectors Error;
    TELEMETRIES_WITHOUT_SELECTOR "IST0160" MultipleTelemetriesWithoutWorkloadSelectors Error;
    INVALID_CREDENTIAL "IST0161" InvalidGatewayCredential Error;
    GATEWAY_PORT "IST0162" GatewayPortNotDefinedOnService Warning;
    EXTERNAL_CONTROL_PLANE "IST0163" InvalidExternalControlPlaneConfig Warning;
    EXTERNAL_ADDRESS "IST0164" ExternalControlPlaneAddressIsNotAHostname Info;
    INTERNAL_GATEWAY "IST0165" ReferencedInternalGateway Warning;
    INEFFECTIVE_SELECTOR "IST0166" IneffectiveSelector Warning;
    INEFFECTIVE_POLICY "IST0167" IneffectivePolicy Warning;
    INCONSISTENT_SERVICE "IST0170" MultiClusterInconsistentService Warning;
    NEGATIVE_CONDITION "IST0171" NegativeConditionStatus Warning;
    SUBSET_WITHOUT_PODS "IST0173" DestinationRuleSubsetNotSelectPods Error;
    UNKNOWN_HOST "IST0174" UnknownDestinationRuleHost Warning;
    UNRESTRICTED_KEYS "IST0175" JwksUriFetchUnrestricted Warning;
    GATEWAY_API_VERSION "IST0176" GatewayAPICRDVersionBelowMinimum Warning;
    CONFLICTING_PROTOCOLS "IST0177" ConflictingServiceEntryProtocol Warning;
    UNREADABLE "WEIR0001" UnreadableDocument Error;
    NOT_CARRIED_OUT "WEIR0002" NotCarriedOut Warning;
    PROXY_WILL_NOT "WEIR0003" NotTakenByWeirsProxy Warning;
    WITHOUT_EFFECT "WEIR0004" RuleWithoutEffect Warning;
    DEFINED_TWICE "WEIR0005" DefinedTwice Error;
    NEEDLESS_CONDITION "WEIR0006" NeedlessCondition Info;
    NOT_AMONG_DOCUMENTS "WEIR0007" NotAmongDocuments Warning;
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn numbers_are_given_once_and_in_order() {
        let numbers: Vec<&str> = ALL.iter().map(|code| code.id).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert!(ALL.iter().all(|code| code.id.len() == code.id.trim_end_matches(|c: char| c.is_ascii_digit()).len() + 4));
    }
}
