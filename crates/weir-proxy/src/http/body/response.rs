//! The body of an answer on its way to the client, with what filters make of it. It ends the exchange when it is done or
//! dropped.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use weir_config::head::trailers;
use weir_http1::header::{from_map, to_map};
use weir_routing::grpc::Status;

use super::held::HeldBody;
use crate::exchange::failure::{Failure, FailureKind, Refused};
use crate::exchange::{Ending, Exchange};
use crate::upstream::body::UpstreamBody;
use crate::upstream::body::answer::BrokenOff;
use crate::upstream::body::step::{BodyStep, More, Steps};

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The body of an answer.
pub struct ResponseBody {
    pub(super) source: Content,
    /// What filters make of it; most make nothing.
    pub(super) changed: Option<Box<Changed>>,
    /// Ends the exchange; none where that is somebody else's task.
    ending: Option<Ending>,
}

pub(super) enum Content {
    /// One of ours.
    Local(Bytes),
    /// One of an instance's.
    Upstream(Box<UpstreamBody>),
    /// What a filter has held back.
    Held(Box<HeldBody>),
}

/// A body that filters change.
#[derive(Default)]
pub(super) struct Changed {
    steps: Steps,
    ready: VecDeque<Frame<Bytes>>,
    is_over: bool,
}

impl ResponseBody {
    /// A body of ours; empty if the connection changes to another protocol.
    pub fn local(body: Bytes) -> Self {
        Self { source: Content::Local(body), changed: None, ending: None }
    }

    /// A body of an instance's.
    pub fn upstream(body: Box<UpstreamBody>) -> Self {
        Self { source: Content::Upstream(body), changed: None, ending: None }
    }

    /// Ends the exchange with this body.
    pub fn end(&mut self, ending: Option<Ending>) {
        self.ending = ending;
    }

    /// Whether it is an instance's.
    pub fn is_of_instance(&self) -> bool {
        match &self.source {
            Content::Local(_) => false,
            Content::Upstream(_) => true,
            Content::Held(held) => held.is_of_instance,
        }
    }

    /// Whether nothing follows the head.
    pub fn is_empty(&self) -> bool {
        match &self.source {
            Content::Local(body) => body.is_empty(),
            Content::Upstream(body) => body.has_ended(),
            Content::Held(held) => held.is_over(),
        }
    }

    /// The connection of one that has ended can take another request.
    pub(super) fn give_back(&mut self) {
        if let Content::Upstream(body) = &mut self.source
            && body.has_ended()
        {
            body.give_back();
        }
    }

    /// How long it is, if that is known and nothing changes it.
    pub fn exact_length(&self) -> Option<u64> {
        match (&self.changed, &self.source) {
            // With trailers it can be told, too, but not to who speaks HTTP/1.1, whose body has no length then.
            (None, Content::Held(held)) => held.length(),
            _ => Body::size_hint(self).exact(),
        }
    }

    /// Lets something be made of it on its way.
    pub fn push_step(&mut self, step: Box<dyn BodyStep>) {
        self.changed.get_or_insert_default().steps.push(step);
    }

    /// Takes it away: its first bytes, up to a limit; the rest is not waited for.
    pub async fn take_whole(&mut self, limit: usize) -> Bytes {
        let mut whole = BytesMut::new();
        while whole.len() < limit {
            match poll_fn(|cx| self.source.poll(cx)).await {
                Some(Ok(frame)) => whole.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Some(Err(_)) | None => break,
            }
        }
        whole.truncate(limit);
        self.give_back();
        self.source = Content::Local(Bytes::new());
        whole.freeze()
    }

    /// Whether a limit of its time has passed, while its client takes nothing of it.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<BrokenOff> {
        let Content::Upstream(body) = &mut self.source else { return Poll::Pending };
        let broken = ready!(body.poll_expired(cx));
        if let Some(ending) = &mut self.ending {
            note_broken(&broken, ending);
        }
        Poll::Ready(broken)
    }

    pub(super) fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Self { source, changed, .. } = self;
        let Some(changed) = changed else { return source.poll(cx) };
        loop {
            if let Some(frame) = changed.ready.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            ready!(changed.steps.poll_ready(cx));
            if changed.go_on()? {
                continue;
            }
            if changed.is_over {
                return Poll::Ready(None);
            }
            match ready!(source.poll(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => changed.take(Some(frame))?,
                None => changed.take(None)?,
            }
        }
    }
}

impl Changed {
    /// Lets more pass of what the steps have; whether there was anything left to do.
    fn go_on(&mut self) -> Result<bool, BrokenOff> {
        match self.steps.more().map_err(break_off)? {
            More::Nothing => return Ok(false),
            More::Data(data) => self.push(data),
            More::End(trailers) => {
                self.is_over = true;
                self.ready.extend(trailers.map(|trailers| Frame::trailers(to_map(&trailers))));
            }
        }
        Ok(true)
    }

    fn take(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), BrokenOff> {
        let trailers = match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                let data = self.steps.data(data).map_err(break_off)?;
                self.push(data);
                return Ok(());
            }
            Some(Err(frame)) => frame.into_trailers().ok().map(from_map),
            None => None,
        };
        self.steps.end(trailers);
        Ok(())
    }

    fn push(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.ready.push_back(Frame::data(data));
        }
    }
}

/// What a filter makes of an answer cannot be refused any more: it breaks off.
fn break_off(refused: Refused) -> BrokenOff {
    BrokenOff(Failure::of_answer(FailureKind::Refused(refused)))
}

impl Content {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self {
            Self::Local(body) => {
                let body = std::mem::take(body);
                Poll::Ready((!body.is_empty()).then(|| Ok(Frame::data(body))))
            }
            Self::Upstream(body) => body.poll(cx),
            Self::Held(held) => Poll::Ready(held.next()),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        let frame = ready!(this.poll_changed(cx));
        let Some(ending) = &mut this.ending else { return Poll::Ready(frame) };
        note(&frame, ending);
        match frame {
            Some(Ok(frame)) if frame.is_trailers() => Poll::Ready(trailers(frame, &ending.exchange).map(Ok)),
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.changed {
            Some(changed) => changed.is_over && changed.ready.is_empty(),
            None => self.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.changed, &self.source) {
            (Some(changed), _) if !changed.steps.keep_length() => SizeHint::default(),
            (_, Content::Local(body)) => SizeHint::with_exact(body.len() as u64),
            (_, Content::Upstream(body)) => body.size_hint(),
            (_, Content::Held(held)) => held.size_hint(),
        }
    }
}

/// The trailers that pass, if any do.
fn trailers(frame: Frame<Bytes>, exchange: &Exchange) -> Option<Frame<Bytes>> {
    let mut trailers = frame.into_trailers().ok().filter(|_| exchange.passes_trailers.get())?;
    trailers::strip(&mut trailers);
    (!trailers.is_empty()).then(|| Frame::trailers(trailers))
}

/// Notes what passes.
fn note(frame: &Option<Result<Frame<Bytes>, BrokenOff>>, ending: &mut Ending) {
    let exchange = &ending.exchange;
    exchange.is_active();
    match frame {
        Some(Ok(frame)) => {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            exchange.bytes_sent.set(exchange.bytes_sent.get() + length);
            if let Some(status) = frame.trailers_ref().and_then(|trailers| trailers.get(&GRPC_STATUS)) {
                exchange.grpc_status.set(Status::of_header(status.as_bytes()));
            }
        }
        Some(Err(broken)) => note_broken(broken, ending),
        None => ending.complete(),
    }
}

/// Notes how it broke off.
fn note_broken(BrokenOff(failure): &BrokenOff, ending: &mut Ending) {
    let told = failure.told(false);
    if let FailureKind::ClientGone = failure.kind {
        return ending.exchange.note_left();
    }
    ending.exchange.flag(told.flag);
    ending.exchange.detail(told.details);
    if told.flag.is_empty() {
        // There is no word for it; but nobody went away.
        ending.complete();
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            return;
        }
        // An answer of known length ends without another word.
        if let Some(ending) = &mut self.ending {
            ending.complete();
        }
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use weir_http1::Headers;

    use super::*;
    use crate::upstream::body::testing::{AtMost, Hold, Twice, fields};

    async fn read(body: &mut ResponseBody) -> Result<(Vec<u8>, Option<Headers>), BrokenOff> {
        let (mut data, mut trailers) = (vec![], None);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            match frame?.into_data() {
                Ok(part) => data.extend_from_slice(&part),
                Err(frame) => trailers = frame.into_trailers().ok().map(from_map),
            }
        }
        Ok((data, trailers))
    }

    #[tokio::test]
    async fn one_of_ours_has_a_length_until_something_changes_it() {
        let mut plain = ResponseBody::local("abc".into());
        assert_eq!((plain.size_hint().exact(), plain.is_end_stream()), (Some(3), false));
        assert_eq!(read(&mut plain).await.expect("it comes"), (b"abc".to_vec(), None));
        assert!(plain.is_end_stream());
        let mut changed = ResponseBody::local("abc".into());
        changed.push_step(Box::new(Twice));
        assert_eq!((changed.size_hint().exact(), changed.is_end_stream()), (None, false));
        assert_eq!(read(&mut changed).await.expect("it comes"), (b"aabbccthe end".to_vec(), Some(fields(&[("x-steps", "twice")]))));
        assert!(changed.is_end_stream());
    }

    #[tokio::test]
    async fn steps_come_in_the_order_in_which_they_were_added() {
        let mut body = ResponseBody::local("ab".into());
        body.push_step(Box::new(Hold::default()));
        body.push_step(Box::new(Twice));
        assert_eq!(read(&mut body).await.expect("it comes"), (b"aabbthe end".to_vec(), Some(fields(&[("x-steps", "twice")]))));
    }

    #[tokio::test]
    async fn what_a_step_refuses_breaks_off() {
        let mut body = ResponseBody::local("abc".into());
        body.push_step(Box::new(AtMost(2)));
        let broken = read(&mut body).await.expect_err("it is too long").0;
        assert!(matches!(broken.kind, FailureKind::Refused(_)), "{broken:?}");
    }

    #[tokio::test]
    async fn taken_away_it_is_cut_and_nothing_follows() {
        for (limit, taken) in [(2, "ab"), (3, "abc"), (9, "abc")] {
            let mut body = ResponseBody::local("abc".into());
            assert_eq!(body.take_whole(limit).await, taken);
            assert!(body.is_empty() && body.is_end_stream());
            assert_eq!(read(&mut body).await.expect("nothing comes"), (vec![], None));
        }
    }
}
