//! What is wrong with a message.

/// Why a message is not read any further. Its connection is of no more use: where the next message begins, nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Fault {
    /// The first line is no request line or status line.
    #[error("malformed first line")]
    FirstLine,
    /// A line of a head is no header field: no colon, a name that is no token, a value with control characters, a folded line.
    #[error("malformed header field")]
    Field,
    /// The version is one that nobody can answer.
    #[error("unknown version of HTTP")]
    Version,
    /// The head or the trailers are larger than they may be.
    #[error("header fields too large")]
    TooLarge,
    /// There are more header fields than there may be.
    #[error("too many header fields")]
    TooMany,
    /// Where the body ends is said twice, or in a way that can be read differently.
    #[error("the length of the body is in doubt")]
    Length,
    /// The body has a coding that does not end in one `chunked`.
    #[error("unknown transfer coding")]
    Coding,
    /// A chunk of the body is malformed.
    #[error("malformed chunk")]
    Chunk,
    /// The connection ended before the message did.
    #[error("the message breaks off")]
    BrokenOff,
}
