//! What an error of HTTP/2 says of an instance.

use h2::{Error, Reason};

use crate::exchange::failure::FailureKind;

/// Whether what came is not HTTP/2.
pub(super) fn is_misunderstood(error: &Error) -> bool {
    !error.is_remote() && !error.is_io() && error.reason().is_some_and(is_protocol)
}

fn is_protocol(reason: Reason) -> bool {
    matches!(reason, Reason::PROTOCOL_ERROR | Reason::FRAME_SIZE_ERROR | Reason::COMPRESSION_ERROR)
}

/// Whether we ended the stream ourselves: what was sent on it broke off.
pub fn was_given_up(error: &Error) -> bool {
    error.is_reset() && !error.is_remote() && !error.is_library()
}

/// What kind of failure it is where there is no answer.
pub(super) fn kind(error: &Error) -> FailureKind {
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => FailureKind::RefusedStream,
        _ if is_misunderstood(error) => FailureKind::Protocol,
        // It was told that the connection takes no more before it took this one: as good as refused.
        _ if error.is_go_away() && error.is_remote() => FailureKind::RefusedStream,
        _ if error.is_io() => FailureKind::Closed,
        _ if was_given_up(error) => FailureKind::ClientGone,
        _ => FailureKind::Reset,
    }
}
