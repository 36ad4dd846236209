//! HTTP/1.1 as bytes (RFC 9112), for both sides of a proxy. Nothing here reads or writes a socket: bytes go in, and heads, parts of
//! bodies and faults come out ([`request`], [`answer`], [`body`]); and the reverse ([`encode`]).
//!
//! Where a message ends is decided in one place, [`framing`], and strictly: what two parties could read differently is a fault, and
//! after a fault nothing more is read. Where the standard allows two answers, Envoy's is given; each such decision says so.
//!
//! The fields of a head are [`Headers`], also those of HTTP/2: names that mean something to a proxy are numbers.
//!
//! Memory: a reader keeps no more than the bytes that it is given, and gives up a head or trailers beyond [`Limits`]. Parts of a
//! body share the memory of the buffer that they came in only where they fill most of it.

pub mod answer;
pub mod body;
mod chunked;
pub mod encode;
pub mod fault;
mod fields;
pub mod framing;
mod head;
pub mod header;
pub mod request;
mod scan;
pub mod spelling;

pub use body::{BodyReader, Part};
pub use fault::Fault;
pub use framing::Length;
pub use head::HeadReader;
pub use header::{HeaderName, HeaderValue, Headers};
pub use spelling::{Case, Spelling};

/// How large heads and trailers may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, with the ends of its lines.
    pub bytes: usize,
    /// Lines of header fields.
    pub fields: usize,
}

impl Default for Limits {
    /// Those of Envoy: 60 KiB and 100 fields (`max_request_headers_kb`, `max_headers_count`).
    fn default() -> Self {
        Self { bytes: 60 << 10, fields: 100 }
    }
}
