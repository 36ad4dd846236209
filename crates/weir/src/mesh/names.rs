//! Answers questions of DNS beside a workload.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::watch;
use weir_capture::{name_servers, search_domain};
use weir_config::name_table::{Asker, NameTable};
use weir_model::{DEFAULT_DOMAIN, Proxy};
use weir_proxy::name_server::{NameServer, Upstream};

/// The port of DNS servers.
const PORT: u16 = 53;

/// On whose behalf names are asked for, and who is told which there are.
pub(crate) type Told = (Asker, watch::Sender<Option<Arc<NameTable>>>);

/// Answers at these addresses, for as long as the runtime lives; what the mesh does not know, the servers of a `resolv.conf` are asked.
///
/// # Errors
/// If the file cannot be read, or an address cannot be had or is open to others.
pub(crate) async fn answer_dns(addresses: &[SocketAddr], resolv_conf: &Path, proxy: &Proxy) -> anyhow::Result<Told> {
    if let Some(open) = addresses.iter().find(|address| !address.ip().is_loopback()) {
        bail!(
            "--dns {open}: everybody could ask there, on our behalf; name an address of this machine alone, such as 127.0.0.1:{}",
            open.port()
        );
    }
    let text = fs::read_to_string(resolv_conf).with_context(|| format!("{} cannot be read", resolv_conf.display()))?;
    let servers = name_servers(&text).into_iter().map(|server| SocketAddr::from((server, PORT)));
    // One that asked itself would never come to an end.
    let upstream = Upstream::new(servers.filter(|server| !addresses.contains(server)).collect());
    let (tell, names) = watch::channel(None);
    for address in addresses {
        let server = NameServer::bind(*address, names.clone(), upstream.clone()).await;
        let server = server.with_context(|| format!("questions of DNS cannot be answered at {address}; name another with --dns"))?;
        tokio::spawn(server.run());
    }
    let search = search_domain(&text).unwrap_or_default().to_owned();
    Ok((Asker { namespace: proxy.namespace.clone(), domain: domain(proxy).to_owned(), search }, tell))
}

/// The domain of the platform's services, as the proxy's id says it: `NAMESPACE.svc.DOMAIN` is its last part.
fn domain(proxy: &Proxy) -> &str {
    let of_namespace = proxy.id.rsplit('~').next().unwrap_or_default();
    of_namespace.split_once(".svc.").map_or(DEFAULT_DOMAIN, |(_, domain)| domain)
}
