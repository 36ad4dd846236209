//! Which access logs a listener, an HTTP connection manager or a TCP proxy writes.

use std::sync::Arc;

use weir_routing::CompileError;
use weir_xds::accesslog::AccessLog as XdsAccessLog;
use weir_xds::accesslog::access_log::ConfigType;
use weir_xds::file_log::FileAccessLog;

use crate::log_filter::LogFilter;
use crate::log_format::Format;

/// One access log: where its lines go, how they look, and of which exchanges.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// The file; `/dev/stdout` and `/dev/stderr` are this process's own.
    pub path: Arc<str>,
    /// The line.
    pub format: Arc<Format>,
    /// Which exchanges are logged.
    pub filter: LogFilter,
}

/// Compiles a list of access logs.
///
/// # Errors
/// If one is of a kind that is not carried out, or not valid.
pub fn compile(logs: &[XdsAccessLog]) -> Result<Vec<AccessLog>, CompileError> {
    logs.iter().enumerate().map(|(i, log)| one(log).map_err(|error| error.within(&format!("access_log[{i}]")))).collect()
}

fn one(log: &XdsAccessLog) -> Result<AccessLog, CompileError> {
    let Some(ConfigType::TypedConfig(config)) = &log.config_type else { return Err(CompileError::missing("typed_config")) };
    let file = config.unpack::<FileAccessLog>().map_err(|error| CompileError::new("typed_config", error.to_string()))?;
    if file.path.is_empty() {
        return Err(CompileError::missing("typed_config.path"));
    }
    Ok(AccessLog {
        path: file.path.as_str().into(),
        format: Arc::new(Format::compile(&file)?),
        filter: LogFilter::compile(log.filter.as_ref())?,
    })
}
