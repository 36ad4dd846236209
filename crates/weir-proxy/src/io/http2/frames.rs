//! The heads of HTTP/2's frames (RFC 9113, 4.1), as they pass. The library below HTTP tells neither how much of a connection's
//! windows is left nor what a peer wastes our time with; both can be counted where the bytes pass.

/// What a client says before its first frame (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The head of a frame, and what it adds to a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; none is the connection itself.
    pub stream: u32,
    /// How long what follows the head is.
    pub length: u32,
    /// By how much a window grows.
    pub increment: u32,
}

impl Frame {
    /// Type of a frame with a part of a body.
    pub const DATA: u8 = 0;
    /// Type of a frame with a head, or trailers.
    pub const HEADERS: u8 = 1;
    /// Type of a frame that says which stream is more important.
    pub const PRIORITY: u8 = 2;
    /// Type of a frame that ends a stream.
    pub const RST_STREAM: u8 = 3;
    /// Type of a frame that says how its sender wants to be spoken to.
    pub const SETTINGS: u8 = 4;
    /// Type of a frame that takes leave.
    pub const GOAWAY: u8 = 7;
    /// Type of a frame that lets the other side send more.
    pub const WINDOW_UPDATE: u8 = 8;
    /// Type of a frame that goes on with a head.
    pub const CONTINUATION: u8 = 9;
    /// Flag of the last frame of a stream.
    const END_STREAM: u8 = 1;
    /// Flag of the last frame of a head.
    const END_HEADERS: u8 = 4;

    /// Whether its sender says that it has acted upon settings.
    pub fn is_ack_of_settings(&self) -> bool {
        const ACK: u8 = 1;
        self.kind == Self::SETTINGS && self.flags & ACK != 0
    }

    /// Whether it begins a head, or goes on with it.
    pub fn is_of_head(&self) -> bool {
        matches!(self.kind, Self::HEADERS | Self::CONTINUATION)
    }

    /// Whether it is the last one of a head.
    pub fn ends_head(&self) -> bool {
        self.is_of_head() && self.flags & Self::END_HEADERS != 0
    }

    /// Whether it moves a message on: a head, or a part of a body.
    pub fn is_of_message(&self) -> bool {
        match self.kind {
            Self::HEADERS => true,
            Self::DATA => self.length > 0 || self.flags & Self::END_STREAM != 0,
            _ => false,
        }
    }
}

/// So long is the head of each frame.
const HEAD: usize = 9;
/// So long with what a WINDOW_UPDATE says.
const HEAD_AND_INCREMENT: usize = HEAD + 4;

/// Finds the frames in what passes in one direction, however it is cut.
#[derive(Debug, Default)]
pub struct Frames {
    head: [u8; HEAD_AND_INCREMENT],
    /// How much of the head is there.
    have: usize,
    /// How much is to be passed over before the next one.
    skip: usize,
}

impl Frames {
    /// Those of a side that says so many bytes before its first frame.
    pub fn behind(preface: usize) -> Self {
        Self { skip: preface, ..Self::default() }
    }

    /// Takes note of bytes that pass.
    pub fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            for byte in bytes.iter().take(self.wanted() - self.have) {
                if let Some(place) = self.head.get_mut(self.have) {
                    *place = *byte;
                    self.have += 1;
                    bytes = bytes.get(1..).unwrap_or_default();
                }
            }
            if self.have > 0 && self.have == self.wanted() {
                let frame = self.frame();
                self.skip = (HEAD + frame.length as usize).saturating_sub(self.have);
                self.have = 0;
                found(frame);
            }
        }
    }

    /// Whether all that a frame whose head has passed says has passed as well.
    pub fn is_behind_frame(&self) -> bool {
        self.skip == 0
    }

    /// How much of the present frame is of interest.
    fn wanted(&self) -> usize {
        let grows = self.have >= HEAD && self.head.starts_with(&[0, 0, 4, Frame::WINDOW_UPDATE]);
        if grows { HEAD_AND_INCREMENT } else { HEAD }
    }

    fn frame(&self) -> Frame {
        let [a, b, c, kind, flags, s0, s1, s2, s3, i0, i1, i2, i3] = self.head;
        // The first bit of either number has no meaning.
        let number = |bytes| u32::from_be_bytes(bytes) & (u32::MAX >> 1);
        let increment = if self.have == HEAD_AND_INCREMENT { number([i0, i1, i2, i3]) } else { 0 };
        Frame { kind, flags, stream: number([s0, s1, s2, s3]), length: u32::from_be_bytes([0, a, b, c]), increment }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = b"preface".to_vec();
        for frame in frames {
            bytes.extend(&frame.length.to_be_bytes()[1..]);
            bytes.extend([frame.kind, frame.flags]);
            bytes.extend(frame.stream.to_be_bytes());
            let payload = frame.increment.to_be_bytes();
            bytes.extend((0..frame.length as usize).map(|i| payload.get(i).copied().unwrap_or(9)));
        }
        bytes
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let any = (0..12_u8, any::<u8>(), 0..9_u32, 0..40_u32, 0..u32::MAX / 2);
        any.prop_map(|(kind, flags, stream, length, increment)| {
            let grows = kind == Frame::WINDOW_UPDATE;
            let length = if grows { 4 } else { length };
            Frame { kind, flags, stream, length, increment: if grows { increment } else { 0 } }
        })
    }

    proptest! {
        #[test]
        fn frames_are_found_however_they_are_cut(
            frames in prop::collection::vec(any_frame(), 0..9),
            cuts in prop::collection::vec(1..30_usize, 1..20),
        ) {
            let bytes = written(&frames);
            let (mut passing, mut found, mut rest) = (Frames::behind(7), vec![], bytes.as_slice());
            for cut in cuts.iter().cycle() {
                let (part, more) = rest.split_at((*cut).min(rest.len()));
                passing.pass(part, |frame| found.push(frame));
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, frames);
        }

        #[test]
        fn any_bytes_pass(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..9)) {
            let mut frames = Frames::default();
            for part in parts {
                frames.pass(&part, |_| {});
            }
        }
    }

    #[test]
    fn a_window_update_of_a_wrong_length_adds_nothing() {
        let mut found = vec![];
        Frames::default().pass(b"\0\0\x05\x08\0\0\0\0\0\xff\xff\xff\xff\xff\0\0\0\x04\0\0\0\0\0", |frame| found.push(frame));
        assert_eq!(found.iter().map(|frame| (frame.kind, frame.length, frame.increment)).collect::<Vec<_>>(), [(8, 5, 0), (4, 0, 0)]);
    }
}
