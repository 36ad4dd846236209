//! Long answers, made while they are sent: bytes, lines, drops.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Response, StatusCode};
use tokio::time::{Instant, Interval};

use super::asked::Asked;
use super::misbehave::{seconds_from, status_code};
use super::{is_head, number};
use crate::http::{Body, Chunks, Refusal, typed, whole};

/// As many lines as `/stream` has at most, as at httpbin.org.
const MOST_LINES: u32 = 100;

/// `/drip` sends at most this many bytes, in at most this many drops.
const MOST_DRIPPED: u64 = 10 * 1024 * 1024;
const MOST_DROPS: u64 = 1000;

const BINARY: &str = "application/octet-stream";

/// The bytes that are sent over and over: they look random, and are the same every time.
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(1);
    (0..64 * 1024).map(|_| random.u8(..)).collect()
});

/// `/bytes/N`: any number of bytes, announced by `content-length`.
pub(super) fn bytes(count: &str) -> Result<Response<Body>, Refusal> {
    let count: u64 = number("bytes", count)?;
    Ok(typed(StatusCode::OK, BINARY, Chunks::new(pattern(count, PATTERN.len())).of_length(count).boxed()))
}

/// `/stream-bytes/N?chunk_size=…`: the same bytes, chunked.
pub(super) fn stream_bytes(count: &str, asked: &Asked) -> Result<Response<Body>, Refusal> {
    let count: u64 = number("bytes", count)?;
    let chunk = asked.arg("chunk_size").map_or(Ok(10 * 1024), |size| number("chunk_size", &size))?;
    Ok(typed(StatusCode::OK, BINARY, Chunks::new(pattern(count, chunk)).boxed()))
}

/// `count` bytes of the pattern in chunks of at most `chunk` bytes.
fn pattern(count: u64, chunk: usize) -> impl Iterator<Item = Bytes> + Send + Unpin + 'static {
    let chunk = chunk.max(1);
    let mut sent = 0;
    std::iter::from_fn(move || {
        // Within the pattern, so it fits any integer.
        let start = (sent % PATTERN.len() as u64) as usize;
        let left = usize::try_from(count - sent).unwrap_or(usize::MAX);
        let piece = PATTERN.slice(start..start + left.min(chunk).min(PATTERN.len() - start));
        sent += piece.len() as u64;
        (!piece.is_empty()).then_some(piece)
    })
}

/// `/stream/N`: N lines, each the JSON of `/get` and the line's number.
pub(super) fn stream(lines: &str, asked: &Asked) -> Result<Response<Body>, Refusal> {
    let lines = number::<u32>("stream", lines)?.min(MOST_LINES);
    if is_head(asked) {
        return Ok(typed(StatusCode::OK, "application/json", whole("")));
    }
    let told = asked.get();
    let line = move |id: u32| {
        let mut told = told.clone();
        told["id"] = id.into();
        Bytes::from(format!("{told}\n"))
    };
    Ok(typed(StatusCode::OK, "application/json", Chunks::new((0..lines).map(line)).boxed()))
}

/// `/drip?duration=2&numbytes=10&code=200&delay=0`: the head after `delay` seconds, then the bytes drop by drop.
pub(super) async fn drip(asked: &Asked) -> Result<Response<Body>, Refusal> {
    let code = asked.arg("code").map_or(Ok(StatusCode::OK), |code| status_code(&code))?;
    let count: u64 = asked.arg("numbytes").map_or(Ok(10), |count| number("numbytes", &count))?;
    if count > MOST_DRIPPED {
        return Err(Refusal::bad_request(format!("numbytes: at most {MOST_DRIPPED}")));
    }
    let duration = asked.arg("duration").map_or(Ok(Duration::from_secs(2)), |seconds| seconds_from("duration", &seconds))?;
    let delay = asked.arg("delay").map_or(Ok(Duration::ZERO), |seconds| seconds_from("delay", &seconds))?;
    tokio::time::sleep(delay).await;
    let drops = count.clamp(1, MOST_DROPS);
    Ok(typed(code, BINARY, Chunks::new(dripped(count, drops)).of_length(count).paced(pace(duration, drops)).boxed()))
}

/// `count` asterisks in that many drops, as equal as they can be.
fn dripped(count: u64, drops: u64) -> impl Iterator<Item = Bytes> + Send + Unpin + 'static {
    let until = move |drop: u64| count * drop / drops;
    (0..drops).map(move |drop| (until(drop)..until(drop + 1)).map(|_| b'*').collect())
}

/// The first drop falls after one period, the last when the duration is over; none without a duration.
fn pace(duration: Duration, drops: u64) -> Option<Interval> {
    let period = duration.div_f64(drops as f64);
    (!period.is_zero()).then(|| tokio::time::interval_at(Instant::now() + period, period))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_does_not_depend_on_the_chunks() {
        let all = |count, chunk| pattern(count, chunk).flatten().collect::<Vec<u8>>();
        assert_eq!(all(200_000, 1000), all(200_000, usize::MAX));
        assert_eq!(all(200_000, 7).len(), 200_000);
        assert_eq!(all(10, 4), all(200_000, 4)[..10]);
        assert!(all(0, 4).is_empty());
    }

    #[test]
    fn drops_add_up() {
        for (count, drops) in [(10, 10), (1001, 1000), (0, 1), (7, 3)] {
            assert_eq!(dripped(count, drops).map(|drop| drop.len() as u64).sum::<u64>(), count);
        }
    }
}
