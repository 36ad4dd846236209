//! A second process in a container, as probes and hooks have it.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tonic::Status;

use super::container::{Container, code};
use super::cri::ExecSyncResponse;
use super::process::{child, ending_with_us, signal};

/// More than that of what it says is not kept: see `ExecSyncResponse`.
const MOST: u64 = 16 << 20;

/// Runs a command in a container to its end, with its root, environment and user.
///
/// # Errors
/// If the container does not run, or the command does not end in time.
pub(super) async fn run(container: &Container, words: &[String], patience: Duration) -> Result<ExecSyncResponse, Status> {
    let first = container.first().ok_or_else(|| Status::failed_precondition("the container does not run"))?;
    let mut command = ending_with_us("nsenter");
    for kind in ["mount", "net", "uts", "ipc", "pid"] {
        command.arg(format!("--{kind}=/proc/{first}/ns/{}", if kind == "mount" { "mnt" } else { kind }));
    }
    command.args([format!("--root=/proc/{first}/root"), format!("--wd=/proc/{first}/cwd"), "--".to_owned()]);
    command.args(container.entered(words)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().map_err(|error| Status::internal(error.to_string()))?;
    let (out, err, id) = (process.stdout.take(), process.stderr.take(), process.id());
    let running = async { tokio::join!(read(out), read(err), process.wait()) };
    let running = if patience.is_zero() { Ok(running.await) } else { timeout(patience, running).await };
    match running {
        Ok((stdout, stderr, ended)) => {
            let exit_code = code(ended.map_err(|error| Status::internal(error.to_string()))?);
            Ok(ExecSyncResponse { stdout, stderr, exit_code })
        }
        Err(_) => {
            // What waits for it ends by itself then.
            id.and_then(child).into_iter().for_each(|id| signal(id, Signal::KILL));
            Err(Status::deadline_exceeded(format!("{words:?} has not ended after {patience:?}")))
        }
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut read = vec![];
    if let Some(stream) = stream {
        let mut bounded = stream.take(MOST);
        // A stream that breaks has ended; what is too much is thrown away, so that nobody waits for a full pipe.
        let _ = bounded.read_to_end(&mut read).await;
        let _ = tokio::io::copy(&mut bounded.into_inner(), &mut tokio::io::sink()).await;
    }
    read
}
