//! TLS on both sides, and secrets.

use super::{Decided, of};

const TLS: &str = "envoy.extensions.transport_sockets.tls.v3";

const TIMESTAMPS: &str = "no proofs of a log are sent with the certificate";
const FILES: &str = "files of secrets are looked at every second, others are read when the configuration comes";

pub(super) const TABLE: &[Decided] = &[
    of("envoy.extensions.transport_sockets.proxy_protocol.v3", "ProxyProtocolUpstreamTransport")
        .packed()
        .carried_out("config transport_socket")
        // Whose address is not known is told of as nobody in either case; there are no TLVs.
        .unseen("allow_unspecified_address tlv_as_pool_key"),
    of("envoy.config.core.v3", "ProxyProtocolConfig")
        .carried_out("version")
        .refused("added_tlvs")
        .reported(&[("pass_through_tlvs", "instances are told the client's address, and nothing else")]),
    of("envoy.extensions.transport_sockets.raw_buffer.v3", "RawBuffer").packed(),
    of(TLS, "DownstreamTlsContext")
        .packed()
        .carried_out(
            "common_tls_context require_client_certificate require_sni disable_stateless_session_resumption \
             disable_stateful_session_resumption ocsp_staple_policy",
        )
        // A ticket only spares a client a handshake.
        .unseen("session_timeout")
        .reported(&[
            ("session_ticket_keys session_ticket_keys_sds_secret_config", "the proxy makes keys for tickets of its own"),
            ("full_scan_certs_on_sni_mismatch", "the first certificate that the client can use is shown"),
            ("prefer_client_ciphers", "the proxy's order of ciphers counts"),
        ]),
    of(TLS, "UpstreamTlsContext")
        .packed()
        .carried_out("common_tls_context sni auto_host_sni auto_sni_san_validation")
        // Sessions are not resumed, so that each handshake verifies the instance anew.
        .unseen("max_session_keys")
        .reported(&[
            ("allow_renegotiation", "a server that wants to renegotiate is refused"),
            ("enforce_rsa_key_usage", "key usage is held to the usual rules"),
        ]),
    of(TLS, "CommonTlsContext")
        .carried_out(
            "tls_params tls_certificates tls_certificate_sds_secret_configs validation_context \
             validation_context_sds_secret_config combined_validation_context alpn_protocols",
        )
        .refused(
            "tls_certificate_provider_instance custom_tls_certificate_selector tls_certificate_certificate_provider \
             tls_certificate_certificate_provider_instance validation_context_certificate_provider \
             validation_context_certificate_provider_instance custom_handshaker",
        )
        .reported(&[("key_log", "no keys are written")]),
    of(TLS, "CommonTlsContext.CombinedCertificateValidationContext")
        .carried_out("default_validation_context validation_context_sds_secret_config")
        .refused("validation_context_certificate_provider validation_context_certificate_provider_instance"),
    of(TLS, "TlsParameters")
        // Of the lists what is not known is left out, and reported.
        .carried_out("tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves signature_algorithms")
        .refused("compliance_policies"),
    of(TLS, "TlsCertificate")
        .carried_out("certificate_chain private_key ocsp_staple")
        // Envoy does not carry it out either.
        .unseen("tls_params")
        .refused("pkcs12 private_key_provider password")
        .reported(&[("watched_directory", FILES), ("signed_certificate_timestamp", TIMESTAMPS)]),
    of(TLS, "CertificateValidationContext")
        .carried_out(
            "trusted_ca verify_certificate_spki verify_certificate_hash match_typed_subject_alt_names match_subject_alt_names crl \
             allow_expired_certificate trust_chain_verification only_verify_leaf_cert_crl max_verify_depth",
        )
        // Only a hint to clients.
        .unseen("suppress_client_ca_list")
        .refused("ca_certificate_provider_instance system_root_certs require_signed_certificate_timestamp custom_validator_config")
        .reported(&[("watched_directory", FILES)]),
    of(TLS, "SubjectAltNameMatcher")
        .carried_out("san_type matcher")
        // Of names of other sorts, which are refused.
        .unseen("oid"),
    of(TLS, "SdsSecretConfig").carried_out("name sds_config"),
    of(TLS, "Secret").carried_out("name tls_certificate validation_context").refused("session_ticket_keys generic_secret"),
];
