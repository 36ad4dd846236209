//! The load: so many requests, no more and no fewer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use weir_bench::process::{Core, Process};

/// How many connections are kept open.
const CONNECTIONS: u32 = 16;
const DEADLINE: Duration = Duration::from_secs(300);

/// Sends the requests; what h2load says goes to the log.
///
/// # Errors
/// If an answer is not good.
pub(crate) fn run(port: u16, path: &str, requests: u32, log: PathBuf) -> anyhow::Result<()> {
    let arguments = ["--h1".to_owned(), format!("-c{CONNECTIONS}"), format!("-n{requests}"), format!("http://127.0.0.1:{port}{path}")];
    let mut process = Process::start(Core::Others, Path::new("h2load"), arguments, log)?;
    process.wait(DEADLINE).context("h2load")?;
    check(&process.output()?, requests)
}

/// Whether all were answered well.
fn check(said: &str, requests: u32) -> anyhow::Result<()> {
    let codes =
        said.lines().find(|line| line.starts_with("status codes:")).with_context(|| format!("h2load told no status codes:\n{said}"))?;
    ensure!(codes.contains(&format!(" {requests} 2xx")), "of {requests} answers not all were good: {codes}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_good_answers_count() {
        assert!(check("status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx\n", 2000).is_ok());
        assert!(check("status codes: 1999 2xx, 0 3xx, 0 4xx, 1 5xx\n", 2000).is_err());
        assert!(check("", 2000).is_err());
    }
}
