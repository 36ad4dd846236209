//! Texts of the configuration that may stand elsewhere: Envoy's `DataSource`.

use weir_xds::core::DataSource;
use weir_xds::core::data_source::Specifier;

use crate::error::CompileError;

/// A text that stands in the configuration itself.
pub(crate) fn text_of(source: &DataSource) -> Result<Box<[u8]>, CompileError> {
    let DataSource { watched_directory: _, specifier } = source;
    match specifier {
        Some(Specifier::InlineString(text)) => Ok(text.as_bytes().into()),
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes.as_ref().into()),
        Some(Specifier::Filename(_)) => Err(CompileError::unsupported("filename")),
        Some(Specifier::EnvironmentVariable(_)) => Err(CompileError::unsupported("environment_variable")),
        None => Err(CompileError::missing("specifier")),
    }
}
