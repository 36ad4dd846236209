//! The admission webhooks of a cluster, answered by its pilot.

#[cfg(feature = "kubernetes")]
pub(crate) use cluster::Webhooks;
#[cfg(not(feature = "kubernetes"))]
pub(crate) use nowhere::Webhooks;

#[cfg(feature = "kubernetes")]
mod cluster {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use weir_kubernetes::webhooks::{self, Native, Options};
    use weir_pilot::Followed;

    use crate::cli::{NativeSidecars, PilotArgs};
    use crate::mesh::{Source, bind, mesh_as_written, remote};

    /// Webhooks that are answered, if they are to be, until this is dropped.
    pub(crate) struct Webhooks(Option<(webhooks::Webhooks, String)>);

    impl Webhooks {
        /// Answers them where it was asked for.
        ///
        /// # Errors
        /// If the address cannot be had, or what they are called cannot stand in a certificate.
        pub async fn serve(args: &PilotArgs, source: &Source, authority: &Followed) -> anyhow::Result<Self> {
            let asked = args.webhooks.address(args.source.in_cluster);
            let (Some(client), Some(address)) = (source.client(), asked) else { return Ok(Self(None)) };
            let listener = bind(address, "the webhooks", "--webhooks").await?;
            let place = format!("https://{}/", listener.local_addr()?);
            let started = webhooks::Webhooks::start(client, authority, listener, options(args, address.ip())?).await;
            let started = started.map_err(|reason| anyhow::anyhow!("the webhooks have no certificate: {reason}"))?;
            Ok(Self(Some((started, place))))
        }

        /// Where they are answered, for people.
        pub fn place(&self) -> String {
            self.0.as_ref().map(|(_, place)| format!("; webhooks at {place}")).unwrap_or_default()
        }

        /// What is counted of them, as Prometheus reads it.
        pub fn statistics(&self) -> impl Fn() -> String + Send + Sync + use<> {
            let statistics = self.0.as_ref().map(|(webhooks, _)| webhooks.statistics());
            move || statistics.as_ref().map(|statistics| statistics()).unwrap_or_default()
        }

        /// Answers what is under way, and nothing more.
        pub async fn end(self) {
            if let Some((webhooks, _)) = self.0 {
                webhooks.end().await;
            }
        }
    }

    fn options(args: &PilotArgs, bound: IpAddr) -> anyhow::Result<Options> {
        let mut called = remote::names(&args.webhooks.webhook_host, "--webhook-host")?;
        match bound {
            // Nobody calls it by that.
            address if address.is_unspecified() => {}
            address if address.is_loopback() => {
                called.names.push("localhost".to_owned());
                called.addresses.extend([address, Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
            }
            address => called.addresses.push(address),
        }
        let (mesh, _) = mesh_as_written(args.mesh_config.as_deref())?;
        let settings = args.webhooks.sidecar.settings(&args.source.revision, &args.source.namespace, mesh);
        let native = match args.webhooks.native_sidecars {
            NativeSidecars::Auto => Native::Auto,
            NativeSidecars::True => Native::Always(true),
            NativeSidecars::False => Native::Always(false),
        };
        let follows_mesh = args.mesh_config.is_none();
        let has_services = has_services(args);
        Ok(Options { names: called.names, addresses: called.addresses, has_services, settings, follows_mesh, native })
    }

    /// Whether the control plane's Services lead to it, or to others with the same root.
    fn has_services(args: &PilotArgs) -> bool {
        let has_own_root = args.authority.ca.is_some() || args.authority.state.is_some();
        !args.authority.ephemeral_root && (args.source.in_cluster || !has_own_root)
    }
}

#[cfg(not(feature = "kubernetes"))]
mod nowhere {
    use weir_pilot::Followed;

    use crate::cli::PilotArgs;
    use crate::mesh::Source;

    /// There is no cluster that could ask.
    pub(crate) struct Webhooks;

    impl Webhooks {
        /// Nobody is answered.
        ///
        /// # Errors
        /// None.
        pub async fn serve(_: &PilotArgs, _: &Source, _: &Followed) -> anyhow::Result<Self> {
            Ok(Self)
        }

        /// Nowhere.
        pub fn place(&self) -> String {
            String::new()
        }

        /// Nothing.
        pub fn statistics(&self) -> impl Fn() -> String + Send + Sync + use<> {
            String::new
        }

        /// At once.
        pub async fn end(self) {}
    }
}
