//! A person at a cluster: `weir` as it is run with a kubeconfig.

use std::path::PathBuf;
use std::process::Command;

use super::{API_SERVER, Cluster};
use crate::binaries;

impl Cluster {
    /// `weir` as an administrator runs it, whose kubeconfig is that of the environment.
    ///
    /// # Panics
    /// If it cannot be built.
    pub fn weir(&self) -> Command {
        self.weir_with(PathBuf::from(self.identities.path("admin.kubeconfig")))
    }

    /// The same as somebody runs it who may do nothing.
    ///
    /// # Panics
    /// If it cannot be built.
    pub fn weir_of_nobody(&self) -> Command {
        self.weir_with(self.identities.kubeconfig(API_SERVER, "nobody", None))
    }

    fn weir_with(&self, kubeconfig: PathBuf) -> Command {
        let mut command = self.command(binaries::weir());
        command.env("KUBECONFIG", kubeconfig).env("HOME", self.work.path()).current_dir(self.work.path());
        command
    }

    /// `weir` as kubectl calls it as its plugin.
    ///
    /// # Panics
    /// If it cannot be built, or given another name.
    pub fn plugin(&self) -> Command {
        let path = self.work.path().join("kubectl-weir");
        if !path.exists() {
            std::os::unix::fs::symlink(binaries::weir(), &path).expect("a link can be made");
        }
        let mut command = self.command(&path);
        command.env("KUBECONFIG", self.identities.path("admin.kubeconfig")).env("HOME", self.work.path()).current_dir(self.work.path());
        command
    }
}
