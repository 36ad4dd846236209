//! Certificates, made for one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate that vouches for itself, and its key.
pub struct Certificate(CertifiedKey<rcgen::KeyPair>);

impl Certificate {
    /// Makes one for a host.
    ///
    /// # Panics
    /// If the host's name is none.
    pub fn of(host: &str) -> Self {
        Self(rcgen::generate_simple_self_signed(vec![host.to_owned()]).expect("a test's host has a good name"))
    }

    /// Makes one for a host that has expired.
    ///
    /// # Panics
    /// If the host's name is none.
    pub fn expired(host: &str) -> Self {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a test's host has a good name");
        params.not_after = date_time_ymd(2021, 1, 1);
        let signing_key = KeyPair::generate().expect("a key can be made");
        let cert = params.self_signed(&signing_key).expect("a certificate can be made");
        Self(CertifiedKey { cert, signing_key })
    }

    /// Writes it to a folder, for who is to trust it.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, self.0.cert.pem()).expect("a file can be written");
        path
    }

    /// How a server shows it, and what it offers by ALPN.
    pub(crate) fn server(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(self.0.signing_key.serialize_der()).expect("a key that was just made");
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS 1.2 and 1.3");
        let mut config = builder.with_no_client_auth().with_single_cert(vec![self.der()], key).expect("they belong together");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.cert.der().clone()
    }

    /// A Secret with both, in the namespace of the gateway: that is where a proxy may look.
    pub fn secret(&self, name: &str) -> String {
        let indent = |pem: String| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let (certificate, key) = (indent(self.0.cert.pem()), indent(self.0.signing_key.serialize_pem()));
        format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: istio-system}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{certificate}  tls.key: |
{key}"
        )
    }
}
