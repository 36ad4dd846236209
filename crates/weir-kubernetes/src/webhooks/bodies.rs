//! What is read of those who ask, and how many of them are thought about at once: whoever can reach the port may ask, and must not be able to
//! fill the memory, nor to take the processors from the proxies.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use weir_inject::LARGEST_BODY;
use weir_pilot::{Share, Shares};

use super::answers::Task;

/// Hardly any review is larger.
const SMALL: usize = 64 * 1024;
/// So many that are larger there may be, an eighth of them from one place.
const LARGE: usize = 32;
/// So long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many reviews of each task are thought about at once, small and large ones.
const THOUGHTS: usize = 2;
const LARGE_THOUGHTS: usize = 1;

/// The bounds that all share.
pub(super) struct Bounds {
    large: Shares<IpAddr>,
    /// Pods do not wait for resources that take long.
    injections: Thoughts,
    validations: Thoughts,
}

/// The turns of one task.
struct Thoughts {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Thoughts {
    fn new() -> Self {
        let slots = |number| Arc::new(Semaphore::new(number));
        Self { small: slots(THOUGHTS), large: slots(LARGE_THOUGHTS) }
    }
}

/// A body, and its place among the large ones.
pub(super) struct Review {
    pub bytes: Vec<u8>,
    place: Option<Share<IpAddr>>,
}

/// Why a body is not read.
type Refusal = (StatusCode, &'static str);

impl Bounds {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self { large: Shares::of(LARGE), injections: Thoughts::new(), validations: Thoughts::new() }
    }

    /// Reads a body that comes from a place.
    ///
    /// # Errors
    /// If it is too large, comes too slowly, or there are too many.
    pub async fn read<B: Body<Error: Sized> + Unpin>(&self, body: B, from: IpAddr) -> Result<Review, Refusal> {
        let read = timeout(PATIENCE, self.read_all(body, from)).await;
        read.unwrap_or(Err((StatusCode::REQUEST_TIMEOUT, "the review did not come in time\n")))
    }

    async fn read_all<B: Body<Error: Sized> + Unpin>(&self, mut body: B, from: IpAddr) -> Result<Review, Refusal> {
        const TOO_LARGE: Refusal = (StatusCode::PAYLOAD_TOO_LARGE, "the review is too large\n");
        if usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > LARGEST_BODY {
            return Err(TOO_LARGE);
        }
        let mut review = Review { bytes: vec![], place: None };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| (StatusCode::BAD_REQUEST, "the review broke off\n"))?;
            let Ok(mut data) = frame.into_data() else { continue };
            let size = review.bytes.len() + data.remaining();
            if size > LARGEST_BODY {
                return Err(TOO_LARGE);
            }
            if size > SMALL && review.place.is_none() {
                let place = self.large.take(from).ok_or((StatusCode::SERVICE_UNAVAILABLE, "there are too many large reviews at once\n"))?;
                review.place = Some(place);
            }
            while data.has_remaining() {
                let chunk = data.chunk();
                review.bytes.extend_from_slice(chunk);
                let taken = chunk.len();
                data.advance(taken);
            }
        }
        Ok(review)
    }

    /// Thinks about a review, in its turn among those of its task, and where it holds up nobody else.
    ///
    /// # Errors
    /// If it cannot be thought about.
    pub async fn think<T: Send + 'static>(
        &self,
        task: Task,
        review: Review,
        thought: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        const FAILED: Refusal = (StatusCode::INTERNAL_SERVER_ERROR, "the review could not be answered\n");
        let thoughts = match task {
            Task::Inject => &self.injections,
            Task::Validate => &self.validations,
        };
        let slots = if review.place.is_some() { &thoughts.large } else { &thoughts.small };
        let turn = slots.clone().acquire_owned().await.map_err(|_| FAILED)?;
        let thinking = tokio::task::spawn_blocking(move || {
            let answer = thought(&review.bytes);
            drop((review, turn));
            answer
        });
        thinking.await.map_err(|_| FAILED)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;

    fn body(size: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b' '; size]))
    }

    fn from(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[tokio::test]
    async fn large_ones_are_few_and_one_place_has_not_all_of_them() {
        let bounds = Bounds::new();
        let mut held = vec![];
        for _ in 0..4 {
            held.push(bounds.read(body(SMALL + 1), from(1)).await.ok().unwrap());
        }
        let status = |read: Result<Review, Refusal>| read.err().map(|(status, _)| status.as_u16());
        assert_eq!(status(bounds.read(body(SMALL + 1), from(1)).await), Some(503));
        assert_eq!(status(bounds.read(body(SMALL), from(1)).await), None, "small ones are read all the same");
        assert_eq!(status(bounds.read(body(SMALL + 1), from(2)).await), None);
        assert_eq!(status(bounds.read(body(LARGEST_BODY + 1), from(3)).await), Some(413));
        let length = bounds.think(Task::Inject, held.pop().unwrap(), <[u8]>::len).await;
        assert_eq!(length, Ok(SMALL + 1));
        assert_eq!(status(bounds.read(body(SMALL + 1), from(1)).await), None, "a place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_come_is_given_up() {
        let bounds = Bounds::new();
        let endless =
            http_body_util::StreamBody::new(tokio_stream::pending::<Result<hyper::body::Frame<Bytes>, std::convert::Infallible>>());
        let refused = bounds.read(endless, from(1)).await;
        assert_eq!(refused.err().map(|(status, _)| status), Some(StatusCode::REQUEST_TIMEOUT));
    }

    #[tokio::test]
    async fn a_thought_that_fails_fails_alone() {
        let bounds = Bounds::new();
        for _ in 0..THOUGHTS + 1 {
            let review = bounds.read(body(1), from(1)).await.ok().unwrap();
            let failed: Result<(), Refusal> = bounds.think(Task::Inject, review, |_| std::panic::resume_unwind(Box::new(()))).await;
            assert_eq!(failed.unwrap_err().0, StatusCode::INTERNAL_SERVER_ERROR);
        }
    }

    #[tokio::test]
    async fn resources_that_take_long_hold_up_no_pod() {
        let bounds = Arc::new(Bounds::new());
        let (ends, ended) = std::sync::mpsc::channel::<()>();
        let ended = Arc::new(std::sync::Mutex::new(ended));
        for _ in 0..THOUGHTS {
            let (review, shared, ended) = (bounds.read(body(1), from(1)).await.ok().unwrap(), bounds.clone(), ended.clone());
            let long = move |_: &[u8]| drop(ended.lock().map(|ended| ended.recv()));
            tokio::spawn(async move { shared.think(Task::Validate, review, long).await });
        }
        while bounds.validations.small.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let review = bounds.read(body(7), from(1)).await.ok().unwrap();
        let length = timeout(PATIENCE, bounds.think(Task::Inject, review, <[u8]>::len)).await;
        drop(ends);
        assert_eq!(length, Ok(Ok(7)));
    }
}
