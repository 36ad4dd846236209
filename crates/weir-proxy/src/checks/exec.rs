//! A check by a command.
//!
//! Who writes the configuration may so run commands as the user of the proxy. That is why a proxy does it only if it is told
//! to (`--allow-exec-probes`), and refuses such a cluster else. The command is started as it is, by no shell, without input;
//! what it writes is not read; when the time of the check is over, it is killed.

use std::process::Stdio;

use tokio::process::Command;

use super::failure::{CheckFailure, Result};

/// One check: the command ends with success.
pub(super) async fn check(command: &[String]) -> Result {
    let [program, arguments @ ..] = command else { return Err(CheckFailure::network("there is no command")) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let status = command.status().await.map_err(|error| CheckFailure::network(format!("{program} cannot be started: {error}")))?;
    if status.success() { Ok(()) } else { Err(CheckFailure::answer(format!("{program} ends with {status}"))) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;

    use super::*;

    async fn run(words: &[&str]) -> Result {
        check(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).await
    }

    #[tokio::test]
    async fn the_end_of_the_command_decides() {
        assert_eq!(run(&["true"]).await, Ok(()));
        assert_eq!(run(&["false"]).await.unwrap_err().reason, "false ends with exit status: 1");
        assert!(run(&["/no/such/program"]).await.unwrap_err().reason.starts_with("/no/such/program cannot be started"));
        assert_eq!(run(&["test", "$HOME", "=", "$HOME"]).await, Ok(()), "no shell reads it");
    }

    #[tokio::test]
    async fn a_command_is_killed_when_nobody_waits_for_it_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let mut reader = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
        let path = fifo.display().to_string();
        let started = async {
            while reader.read(&mut [0; 8]).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
        };
        let words = ["sh", "-c", "exec >\"$0\"; echo started; exec sleep 1000", &path];
        tokio::select! {
            result = run(&words) => panic!("it ended: {result:?}"),
            () = started => {}
        }
        // Its end of the pipe is closed when it is dead.
        let ended = tokio::time::timeout(Duration::from_secs(20), reader.read_to_end(&mut vec![])).await;
        assert!(ended.is_ok());
    }
}
