//! What somebody read in bytes.

use std::fmt::Write;

use weir_http1::Fault;
use weir_http1::Headers;

/// Which side sent the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Requests,
    /// The answers to requests of GET or of HEAD.
    Answers {
        head: bool,
    },
}

/// A message as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Method and target, or the status.
    pub first: String,
    pub fields: Headers,
    pub body: Vec<u8>,
    pub trailers: Option<Headers>,
    /// Whether all of it was there.
    pub complete: bool,
}

/// What was read, and how it ended.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub messages: Vec<Message>,
    /// Where each message of the codec begins.
    pub starts: Vec<usize>,
    /// Where the last head of the codec begins, good or bad.
    pub last: usize,
    /// Whether nothing was malformed, and nothing broke off.
    pub clean: bool,
    /// Bytes behind the last message, of answers.
    pub rest: usize,
    /// What the codec says is wrong.
    pub fault: Option<Fault>,
    /// What hyper says is wrong.
    pub error: String,
}

impl Seen {
    /// In short, for people.
    pub fn told(&self) -> String {
        let mut out = String::new();
        for message in &self.messages {
            let body = String::from_utf8_lossy(&message.body).into_owned();
            let _ =
                writeln!(out, "  {} {:?} {body:?} {:?} complete: {}", message.first, message.fields, message.trailers, message.complete);
        }
        let _ = write!(out, "  clean: {}, rest: {}, {:?} {}", self.clean, self.rest, self.fault, self.error);
        out
    }
}
