//! The status ports of a proxy in a pod: bound before it follows anybody, so that who cannot have them does not start, and served once it does.

use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use weir_model::{Interception, Proxy};
use weir_proxy::status::{Application, Probers, Role, Scraped, Status, Subject, serve};

use crate::cli::StatusArgs;
use crate::mesh::bind;
use crate::print;

/// Ports that are bound.
pub(super) struct StatusPorts {
    listeners: Vec<(TcpListener, Role)>,
    status: Parts,
}

/// What is answered, but for the proxy.
struct Parts {
    application: Application,
    probers: Probers,
    scraped: Option<Scraped>,
}

impl StatusPorts {
    /// Binds them, if they are asked for; what there is of the application stands in the environment.
    ///
    /// # Errors
    /// If a port cannot be had, or what injection has written is not that.
    pub async fn bind(args: &StatusArgs, proxy: &Proxy) -> anyhow::Result<Option<Self>> {
        let Some(port) = args.status_port else { return Ok(None) };
        let said = |name: &str| env::var(name).unwrap_or_default();
        let probers = Probers::parse(&said("ISTIO_KUBE_APP_PROBERS")).context("ISTIO_KUBE_APP_PROBERS")?;
        let scraped = Scraped::parse(&said("ISTIO_PROMETHEUS_ANNOTATIONS")).map_err(anyhow::Error::msg);
        let scraped = scraped.context("ISTIO_PROMETHEUS_ANNOTATIONS")?;
        let address = proxy.addresses.iter().find_map(|address| address.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let application = Application::of_pod(address, proxy.interception != Interception::None);
        let wanted = [
            (port, Role::Status, "--status-port"),
            (args.health_port, Role::Health, "--health-port"),
            (args.metrics_port, Role::Metrics, "--metrics-port"),
        ];
        let mut listeners = vec![];
        for (port, role, flag) in wanted {
            listeners.push((everywhere(port, flag).await?, role));
        }
        Ok(Some(Self { listeners, status: Parts { application, probers, scraped } }))
    }

    /// Serves them from now on.
    ///
    /// # Errors
    /// If the system does not know where they are.
    pub fn serve(self, proxy: Subject) -> anyhow::Result<()> {
        let Parts { application, probers, scraped } = self.status;
        let of_status = self.listeners.iter().find(|(_, role)| *role == Role::Status);
        let port = of_status.map_or(Ok(0), |(listener, _)| listener.local_addr().map(|address| address.port()))?;
        let status = Arc::new(Status { proxy, application, probers, scraped, port });
        let mut places = vec![];
        for (listener, role) in self.listeners {
            places.push(listener.local_addr()?.to_string());
            tokio::spawn(serve(listener, role, status.clone()));
        }
        print::say(&format!("weir: status, readiness and metrics at {}", places.join(", ")));
        Ok(())
    }
}

/// Listens at all addresses of both families, or of IPv4 where there is no other.
async fn everywhere(port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), "the status of the proxy", flag).await,
    }
}
