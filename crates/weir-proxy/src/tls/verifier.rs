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
        written: Option<Box<Validation>>,
        /// What was made of the secret that is there now.
        made: Mutex<Option<(Arc<Validation>, Arc<Trust>)>>,
    },
}

impl Peer {
    /// What a configuration asks for. Files are read now; secrets may arrive later.
    pub(super) fn new(source: &ValidationSource, parameters: &Parameters, secrets: &mut Secrets) -> Result<Self, CompileError> {
        let mut named = |name: &Arc<str>, written: Option<Box<Validation>>| PeerSource::Named {
            name: name.clone(),
            slot: secrets.validation(name),
            written,
            made: Mutex::default(),
        };
        let source = match source {
            ValidationSource::Written(written) => {
                let trust = Trust::new(written).map_err(|error| error.within("common_tls_context.validation_context"))?;
                PeerSource::Written(Arc::new(trust))
            }
            ValidationSource::Named(name) => named(name, None),
            ValidationSource::Combined { written, name } => named(name, Some(written.clone())),
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
            PeerSource::Named { name, slot, .. } if slot.get().is_none() => Some(name),
            _ => None,
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
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, trust)) = &*made
            && Arc::ptr_eq(of, &secret)
        {
            return Ok(trust.clone());
        }
        let whole = written.as_ref().map_or_else(|| (*secret).clone(), |written| written.completed_by(&secret));
        let trust =
            whole.check().and_then(|whole| Trust::new(&whole)).map_err(|error| HandshakeRefusal::Unusable(error.to_string().into()))?;
        let trust = Arc::new(trust);
        *made = Some((secret, trust.clone()));
        Ok(trust)
    }

    fn verify(&self, shown: &Shown<'_, '_>, now: UnixTime, side: Side, host: Option<&str>) -> Result<(), Error> {
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
