//! The body of an answer that a filter has held back.

use std::collections::VecDeque;
use std::future::poll_fn;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use weir_http1::Headers;

use super::response::{Content, ResponseBody};
use crate::upstream::body::answer::BrokenOff;
use crate::upstream::body::held::{Holding, join, split};

/// What became of a body that was to be held back.
pub(in crate::http) enum Taken {
    /// All of it, and its trailers.
    All(Bytes, Option<Headers>),
    /// It is longer than it may be.
    TooLarge,
    /// It broke off; whoever gets it next hears so.
    Broken,
}

/// What is left of it.
pub(super) struct HeldBody {
    frames: VecDeque<Frame<Bytes>>,
    /// Why nothing follows these, if they are not all.
    broken: Option<BrokenOff>,
    /// Whether it is an instance's.
    pub(super) is_of_instance: bool,
}

impl HeldBody {
    /// The next frame.
    pub(super) fn next(&mut self) -> Option<Result<Frame<Bytes>, BrokenOff>> {
        self.frames.pop_front().map(Ok).or_else(|| self.broken.take().map(Err))
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.frames.is_empty() && self.broken.is_none()
    }

    /// How many bytes of data it has, if all have come.
    pub(super) fn length(&self) -> Option<u64> {
        let length = || self.frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        self.broken.is_none().then(length)
    }

    /// The same, where no trailers follow, which need a body without a length.
    pub(super) fn size_hint(&self) -> SizeHint {
        let length = self.length().filter(|_| !self.frames.iter().any(Frame::is_trailers));
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl ResponseBody {
    /// Waits until all of it is there, as its steps make it, and takes it away.
    pub(in crate::http) async fn take_all(&mut self, most: usize) -> Taken {
        let mut held = Holding::default();
        loop {
            match poll_fn(|cx| self.poll_changed(cx)).await {
                Some(Ok(frame)) => {
                    held.push(frame);
                    if held.size > most {
                        return Taken::TooLarge;
                    }
                }
                Some(Err(broken)) => {
                    self.replace(VecDeque::new(), Some(broken));
                    return Taken::Broken;
                }
                None => break,
            }
        }
        let (data, trailers) = join(held.into_frames());
        self.replace(VecDeque::new(), None);
        Taken::All(data, trailers)
    }

    /// Puts something else in the place of what was taken away.
    pub(in crate::http) fn refill(&mut self, data: Bytes, trailers: Option<Headers>) {
        self.replace(split(data, trailers), None);
    }

    fn replace(&mut self, frames: VecDeque<Frame<Bytes>>, broken: Option<BrokenOff>) {
        let is_of_instance = self.is_of_instance();
        self.changed = None;
        self.give_back();
        self.source = Content::Held(Box::new(HeldBody { frames, broken, is_of_instance }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::body::testing::{Twice, fields};

    fn all(taken: Taken) -> Option<(Bytes, Option<Headers>)> {
        match taken {
            Taken::All(data, trailers) => Some((data, trailers)),
            Taken::TooLarge | Taken::Broken => None,
        }
    }

    #[tokio::test]
    async fn a_body_is_taken_as_its_steps_make_it_and_put_back() {
        let mut body = ResponseBody::local("abc".into());
        body.push_step(Box::new(Twice));
        let (data, trailers) = all(body.take_all(20).await).expect("it is short");
        assert_eq!((&data[..], &trailers), (&b"aabbccthe end"[..], &Some(fields(&[("x-steps", "twice")]))));
        assert!(body.is_empty());
        body.refill("new".into(), trailers.clone());
        assert!(!body.is_empty());
        assert_eq!(all(body.take_all(3).await), Some(("new".into(), trailers)));
        body.refill("four".into(), None);
        assert!(matches!(body.take_all(3).await, Taken::TooLarge));
    }
}
