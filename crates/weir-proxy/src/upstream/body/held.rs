//! Bodies that were held back: their frames, and what these say together.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use weir_http1::header::{Headers, from_map, to_map};

/// All that frames say, and their trailers.
pub fn join(frames: VecDeque<Frame<Bytes>>) -> (Bytes, Option<Headers>) {
    let (mut parts, mut trailers) = (vec![], None);
    for frame in frames {
        match frame.into_data() {
            Ok(part) => parts.push(part),
            Err(frame) => trailers = frame.into_trailers().ok().map(from_map),
        }
    }
    // What came in one part is not copied.
    let data = match parts.len() {
        0 | 1 => parts.pop().unwrap_or_default(),
        _ => parts
            .iter()
            .fold(BytesMut::with_capacity(parts.iter().map(Bytes::len).sum()), |mut all, part| {
                all.extend_from_slice(part);
                all
            })
            .freeze(),
    };
    (data, trailers)
}

/// The frames that say this.
pub fn split(data: Bytes, trailers: Option<Headers>) -> VecDeque<Frame<Bytes>> {
    let data = (!data.is_empty()).then(|| Frame::data(data));
    data.into_iter().chain(trailers.map(|trailers| Frame::trailers(to_map(&trailers)))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::fields;
    use super::*;

    #[test]
    fn what_is_joined_is_what_was_split() {
        for data in ["", "abc"] {
            for trailers in [None, Some(fields(&[("x-t", "1")]))] {
                assert_eq!(join(split(data.into(), trailers.clone())), (data.into(), trailers));
            }
        }
        let parts = ["a", "", "bc"].map(|part| Frame::data(Bytes::from_static(part.as_bytes())));
        assert_eq!(join(parts.into()), ("abc".into(), None));
    }
}
