//! Certificates, made for one test.

use rcgen::CertifiedKey;
use rustls::pki_types::CertificateDer;

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
