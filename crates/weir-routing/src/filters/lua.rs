//! Scripts that see requests and answers: Envoy's Lua filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/lua_filter>).
//!
//! Here a script is a text, or says where that is found, and it is decided which script a request meets. Only where it runs it is
//! found out whether it is Lua.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use weir_xds::core::DataSource;
use weir_xds::core::data_source::Specifier;
use weir_xds::lua::lua_per_route::Override;
use weir_xds::lua::{Lua, LuaPerRoute};
use weir_xds::prost_types::Struct;

use super::{FilterPolicy, Policy};
use crate::error::CompileError;

/// The scripts of a filter.
#[derive(Debug, Clone)]
pub struct LuaPolicy {
    /// The one for all requests of which no route says otherwise.
    default: Option<Arc<Script>>,
    /// Others, which routes speak of by their names.
    named: BTreeMap<Box<str>, Arc<Script>>,
    /// Names it in statistics; may be empty.
    pub stat_prefix: Arc<str>,
    /// Whether a request whose headers a script has changed is routed anew.
    pub clear_route_cache: bool,
    /// What scripts are told, where no route tells them something else.
    context: Option<Arc<Struct>>,
    /// What is counted of it.
    pub counted: Arc<Counted>,
}

/// What a route says of it.
#[derive(Debug, Clone)]
pub struct LuaOverride {
    choice: Choice,
    context: Option<Arc<Struct>>,
}

/// Which script.
#[derive(Debug, Clone)]
enum Choice {
    Default,
    None,
    Named(Box<str>),
    Own(Arc<Script>),
}

/// What is counted of a filter, by all workers together.
#[derive(Debug, Default)]
pub struct Counted {
    executions: AtomicU64,
    errors: AtomicU64,
}

impl Counted {
    /// A script has begun.
    pub fn execution(&self) {
        self.executions.fetch_add(1, Ordering::Relaxed);
    }

    /// A script has failed.
    pub fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have begun, and how many have failed.
    pub fn get(&self) -> (u64, u64) {
        (self.executions.load(Ordering::Relaxed), self.errors.load(Ordering::Relaxed))
    }
}

/// A script. It is read once, when its configuration comes.
#[derive(Debug)]
pub struct Script {
    source: Source,
    text: OnceLock<Arc<[u8]>>,
}

/// Where a script is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In the configuration.
    Inline(Arc<[u8]>),
    /// In a file.
    File(Box<str>),
    /// In a variable of the environment.
    Environment(Box<str>),
}

impl Script {
    fn new(source: Source) -> Arc<Self> {
        Arc::new(Self { source, text: OnceLock::new() })
    }

    fn compile(source: &DataSource) -> Result<Arc<Self>, CompileError> {
        let DataSource { watched_directory: _, specifier } = source;
        let source = match specifier {
            Some(Specifier::InlineString(text)) => Source::Inline(text.as_bytes().into()),
            Some(Specifier::InlineBytes(bytes)) => Source::Inline(bytes[..].into()),
            Some(Specifier::Filename(name)) if name.is_empty() => return Err(CompileError::missing("filename")),
            Some(Specifier::Filename(name)) => Source::File(name.as_str().into()),
            Some(Specifier::EnvironmentVariable(name)) if name.is_empty() => return Err(CompileError::missing("environment_variable")),
            Some(Specifier::EnvironmentVariable(name)) => Source::Environment(name.as_str().into()),
            None => return Err(CompileError::missing("specifier")),
        };
        Ok(Self::new(source))
    }

    /// Where it is found.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether somebody has said already what it is.
    pub fn text(&self) -> Option<&Arc<[u8]>> {
        self.text.get()
    }

    /// Says what it is, for all who ask later.
    pub fn settle(&self, text: Arc<[u8]>) -> &Arc<[u8]> {
        self.text.get_or_init(|| text)
    }
}

impl Policy for LuaPolicy {
    type Message = Lua;

    fn compile(message: &Lua) -> Result<Self, CompileError> {
        #[allow(deprecated)] // Most that are written still say `inline_code`.
        let Lua {
            inline_code,
            source_codes,
            default_source_code,
            stat_prefix,
            clear_route_cache,
            filter_context,
            package_paths,
            package_cpaths,
        } = message;
        refuse_packages(package_paths, package_cpaths)?;
        let default = match default_source_code {
            Some(_) if !inline_code.is_empty() => {
                return Err(CompileError::new("inline_code", "stands beside `default_source_code`: only one of them may"));
            }
            Some(source) => Some(Script::compile(source).map_err(|error| error.within("default_source_code"))?),
            None if inline_code.is_empty() => None,
            None => Some(Script::new(Source::Inline(inline_code.as_bytes().into()))),
        };
        let named = source_codes.iter().map(|(name, source)| {
            let script = Script::compile(source).map_err(|error| error.within(&format!("source_codes[{name}]")))?;
            Ok((name.as_str().into(), script))
        });
        Ok(Self {
            default,
            named: named.collect::<Result<_, CompileError>>()?,
            stat_prefix: stat_prefix.as_str().into(),
            clear_route_cache: clear_route_cache.unwrap_or(true),
            context: filter_context.clone().map(Arc::new),
            counted: Arc::default(),
        })
    }
}

impl Policy for LuaOverride {
    type Message = LuaPerRoute;

    fn compile(message: &LuaPerRoute) -> Result<Self, CompileError> {
        let LuaPerRoute { filter_context, package_paths, package_cpaths, r#override } = message;
        refuse_packages(package_paths, package_cpaths)?;
        let choice = match r#override {
            None => Choice::Default,
            Some(Override::Disabled(true)) => Choice::None,
            Some(Override::Disabled(false)) => return Err(CompileError::new("disabled", "must be true")),
            Some(Override::Name(name)) if name.is_empty() => return Err(CompileError::missing("name")),
            Some(Override::Name(name)) => Choice::Named(name.as_str().into()),
            Some(Override::SourceCode(source)) => Choice::Own(Script::compile(source).map_err(|error| error.within("source_code"))?),
        };
        Ok(Self { choice, context: filter_context.clone().map(Arc::new) })
    }
}

/// A script loads no other files: what it would miss then may be what lets nobody in.
fn refuse_packages(paths: &[String], cpaths: &[String]) -> Result<(), CompileError> {
    match (paths, cpaths) {
        ([], []) => Ok(()),
        ([], _) => Err(CompileError::unsupported("package_cpaths")),
        _ => Err(CompileError::unsupported("package_paths")),
    }
}

impl LuaOverride {
    /// The script that it brings along.
    pub(crate) fn own_script(&self) -> Option<&Arc<Script>> {
        match &self.choice {
            Choice::Own(script) => Some(script),
            Choice::Default | Choice::None | Choice::Named(_) => None,
        }
    }
}

impl LuaPolicy {
    /// The script that a request meets, with what its route says; a name that nobody has is none, as in Envoy.
    pub fn script<'p>(&'p self, route: Option<&'p LuaOverride>) -> Option<&'p Arc<Script>> {
        match route.map(|route| &route.choice) {
            None | Some(Choice::Default) => self.default.as_ref(),
            Some(Choice::None) => None,
            Some(Choice::Named(name)) => self.named.get(name),
            Some(Choice::Own(script)) => Some(script),
        }
    }

    /// What the script is told.
    pub fn context<'p>(&'p self, route: Option<&'p LuaOverride>) -> Option<&'p Arc<Struct>> {
        route.and_then(|route| route.context.as_ref()).or(self.context.as_ref())
    }

    /// All its scripts.
    pub fn scripts(&self) -> impl Iterator<Item = &Arc<Script>> {
        self.default.iter().chain(self.named.values())
    }
}

/// The scripts of a connection manager's filters, and what these are called.
pub fn scripts_of_filters(filters: &[super::Filter]) -> impl Iterator<Item = (&str, &Arc<Script>)> {
    filters.iter().flat_map(|filter| match &filter.policy {
        FilterPolicy::Lua(policy) => policy.scripts().map(|script| (&*filter.name, script)).collect(),
        _ => vec![],
    })
}

#[cfg(test)]
mod tests {
    use weir_xds::values::{structure, text};

    use super::*;

    fn inline(text: &str) -> DataSource {
        DataSource { specifier: Some(Specifier::InlineString(text.into())), ..Default::default() }
    }

    fn of(specifier: Specifier) -> DataSource {
        DataSource { specifier: Some(specifier), ..Default::default() }
    }

    fn context(value: &str) -> Struct {
        Struct { fields: [("key".to_owned(), text(value))].into() }
    }

    fn told(context: Option<&Arc<Struct>>) -> Option<&str> {
        match &context?.fields.get("key")?.kind {
            Some(weir_xds::prost_types::value::Kind::StringValue(text)) => Some(text),
            _ => None,
        }
    }

    fn source<'p>(policy: &'p LuaPolicy, route: Option<&'p LuaOverride>) -> Option<&'p Source> {
        policy.script(route).map(|script| script.source())
    }

    #[test]
    fn a_route_chooses_another_script_or_none() {
        let message = Lua {
            default_source_code: Some(inline("default")),
            source_codes: [("a".to_owned(), inline("named"))].into(),
            filter_context: Some(context("filter's")),
            ..Lua::default()
        };
        let policy = LuaPolicy::compile(&message).expect("valid");
        let here = |text: &'static str| Some(Source::Inline(text.as_bytes().into()));
        let cases = [
            (None, here("default")),
            (Some(Override::Disabled(true)), None),
            (Some(Override::Name("a".into())), here("named")),
            (Some(Override::Name("b".into())), None),
            (Some(Override::SourceCode(inline("own"))), here("own")),
        ];
        for (r#override, expected) in cases {
            let route = LuaOverride::compile(&LuaPerRoute { r#override, ..LuaPerRoute::default() }).expect("valid");
            assert_eq!(source(&policy, Some(&route)), expected.as_ref());
            assert_eq!(told(policy.context(Some(&route))), Some("filter's"));
        }
        assert_eq!(source(&policy, None), here("default").as_ref());
        let route = LuaOverride::compile(&LuaPerRoute { filter_context: Some(context("route's")), ..LuaPerRoute::default() });
        let route = route.expect("valid");
        assert_eq!((source(&policy, Some(&route)), told(policy.context(Some(&route)))), (here("default").as_ref(), Some("route's")));
        // An empty one takes the place of the filter's, too.
        let empty = LuaPerRoute { filter_context: Some(structure(&Default::default())), ..LuaPerRoute::default() };
        assert_eq!(told(policy.context(Some(&LuaOverride::compile(&empty).expect("valid")))), None);
    }

    #[test]
    fn a_script_stands_in_the_configuration_or_where_that_says() {
        let cases = [
            (of(Specifier::InlineBytes(b"a"[..].to_vec().into())), Ok(Source::Inline(b"a"[..].into()))),
            (of(Specifier::Filename("/a.lua".into())), Ok(Source::File("/a.lua".into()))),
            (of(Specifier::EnvironmentVariable("A".into())), Ok(Source::Environment("A".into()))),
            (of(Specifier::Filename(String::new())), Err("default_source_code.filename: is missing")),
            (of(Specifier::EnvironmentVariable(String::new())), Err("default_source_code.environment_variable: is missing")),
            (DataSource::default(), Err("default_source_code.specifier: is missing")),
        ];
        for (code, expected) in cases {
            let policy = LuaPolicy::compile(&Lua { default_source_code: Some(code), ..Lua::default() });
            let found = policy.map(|policy| source(&policy, None).expect("there is one").clone()).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned));
        }
        let script = Script::new(Source::File("/a.lua".into()));
        assert_eq!(
            (script.text(), &script.settle(b"first"[..].into())[..], &script.settle(b"second"[..].into())[..]),
            (None, &b"first"[..], &b"first"[..])
        );
    }

    #[test]
    #[allow(deprecated)]
    fn the_old_field_counts_where_the_new_one_is_not_there() {
        let old = Lua { inline_code: "old".into(), ..Lua::default() };
        let policy = LuaPolicy::compile(&old).expect("valid");
        assert_eq!(source(&policy, None), Some(&Source::Inline(b"old"[..].into())));
        let both = Lua { default_source_code: Some(inline("new")), ..old };
        assert_eq!(LuaPolicy::compile(&both).expect_err("both").path, "inline_code");
        let nothing = LuaPolicy::compile(&Lua::default()).expect("valid");
        assert!(nothing.script(None).is_none() && nothing.clear_route_cache);
    }

    #[test]
    fn what_would_load_other_files_is_refused() {
        let paths = || vec!["/lua/?.lua".to_owned()];
        let filter = [Lua { package_paths: paths(), ..Lua::default() }, Lua { package_cpaths: paths(), ..Lua::default() }];
        assert!(filter.iter().all(|message| LuaPolicy::compile(message).is_err()));
        let route = [
            LuaPerRoute { package_paths: paths(), ..LuaPerRoute::default() },
            LuaPerRoute { package_cpaths: paths(), ..LuaPerRoute::default() },
            LuaPerRoute { r#override: Some(Override::Disabled(false)), ..LuaPerRoute::default() },
            LuaPerRoute { r#override: Some(Override::Name(String::new())), ..LuaPerRoute::default() },
        ];
        assert!(route.iter().all(|message| LuaOverride::compile(message).is_err()));
    }
}
