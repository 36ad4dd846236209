//! Signs of life: a PING again and again, and how long its answer may take.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};
use weir_config::http::Http2Keepalive;

/// Asks the other side of a connection for signs of life.
pub struct Keepalive {
    pings: PingPong,
    policy: Http2Keepalive,
    /// Until the next PING, or the end of patience with the last.
    timer: Pin<Box<Sleep>>,
    waits: bool,
}

impl Keepalive {
    /// For a connection whose PINGs these are.
    pub fn new(policy: Http2Keepalive, pings: PingPong) -> Self {
        Self { pings, policy, timer: Box::pin(sleep(policy.interval)), waits: false }
    }

    /// Goes on asking; ready when no answer has come in time. The connection is to be polled afterwards, which writes the PING.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.waits && self.pings.poll_pong(cx).is_ready() {
                // Answered; or the connection has ended, which it says itself.
                self.set(false);
            }
            match (self.timer.as_mut().poll(cx), self.waits) {
                (Poll::Pending, _) => return Poll::Pending,
                (Poll::Ready(()), true) => return Poll::Ready(()),
                (Poll::Ready(()), false) => {
                    let asked = self.pings.send_ping(Ping::opaque()).is_ok();
                    self.set(asked);
                }
            }
        }
    }

    fn set(&mut self, waits: bool) {
        self.waits = waits;
        let time = if waits { self.policy.timeout } else { self.policy.interval };
        self.timer.as_mut().reset(Instant::now() + time);
    }
}
