//! Requests: one until the answer is right, then wrk's flood.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::process::{Core, Process, pause};

/// How many connections wrk keeps open.
pub const CONNECTIONS: u16 = 64;

/// What wrk did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// That were answered.
    pub requests: f64,
    /// On average.
    pub per_second: f64,
}

/// Waits until a GET is answered with 200, and says how long that took.
///
/// # Errors
/// If the process ends, or the deadline passes.
pub fn wait(process: &mut Process, port: u16, path: &str, deadline: Duration) -> anyhow::Result<Duration> {
    let start = Instant::now();
    loop {
        process.check()?;
        let answer = get(port, path);
        if answer.as_deref().is_ok_and(|line| line.contains(" 200 ")) {
            return Ok(start.elapsed());
        }
        if start.elapsed() > deadline {
            bail!("no 200 for {path} in {deadline:?}; the last answer was {answer:?}; it said:\n{}", process.last_words());
        }
        pause();
    }
}

/// The status line of an answer.
fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: bench.test\r\nconnection: close\r\n\r\n")?;
    let mut answer = vec![];
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}

/// Has wrk send as much as it can.
///
/// # Errors
/// If wrk fails, or an answer was not good: the time for errors is of no interest.
pub fn wrk(port: u16, path: &str, seconds: u16) -> anyhow::Result<Load> {
    let url = format!("http://127.0.0.1:{port}{path}");
    let output = Core::Others
        .command(Path::new("wrk"))
        .args(["-t1".to_owned(), "--timeout".to_owned(), "30s".to_owned(), format!("-c{CONNECTIONS}"), format!("-d{seconds}s"), url])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {}", String::from_utf8_lossy(&output.stderr));
    parse(&text)
}

fn parse(text: &str) -> anyhow::Result<Load> {
    let wrong = |line: &&str| line.contains("Non-2xx") || line.contains("Socket errors");
    if let Some(line) = text.lines().find(wrong) {
        bail!("answers were wrong: {}", line.trim());
    }
    let number = |found: Option<&str>| found.and_then(|word| word.trim().parse::<f64>().ok());
    let requests = number(text.lines().find_map(|line| Some(line.split_once(" requests in ")?.0)));
    let per_second = number(text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")));
    let requests = requests.filter(|requests| *requests > 0.0);
    Ok(Load {
        requests: requests.with_context(|| format!("wrk counted no requests:\n{text}"))?,
        per_second: per_second.with_context(|| format!("wrk said no requests per second:\n{text}"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str =
        "  1 threads and 64 connections\n  18000 requests in 5.00s, 2.5MB read\nRequests/sec:   3600.25\nTransfer/sec: 0.5MB\n";

    #[test]
    fn what_wrk_counted_is_read() {
        assert_eq!(parse(SAID).unwrap(), Load { requests: 18_000.0, per_second: 3_600.25 });
    }

    #[test]
    fn wrong_answers_are_no_measurement() {
        let error = parse(&format!("{SAID}  Non-2xx or 3xx responses: 17\n")).unwrap_err();
        assert!(error.to_string().contains("responses: 17"), "{error}");
    }
}
