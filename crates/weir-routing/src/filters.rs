//! What routes ask of HTTP filters: their configuration for one route, by the filters' names.

use std::collections::BTreeMap;

use weir_xds::Any;
use weir_xds::cors::CorsPolicy;
use weir_xds::fault::HttpFault;

use crate::cors::Cors;
use crate::error::CompileError;
use crate::fault::Fault;

/// What a route asks of filters.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// Faults, which come first.
    pub fault: Option<Fault>,
    /// Cross-origin requests.
    pub cors: Option<Cors>,
}

impl Filters {
    /// Compiles a route's `typed_per_filter_config`; `None` if it asks for nothing, as most do.
    ///
    /// # Errors
    /// If it is not valid, or for a filter that is not carried out.
    pub(crate) fn compile(configs: &BTreeMap<String, Any>) -> Result<Option<Box<Self>>, CompileError> {
        let mut filters = Self::default();
        for (name, config) in configs {
            let within = |error: CompileError| error.within(&format!("typed_per_filter_config[{name}]"));
            let wrong = |error: weir_xds::AnyError| CompileError::new("", error.to_string());
            if config.is::<CorsPolicy>() {
                let policy = config.unpack::<CorsPolicy>().map_err(wrong).map_err(within)?;
                filters.cors = Cors::compile(&policy).map_err(within)?;
            } else if config.is::<HttpFault>() {
                let fault = config.unpack::<HttpFault>().map_err(wrong).map_err(within)?;
                filters.fault = Fault::compile(&fault).map_err(within)?;
            } else {
                return Err(CompileError::unsupported(&format!("typed_per_filter_config[{name}]")));
            }
        }
        Ok((filters.cors.is_some() || filters.fault.is_some()).then(|| Box::new(filters)))
    }
}
