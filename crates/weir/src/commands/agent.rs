//! `weir agent`: beside a stock Envoy. It has the proxy's key, comes to its certificate, and gives Envoy both over a socket that only
//! its owner may open. It also writes the bootstrap by which Envoy finds it and the pilot, and in a pod answers the kubelet for it.

mod bootstrap;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use weir_ads::grpc::server::{self, Services};
use weir_ads::{Event, Resource, ResourceSet, Server, ServerStream};
use weir_model::Proxy;
use weir_pilot::standalone;
use weir_proxy::control::certificate::Issued;
use weir_proxy::control::pilot::RemotePilot;
use weir_proxy::status::Subject;
use weir_xds::core::{DataSource, data_source::Specifier};
use weir_xds::resource::ResourceType;
use weir_xds::tls::secret::Type;
use weir_xds::tls::{CertificateValidationContext, Secret, TlsCertificate};
use weir_xds::{Any, Message as _};
use zeroize::Zeroizing;

use super::proxy::{addresses, pilot_of_pod};
use super::status::StatusPorts;
use crate::cli::{AgentArgs, XdsAddress};
use crate::mesh::{authority, start_runtime};
use crate::print;
use crate::signals::{Signals, Told};

/// The names by which Istio's resources ask for them.
const CERTIFICATE: &str = "default";
const AUTHORITIES: &str = "ROOTCA";
/// Where Envoy's administration is in a pod.
const ENVOY_ADMIN: u16 = 15000;
/// So many streams may wait to be served.
const WAITING: usize = 8;

/// Runs until told to end.
///
/// # Errors
/// If the arguments do not name a proxy, or the socket cannot be had.
pub(crate) fn run(args: &AgentArgs) -> anyhow::Result<ExitCode> {
    let proxy = proxy(args)?;
    let lifetime = args.lifetime.as_deref().map(authority::parse_lifetime).transpose().context("--lifetime")?;
    let pilot = pilot(args)?;
    start_runtime()?.block_on(async {
        let listener = bind(&args.socket).with_context(|| format!("the socket {} cannot be had", args.socket.display()))?;
        let made = identity_of(&args.socket);
        let (newest, secrets) = watch::channel(None);
        let certification = match &pilot {
            Pilot::Near(address) => {
                authority::following(&proxy, &address.to_string(), authority::state_of(args.state.as_deref())?, lifetime)
            }
            Pilot::Remote(pilot, _) => authority::remote(&proxy, pilot, lifetime),
        };
        let status = StatusPorts::bind(&args.pod.status, &proxy).await?;
        tokio::spawn(certification.run(proxy.id.as_str().into(), newest, |issued| Ok(Arc::new(resources(issued)))));
        let (streams, waiting) = mpsc::channel(WAITING);
        tokio::spawn(server::serve(listener, Services { secrets: Some(streams), ..Services::default() }));
        tokio::spawn(serve_all(waiting, secrets));
        let admin = args.envoy_admin.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, if status.is_some() { ENVOY_ADMIN } else { 0 })));
        if let Some(path) = &args.bootstrap {
            let text = serde_json::to_string_pretty(&bootstrap::of(&proxy, &pilot, &args.socket, admin)?)?;
            fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        if let Some(status) = status {
            status.serve(Subject::Envoy(admin))?;
        }
        print::say(&format!("weir: certificates of {} at {}", proxy.id, args.socket.display()));
        let mut signals = Signals::new().context("the system does not tell of signals")?;
        while signals.next().await != Told::End {}
        // Another agent may have taken the place meanwhile.
        if made.is_some_and(|made| identity_of(&args.socket) == Some(made)) {
            let _ = fs::remove_file(&args.socket);
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Whom Envoy follows.
enum Pilot {
    /// One of this machine, in plain text.
    Near(XdsAddress),
    /// Any, by TLS, and where it is.
    Remote(Arc<RemotePilot>, String),
}

fn pilot(args: &AgentArgs) -> anyhow::Result<Pilot> {
    if let Some(pilot) = pilot_of_pod(&args.xds, &args.pod)? {
        return Ok(Pilot::Remote(pilot, args.xds.clone()));
    }
    let address = args.xds.parse().map_err(|problem| anyhow::anyhow!("--xds {:?} {problem}", args.xds))?;
    if matches!(address, XdsAddress::Tcp(address) if !address.ip().to_canonical().is_loopback()) {
        bail!("--xds {address} is on another machine: a pilot certifies only who is on its own, or who comes with --token-file");
    }
    Ok(Pilot::Near(address))
}

fn proxy(args: &AgentArgs) -> anyhow::Result<Proxy> {
    let labels = standalone::parse_labels(&args.labels).map_err(|error| anyhow::anyhow!("--labels: {error}"))?;
    let Some((kind, address, name, namespace)) = Proxy::parse_id(&args.id) else {
        bail!("--id {:?} names no proxy: write sidecar|router~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN", args.id);
    };
    let addresses = addresses(kind, address, &args.address);
    let (locality, interception) = (args.locality.clone(), args.interception_mode.into());
    Ok(Proxy { id: args.id.clone(), kind, name, namespace, labels, addresses, locality, interception })
}

/// Which file is at a path.
fn identity_of(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Whether a socket of ours is there at which nobody listens any more: what an agent leaves that is killed.
fn is_left(path: &Path) -> bool {
    let is_own = |found: fs::Metadata| found.file_type().is_socket() && found.uid() == rustix::process::geteuid().as_raw();
    let refuses = || matches!(UnixStream::connect(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused);
    fs::symlink_metadata(path).is_ok_and(is_own) && refuses()
}

/// A socket that only its owner may open. One that an earlier agent left is taken away, and nothing else.
fn bind(path: &Path) -> io::Result<UnixListener> {
    use rustix::fs::Mode;
    if is_left(path) {
        fs::remove_file(path)?;
    }
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

/// What Envoy gets of a certificate.
fn resources(issued: Issued) -> ResourceSet {
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

async fn serve_all(mut streams: mpsc::Receiver<ServerStream>, secrets: watch::Receiver<Option<Arc<ResourceSet>>>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_an_agent_left_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let (left, file, taken) = (folder.path().join("left"), folder.path().join("file"), folder.path().join("taken"));
        drop(bind(&left).unwrap());
        assert!(left.exists() && bind(&left).is_ok());
        fs::write(&file, "kept").unwrap();
        assert!(bind(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
        let _listening = bind(&taken).unwrap();
        let before = identity_of(&taken);
        assert!(bind(&taken).is_err());
        assert_eq!(identity_of(&taken), before);
    }
}
