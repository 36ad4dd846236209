//! A client's body as the filters have left it: what arrives, what one of them held back, and what others make of it on its way.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use weir_http1::header::{Headers, from_map, to_map};

use super::held;
use super::held::Holding;
use super::step::{BodyStep, More, Steps};
use crate::exchange::failure::FailureKind;
use crate::io::client::{BodyFault, Incoming};

/// A client's body, until it is sent on.
pub struct Inbound {
    source: Remainder,
    /// What is made of it on its way.
    steps: Steps,
    /// What has come out of the steps already.
    ready: VecDeque<Frame<Bytes>>,
}

/// Where a body comes from.
enum Remainder {
    /// The client's connection.
    Arriving(Incoming),
    /// Frames that were held back, to the last. Steps that are added later have them still to pass.
    Held(VecDeque<Frame<Bytes>>),
    /// A body of which something has come out already: what is added later makes something of that, too.
    Of(Box<Inbound>),
    /// Nothing more comes.
    Over,
}

/// What became of a body that was to be held back.
#[derive(Debug, PartialEq, Eq)]
pub enum Held {
    /// All of it is there, so many bytes.
    All(usize),
    /// It is larger than it may be: so many bytes of it have come.
    TooLarge(usize),
}

impl Inbound {
    /// A body as it arrives.
    pub fn new(incoming: Incoming) -> Self {
        let source = if incoming.is_end_stream() { Remainder::Over } else { Remainder::Arriving(incoming) };
        Self { source, steps: Steps::default(), ready: VecDeque::new() }
    }

    /// Lets something be made of it on its way, after all that is made of it already.
    pub fn push_step(&mut self, step: Box<dyn BodyStep>) {
        if !self.ready.is_empty() {
            let over = Self { source: Remainder::Over, steps: Steps::default(), ready: VecDeque::new() };
            let before = std::mem::replace(self, over);
            self.source = Remainder::Of(Box::new(before));
        }
        self.steps.push(step);
    }

    /// Waits until all of it is there, as its steps make it.
    ///
    /// # Errors
    /// If it does not come to its end.
    pub async fn hold(&mut self, limit: usize) -> Result<Held, FailureKind> {
        let mut held = Holding::default();
        while let Some(frame) = poll_fn(|cx| self.poll(cx)).await {
            held.push(frame?);
            if held.size > limit {
                // What came is not read: the connection is of no more use.
                let size = held.size;
                self.source = Remainder::Held(held.into_frames());
                return Ok(Held::TooLarge(size));
            }
        }
        let (size, frames) = (held.size, held.into_frames());
        self.steps = Steps::default();
        self.source = if frames.is_empty() { Remainder::Over } else { Remainder::Held(frames) };
        Ok(Held::All(size))
    }

    /// Reads all of it, and keeps nothing; how many bytes there were.
    ///
    /// # Errors
    /// If it does not come to its end.
    pub async fn pass_over(&mut self) -> Result<u64, FailureKind> {
        let mut size = 0;
        while let Some(frame) = poll_fn(|cx| self.poll(cx)).await {
            size += frame?.data_ref().map_or(0, |data| data.len() as u64);
        }
        *self = Self::nothing();
        Ok(size)
    }

    /// Nothing.
    pub fn nothing() -> Self {
        Self { source: Remainder::Over, steps: Steps::default(), ready: VecDeque::new() }
    }

    /// Takes away what was held back: all of it, as one part, and the trailers.
    pub fn take_held(&mut self) -> (Bytes, Option<Headers>) {
        match std::mem::replace(&mut self.source, Remainder::Over) {
            Remainder::Held(frames) => held::join(frames),
            Remainder::Arriving(_) | Remainder::Of(_) | Remainder::Over => (Bytes::new(), None),
        }
    }

    /// Puts something else in the place of what was taken away. Also nothing at all is a body then, which comes to its end.
    pub fn refill(&mut self, data: Bytes, trailers: Option<Headers>) {
        self.source = Remainder::Held(held::split(data, trailers));
    }

    /// Waits until so much of it is there, or all of it, as its steps make it; what is there stays for who reads it next.
    ///
    /// # Errors
    /// If it breaks off before.
    pub async fn hold_some(&mut self, wanted: usize) -> Result<Held, FailureKind> {
        let mut held = Holding::default();
        while held.size < wanted {
            let Some(frame) = poll_fn(|cx| self.poll(cx)).await else { break };
            held.push(frame?);
        }
        let (size, mut frames) = (held.size, held.into_frames());
        frames.append(&mut self.ready);
        self.ready = frames;
        Ok(Held::All(size))
    }

    /// What is held back of it, up to so many bytes.
    pub fn held(&self, most: usize) -> Bytes {
        let behind = match &self.source {
            Remainder::Held(frames) => Some(frames),
            Remainder::Arriving(_) | Remainder::Of(_) | Remainder::Over => None,
        };
        let mut parts = self.ready.iter().chain(behind.into_iter().flatten()).filter_map(Frame::data_ref);
        let first = parts.next().cloned().unwrap_or_default();
        let Some(second) = parts.next().filter(|_| first.len() < most) else { return first.slice(..first.len().min(most)) };
        let mut held = BytesMut::from(first);
        for part in std::iter::once(second).chain(parts) {
            held.extend_from_slice(&part[..part.len().min(most - held.len())]);
        }
        held.freeze()
    }

    /// The next frame.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FailureKind>>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            ready!(self.steps.poll_ready(cx));
            match self.steps.more().map_err(FailureKind::Refused)? {
                More::Nothing => {}
                More::Data(data) => {
                    self.push_data(data);
                    continue;
                }
                More::End(trailers) => {
                    self.ready.extend(trailers.map(|trailers| Frame::trailers(to_map(&trailers))));
                    continue;
                }
            }
            let (frame, is_over) = match &mut self.source {
                Remainder::Over => return Poll::Ready(None),
                Remainder::Arriving(incoming) => {
                    let frame = ready!(incoming.poll_frame(cx)).transpose();
                    (frame.map_err(failure), incoming.is_end_stream())
                }
                Remainder::Of(before) => {
                    let frame = ready!(before.poll(cx)).transpose();
                    (frame, before.is_end_stream())
                }
                Remainder::Held(frames) => (Ok(frames.pop_front()), frames.is_empty()),
            };
            if is_over || !matches!(&frame, Ok(Some(_))) {
                self.source = Remainder::Over;
            }
            match frame? {
                Some(frame) if self.steps.is_empty() => return Poll::Ready(Some(Ok(frame))),
                frame => self.pass(frame, is_over)?,
            }
        }
    }

    /// Lets a frame pass the steps, and the end if it is the last.
    fn pass(&mut self, frame: Option<Frame<Bytes>>, is_over: bool) -> Result<(), FailureKind> {
        let (data, trailers) = match frame.map(Frame::into_data) {
            None => (None, None),
            Some(Ok(data)) => (Some(data), None),
            Some(Err(frame)) => (None, frame.into_trailers().ok().map(from_map)),
        };
        if is_over || data.is_none() {
            self.source = Remainder::Over;
            self.steps.end(trailers);
        }
        if let Some(data) = data {
            let data = self.steps.data(data).map_err(FailureKind::Refused)?;
            self.push_data(data);
        }
        Ok(())
    }

    fn push_data(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.ready.push_back(Frame::data(data));
        }
    }

    /// Whether nothing more comes, as far as is known.
    pub fn is_end_stream(&self) -> bool {
        self.ready.is_empty()
            && !self.steps.are_ending()
            && match &self.source {
                Remainder::Over => true,
                Remainder::Held(_) => false,
                Remainder::Arriving(incoming) => self.steps.is_empty() && incoming.is_end_stream(),
                Remainder::Of(before) => self.steps.is_empty() && before.is_end_stream(),
            }
    }

    /// How long what comes is, as far as is known.
    pub fn size_hint(&self) -> SizeHint {
        let ready = length(&self.ready);
        match &self.source {
            Remainder::Over if !self.steps.are_ending() => SizeHint::with_exact(ready),
            _ if self.steps.are_ending() || !self.steps.keep_length() => SizeHint::default(),
            Remainder::Over => SizeHint::default(),
            Remainder::Held(frames) => SizeHint::with_exact(ready + length(frames)),
            Remainder::Arriving(incoming) => behind(ready, &incoming.size_hint()),
            Remainder::Of(before) => behind(ready, &before.size_hint()),
        }
    }
}

/// What a client did whose body broke off.
fn failure(fault: BodyFault) -> FailureKind {
    match fault {
        BodyFault::Malformed => FailureKind::ClientMalformed,
        BodyFault::TooLarge => FailureKind::ClientTooLarge,
        BodyFault::Gone => FailureKind::ClientGone,
    }
}

/// So many bytes, and what follows them.
fn behind(ready: u64, rest: &SizeHint) -> SizeHint {
    rest.exact().map_or_else(SizeHint::default, |rest| SizeHint::with_exact(ready + rest))
}

fn length(frames: &VecDeque<Frame<Bytes>>) -> u64 {
    frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{AtMost, Hold, Twice, chunked, fields, inbound, malformed, read, sized};
    use super::*;

    const TRAILERS: [(&str, &str); 1] = [("x-t", "1")];

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made").block_on(future)
    }

    /// The frames of a test's step, whatever the parts were.
    fn twice(data: &[u8]) -> Vec<u8> {
        data.iter().flat_map(|byte| [*byte, *byte]).chain(*b"the end").collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_body_comes_out_as_it_came_or_as_its_steps_make_it(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            (with_trailers, with_steps, held) in any::<(bool, bool, bool)>(),
        ) {
            let whole = chunks.concat();
            let trailers = if with_trailers { &TRAILERS[..] } else { &[] };
            block_on(async {
                let mut body = chunked(&chunks, trailers).await;
                let (mut data, mut fields) = (whole.clone(), with_trailers.then(|| fields(&TRAILERS)));
                if with_steps {
                    body.push_step(Box::new(Twice));
                    data = twice(&whole);
                    fields.get_or_insert_default().append("x-steps", weir_http1::HeaderValue::from_static("twice"));
                }
                if held {
                    assert_eq!(body.hold(data.len()).await.expect("it comes"), Held::All(data.len()));
                    assert_eq!(body.size_hint().exact(), Some(data.len() as u64));
                    assert_eq!(body.is_end_stream(), data.is_empty() && fields.is_none());
                }
                assert_eq!(read(&mut body).await.expect("it comes"), (data, fields));
                assert!(body.is_end_stream());
                assert_eq!(read(&mut body).await.expect("nothing more comes"), (vec![], None));
            });
        }

        #[test]
        fn a_body_is_held_back_up_to_the_limit_and_no_further(sizes in prop::collection::vec(0..30_usize, 0..6), limit in 0..90_usize) {
            let chunks: Vec<Vec<u8>> = sizes.iter().map(|size| vec![b'x'; *size]).collect();
            let held = block_on(async { chunked(&chunks, &[]).await.hold(limit).await.expect("it comes") });
            match held {
                Held::All(size) => assert!(size == sizes.iter().sum::<usize>() && size <= limit),
                Held::TooLarge(size) => assert!(size <= sizes.iter().sum() && size > limit),
            }
        }
    }

    #[tokio::test]
    async fn its_length_is_known_as_long_as_nothing_changes_it() {
        let mut body = sized("hello").await;
        assert_eq!(body.size_hint().exact(), Some(5));
        body.push_step(Box::new(AtMost(9)));
        assert_eq!(body.size_hint().exact(), Some(5));
        body.push_step(Box::new(Twice));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (None, false));
        let mut nothing = inbound(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()).await;
        assert_eq!((nothing.size_hint().exact(), nothing.is_end_stream()), (Some(0), true));
        assert_eq!(nothing.hold(0).await.expect("nothing comes"), Held::All(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn of_what_is_held_back_for_a_while_nothing_is_lost(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..8),
            (wanted, most, with_steps) in (0..200_usize, 0..200_usize, any::<bool>()),
        ) {
            block_on(async {
                let mut body = chunked(&chunks, &TRAILERS).await;
                let mut whole = chunks.concat();
                if with_steps {
                    body.push_step(Box::new(Twice));
                    whole = twice(&whole);
                }
                let Held::All(size) = body.hold_some(wanted).await.expect("it comes") else { panic!("there is no limit") };
                assert!(size >= wanted.min(whole.len()) && size <= whole.len());
                let held = body.held(most);
                assert!(held.len() == size.min(most) || held.len() > size && held.len() <= most);
                assert!(whole.starts_with(&held));
                assert_eq!(read(&mut body).await.expect("it comes").0, whole);
            });
        }
    }

    #[tokio::test]
    async fn held_back_in_part_its_length_is_still_known() {
        let mut body = sized("hello").await;
        assert_eq!(body.hold_some(2).await.expect("it comes"), Held::All(5));
        assert_eq!((body.size_hint().exact(), body.is_end_stream(), &body.held(3)[..]), (Some(5), false, &b"hel"[..]));
    }

    #[tokio::test]
    async fn held_twice_it_passes_the_steps_once_each() {
        let mut body = chunked(&[b"a".to_vec(), b"b".to_vec()], &TRAILERS).await;
        body.push_step(Box::new(Hold::default()));
        assert_eq!(body.hold(2).await.expect("it comes"), Held::All(2));
        body.push_step(Box::new(Twice));
        assert_eq!(body.hold(20).await.expect("it comes"), Held::All(11));
        assert_eq!(read(&mut body).await.expect("it comes"), (twice(b"ab"), Some(fields(&[("x-steps", "twice")]))));
    }

    #[tokio::test]
    async fn an_error_comes_after_what_was_good_and_is_the_clients() {
        for with_step in [false, true] {
            let mut body = malformed().await;
            if with_step {
                body.push_step(Box::new(AtMost(10)));
            }
            let first = poll_fn(|cx| body.poll(cx)).await.expect("it comes").expect("it is good");
            assert_eq!(first.into_data().expect("it is data"), "ok");
            let error = poll_fn(|cx| body.poll(cx)).await.expect("something comes");
            assert!(matches!(error, Err(FailureKind::ClientMalformed)), "{error:?}");
            assert!(poll_fn(|cx| body.poll(cx)).await.is_none());
            assert!(matches!(malformed().await.hold(10).await, Err(FailureKind::ClientMalformed)));
        }
    }

    #[tokio::test]
    async fn a_step_may_refuse_a_body() {
        let mut body = chunked(&[b"abc".to_vec()], &[]).await;
        body.push_step(Box::new(AtMost(2)));
        assert!(matches!(read(&mut body).await, Err(FailureKind::Refused(_))));
    }

    #[test]
    fn what_is_held_in_part_has_the_steps_still_to_pass_that_are_added_later() {
        block_on(async {
            let mut body = chunked(&[b"ab".to_vec(), b"c".to_vec(), b"d".to_vec()], &TRAILERS).await;
            body.push_step(Box::new(Twice));
            let held = body.hold_some(3).await.expect("it comes");
            assert!(matches!(held, Held::All(3..)), "{held:?}");
            assert_eq!(&*body.held(3), b"aab");
            body.push_step(Box::new(Twice));
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (None, false));
            let (data, trailers) = read(&mut body).await.expect("it comes");
            assert_eq!(data, twice(&twice(b"abcd")));
            assert_eq!(trailers.map(|fields| fields.len()), Some(3));
            assert!(body.is_end_stream());
        });
    }
}
