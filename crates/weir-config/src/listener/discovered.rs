//! Filters whose configuration is a resource of its own (`config_discovery`, ECDS): it takes its place in the listener before that is
//! compiled (<https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/extension>).

use std::collections::BTreeSet;

use weir_routing::CompileError;
use weir_xds::Any;
use weir_xds::core::ExtensionConfigSource;
use weir_xds::direct_response::Config as DirectResponse;
use weir_xds::hcm::{HttpConnectionManager, HttpFilter, http_filter};
use weir_xds::listener::{Filter, Listener, ListenerFilter, filter, listener_filter};
use weir_xds::router::Router;

/// What is known of the configurations that filters ask for.
pub struct Known<'k> {
    /// The one of a name.
    pub of: &'k dyn Fn(&str) -> Option<Any>,
    /// Whether one that has not come has been waited for: then what its filter gives in its place is taken.
    pub is_late: bool,
}

/// The names that a listener's filters ask for. One that cannot be read asks for none; it is refused when it is compiled.
pub fn names(listener: &Listener) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut changed = listener.clone();
    let _ = visit(&mut changed, &mut |name, _| {
        names.insert(name.to_owned());
        Ok(Found::Nothing)
    });
    names
}

/// The listener with all that its filters ask for; none if something of it has not come.
///
/// # Errors
/// If a configuration is not of a type that its filter takes.
pub fn resolve(listener: &Listener, known: &Known<'_>) -> Result<Option<Listener>, CompileError> {
    let mut resolved = listener.clone();
    let mut is_whole = true;
    visit(&mut resolved, &mut |name, source| {
        let config = choose(source, (known.of)(name), known.is_late)?;
        is_whole &= config.is_some();
        Ok(config.map_or(Found::Nothing, Found::Config))
    })?;
    Ok(is_whole.then_some(resolved))
}

/// The listener with those of its filters only whose configuration is there. A last filter of a chain that waits is taken for one that
/// takes the connection, and a last HTTP filter for the router: nothing else may stand there.
///
/// # Errors
/// As [`resolve`].
pub fn known_part(listener: &Listener, known: &Known<'_>) -> Result<Listener, CompileError> {
    let mut part = listener.clone();
    visit(&mut part, &mut |name, source| Ok(choose(source, (known.of)(name), known.is_late)?.map_or(Found::Nothing, Found::Config)))?;
    part.listener_filters.retain(|filter| !matches!(filter.config_type, Some(listener_filter::ConfigType::ConfigDiscovery(_))));
    for chain in part.filter_chains.iter_mut().chain(&mut part.default_filter_chain) {
        let waits = |filter: &Filter| matches!(filter.config_type, Some(filter::ConfigType::ConfigDiscovery(_)));
        if let Some(last) = chain.filters.last_mut().filter(|last| waits(last)) {
            last.config_type = Some(filter::ConfigType::TypedConfig(Any::pack(&DirectResponse::default())));
        }
        chain.filters.retain(|filter| !waits(filter));
        chain.filters.iter_mut().for_each(leave_out_waiting);
    }
    Ok(part)
}

/// Takes out a filter's HTTP filters that wait for their configuration.
fn leave_out_waiting(filter: &mut Filter) {
    let Some(filter::ConfigType::TypedConfig(config)) = &mut filter.config_type else { return };
    if !config.is::<HttpConnectionManager>() {
        return;
    }
    let Ok(mut manager) = config.unpack::<HttpConnectionManager>() else { return };
    let waits = |filter: &HttpFilter| matches!(filter.config_type, Some(http_filter::ConfigType::ConfigDiscovery(_)));
    if let Some(last) = manager.http_filters.last_mut().filter(|last| waits(last)) {
        last.config_type = Some(http_filter::ConfigType::TypedConfig(Any::pack(&Router::default())));
    }
    manager.http_filters.retain(|filter| !waits(filter));
    *config = Any::pack(&manager);
}

/// What a filter is to do; none as long as that is waited for.
fn choose(source: &ExtensionConfigSource, came: Option<Any>, is_late: bool) -> Result<Option<Any>, CompileError> {
    let ExtensionConfigSource {
        // There is one server.
        config_source: _,
        default_config,
        apply_default_config_without_warming: at_once,
        type_urls,
    } = source;
    if *at_once && default_config.is_none() {
        return Err(CompileError::missing("default_config"));
    }
    let config = came.or_else(|| default_config.clone().filter(|_| *at_once || is_late));
    match config {
        Some(config) if !type_urls.contains(&config.type_url) => {
            let message = format!("`{}` is none of the types that may come: {}", config.type_name(), type_urls.join(", "));
            Err(CompileError::new("type_urls", message))
        }
        config => Ok(config),
    }
}

/// What takes the place of a question.
enum Found {
    Nothing,
    Config(Any),
}

type Ask<'a> = &'a mut dyn FnMut(&str, &ExtensionConfigSource) -> Result<Found, CompileError>;

/// Asks for each configuration that a listener's filters ask for, and puts what is found in its place.
fn visit(listener: &mut Listener, ask: Ask<'_>) -> Result<(), CompileError> {
    for (i, ListenerFilter { name, config_type, filter_disabled: _ }) in listener.listener_filters.iter_mut().enumerate() {
        if let Some(listener_filter::ConfigType::ConfigDiscovery(source)) = config_type
            && let Found::Config(config) = ask(name, source).map_err(|error| within(error, &format!("listener_filters[{i}]")))?
        {
            *config_type = Some(listener_filter::ConfigType::TypedConfig(config));
        }
    }
    let chains = listener.filter_chains.iter_mut().enumerate().map(|(i, chain)| (format!("filter_chains[{i}]"), chain));
    let default = listener.default_filter_chain.iter_mut().map(|chain| ("default_filter_chain".to_owned(), chain));
    for (place, chain) in chains.chain(default) {
        for (i, filter) in chain.filters.iter_mut().enumerate() {
            visit_filter(filter, ask).map_err(|error| error.within(&format!("{place}.filters[{i}]")))?;
        }
    }
    Ok(())
}

fn visit_filter(filter: &mut Filter, ask: Ask<'_>) -> Result<(), CompileError> {
    let Filter { name, config_type } = filter;
    if let Some(filter::ConfigType::ConfigDiscovery(source)) = config_type
        && let Found::Config(config) = ask(name, source).map_err(|error| error.within("config_discovery"))?
    {
        *config_type = Some(filter::ConfigType::TypedConfig(config));
    }
    let Some(filter::ConfigType::TypedConfig(config)) = config_type else { return Ok(()) };
    if !config.is::<HttpConnectionManager>() {
        return Ok(());
    }
    // What cannot be read is refused when it is compiled.
    let Ok(mut manager) = config.unpack::<HttpConnectionManager>() else { return Ok(()) };
    if visit_http_filters(&mut manager.http_filters, ask)? {
        *config = Any::pack(&manager);
    }
    Ok(())
}

/// Whether any was changed.
fn visit_http_filters(filters: &mut [HttpFilter], ask: Ask<'_>) -> Result<bool, CompileError> {
    let mut is_changed = false;
    for (i, HttpFilter { name, config_type, is_optional: _, disabled: _ }) in filters.iter_mut().enumerate() {
        if let Some(http_filter::ConfigType::ConfigDiscovery(source)) = config_type
            && let Found::Config(config) = ask(name, source).map_err(|error| within(error, &format!("http_filters[{i}]")))?
        {
            *config_type = Some(http_filter::ConfigType::TypedConfig(config));
            is_changed = true;
        }
    }
    Ok(is_changed)
}

fn within(error: CompileError, place: &str) -> CompileError {
    error.within("config_discovery").within(place)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weir_xds::json::{Names, any_to_value, from_value};

    use super::*;

    const BUFFER: &str = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer";

    fn buffer(bytes: u32) -> Any {
        Any::pack(&weir_xds::buffer::Buffer { max_request_bytes: Some(bytes) })
    }

    /// A listener whose second HTTP filter asks for its configuration, with more fields.
    fn listener(more: Value) -> Listener {
        let mut source = json!({"configSource": {"ads": {}}, "typeUrls": [BUFFER]});
        source.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "httpFilters": [{"name": "a", "typedConfig": {"@type": BUFFER, "maxRequestBytes": 1}}, {"name": "b", "configDiscovery": source}],
        });
        from_value(json!({"name": "l", "filterChains": [{"filters": [{"name": "m", "typedConfig": manager}]}]})).expect("well formed")
    }

    fn second(listener: &Listener) -> Value {
        let json = any_to_value(&Any::pack(listener), Names::Camel).expect("has a JSON form");
        json["filterChains"][0]["filters"][0]["typedConfig"]["httpFilters"][1].clone()
    }

    fn resolved(more: Value, came: Option<Any>, is_late: bool) -> Result<Option<Value>, CompileError> {
        let of = |name: &str| came.clone().filter(|_| name == "b");
        Ok(resolve(&listener(more), &Known { of: &of, is_late })?
            .map(|listener| second(&listener)["typedConfig"]["maxRequestBytes"].clone()))
    }

    #[test]
    fn what_came_stands_where_it_was_asked_for() {
        assert_eq!(names(&listener(json!({}))), BTreeSet::from(["b".to_owned()]));
        assert_eq!(names(&Listener::default()), BTreeSet::new());
        let default =
            |at_once: bool| json!({"defaultConfig": {"@type": BUFFER, "maxRequestBytes": 7}, "applyDefaultConfigWithoutWarming": at_once});
        for (more, came, is_late, expected) in [
            (json!({}), None, false, None),
            (json!({}), None, true, None),
            (json!({}), Some(buffer(5)), false, Some(5)),
            (default(false), None, false, None),
            (default(false), None, true, Some(7)),
            (default(true), None, false, Some(7)),
            (default(true), Some(buffer(5)), false, Some(5)),
        ] {
            assert_eq!(resolved(more.clone(), came, is_late).expect("valid"), expected.map(Value::from), "{more} {is_late}");
        }
    }

    #[test]
    fn in_the_known_part_no_filter_waits() {
        for (came, expected) in [(None, "Router"), (Some(buffer(5)), "Buffer")] {
            let of = |_: &str| came.clone();
            let part = known_part(&listener(json!({})), &Known { of: &of, is_late: false }).expect("valid");
            let last = second(&part)["typedConfig"]["@type"].clone();
            assert!(last.as_str().is_some_and(|last| last.ends_with(expected)), "{last}");
            assert!(names(&part).is_empty());
        }
    }

    #[test]
    fn what_a_filter_does_not_take_is_refused() {
        let place = "filter_chains[0].filters[0].http_filters[1].config_discovery";
        let error = resolved(json!({"applyDefaultConfigWithoutWarming": true}), None, false).expect_err("no default");
        assert_eq!(error.path, format!("{place}.default_config"));
        let error = resolved(json!({"typeUrls": ["type.googleapis.com/other"]}), Some(buffer(1)), false).expect_err("another type");
        assert_eq!(error.path, format!("{place}.type_urls"));
    }
}
