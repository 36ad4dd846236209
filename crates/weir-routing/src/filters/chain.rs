//! The chain of a connection manager's HTTP filters.

use std::sync::Arc;

use weir_xds::hcm::HttpFilter;
use weir_xds::hcm::http_filter::ConfigType;

use super::FilterPolicy;
use crate::error::CompileError;

/// A filter of a chain.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Its name in this chain, by which routes speak of it.
    pub name: Arc<str>,
    /// What it does.
    pub policy: FilterPolicy,
    /// Whether it does so only where a route says something of it.
    pub disabled: bool,
}

/// Compiles a connection manager's `http_filters`, in their order. As in Envoy the last one, and only that, is the router.
///
/// # Errors
/// If a filter is not valid, or of a type that is not known and not optional: it may be there for safety.
pub fn compile_chain(filters: &[HttpFilter]) -> Result<Box<[Filter]>, CompileError> {
    let mut chain = vec![];
    for (i, filter) in filters.iter().enumerate() {
        chain.extend(compile(filter).map_err(|error| error.within(&format!("http_filters[{i}]")))?);
    }
    let last = chain.len().saturating_sub(1);
    for (i, filter) in chain.iter().enumerate() {
        let terminal = matches!(filter.policy, FilterPolicy::Router(_)) && !filter.disabled;
        if terminal != (i == last) || (filter.disabled && matches!(filter.policy, FilterPolicy::Router(_))) {
            let what = "the router must be the last filter, and no other may be it";
            return Err(CompileError::new(format!("http_filters[{}]", filter.name), what));
        }
    }
    Ok(chain.into())
}

fn compile(filter: &HttpFilter) -> Result<Option<Filter>, CompileError> {
    let HttpFilter { name, is_optional, disabled, config_type } = filter;
    let config = match config_type {
        Some(ConfigType::TypedConfig(config)) => config,
        Some(ConfigType::ConfigDiscovery(_)) => return Err(CompileError::unsupported("config_discovery")),
        None => return Err(CompileError::missing("typed_config")),
    };
    match FilterPolicy::compile(config).map_err(|error| error.within("typed_config"))? {
        Some(policy) => Ok(Some(Filter { name: name.as_str().into(), policy, disabled: *disabled })),
        None if *is_optional => Ok(None),
        None => Err(CompileError::new("typed_config", format!("the filter `{}` is not supported", config.type_name()))),
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::Any;
    use weir_xds::cors::Cors;
    use weir_xds::router::Router;

    use super::*;

    fn filter(name: &str, config: Any) -> HttpFilter {
        HttpFilter { name: name.into(), config_type: Some(ConfigType::TypedConfig(config)), ..Default::default() }
    }

    fn unknown() -> Any {
        Any { type_url: "type.googleapis.com/a.B".into(), ..Default::default() }
    }

    #[test]
    fn a_chain_is_filters_and_the_router() {
        let (cors, router) = (|| filter("c", Any::pack(&Cors::default())), || filter("r", Any::pack(&Router::default())));
        let optional = || HttpFilter { is_optional: true, ..filter("o", unknown()) };
        let disabled = |filter: HttpFilter| HttpFilter { disabled: true, ..filter };
        let cases = [
            (vec![], Some(vec![])),
            (vec![cors(), router()], Some(vec![("c", false), ("r", false)])),
            (vec![disabled(cors()), optional(), router()], Some(vec![("c", true), ("r", false)])),
            (vec![router(), optional()], Some(vec![("r", false)])),
            (vec![cors()], None),
            (vec![router(), cors()], None),
            (vec![router(), router()], None),
            (vec![disabled(router())], None),
            (vec![filter("u", unknown()), router()], None),
            (vec![disabled(filter("u", unknown())), router()], None),
            (vec![HttpFilter { name: "n".into(), ..Default::default() }, router()], None),
        ];
        for (filters, expected) in cases {
            let chain = compile_chain(&filters).ok();
            let chain = chain.as_ref().map(|chain| chain.iter().map(|filter| (&*filter.name, filter.disabled)).collect::<Vec<_>>());
            assert_eq!(chain, expected, "{filters:?}");
        }
    }

    #[test]
    fn what_is_refused_is_named() {
        let error = compile_chain(&[filter("u", unknown())]).expect_err("unknown").to_string();
        assert_eq!(error, "http_filters[0].typed_config: the filter `a.B` is not supported");
    }
}
