//! The certificates that a proxy asks for by name, from Kubernetes Secrets: a gateway for its servers, and whoever may for
//! what its DestinationRules say of TLS.
//!
//! A Secret must be in the proxy's own namespace: what a gateway may show to the world is decided by who runs
//! it. (Facts: pilot/pkg/credentials/kube of Istio.)

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use webpki::EndEntityCert;
use weir_api::resources::destination_rule::{ClientTlsMode, ClientTlsSettings, TrafficPolicy};
use weir_api::resources::gateway::ServerTlsMode;
use weir_api::resources::kubernetes::Secret as Written;
use weir_api::{FieldPath, Object, Spec};
use weir_model::{DestinationRule, GatewayServer, MergedGateway, Origin, ProxyKind};
use weir_xds::core::{DataSource, data_source::Specifier};
use weir_xds::tls::secret::Type;
use weir_xds::tls::{CertificateValidationContext, Secret, TlsCertificate};

use crate::context::Context;
use crate::secret_names::{authorities_file, authorities_name, authorities_of, certificate_files, file, files, secret_name, secret_of};

/// The keys under which a Secret holds a certificate, and its private key.
const CERTIFICATE_KEYS: [(&str, &str); 2] = [("cert", "key"), ("tls.crt", "tls.key")];
/// The key under which it holds what proves to clients that the certificate has not been revoked.
const STAPLE_KEY: &str = "tls.ocsp-staple";
/// The keys under which a Secret holds certificate authorities.
const AUTHORITIES_KEYS: [&str; 2] = ["cacert", "ca.crt"];
/// The keys under which it holds what they have revoked.
const REVOKED_KEYS: [&str; 2] = ["ca.crl", "crl"];

/// A secret that a proxy asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its name.
    pub name: String,
    /// What it is made of.
    of: Of,
    /// Where it is asked for.
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Of {
    /// A certificate that stands in files of the proxy's machine: its chain, and its key.
    Files(String, String),
    /// Authorities that stand in such a file, and what they have revoked.
    AuthoritiesFile(String, String),
    /// The certificate of a Secret.
    Certificate(Arc<Object>),
    /// The authorities of a Secret.
    Authorities(Arc<Object>),
}

impl Wanted {
    /// Whether another one is the same, made of the same.
    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && match (&self.of, &other.of) {
                (Of::Files(..), Of::Files(..)) | (Of::AuthoritiesFile(..), Of::AuthoritiesFile(..)) => true,
                (Of::Certificate(a), Of::Certificate(b)) | (Of::Authorities(a), Of::Authorities(b)) => Arc::ptr_eq(a, b),
                _ => false,
            }
    }

    /// The secret; none, which is said, if the Secret that it is made of has no such thing.
    pub fn make(&self, context: &Context<'_>) -> Option<Secret> {
        let made = match &self.of {
            Of::Files(chain, key) => Some(of_files(chain, key)),
            Of::AuthoritiesFile(path, revoked) => Some(of_authorities(path, revoked)),
            Of::Certificate(object) => certificate(context, &object.meta.name, written(object)?, &self.origin),
            Of::Authorities(object) => authorities(context, written(object)?, &self.origin),
        };
        Some(Secret { name: self.name.clone(), r#type: Some(made?) })
    }
}

/// All secrets that a proxy asks for, each once.
pub(crate) fn wanted(context: &Context<'_>, gateway: Option<&MergedGateway>) -> Vec<Wanted> {
    let servers = gateway.into_iter().flat_map(MergedGateway::servers);
    let mut wanted: Vec<Wanted> = servers.flat_map(|server| of_server(context, server)).collect();
    wanted.extend(of_rules(context));
    let mut known = HashSet::new();
    wanted.retain(|secret| known.insert(secret.name.clone()));
    wanted
}

fn of_server(context: &Context<'_>, server: &GatewayServer) -> Vec<Wanted> {
    let Some(settings) = server.spec.tls.as_ref().filter(|settings| !settings.mode.is_passthrough()) else { return vec![] };
    let mut secrets: Vec<Wanted> = vec![];
    let origin = Origin::new(&server.origin.object, server.origin.path.key("tls").key("credentialName"));
    let asks = matches!(settings.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    if settings.credential_name.is_empty() && settings.credential_names.is_empty() {
        secrets.extend(files(settings).map(|(chain, key)| in_files(chain, key, &origin)));
        if asks && settings.ca_cert_credential_name.is_empty() && !settings.ca_certificates.is_empty() {
            secrets.push(authorities_in_file(&settings.ca_certificates, &settings.ca_crl, &origin));
        }
    }
    let named = std::iter::once(&settings.credential_name).chain(&settings.credential_names).filter(|name| !name.is_empty());
    for (i, credential) in named.enumerate() {
        let Some(object) = find(context, credential, &origin) else { continue };
        secrets.push(in_secret(secret_name(credential), Of::Certificate(object), &origin));
        if asks && i == 0 && settings.ca_cert_credential_name.is_empty() {
            secrets.extend(authorities_beside(context, credential, &origin));
        }
    }
    let apart = &settings.ca_cert_credential_name;
    if asks && !apart.is_empty() {
        let found = find(context, apart, &origin);
        secrets.extend(found.map(|object| in_secret(secret_name(apart), Of::Authorities(object), &origin)));
    }
    secrets
}

/// Whether a proxy may have what the Secrets hold that a rule names. A rule for all sidecars would spread them.
pub(crate) fn may_use_credentials(kind: ProxyKind, rule: Option<&DestinationRule>) -> bool {
    kind == ProxyKind::Router || rule.is_some_and(|rule| rule.selector.is_some())
}

/// The secrets that a proxy's DestinationRules name.
fn of_rules(context: &Context<'_>) -> Vec<Wanted> {
    let mut known = BTreeSet::new();
    let rules = context.scope.services.iter().filter_map(|service| context.destination_rule(service));
    let mine = |rule: &DestinationRule| may_use_credentials(context.proxy.kind, Some(rule));
    let all = rules.filter(|rule| known.insert(Arc::as_ptr(rule))).flat_map(|rule| settings(rule, mine(rule)));
    all.flat_map(|(settings, origin)| of_client(context, settings, &origin)).collect()
}

/// The TLS settings of a rule that name files, or a Secret if the proxy may have it; with the place of that name.
fn settings(rule: &DestinationRule, with_credentials: bool) -> Vec<(&ClientTlsSettings, Origin)> {
    let whole = rule.objects.first().map(|object| Origin::new(object, FieldPath::default().key("spec").key("trafficPolicy")));
    let whole = rule.policy.as_ref().zip(whole);
    let of_subsets = rule.subsets.iter().filter_map(|(subset, origin)| {
        Some((subset.traffic_policy.as_ref()?, Origin::new(&origin.object, origin.path.key("trafficPolicy"))))
    });
    whole.into_iter().chain(of_subsets).flat_map(|(policy, at)| of_policy(policy, &at, with_credentials)).collect()
}

/// The same of one policy and its ports.
fn of_policy<'p>(policy: &'p TrafficPolicy, at: &Origin, with_credentials: bool) -> Vec<(&'p ClientTlsSettings, Origin)> {
    let of_ports = policy.port_level_settings.iter().enumerate().map(|(i, port)| (&port.tls, at.path.key("portLevelSettings").index(i)));
    let all = std::iter::once((&policy.tls, at.path.clone())).chain(of_ports);
    all.filter_map(|(tls, path)| {
        let tls = tls.as_ref().filter(|tls| with_credentials || tls.credential_name.is_empty())?;
        Some((tls, Origin::new(&at.object, path.key("tls").key("credentialName"))))
    })
    .collect()
}

/// What TLS towards instances needs of a Secret.
fn of_client(context: &Context<'_>, settings: &ClientTlsSettings, origin: &Origin) -> Vec<Wanted> {
    let credential = &settings.credential_name;
    let shows = settings.mode == ClientTlsMode::Mutual;
    if !shows && settings.mode != ClientTlsMode::Simple {
        return vec![];
    }
    let verifies = settings.insecure_skip_verify != Some(true);
    if credential.is_empty() {
        let own = shows.then(|| in_files(&settings.client_certificate, &settings.private_key, origin));
        let authorities = authorities_of(settings).filter(|_| verifies).map(|path| authorities_in_file(path, &settings.ca_crl, origin));
        return own.into_iter().chain(authorities).collect();
    }
    let Some(object) = find(context, credential, origin) else { return vec![] };
    let own = shows.then(|| in_secret(secret_name(credential), Of::Certificate(object), origin));
    let authorities = if verifies { authorities_beside(context, credential, origin) } else { None };
    own.into_iter().chain(authorities).collect()
}

fn in_secret(name: String, of: Of, origin: &Origin) -> Wanted {
    Wanted { name, of, origin: origin.clone() }
}

fn in_files(chain: &str, key: &str, origin: &Origin) -> Wanted {
    in_secret(certificate_files(chain, key), Of::Files(chain.to_owned(), key.to_owned()), origin)
}

fn authorities_in_file(path: &str, revoked: &str, origin: &Origin) -> Wanted {
    in_secret(authorities_file(path, revoked), Of::AuthoritiesFile(path.to_owned(), revoked.to_owned()), origin)
}

fn of_files(chain: &str, key: &str) -> Type {
    Type::TlsCertificate(TlsCertificate { certificate_chain: file(chain), private_key: file(key), ..Default::default() })
}

fn of_authorities(path: &str, revoked: &str) -> Type {
    Type::ValidationContext(CertificateValidationContext { trusted_ca: file(path), crl: file(revoked), ..Default::default() })
}

/// The authorities that go with a certificate: they stand in a Secret of their own, or in the same.
fn authorities_beside(context: &Context<'_>, credential: &str, origin: &Origin) -> Option<Wanted> {
    let own = format!("{credential}-cacert");
    let namespace = &context.proxy.namespace;
    let apart = secret_of(&own, namespace).is_ok_and(|own| context.mesh.secrets.contains_key(&(namespace.clone(), own.to_owned())));
    let object = find(context, if apart { &own } else { credential }, origin)?;
    Some(in_secret(authorities_name(credential), Of::Authorities(object), origin))
}

/// The names in certificates, each certificate read once: where its Secret is what it was, so are they.
#[derive(Default)]
pub(crate) struct CertificateNames {
    /// By the names of Secrets.
    known: HashMap<String, (Arc<Object>, Arc<[String]>)>,
    before: HashMap<String, (Arc<Object>, Arc<[String]>)>,
    /// How many were read.
    pub read: usize,
}

impl CertificateNames {
    /// From now on, those are forgotten that nobody asks for again.
    pub fn begin(&mut self) {
        self.before = std::mem::take(&mut self.known);
    }

    /// The DNS names in the certificate of a Secret; none where there is no such Secret, or nothing that can be read.
    pub fn of(&mut self, context: &Context<'_>, name: &str) -> Arc<[String]> {
        let namespace = &context.proxy.namespace;
        let found = secret_of(name, namespace).ok().and_then(|own| context.mesh.secrets.get(&(namespace.clone(), own.to_owned())));
        let Some(object) = found else { return Arc::default() };
        let is_same = |(of, _): &&(Arc<Object>, Arc<[String]>)| Arc::ptr_eq(of, object);
        let kept = self.known.get(name).or_else(|| self.before.get(name)).filter(is_same).map(|(_, names)| names.clone());
        let names = kept.unwrap_or_else(|| {
            self.read += 1;
            names_in(object).into()
        });
        self.known.insert(name.to_owned(), (object.clone(), names.clone()));
        names
    }

    /// Whether certificates are still for the names that they were for when they were asked for.
    pub fn still_hold(&mut self, context: &Context<'_>) -> bool {
        let known: Vec<(String, Arc<[String]>)> = self.known.iter().map(|(name, (_, names))| (name.clone(), names.clone())).collect();
        known.iter().all(|(name, names)| self.of(context, name) == *names)
    }
}

fn names_in(object: &Object) -> Vec<String> {
    let Some(written) = written(object) else { return vec![] };
    let chain = CERTIFICATE_KEYS.iter().find_map(|(chain, _)| value(written, chain));
    let own = chain.and_then(|chain| CertificateDer::from_pem_slice(&chain).ok());
    let read = own.as_ref().and_then(|own| EndEntityCert::try_from(own).ok());
    read.map(|read| read.valid_dns_names().map(str::to_ascii_lowercase).collect()).unwrap_or_default()
}

fn find(context: &Context<'_>, name: &str, origin: &Origin) -> Option<Arc<Object>> {
    let namespace = &context.proxy.namespace;
    let name = match secret_of(name, namespace) {
        Ok(name) => name,
        Err(reason) => {
            context.warn(origin, format!("{reason}: TLS handshakes that need it fail"));
            return None;
        }
    };
    let found = context.mesh.secrets.get(&(namespace.clone(), name.to_owned()));
    if found.is_none() {
        context.warn(origin, format!("there is no Secret {namespace}/{name}: TLS handshakes that need it fail until there is one"));
    }
    found.cloned()
}

fn written(object: &Object) -> Option<&Written> {
    match &object.spec {
        Spec::Secret(written) => Some(written),
        _ => None,
    }
}

/// The value under the first of the keys that there is.
fn value(written: &Written, key: &str) -> Option<Vec<u8>> {
    match written.string_data.get(key) {
        Some(text) => Some(text.clone().into_bytes()),
        // kubectl may break the lines of long values.
        None => STANDARD.decode(written.data.get(key)?.split_whitespace().collect::<String>()).ok(),
    }
}

fn bytes(value: Vec<u8>) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(value.into())), ..Default::default() }
}

fn chain_and_key(written: &Written) -> Option<(Vec<u8>, Vec<u8>)> {
    CERTIFICATE_KEYS.iter().find_map(|(chain, key)| Some((value(written, chain)?, value(written, key)?)))
}

/// The certificate that a proxy shows of a Secret, the first of its chain, in DER.
///
/// # Errors
/// Says what the Secret lacks.
pub fn certificate_of(secret: &Written) -> Result<CertificateDer<'static>, String> {
    let (chain, key) = chain_and_key(secret).ok_or("it needs the keys tls.crt and tls.key")?;
    if key.is_empty() {
        return Err("its private key is empty".to_owned());
    }
    CertificateDer::from_pem_slice(&chain).map_err(|_| "what should be its certificate is none in PEM".to_owned())
}

fn certificate(context: &Context<'_>, credential: &str, written: &Written, origin: &Origin) -> Option<Type> {
    let Some((chain, key)) = chain_and_key(written) else {
        let message = format!("the Secret {credential} has no certificate: it needs the keys tls.crt and tls.key");
        context.warn(origin, message);
        return None;
    };
    let ocsp_staple = value(written, STAPLE_KEY).map(bytes);
    let certificate =
        TlsCertificate { certificate_chain: Some(bytes(chain)), private_key: Some(bytes(key)), ocsp_staple, ..Default::default() };
    Some(Type::TlsCertificate(certificate))
}

fn authorities(context: &Context<'_>, written: &Written, origin: &Origin) -> Option<Type> {
    let Some(found) = AUTHORITIES_KEYS.iter().find_map(|key| value(written, key)) else {
        context.warn(origin, "no Secret has the authorities that the other side is checked against: it needs the key ca.crt");
        return None;
    };
    let crl = REVOKED_KEYS.iter().find_map(|key| value(written, key)).map(bytes);
    Some(Type::ValidationContext(CertificateValidationContext { trusted_ca: Some(bytes(found)), crl, ..Default::default() }))
}
