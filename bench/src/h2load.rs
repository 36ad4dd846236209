//! Requests by h2load: as many as it can send in a time, or exactly so many.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::cases::{Body, Case, Protocol};
use crate::process::{Core, Process};

/// How many requests are under way at once.
pub const CONCURRENCY: u16 = 64;
/// With HTTP/2 they share connections.
pub const HTTP2_CONNECTIONS: u16 = 8;
/// How many connections are kept open where requests are counted.
const FEW_CONNECTIONS: u16 = 16;
/// It may take so much longer than it was told to.
const GRACE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(300);
const LARGE: usize = 64 * 1024;
/// A message of gRPC with five bytes, behind its flag and its length.
const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";

/// What h2load did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// That were answered.
    pub requests: f64,
    /// On average.
    pub per_second: f64,
    /// 99 of 100 were answered in so many milliseconds.
    pub p99: f64,
}

/// Has h2load send as much as it can.
///
/// # Errors
/// If h2load fails, or an answer was not good: the time for errors is of no interest.
pub fn flood(case: &Case, port: u16, seconds: u16, work: &Path) -> anyhow::Result<Load> {
    let times = work.join("h2load.times");
    // It writes behind what is there.
    let _ = fs::remove_file(&times);
    let mut arguments = vec![format!("-D{seconds}"), format!("--log-file={}", times.display())];
    arguments.extend(match case.downstream {
        Protocol::Http1 | Protocol::Tls => vec!["--h1".to_owned(), format!("-c{CONCURRENCY}")],
        Protocol::Http2 | Protocol::Http2Tls => vec![format!("-c{HTTP2_CONNECTIONS}"), format!("-m{}", CONCURRENCY / HTTP2_CONNECTIONS)],
    });
    arguments.extend(body(case, work)?);
    arguments.extend(case.host().map(|host| format!("-H:authority: {host}")));
    let scheme = if matches!(case.downstream, Protocol::Tls | Protocol::Http2Tls) { "https" } else { "http" };
    arguments.push(url(scheme, port, &case.path));
    let said = run(arguments, work.join("h2load.log"), Duration::from_secs(seconds.into()) + GRACE)?;
    let requests = good(&said)?;
    let p99 = ninety_ninth(&fs::read_to_string(&times)?).with_context(|| format!("h2load told no times:\n{said}"))?;
    Ok(Load { requests, per_second: requests / f64::from(seconds), p99 })
}

/// Has h2load send exactly so many requests, by HTTP/1.1; what it says goes to the log.
///
/// # Errors
/// If an answer is not good.
pub fn exactly(requests: u32, port: u16, path: &str, log: PathBuf) -> anyhow::Result<()> {
    let said =
        run(vec!["--h1".to_owned(), format!("-c{FEW_CONNECTIONS}"), format!("-n{requests}"), url("http", port, path)], log, DEADLINE)?;
    let answered = good(&said)?;
    ensure!(answered.total_cmp(&requests.into()).is_eq(), "of {requests} requests {answered} were answered");
    Ok(())
}

fn url(scheme: &str, port: u16, path: &str) -> String {
    format!("{scheme}://127.0.0.1:{port}{path}")
}

fn run(arguments: Vec<String>, log: PathBuf, deadline: Duration) -> anyhow::Result<String> {
    let mut process = Process::start(Core::Others, Path::new("h2load"), arguments, log)?;
    process.wait(deadline).context("h2load")?;
    process.output()
}

/// The arguments for what requests carry.
fn body(case: &Case, work: &Path) -> anyhow::Result<Vec<String>> {
    let file = work.join("h2load.body");
    let data = format!("--data={}", file.display());
    Ok(match case.body {
        Body::Nothing => vec![],
        Body::Large => {
            fs::write(&file, vec![b'x'; LARGE])?;
            vec![data]
        }
        Body::Grpc => {
            fs::write(&file, MESSAGE)?;
            vec![data, "-Hcontent-type: application/grpc".to_owned(), "-Hte: trailers".to_owned()]
        }
    })
}

/// How many were answered, if all of them were answered well.
fn good(said: &str) -> anyhow::Result<f64> {
    let line =
        |start: &str| said.lines().find_map(|line| line.strip_prefix(start)).with_context(|| format!("h2load told no {start}\n{said}"));
    let (requests, codes) = (line("requests:")?, line("status codes:")?);
    let done = number(requests, " done").with_context(|| format!("h2load told no number: {requests}"))?;
    ensure!(done > 0.0, "nothing was answered: {requests}");
    for bad in [" failed", " errored", " timeout"] {
        ensure!(number(requests, bad) == Some(0.0), "not all was answered: {requests}");
    }
    // At the end of the time heads may have come whose bodies had not.
    ensure!(number(codes, " 2xx").is_some_and(|good| good >= done), "not all answers were good: {codes}");
    for bad in [" 3xx", " 4xx", " 5xx"] {
        ensure!(number(codes, bad) == Some(0.0), "not all answers were good: {codes}");
    }
    Ok(done)
}

/// The number before a word, in a list with commas.
fn number(list: &str, word: &str) -> Option<f64> {
    list.split(',').find_map(|part| part.strip_suffix(word))?.trim().parse().ok()
}

/// By the third column of each line, in microseconds; the answer is in milliseconds.
fn ninety_ninth(times: &str) -> Option<f64> {
    let mut all: Vec<u32> = times.lines().filter_map(|line| line.split('\t').nth(2)?.parse().ok()).collect();
    all.sort_unstable();
    let last = all.len().checked_sub(1)?;
    Some(f64::from(*all.get(last * 99 / 100)?) / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(failed: u32, bad: u32) -> String {
        format!(
            "finished in 2.00s\nrequests: 9 total, 13 started, 9 done, 9 succeeded, {failed} failed, 0 errored, 0 timeout\n\
             status codes: {} 2xx, 0 3xx, 0 4xx, {bad} 5xx\n",
            9 - bad
        )
    }

    #[test]
    fn only_good_answers_count() {
        assert!((good(&said(0, 0)).unwrap() - 9.0).abs() < 1e-9);
        assert!(good(&said(1, 0)).is_err());
        assert!(good(&said(0, 1)).is_err());
        assert!(good("").is_err());
    }

    #[test]
    fn no_answer_is_no_measurement() {
        let nothing = said(0, 0).replace('9', "0");
        assert!(good(&nothing).unwrap_err().to_string().contains("nothing was answered"));
    }

    #[test]
    fn a_percentile_is_found_whatever_the_order() {
        let times: String = (1..=1_001).rev().map(|time| format!("17\t200\t{time}\n")).collect();
        assert_eq!(ninety_ninth(&times), Some(0.991));
        assert_eq!(ninety_ninth(""), None);
    }
}
