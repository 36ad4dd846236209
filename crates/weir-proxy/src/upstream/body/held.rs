//! Bodies that were held back: their frames, and what these say together.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use weir_http1::header::{Headers, from_map, to_map};

/// Parts that are smaller are put together: each frame takes more than a hundred bytes beside what it says.
const SMALL: usize = 1024;
/// So much of them.
const TOGETHER: usize = 16 * 1024;

/// Frames as they are held back, one after the other.
#[derive(Default)]
pub struct Holding {
    frames: VecDeque<Frame<Bytes>>,
    /// Small parts behind these.
    tail: BytesMut,
    /// How many bytes of data there are.
    pub size: usize,
}

impl Holding {
    /// Adds a frame behind the others.
    pub fn push(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(part) => {
                self.size += part.len();
                if part.len() < SMALL {
                    self.tail.extend_from_slice(&part);
                    if self.tail.len() >= TOGETHER {
                        self.settle();
                    }
                } else {
                    self.settle();
                    self.frames.push_back(Frame::data(part));
                }
            }
            Err(frame) => {
                self.settle();
                self.frames.push_back(frame);
            }
        }
    }

    fn settle(&mut self) {
        if !self.tail.is_empty() {
            self.frames.push_back(Frame::data(self.tail.split().freeze()));
        }
    }

    /// All of them. What was put together is where it was.
    pub fn into_frames(mut self) -> VecDeque<Frame<Bytes>> {
        self.settle();
        self.frames
    }
}

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
    fn small_parts_are_held_together() {
        let mut holding = Holding::default();
        let large = Bytes::from(vec![7; SMALL]);
        for part in std::iter::repeat_n(Bytes::from_static(b"x"), 100_000).chain([large.clone()]).chain([Bytes::from_static(b"end")]) {
            holding.push(Frame::data(part));
        }
        holding.push(Frame::trailers(to_map(&fields(&[("x-t", "1")]))));
        assert_eq!(holding.size, 100_000 + SMALL + 3);
        let frames = holding.into_frames();
        assert_eq!(frames.len(), 100_000_usize.div_ceil(TOGETHER) + 3);
        let (data, trailers) = join(frames);
        assert_eq!(data, [&[b'x'; 100_000][..], &large, b"end"].concat());
        assert!(trailers.is_some());
    }

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
