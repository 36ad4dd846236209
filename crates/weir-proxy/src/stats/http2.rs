//! What is counted of connections of HTTP/2, under Envoy's names: on the clients' side `http2.…`, on the instances'
//! `cluster.NAME.http2.…`.

use std::cell::Cell as Local;

use super::cells::Cell;
use crate::io::http2::frames::Frame;

/// What one worker counts of connections. Blocks of two workers share no cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
#[allow(missing_docs)] // Each is Envoy's statistic `http2.…` of that name.
pub struct Http2Stats {
    pub rx_reset: Cell,
    pub tx_reset: Cell,
    pub goaway_sent: Cell,
    pub keepalive_timeout: Cell,
    pub tx_flush_timeout: Cell,
    pub header_overflow: Cell,
    pub inbound_empty_frames_flood: Cell,
    pub inbound_priority_frames_flood: Cell,
    pub inbound_window_update_frames_flood: Cell,
    pub outbound_control_flood: Cell,
    /// Envoy's `http.PREFIX.downstream_rq_too_many_premature_resets`: it counts requests, and ends their connection as well.
    pub too_many_premature_resets: Cell,
}

/// Finds one of them.
type CellOf = fn(&Http2Stats) -> &Cell;

/// The statistics as the admin interface prints them: Envoy's name and the cell.
pub const NAMES: &[(&str, CellOf)] = &[
    ("rx_reset", |stats| &stats.rx_reset),
    ("tx_reset", |stats| &stats.tx_reset),
    ("goaway_sent", |stats| &stats.goaway_sent),
    ("keepalive_timeout", |stats| &stats.keepalive_timeout),
    ("tx_flush_timeout", |stats| &stats.tx_flush_timeout),
    ("header_overflow", |stats| &stats.header_overflow),
    ("inbound_empty_frames_flood", |stats| &stats.inbound_empty_frames_flood),
    ("inbound_priority_frames_flood", |stats| &stats.inbound_priority_frames_flood),
    ("inbound_window_update_frames_flood", |stats| &stats.inbound_window_update_frames_flood),
    ("outbound_control_flood", |stats| &stats.outbound_control_flood),
];

/// What passed on one connection, as far as it tells why it was given up.
#[derive(Debug, Default)]
pub struct Traffic {
    last: Local<Option<Frame>>,
}

impl Traffic {
    /// The other side has sent a frame.
    pub fn heard(&self, frame: Frame, stats: &Http2Stats) {
        self.last.set(Some(frame));
        if frame.kind == Frame::RST_STREAM {
            stats.rx_reset.add(1);
        }
    }

    /// We have sent a frame.
    pub fn said(&self, frame: Frame, stats: &Http2Stats) {
        match frame.kind {
            Frame::RST_STREAM => stats.tx_reset.add(1),
            Frame::GOAWAY => stats.goaway_sent.add(1),
            _ => {}
        }
    }

    /// The connection has ended so: if that was for what the library counts itself, this is counted.
    pub fn note_end(&self, error: &h2::Error, stats: &Http2Stats) {
        if error.reason() != Some(h2::Reason::ENHANCE_YOUR_CALM) || !error.is_library() {
            return;
        }
        // It tells the other side why, and not us.
        match self.last.get().map(|last| last.kind) {
            Some(Frame::HEADERS) => stats.header_overflow.add(1),
            _ => self.note_flood(stats),
        }
    }

    /// The connection was given up because the other side wastes our time: by what it sent last.
    pub fn note_flood(&self, stats: &Http2Stats) {
        let Some(last) = self.last.get() else { return };
        let flood = match last.kind {
            Frame::CONTINUATION if last.length > 0 => &stats.header_overflow,
            Frame::DATA | Frame::CONTINUATION => &stats.inbound_empty_frames_flood,
            Frame::PRIORITY => &stats.inbound_priority_frames_flood,
            Frame::WINDOW_UPDATE => &stats.inbound_window_update_frames_flood,
            Frame::RST_STREAM => &stats.too_many_premature_resets,
            // Each PING and all settings ask for an answer.
            _ => &stats.outbound_control_flood,
        };
        flood.add(1);
    }
}
