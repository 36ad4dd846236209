//! Whether the other side of a handshake is accepted. What is asked of it may come by SDS, and change between two handshakes.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use weir_config::CompileError;
use weir_config::tls::{Parameters, Validation, ValidationSource};

use super::chain::Side;
use super::refusal::HandshakeRefusal;
use super::secrets::{Secrets, Slot};
use super::trust::{Shown, Trust};

/// What is asked of the other side.
#[derive(Debug)]
pub(super) struct Peer {
    source: PeerSource,
    algorithms: WebPkiSupportedAlgorithms,
    schemes: Vec<SignatureScheme>,
}

#[derive(Debug)]
enum PeerSource {
    Written(Arc<Trust>),
    Named {
        name: Arc<str>,
        slot: Arc<Slot<Validation>>,
        /// What the configuration says itself.
        written: Option<Arc<Slot<Validation>>>,
        /// What was made of what is there now.
        made: Mutex<Option<Made>>,
    },
}

/// What was made of a secret and of what stands beside it; also that they cannot be used.
#[derive(Debug)]
struct Made {
    secret: Arc<Validation>,
    written: Option<Arc<Validation>>,
    trust: Result<Arc<Trust>, Box<str>>,
}

impl Made {
    fn of(secret: Arc<Validation>, written: Option<Arc<Validation>>) -> Self {
        let whole = written.as_ref().map_or_else(|| (*secret).clone(), |written| written.completed_by(&secret));
        let trust = whole.check().and_then(|whole| Trust::new(&whole)).map(Arc::new).map_err(|error| error.to_string().into());
        Self { secret, written, trust }
    }

    fn is_of(&self, secret: &Arc<Validation>, written: Option<&Arc<Validation>>) -> bool {
        Arc::ptr_eq(&self.secret, secret) && self.written.as_ref().map(Arc::as_ptr) == written.map(Arc::as_ptr)
    }
}

impl Peer {
    /// What a configuration asks for. Files are read now; secrets may arrive later.
    pub(super) fn new(source: &ValidationSource, parameters: &Parameters, secrets: &mut Secrets) -> Result<Self, CompileError> {
        let mut named = |name: &Arc<str>, written: Option<&Validation>| PeerSource::Named {
            name: name.clone(),
            slot: secrets.validation(name),
            written: written.map(|written| secrets.written(written)),
            made: Mutex::default(),
        };
        let source = match source {
            ValidationSource::Written(written) => {
                let trust = Trust::new(written).map_err(|error| error.within("common_tls_context.validation_context"))?;
                PeerSource::Written(Arc::new(trust))
            }
            ValidationSource::Named(name) => named(name, None),
            ValidationSource::Combined { written, name } => named(name, Some(&**written)),
        };
        let algorithms = super::provider().signature_verification_algorithms;
        let allowed = &parameters.signature_schemes;
        let mut schemes = algorithms.supported_schemes();
        schemes.retain(|scheme| allowed.is_empty() || allowed.contains(&u16::from(*scheme)));
        Ok(Self { source, algorithms, schemes })
    }

    /// The name of the secret that has not come yet, if it is missing.
    pub(super) fn missing(&self) -> Option<&Arc<str>> {
        match &self.source {
            PeerSource::Named { name, slot, written, .. } => {
                let is_missing = slot.get().is_none() || written.as_ref().is_some_and(|written| written.get().is_none());
                is_missing.then_some(name)
            }
            PeerSource::Written(_) => None,
        }
    }

    /// Whether the secret may still come.
    pub(super) fn is_waiting(&self) -> bool {
        match &self.source {
            PeerSource::Named { slot, written, .. } => slot.is_awaited() || written.as_ref().is_some_and(|written| written.is_awaited()),
            PeerSource::Written(_) => false,
        }
    }

    /// The names of those who are trusted, as far as the configuration says it.
    fn subjects(&self) -> Vec<DistinguishedName> {
        match &self.source {
            PeerSource::Written(trust) => trust.subjects(),
            PeerSource::Named { .. } => vec![],
        }
    }

    fn trust(&self) -> Result<Arc<Trust>, HandshakeRefusal> {
        let (name, slot, written, made) = match &self.source {
            PeerSource::Written(trust) => return Ok(trust.clone()),
            PeerSource::Named { name, slot, written, made } => (name, slot, written, made),
        };
        let secret = slot.get().ok_or_else(|| HandshakeRefusal::Missing((&**name).into()))?;
        let unusable = || HandshakeRefusal::Unusable("what is asked of certificates beside it cannot be read".into());
        let written = written.as_ref().map(|written| written.get().ok_or_else(unusable)).transpose()?;
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        let known = made.take().filter(|made| made.is_of(&secret, written.as_ref()));
        let made = made.insert(known.unwrap_or_else(|| Made::of(secret, written)));
        made.trust.clone().map_err(HandshakeRefusal::Unusable)
    }

    /// Whether the certificate of `side`, with which a handshake was finished, holds.
    pub(super) fn holds(&self, shown: &Shown<'_, '_>, now: UnixTime, side: Side) -> bool {
        self.trust().is_ok_and(|trust| trust.holds(shown, now, side))
    }

    pub(super) fn verify(&self, shown: &Shown<'_, '_>, now: UnixTime, side: Side, host: Option<&str>) -> Result<(), Error> {
        self.trust().and_then(|trust| trust.verify(shown, now, side, host)).map_err(HandshakeRefusal::into_error)
    }
}

/// Looks at servers' certificates.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    /// What is asked of them.
    pub peer: Arc<Peer>,
    /// The host that they must be for, if that matters.
    pub host: Option<Arc<str>>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.peer.verify(&Shown { leaf, others }, now, Side::Server, self.host.as_deref())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.peer.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.peer.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.peer.schemes.clone()
    }
}

/// Looks at clients' certificates.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    peer: Arc<Peer>,
    is_required: bool,
    subjects: Vec<DistinguishedName>,
}

impl ClientVerifier {
    pub(super) fn new(peer: Arc<Peer>, is_required: bool) -> Self {
        let subjects = peer.subjects();
        Self { peer, is_required, subjects }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.peer.verify(&Shown { leaf, others }, now, Side::Client, None)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.peer.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.peer.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.peer.schemes.clone()
    }
}
