//! How far an instance may send ahead on each stream: what a client that does not read makes us hold. Few streams may be far ahead,
//! so that they are fast where the instance is far away; many may not, so that they hold little. A connection begins with little.

use std::time::{Duration, Instant};

use weir_config::http::Http2Windows;

/// What each may send ahead where there are few streams.
const WIDE: u32 = 256 << 10;
/// The same where there are many.
const NARROW: u32 = 64 << 10;
/// So many are few.
const FEW: usize = 16;
/// With more they are many.
const MANY: usize = 32;
/// Streams for whose windows that of the connection is made.
const FULL: usize = 256;
/// What has become many is not few again before this.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an instance has been told.
#[derive(Debug)]
pub(super) struct Ahead {
    windows: Http2Windows,
    wide: bool,
    /// When they have become many the last time.
    narrowed: Option<Instant>,
}

impl Ahead {
    /// For a new connection. What is configured stays as it is.
    pub(super) fn new(windows: Http2Windows) -> Self {
        Self { windows, wide: false, narrowed: None }
    }

    /// The window of each stream in the beginning.
    pub(super) fn of_stream(&self) -> u32 {
        self.windows.stream.unwrap_or(NARROW)
    }

    /// The window of a connection that takes so many streams: as a rule none of them can take that of another one. Clients that do
    /// not read can take it where there are more streams, and then it gets no new ones.
    pub(super) fn of_connection(&self, streams: usize) -> u32 {
        let streams = u32::try_from(streams.min(FULL)).unwrap_or(u32::MAX);
        let far_ahead = if self.windows.stream.is_some() { 0 } else { streams.min(MANY as u32) * (WIDE - NARROW) };
        let most = u64::from(self.of_stream()) * u64::from(streams) + u64::from(far_ahead);
        self.windows.connection.unwrap_or(u32::try_from(most).unwrap_or(u32::MAX).min(i32::MAX as u32))
    }

    /// The window that each stream is to have now that there are so many, if it is another one. `tell` says whether the instance
    /// could be told.
    pub(super) fn settle(&mut self, streams: usize, tell: impl FnOnce(u32) -> bool) {
        let to_wide = match self.wide {
            _ if self.windows.stream.is_some() => return,
            true if streams > MANY => false,
            false if (1..=FEW).contains(&streams) && self.narrowed.is_none_or(|since| since.elapsed() >= PATIENCE) => true,
            _ => return,
        };
        if tell(if to_wide { WIDE } else { NARROW }) {
            self.wide = to_wide;
            self.narrowed = if to_wide { None } else { Some(Instant::now()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told, if anything is.
    fn told(ahead: &mut Ahead, streams: usize) -> Option<u32> {
        let mut told = None;
        ahead.settle(streams, |window| {
            told = Some(window);
            true
        });
        told
    }

    #[test]
    fn few_streams_may_be_far_ahead_and_many_may_not() {
        let mut ahead = Ahead::new(Http2Windows::default());
        assert_eq!((ahead.of_stream(), told(&mut ahead, 0)), (NARROW, None));
        ahead.settle(1, |_| false);
        assert_eq!((told(&mut ahead, 1), told(&mut ahead, 1)), (Some(WIDE), None));
        assert_eq!((told(&mut ahead, MANY), told(&mut ahead, MANY + 1), told(&mut ahead, MANY + 2)), (None, Some(NARROW), None));
        // They come and go.
        assert_eq!((told(&mut ahead, FEW), ahead.narrowed.is_some()), (None, true));
        ahead.narrowed = Some(Instant::now() - PATIENCE);
        assert_eq!((told(&mut ahead, FEW + 1), told(&mut ahead, FEW)), (None, Some(WIDE)));
    }

    #[test]
    fn the_window_of_a_connection_is_made_for_all_its_streams() {
        let ahead = Ahead::new(Http2Windows::default());
        assert_eq!(ahead.of_connection(1), WIDE);
        assert_eq!(ahead.of_connection(100), 32 * WIDE + 68 * NARROW);
        assert_eq!(ahead.of_connection(usize::MAX), 32 * WIDE + 224 * NARROW);
    }

    #[test]
    fn what_is_configured_stays_as_it_is() {
        let mut ahead = Ahead::new(Http2Windows { stream: Some(1 << 20), connection: None });
        assert_eq!((ahead.of_stream(), ahead.of_connection(100), told(&mut ahead, 1)), (1 << 20, 100 << 20, None));
        let small = Ahead::new(Http2Windows { stream: Some(65_535), connection: Some(1 << 20) });
        assert_eq!((small.of_stream(), small.of_connection(100)), (65_535, 1 << 20));
        assert_eq!(Ahead::new(Http2Windows { stream: Some(i32::MAX as u32), connection: None }).of_connection(100), i32::MAX as u32);
    }
}
