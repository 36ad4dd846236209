//! Gateway: the ports, hosts and certificates of a proxy at the edge of the mesh.

use serde::Deserialize;

use super::meta::Labels;
use super::protocol::Protocol;

/// Servers that a gateway proxy opens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Gateway {
    /// What is opened.
    pub servers: Vec<Server>,
    /// The labels of the proxies that open it; none means all gateways.
    pub selector: Labels,
    /// Whether it was made of an Ingress. Nobody writes it.
    #[serde(skip)]
    pub of_ingress: bool,
}

/// One server: a port with its hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Server {
    /// The port.
    pub port: Option<Port>,
    /// The address or `unix://` socket to listen on; empty means all addresses.
    pub bind: String,
    /// The hosts that may be asked for: `host`, `namespace/host`, `./host` or `*/host`, where the namespace
    /// is that of the VirtualServices that may bind.
    pub hosts: Vec<String>,
    /// TLS; absent means plain text.
    pub tls: Option<ServerTlsSettings>,
    /// Neither Istio nor Weir carries it out.
    pub default_endpoint: String,
    /// Its name, for people.
    pub name: String,
}

/// A port of a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    /// The number, 1 to 65535.
    pub number: u32,
    /// The protocol by name, in any case.
    pub protocol: String,
    /// Its name, unique in the Gateway.
    pub name: String,
    /// Deprecated; it never had an effect.
    pub target_port: u32,
}

impl Port {
    /// The protocol, if it is a known one.
    pub fn protocol(&self) -> Option<Protocol> {
        Protocol::parse(&self.protocol)
    }
}

/// TLS as a server. The certificate comes from one of `serverCertificate` with `privateKey`, `tlsCertificates`,
/// `credentialName` and `credentialNames`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServerTlsSettings {
    /// Answers plain HTTP with a redirect to https.
    pub https_redirect: bool,
    /// Whether TLS ends here, and what is asked of the client.
    pub mode: ServerTlsMode,
    /// The file of the certificate.
    pub server_certificate: String,
    /// The file of the private key.
    pub private_key: String,
    /// The file of the authorities that may sign the client's certificate.
    pub ca_certificates: String,
    /// The file of revoked client certificates.
    pub ca_crl: String,
    /// The Secret that holds certificate and key.
    pub credential_name: String,
    /// Several Secrets, for certificates of different kinds (RSA, ECDSA).
    pub credential_names: Vec<String>,
    /// The Secret that holds the authorities for client certificates.
    pub ca_cert_credential_name: String,
    /// Several certificates, at most two of different kinds.
    pub tls_certificates: Vec<TlsCertificate>,
    /// The names of which the client's certificate must have one; none means any.
    pub subject_alt_names: Vec<String>,
    /// Hashes (base64 of SHA-256) of the public keys that client certificates may have.
    pub verify_certificate_spki: Vec<String>,
    /// Hashes (hexadecimal SHA-256) of the client certificates that are let in.
    pub verify_certificate_hash: Vec<String>,
    /// The lowest version of TLS; automatic means 1.2.
    pub min_protocol_version: TlsProtocol,
    /// The highest version of TLS; automatic means 1.3.
    pub max_protocol_version: TlsProtocol,
    /// The cipher suites up to TLS 1.2, by OpenSSL's names; none means the safe ones.
    pub cipher_suites: Vec<String>,
    /// The curves of the key exchange; none means the safe ones.
    pub ecdh_curves: Vec<String>,
    /// Whether the client's certificate is asked for but not checked; absent means false.
    pub insecure_skip_verify: Option<bool>,
}

/// A certificate in files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsCertificate {
    /// The file of the certificate.
    pub server_certificate: String,
    /// The file of the private key.
    pub private_key: String,
    /// The file of the authorities that may sign the client's certificate.
    pub ca_certificates: String,
}

/// Whether TLS ends at a server, and what is asked of the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    /// TLS goes through to a destination chosen by server name.
    #[default]
    Passthrough,
    /// TLS ends here; no client certificate.
    Simple,
    /// TLS ends here; a client certificate is required.
    Mutual,
    /// TLS goes through, and the server name itself names the destination.
    AutoPassthrough,
    /// TLS ends here; the mesh's own certificates on both sides.
    IstioMutual,
    /// TLS ends here; a client certificate is checked if there is one.
    OptionalMutual,
}

impl ServerTlsMode {
    /// Whether TLS goes through without ending here.
    pub fn is_passthrough(self) -> bool {
        matches!(self, Self::Passthrough | Self::AutoPassthrough)
    }

    /// Whether certificates are configured with the server.
    pub fn has_own_certificate(self) -> bool {
        matches!(self, Self::Simple | Self::Mutual | Self::OptionalMutual)
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsProtocol {
    /// Whichever is best.
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    /// TLS 1.0.
    #[serde(rename = "TLSV1_0")]
    V1_0,
    /// TLS 1.1.
    #[serde(rename = "TLSV1_1")]
    V1_1,
    /// TLS 1.2.
    #[serde(rename = "TLSV1_2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "TLSV1_3")]
    V1_3,
}
