//! Installing a control plane into a cluster, and taking it away again.
//!
//! What is installed is data: [`InstallSettings`] make a [`manifest`](manifest()), which can as well be printed and applied by others; the Helm
//! chart `charts/weir` renders the same. An [`Installer`] brings a cluster there: it [plans](Installer::plan) by trying everything at the API
//! server without changing anything, and then [carries out](Installer::carry_out) what differs. What it made is found again by labels, which
//! is how it is [taken away](Installer::remove). Everything can be done again after it was interrupted.

mod api;
mod carry_out;
mod check;
mod difference;
mod following;
mod manifest;
mod plan;
mod rights;
mod settings;
mod uninstall;
mod workload;

use std::time::Duration;

use kube::Client;

use api::Api;
pub use api::{ApiError, MANAGER, title};
pub use carry_out::InstallError;
pub use check::{Check, ControlPlane};
pub use difference::{Difference, differences};
pub use following::{Following, following};
pub use manifest::{INSTANCE, MANAGED_BY, OURS, is_webhook, manifest};
pub use plan::{Change, Plan, Step};
pub use settings::{Autoscale, InstallSettings, Resources};
pub use uninstall::Removal;

/// Installs into a cluster.
#[derive(Clone)]
pub struct Installer(Api);

impl Installer {
    /// One who asks as this client does.
    pub fn new(client: Client) -> Self {
        Self(Api(client))
    }

    /// What installing this would change, and what stands against it. Nothing is changed.
    ///
    /// # Errors
    /// If the API server refuses to tell, or one of the objects.
    pub async fn plan(&self, settings: &InstallSettings, force: bool) -> Result<Plan, ApiError> {
        plan::plan(&self.0, settings, force).await
    }

    /// Does what was planned; each thing that is done is said. With a time to wait, the API server is made to ask the control plane once
    /// that is ready.
    ///
    /// # Errors
    /// If the API server refuses, or the control plane is not ready in that time. What is done stays; all can be planned anew.
    pub async fn carry_out(&self, plan: &Plan, wait: Option<Duration>, said: impl FnMut(&str)) -> Result<(), InstallError> {
        carry_out::carry_out(&self.0, plan, wait, said).await
    }

    /// What there is of a revision, and what of it would be taken away.
    ///
    /// # Errors
    /// If the API server refuses to tell.
    pub async fn removal(&self, namespace: &str, revision: &str) -> Result<Removal, ApiError> {
        uninstall::removal(&self.0, namespace, revision).await
    }

    /// Takes it away; each thing that is gone is said. The control plane has this time to end.
    ///
    /// # Errors
    /// If the API server refuses, or the control plane does not end.
    pub async fn remove(&self, removal: &Removal, wait: Duration, said: impl FnMut(&str)) -> Result<(), InstallError> {
        uninstall::remove(&self.0, removal, wait, said).await
    }

    /// Whether this revision is there as it should be, or could be installed, and who follows which.
    ///
    /// # Errors
    /// If the API server refuses to tell.
    pub async fn check(&self, settings: &InstallSettings) -> Result<Check, ApiError> {
        check::check(&self.0, settings).await
    }

    /// Who follows which control plane.
    ///
    /// # Errors
    /// If the API server refuses to tell.
    pub async fn following(&self) -> Result<Vec<Following>, ApiError> {
        let injectors = check::injectors(&self.0).await?;
        check::followers(&self.0, &injectors).await
    }
}
