//! Certificates, made for one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedKey, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Somebody who vouches for certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// If no key can be made.
    #[expect(clippy::new_without_default, reason = "each one is different: that is no default")]
    pub fn new() -> Self {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().expect("a key can be made"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let certificate = params.self_signed(&key).expect("a certificate can be made");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Vouches for a certificate for these hosts.
    ///
    /// # Panics
    /// If a host's name is none.
    pub fn certify(&self, hosts: &[&str]) -> Certificate {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("a test's hosts have good names");
        // Who has its issuer's name seems to vouch for itself.
        params.distinguished_name.push(DnType::CommonName, "server");
        let serial = SerialNumber::from(fastrand::u64(1 << 32..1 << 62));
        params.serial_number = Some(serial.clone());
        let signing_key = KeyPair::generate().expect("a key can be made");
        let cert = params.signed_by(&signing_key, &self.issuer).expect("a certificate can be made");
        Certificate { pair: CertifiedKey { cert, signing_key }, serial }
    }

    /// Vouches for somebody with this key; gives the certificate as PEM.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> String {
        params.signed_by(key, &self.issuer).expect("a certificate can be made").pem()
    }

    /// What it has revoked, as PEM.
    ///
    /// # Panics
    /// If no list can be made.
    pub fn revoking(&self, certificates: &[&Certificate]) -> String {
        let revoked = |certificate: &&Certificate| RevokedCertParams {
            serial_number: certificate.serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: certificates.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).expect("a list can be made")
    }

    /// Its own key, as PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }
}

/// A certificate, which vouches for itself unless an authority does, and its key.
pub struct Certificate {
    pair: CertifiedKey<rcgen::KeyPair>,
    serial: SerialNumber,
}

impl Certificate {
    /// Makes one for a host.
    ///
    /// # Panics
    /// If the host's name is none.
    pub fn of(host: &str) -> Self {
        let pair = rcgen::generate_simple_self_signed(vec![host.to_owned()]).expect("a test's host has a good name");
        Self { pair, serial: SerialNumber::from(0) }
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
        Self { pair: CertifiedKey { cert, signing_key }, serial: SerialNumber::from(0) }
    }

    /// Writes it to a folder, for who is to trust it.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, self.pair.cert.pem()).expect("a file can be written");
        path
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> String {
        self.pair.cert.pem()
    }

    /// Its key as PEM.
    pub fn key_pem(&self) -> String {
        self.pair.signing_key.serialize_pem()
    }

    /// Writes certificate and key to `NAME.pem` and `NAME.key` of a folder, each moved there as a whole.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn write_with_key(&self, folder: &Path, name: &str) {
        for (end, text) in [("pem", self.pem()), ("key", self.key_pem())] {
            let draft = folder.join("draft");
            std::fs::write(&draft, text).expect("a file can be written");
            std::fs::rename(draft, folder.join(format!("{name}.{end}"))).expect("a file can be moved");
        }
    }

    /// How a server shows it, and what it offers by ALPN.
    pub(crate) fn server(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(self.pair.signing_key.serialize_der()).expect("a key that was just made");
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS 1.2 and 1.3");
        let mut config = builder.with_no_client_auth().with_single_cert(vec![self.der()], key).expect("they belong together");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.pair.cert.der().clone()
    }

    /// A Secret with both, in the namespace of the gateway: that is where a proxy may look.
    pub fn secret(&self, name: &str) -> String {
        let indent = |pem: String| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let (certificate, key) = (indent(self.pair.cert.pem()), indent(self.pair.signing_key.serialize_pem()));
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
