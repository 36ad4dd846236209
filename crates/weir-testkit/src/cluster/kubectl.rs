//! What people do to a cluster: kubectl, the real one, and `weir`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Cluster;
use crate::binaries;

impl Cluster {
    /// Has kubectl do something as an administrator, with this as its standard input; gives back what it prints.
    ///
    /// # Panics
    /// If it says no.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let mut command = self.command(&self.programs.path("kubectl"));
        // Else it keeps what it has learnt of the API server in a folder of the user's.
        command.arg("--kubeconfig").arg(self.identities.path("admin.kubeconfig")).arg("--cache-dir").arg(self.work.path().join("kubectl"));
        command.args(arguments);
        said(command, input).await
    }

    /// The same with `weir`, without anybody's rights in the cluster.
    ///
    /// # Panics
    /// If it says no.
    pub async fn weir_alone(&self, arguments: &[&str], input: &str) -> String {
        let mut command = self.command(binaries::weir());
        command.args(arguments);
        said(command, input).await
    }

    /// A file of Istio's own sources, such as `samples/bookinfo/platform/kube/bookinfo.yaml`.
    pub fn istio(&self, path: &str) -> PathBuf {
        self.programs.istio().join(Path::new(path))
    }
}

/// Runs a command, which must do its work; gives back what it prints.
async fn said(command: std::process::Command, input: &str) -> String {
    let mut command = Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it has a standard input");
    // It may end before it has read all: then it says why. It may print before, too, and nobody may wait for a full pipe.
    let written = async move { drop(stdin.write_all(input.as_bytes()).await) };
    let ((), output) = tokio::join!(written, child.wait_with_output());
    let output = output.expect("what it says can be read");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
