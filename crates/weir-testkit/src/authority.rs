//! A mesh's certificate authority, made for one test, and the certificates of those who come to its workloads.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

const HOUR: Duration = Duration::from_secs(3600);

/// One that signs, below a root.
struct Signer {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// An authority below a root, and another below the same root, which that has revoked.
pub struct MeshAuthority {
    root: String,
    mesh: Signer,
    revoked: Signer,
    own: String,
    key: String,
    lists: String,
}

/// What somebody shows who comes to a workload.
pub struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Which certificate is made.
#[derive(Debug, Clone, Copy)]
pub struct Made<'m> {
    /// Its URI; none leaves it with a DNS name alone.
    pub id: Option<&'m str>,
    /// Hours from now until it holds.
    pub from: i32,
    /// Hours from now until it ends.
    pub until: i32,
    /// Whether the authority that signs it is revoked.
    pub by_revoked: bool,
}

fn ca(name: &str, serial: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from_slice(&[serial]));
    params
}

impl MeshAuthority {
    /// Makes one.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[expect(clippy::new_without_default, reason = "each one is different: that is no default")]
    pub fn new() -> Self {
        let key = || KeyPair::generate().expect("a key can be made");
        let root_key = key();
        let root_certificate = ca("root", 1).self_signed(&root_key).expect("a root can be made").pem();
        let root = Issuer::new(ca("root", 1), root_key);
        let mut texts = vec![];
        let mut below = |name: &str, serial: u8| {
            let own = key();
            let certificate = ca(name, serial).signed_by(&own, &root).expect("an authority can be made");
            texts.push((certificate.pem(), own.serialize_pem()));
            Signer { certificate: certificate.der().clone(), issuer: Issuer::new(ca(name, serial), own) }
        };
        let (mesh, revoked) = (below("mesh", 2), below("revoked", 3));
        let lists = list(&root, &[3]) + &list(&mesh.issuer, &[]);
        let (own, key) = texts.swap_remove(0);
        Self { root: root_certificate, mesh, revoked, own, key, lists }
    }

    /// Writes it to a folder, in the layout of Istio's secret `cacerts`.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) {
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file can be written");
        write("ca-cert.pem", &self.own);
        write("ca-key.pem", &self.key);
        write("cert-chain.pem", &format!("{}{}", self.own, self.root));
        write("root-cert.pem", &self.root);
        write("ca-crl.pem", &self.lists);
    }

    /// Makes a certificate.
    ///
    /// # Panics
    /// If the id is none.
    pub fn make(&self, made: Made<'_>) -> Shown {
        let at = |hours: i32| match u32::try_from(hours) {
            Ok(hours) => SystemTime::now() + HOUR * hours,
            Err(_) => SystemTime::now() - HOUR * hours.unsigned_abs(),
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = at(made.from).into();
        params.not_after = at(made.until).into();
        params.subject_alt_names = vec![match made.id {
            Some(id) => SanType::URI(id.try_into().expect("an id is a URI")),
            None => SanType::DnsName("client.test".try_into().expect("a name")),
        }];
        let key = KeyPair::generate().expect("a key can be made");
        let signer = if made.by_revoked { &self.revoked } else { &self.mesh };
        let certificate = params.signed_by(&key, &signer.issuer).expect("a certificate can be made");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key that was just made");
        Shown { chain: vec![certificate.der().clone(), signer.certificate.clone()], key }
    }
}

/// What an authority has revoked.
fn list(issuer: &Issuer<'_, KeyPair>, serials: &[u8]) -> String {
    let (before, after) = (SystemTime::now() - HOUR, SystemTime::now() + HOUR * 24);
    let revoked = |serial: &u8| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&[*serial]),
        revocation_time: before.into(),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: before.into(),
        next_update: after.into(),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).and_then(|list| list.pem()).expect("a list can be made")
}

impl Shown {
    /// A client that shows it, and believes whatever it is shown.
    pub(crate) fn client(self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS 1.2 and 1.3");
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Believing));
        let mut config = builder.with_client_auth_cert(self.chain, self.key).expect("they belong together");
        config.alpn_protocols = vec![b"istio-http/1.1".to_vec()];
        config
    }
}

/// Believes everybody.
#[derive(Debug)]
struct Believing;

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
