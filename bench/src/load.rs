//! Whether what was started is ready.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::process::{Process, pause};

/// The preface of HTTP/2 with empty SETTINGS. A server answers with its own.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Waits until a GET is answered with 200, and says how long that took.
///
/// # Errors
/// If the process ends, or the deadline passes.
pub fn wait(process: &mut Process, port: u16, path: &str, deadline: Duration) -> anyhow::Result<Duration> {
    wait_for(process, deadline, || {
        let line = get(port, path)?;
        if line.contains(" 200 ") { Ok(()) } else { Err(std::io::Error::other(format!("{line:?}"))) }
    })
}

/// Waits until HTTP/2 is spoken.
///
/// # Errors
/// If the process ends, or the deadline passes.
pub fn wait_for_http2(process: &mut Process, port: u16, deadline: Duration) -> anyhow::Result<Duration> {
    wait_for(process, deadline, || {
        let mut stream = connect(port)?;
        stream.write_all(HTTP2_PREFACE)?;
        stream.read_exact(&mut [0; 9])
    })
}

/// Waits until a connection is accepted.
///
/// # Errors
/// If the process ends, or the deadline passes.
pub fn wait_for_listener(process: &mut Process, port: u16, deadline: Duration) -> anyhow::Result<Duration> {
    wait_for(process, deadline, || connect(port).map(drop))
}

fn wait_for(process: &mut Process, deadline: Duration, attempt: impl Fn() -> std::io::Result<()>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    loop {
        process.check()?;
        let Err(error) = attempt() else { return Ok(start.elapsed()) };
        if start.elapsed() > deadline {
            bail!("not ready in {deadline:?}; at last: {error}; it said:\n{}", process.last_words());
        }
        pause();
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(stream)
}

/// The status line of an answer.
fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = connect(port)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: bench.test\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

/// How long an answer of HTTP/1.1 is as a whole, as soon as its head is there. It must be good, and say its length.
///
/// # Errors
/// If it is not so.
pub fn answer_length(read: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(read.get(..end).unwrap_or_default())?;
    ensure!(head.starts_with("HTTP/1.1 200"), "an answer was not good: {head}");
    let header = head.split("\r\n").filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, body) = header.with_context(|| format!("an answer does not say its length: {head}"))?;
    Ok(Some(end + 4 + body.trim().parse::<usize>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_long_as_it_says() {
        assert_eq!(answer_length(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n").unwrap(), None);
        assert_eq!(answer_length(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap(), Some(40));
        assert!(answer_length(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n").is_err());
    }
}
