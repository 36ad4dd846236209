//! The codec, given bytes in pieces.

use bytes::BytesMut;
use http::{Method, StatusCode, Version};
use weir_http1::header::{self, Headers};
use weir_http1::{BodyReader, Fault, HeadReader, Length, Limits, Part, answer, framing, request};

use crate::seen::{Message, Seen, Side};

/// hyper takes heads of any size here, and a hundred fields.
pub const LIMITS: Limits = Limits { bytes: 1 << 20, fields: 100 };

/// Reads what comes in these pieces, and then ends.
pub fn read(side: Side, pieces: &[Vec<u8>]) -> Seen {
    let mut reader = Reader::new(side);
    for piece in pieces {
        reader.feed(piece);
    }
    reader.end()
}

/// Reads what comes bit by bit.
pub struct Reader {
    side: Side,
    input: BytesMut,
    fed: usize,
    head: HeadReader,
    body: Option<BodyReader>,
    /// Whether nothing more is read: after a fault, or a message that ends its connection.
    stopped: bool,
    /// Whether the message that is read ends its connection.
    last: bool,
    pub seen: Seen,
}

impl Reader {
    pub fn new(side: Side) -> Self {
        let (input, head) = (BytesMut::new(), HeadReader::default());
        Self { side, input, fed: 0, head, body: None, stopped: false, last: false, seen: Seen::default() }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.fed += bytes.len();
        while !self.stopped {
            match self.step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => {
                    (self.seen.fault, self.stopped) = (Some(fault), true);
                }
            }
        }
    }

    /// Reads one thing; whether there was one.
    fn step(&mut self) -> Result<bool, Fault> {
        let Some(body) = &mut self.body else { return self.read_head() };
        match body.read(&mut self.input)? {
            Some(part) => {
                let message = self.seen.messages.last_mut().expect("a body has a head");
                match part {
                    Part::Data(data) => message.body.extend_from_slice(&data),
                    Part::Trailers(trailers) => message.trailers = Some(trailers),
                }
            }
            None if body.is_done() => self.complete(),
            None => return Ok(false),
        }
        Ok(true)
    }

    fn complete(&mut self) {
        self.seen.messages.last_mut().expect("a body has a head").complete = true;
        (self.body, self.stopped) = (None, self.last);
    }

    fn read_head(&mut self) -> Result<bool, Fault> {
        let (mut by_itself, mut input) = (self.head.clone(), self.input.clone());
        let bytes = by_itself.take(&mut input, &LIMITS);
        let start = bytes.iter().flatten().next().map(|bytes| self.fed - input.len() - bytes.len());
        self.seen.last = start.unwrap_or(self.seen.last);
        let (first, fields, length) = match self.side {
            Side::Requests => {
                let head = request::take(&mut self.head, &mut self.input, Headers::new, &LIMITS, false);
                let twice = bytes.and_then(|bytes| bytes.map(|bytes| request::read(&bytes, &LIMITS, false)).transpose());
                assert_eq!(format!("{head:?}"), format!("{twice:?}"), "it is the same whether it is read at once or first found");
                let Some(head) = head? else { return Ok(false) };
                let length = framing::of_request(head.version, &head.headers)?;
                self.last = !keeps_alive(head.version, &head.headers);
                (format!("{} {}", head.method, String::from_utf8_lossy(&head.target)), head.headers, length)
            }
            Side::Answers { head: to_head } => {
                let method = if to_head { Method::HEAD } else { Method::GET };
                let head = answer::take(&mut self.head, &mut self.input, Headers::new, &LIMITS, false);
                let twice = bytes.and_then(|bytes| bytes.map(|bytes| answer::read(&bytes, &LIMITS, false)).transpose());
                assert_eq!(format!("{head:?}"), format!("{twice:?}"), "it is the same whether it is read at once or first found");
                let Some(head) = head? else { return Ok(false) };
                let length = framing::of_answer(&method, head.status, &head.headers)?;
                if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                    return Ok(true);
                }
                self.last = true;
                (head.status.as_str().to_owned(), head.headers, length)
            }
        };
        assert_eq!(self.input, input, "what follows is left alone");
        self.seen.starts.extend(start);
        self.seen.messages.push(Message { first, fields, body: vec![], trailers: None, complete: false });
        self.body = Some(BodyReader::new(length, LIMITS));
        if length == Length::None {
            self.complete();
        }
        Ok(true)
    }

    /// The connection has ended.
    pub fn end(mut self) -> Seen {
        self.seen.rest = self.input.len();
        if self.seen.fault.is_some() {
            return self.seen;
        }
        self.seen.clean = true;
        if let Some(body) = &mut self.body {
            match body.end() {
                Ok(()) => self.seen.messages.last_mut().expect("a body has a head").complete = true,
                Err(fault) => (self.seen.fault, self.seen.clean) = (Some(fault), false),
            }
        } else if !self.stopped && (self.head.has_begun(&self.input) || self.side != Side::Requests) {
            (self.seen.fault, self.seen.clean) = (Some(Fault::BrokenOff), false);
            self.seen.last = self.fed - self.input.len();
        }
        self.seen
    }
}

/// Whether a client wants to go on after a request.
fn keeps_alive(version: Version, headers: &Headers) -> bool {
    let values = || headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let says = |word: &str| values().flat_map(|value| value.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word));
    !says("close") && (version == Version::HTTP_11 || says("keep-alive"))
}
