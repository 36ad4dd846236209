//! What a peer may waste of our time over HTTP/2. Frames that move no message cost the sender little and us as much as any. Those
//! that h2 has limits for (CONTINUATION, empty and small DATA, streams that were reset before anybody took them) it refuses
//! itself; the others have a budget here, which messages and time refill.

use std::io;
use std::time::Instant;

use super::frames::Frame;

/// So much may be wasted at once: a few milliseconds of a worker.
const BUDGET: u32 = 10_000;
/// So much is given back with each millisecond: more than any sane client spends on signs of life.
const REFILL_PER_MS: u32 = 1;
/// So much is given back with each frame of a message in either direction. A client answers each part of a body with a few
/// WINDOW_UPDATEs, and some measure their way with a PING each time.
const OF_MESSAGE: u32 = 10;
/// What a reset costs whose stream may have cost us a whole request. A stream that ends so gives back less with its head: a
/// client that resets all that it asks for comes to 500 at once, as with Envoy.
const RESET: u32 = 30;
/// What settings cost: they are laid on each open stream.
const SETTINGS: u32 = 20;

/// What a peer has wasted of our time.
#[derive(Debug)]
pub struct Budget {
    reset: u32,
    spent: u32,
    /// Up to when time has given back what was due.
    since: Instant,
}

impl Budget {
    /// That of a client.
    pub fn of_client() -> Self {
        Self { reset: RESET, spent: 0, since: Instant::now() }
    }

    /// That of an instance, whose resets are answers to what we asked.
    pub fn of_instance() -> Self {
        Self { reset: 0, spent: 0, since: Instant::now() }
    }

    /// Takes note of a frame that came.
    ///
    /// # Errors
    /// If it is one too many.
    pub fn hear(&mut self, frame: Frame) -> io::Result<()> {
        let cost = match frame.kind {
            _ if frame.is_of_message() => {
                self.give_back(OF_MESSAGE);
                0
            }
            Frame::RST_STREAM => self.reset,
            Frame::SETTINGS => SETTINGS,
            _ => 1,
        };
        self.spent = self.spent.saturating_add(cost);
        self.holds()
    }

    /// Whether it is not all spent.
    ///
    /// # Errors
    /// If it is.
    pub fn holds(&mut self) -> io::Result<()> {
        if self.spent > BUDGET && !self.has_refilled(Instant::now()) {
            return Err(io::Error::other("too many frames that move no message"));
        }
        Ok(())
    }

    /// Takes note of a frame that was sent.
    pub fn say(&mut self, frame: Frame) {
        if frame.is_of_message() {
            self.give_back(OF_MESSAGE);
        } else if frame.kind == Frame::RST_STREAM {
            // It has made us give up a stream, by an error or by what was not needed any more: either costs as much as if it had.
            self.spent = self.spent.saturating_add(self.reset);
        }
    }

    fn give_back(&mut self, amount: u32) {
        self.spent = self.spent.saturating_sub(amount);
    }

    /// Gives back what is due to time. The clock is asked only when all is spent.
    fn has_refilled(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.since, now));
        self.give_back(u32::try_from(passed.as_millis()).unwrap_or(u32::MAX).saturating_mul(REFILL_PER_MS));
        self.spent <= BUDGET
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, length: u32) -> Frame {
        Frame { kind, flags: 0, stream: 1, length, increment: 0 }
    }

    /// Whether a client may send these frames about so often at once; what time gives back meanwhile is little.
    fn is_limited_to(mut budget: Budget, frames: &[Frame], about: usize) -> bool {
        let often = (0..100_000).take_while(|_| frames.iter().all(|frame| budget.hear(*frame).is_ok())).count();
        (about..=about + about / 2).contains(&often)
    }

    #[test]
    fn what_moves_no_message_is_limited() {
        assert!(is_limited_to(Budget::of_client(), &[frame(PING, 8)], 10_000));
        assert!(is_limited_to(Budget::of_client(), &[frame(Frame::DATA, 0)], 10_000));
        assert!(is_limited_to(Budget::of_client(), &[frame(Frame::SETTINGS, 0)], 500));
        assert!(is_limited_to(Budget::of_client(), &[frame(Frame::HEADERS, 20), frame(Frame::RST_STREAM, 4)], 499));
        assert!(is_limited_to(Budget::of_instance(), &[frame(Frame::RST_STREAM, 4)], 100_000));
        let fair = [frame(Frame::DATA, 1), frame(PING, 8), frame(Frame::WINDOW_UPDATE, 4)];
        assert!(is_limited_to(Budget::of_client(), &fair, 100_000));
    }

    #[test]
    fn what_we_send_pays_for_the_signs_that_it_came() {
        let mut budget = Budget::of_client();
        for _ in 0..100_000 {
            budget.say(frame(Frame::DATA, 16_384));
            for _ in 0..8 {
                budget.hear(frame(Frame::WINDOW_UPDATE, 4)).expect("a client tells what it has read");
            }
        }
    }

    #[test]
    fn who_makes_us_reset_streams_is_limited_too() {
        let mut budget = Budget::of_client();
        let often = (0..100_000).take_while(|_| {
            let heard = budget.hear(frame(Frame::HEADERS, 20)).is_ok();
            budget.say(frame(Frame::RST_STREAM, 4));
            heard
        });
        assert!((500..750).contains(&often.count()));
        // Uploads that are answered early cost about what they pay.
        let mut budget = Budget::of_client();
        for _ in 0..5_000 {
            budget.hear(frame(Frame::HEADERS, 20)).expect("an upload begins");
            budget.hear(frame(Frame::DATA, 20)).expect("an upload goes on");
            budget.say(frame(Frame::HEADERS, 20));
            budget.say(frame(Frame::RST_STREAM, 4));
        }
    }

    #[test]
    fn time_gives_back() {
        let start = Instant::now();
        let mut budget = Budget { spent: BUDGET + 500, since: start, ..Budget::of_client() };
        assert!(!budget.has_refilled(start + Duration::from_millis(100)));
        assert!(budget.has_refilled(start + Duration::from_millis(500)));
    }
}
