//! How much the other side of a connection of HTTP/2 may send ahead.

use weir_xds::core::Http2ProtocolOptions;

/// The largest window that there is (RFC 9113, 6.9.1).
const MOST: u32 = (1 << 31) - 1;
/// No window of a connection is smaller at its beginning (RFC 9113, 6.9.2), nor any in Envoy.
const LEAST: u32 = 65_535;

/// How much may be sent ahead, where the options say so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Http2Windows {
    /// On each stream.
    pub stream: Option<u32>,
    /// On all streams together.
    pub connection: Option<u32>,
}

impl Http2Windows {
    /// Compiles what the options of HTTP/2 say.
    pub fn compile(options: &Http2ProtocolOptions) -> Self {
        let within = |written: Option<u32>| written.map(|window| window.clamp(LEAST, MOST));
        Self { stream: within(options.initial_stream_window_size), connection: within(options.initial_connection_window_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_within_what_http2_allows() {
        let options = |stream, connection| Http2ProtocolOptions {
            initial_stream_window_size: stream,
            initial_connection_window_size: connection,
            ..Http2ProtocolOptions::default()
        };
        assert_eq!(Http2Windows::compile(&options(None, None)), Http2Windows::default());
        assert_eq!(
            Http2Windows::compile(&options(Some(1), Some(1 << 20))),
            Http2Windows { stream: Some(65_535), connection: Some(1 << 20) }
        );
        assert_eq!(Http2Windows::compile(&options(Some(u32::MAX), None)).stream, Some(i32::MAX as u32));
    }
}
