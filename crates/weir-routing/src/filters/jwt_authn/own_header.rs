//! Headers that only this filter may set: taken out of each request, and written by what stands in a token.

use weir_http1::HeaderName;

use crate::error::CompileError;

/// Headers that say how a message is framed, where it goes, or what the connection is to do. Without the client's, or with a
/// claim in its place, a proxy and an instance would read the same bytes differently.
const OF_MESSAGES: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// The name of a header that tokens may be told by.
pub(super) fn own_header(field: &str, name: &str) -> Result<HeaderName, CompileError> {
    let header = HeaderName::try_from(name).map_err(|_| CompileError::new(field.to_owned(), format!("`{name}` is no name of a header")))?;
    match OF_MESSAGES.contains(&header.as_str()) {
        true => Err(CompileError::new(field.to_owned(), format!("`{name}` belongs to the message, and cannot tell of a token"))),
        false => Ok(header),
    }
}
