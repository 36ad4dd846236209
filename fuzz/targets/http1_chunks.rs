//! Bodies in chunks: what is read and written again is read as the same, and ends at the same place in pieces of any size.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use weir_http1::Headers;
use weir_http1::{BodyReader, Case, Fault, Length, Limits, Part, encode};

#[derive(Debug, Default, PartialEq)]
struct Read {
    data: Vec<u8>,
    trailers: Option<Headers>,
    rest: usize,
}

fn read(bytes: &[u8], size: usize) -> Result<Read, Fault> {
    let (mut reader, mut input) = (BodyReader::new(Length::Chunked, Limits::default()), BytesMut::new());
    let mut read = Read::default();
    for piece in bytes.chunks(size) {
        input.extend_from_slice(piece);
        while let Some(part) = reader.read(&mut input)? {
            match part {
                Part::Data(data) => {
                    assert!(!data.is_empty());
                    read.data.extend_from_slice(&data);
                }
                Part::Trailers(trailers) => read.trailers = Some(trailers),
            }
        }
    }
    reader.end()?;
    read.rest = input.len();
    Ok(read)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let whole = read(bytes, usize::MAX);
    assert_eq!(read(bytes, usize::from(*size).max(1)), whole);
    let Ok(mut whole) = whole else { return };
    let mut written = vec![];
    if !whole.data.is_empty() {
        encode::chunk_size(whole.data.len(), &mut written);
        written.extend_from_slice(&whole.data);
        written.extend_from_slice(encode::CHUNK_END);
    }
    encode::last_chunk(whole.trailers.as_ref(), Case::Lower, &mut written);
    whole.rest = 0;
    assert_eq!(read(&written, usize::MAX), Ok(whole));
});
