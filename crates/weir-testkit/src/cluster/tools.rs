//! The commands of `weir` over a cluster, as its administrator gives them.

use std::process::Output;

use super::Cluster;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed as its result.
    pub result: String,
    /// What it said beside it.
    pub said: String,
}

impl Cluster {
    /// Runs `weir` with these arguments, on the administrator's kubeconfig, to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn run_weir(&self, arguments: &[&str]) -> Ended {
        let mut command = self.weir();
        command.args(arguments);
        let ended = tokio::task::spawn_blocking(move || command.output()).await;
        let Output { status, stdout, stderr } = ended.expect("it is waited for").expect("weir can be started");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ended { code: status.code(), result: text(stdout), said: text(stderr) }
    }
}
