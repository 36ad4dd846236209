//! What Envoy is given of a certificate: secrets by the names by which Istio's resources ask for them, over SDS.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use weir_ads::{Event, Resource, ResourceSet, Server, ServerStream};
use weir_proxy::control::certificate::Issued;
use weir_xds::core::{DataSource, data_source::Specifier};
use weir_xds::resource::ResourceType;
use weir_xds::tls::secret::Type;
use weir_xds::tls::{CertificateValidationContext, Secret, TlsCertificate};
use weir_xds::{Any, Message as _};
use zeroize::Zeroizing;

/// The certificate and its key.
pub(super) const CERTIFICATE: &str = "default";
/// Whom to trust.
pub(super) const AUTHORITIES: &str = "ROOTCA";

/// What Envoy gets of a certificate.
pub(super) fn resources(issued: Issued) -> ResourceSet {
    let Issued { chain, key, authorities } = issued;
    let inline = |text: Bytes| Some(DataSource { specifier: Some(Specifier::InlineBytes(text)), ..Default::default() });
    let certificate = TlsCertificate {
        certificate_chain: inline(chain.into()),
        private_key: inline(erased(pem(key.secret_der()))),
        ..Default::default()
    };
    let trusted = CertificateValidationContext { trusted_ca: inline(authorities.into()), ..Default::default() };
    let mut set = ResourceSet::default();
    let mut insert = |name: &str, content: Type| {
        let secret = Secret { name: name.to_owned(), r#type: Some(content) };
        let body = Any { type_url: ResourceType::Secret.type_url(), value: erased(Zeroizing::new(secret.encode_to_vec())) };
        set.insert(ResourceType::Secret, name, Resource::packed(body));
    };
    insert(CERTIFICATE, Type::TlsCertificate(certificate));
    insert(AUTHORITIES, Type::ValidationContext(trusted));
    set
}

/// Bytes that are overwritten when the last who has them lets them go.
fn erased(bytes: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(bytes)
}

/// A key as PEM. The text never grows, which would leave copies behind.
fn pem(der: &[u8]) -> Zeroizing<Vec<u8>> {
    const BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
    const END: &str = "\n-----END PRIVATE KEY-----\n";
    let mut text = String::with_capacity(BEGIN.len() + der.len().div_ceil(3) * 4 + END.len());
    text.push_str(BEGIN);
    STANDARD.encode_string(der, &mut text);
    text.push_str(END);
    Zeroizing::new(text.into_bytes())
}

/// Serves whoever opens the socket, for as long as that is there.
pub(super) async fn serve_all(mut streams: mpsc::Receiver<ServerStream>, secrets: watch::Receiver<Option<Arc<ResourceSet>>>) {
    while let Some(stream) = streams.recv().await {
        tokio::spawn(serve(stream, secrets.clone()));
    }
}

/// Serves one stream of Envoy's: what it asks for, as soon as it is there, and whenever it is new.
async fn serve(mut stream: ServerStream, mut secrets: watch::Receiver<Option<Arc<ResourceSet>>>) {
    let mut server = Server::new(stream.protocol);
    let put = |server: &mut Server, newest: Option<Arc<ResourceSet>>| newest.into_iter().for_each(|set| server.set(set));
    put(&mut server, secrets.borrow_and_update().clone());
    loop {
        while let Some(push) = server.next(Instant::now()) {
            if stream.responses.send(push).await.is_err() {
                return;
            }
        }
        let wait = server.deadline(Instant::now()).map(|at| at.saturating_duration_since(Instant::now()));
        tokio::select! {
            request = stream.requests.recv() => {
                let Some(request) = request else { return };
                if let Event::Refused(_, reason) = server.receive(&request) {
                    tracing::error!("Envoy refused a certificate: {reason}");
                }
            }
            Ok(()) = secrets.changed() => put(&mut server, secrets.borrow_and_update().clone()),
            () = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3600))) => {}
        }
    }
}
