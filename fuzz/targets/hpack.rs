//! Blocks of headers of HTTP/2, cut into frames anyhow: what the library lets through is no larger than it was told, however small the
//! block was, and its size counts for the limits of a head. The first byte says how the block is cut.
#![no_main]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncWriteExt;
use weir_config::head::http2::list_limit;
use weir_http1::header::from_map;

const BYTES: usize = 4096;
const COUNT: usize = 20;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a block is small").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// What a client says: its settings, which are none, and a head in pieces of this size.
fn said(block: &[u8], piece: usize) -> Vec<u8> {
    let mut said = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let mut pieces = block.chunks(piece).peekable();
    let mut kind = HEADERS;
    while let Some(part) = pieces.next() {
        let end_headers = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        let end_stream = if kind == HEADERS { END_STREAM } else { 0 };
        said.extend(frame(kind, end_headers | end_stream, part));
        kind = CONTINUATION;
    }
    said
}

/// Goes on until it waits for more than it will get.
fn drive<T>(future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut cx) = (pin!(future), Context::from_waker(Waker::noop()));
    for _ in 0..1000 {
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return Some(done);
        }
    }
    None
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, block)) = bytes.split_first() else { return };
    let said = said(block, usize::from(*first) + 1);
    let (mut client, server) = tokio::io::duplex(said.len() + (64 << 10));
    if drive(client.write_all(&said)).is_none() {
        return;
    }
    let mut builder = h2::server::Builder::new();
    let limit = list_limit(BYTES, COUNT);
    builder.max_header_list_size(limit);
    let Some(Ok(mut connection)) = drive(builder.handshake::<_, bytes::Bytes>(server)) else { return };
    if let Some(Some(Ok((request, _)))) = drive(connection.accept()) {
        let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
        assert!(fields.sum::<usize>() <= limit as usize, "{:?}", request.headers());
        let count = request.headers().len();
        assert_eq!(from_map(request.into_parts().0.headers).len(), count);
    }
});
