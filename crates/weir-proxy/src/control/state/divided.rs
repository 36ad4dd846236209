//! Route configurations whose virtual hosts come one by one: a table is put together when all its parts are there, of one version,
//! and until then the last one stays whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weir_ads::Manifest;
use weir_config::rules;
use weir_routing::RouteTable;
use weir_routing::divided::{Assembled, LooseHost, TableRest};
use weir_xds::Any;
use weir_xds::resource::route_configuration_of;
use weir_xds::route::VirtualHost;

use super::super::refusal::ResourceRefusal;
use super::{Refused, unpack};
use crate::http::check_table;

/// Tables with their names.
pub(super) type Tables = Vec<(Arc<str>, Arc<RouteTable>)>;

/// All of them.
#[derive(Default)]
pub(super) struct Divided {
    parts: HashMap<Arc<str>, Parts>,
    /// Those of which something was told since tables were put together.
    changed: BTreeSet<Arc<str>>,
}

/// What was told of one, and accepted.
struct Parts {
    rest: TableRest,
    version: String,
    /// By the names of the resources.
    hosts: BTreeMap<Arc<str>, Told>,
    /// Of all this, and as the server says it should be.
    manifest: Manifest,
    expected: Option<Manifest>,
    made: Option<(Manifest, Assembled)>,
}

/// A virtual host that was told.
struct Told {
    version: String,
    body: Any,
    host: LooseHost,
}

impl Divided {
    /// Takes what stays in a route configuration.
    pub fn put_rest(&mut self, name: &Arc<str>, rest: TableRest, version: &str) -> Result<(), ResourceRefusal> {
        match self.parts.get_mut(name) {
            Some(parts) => parts.put_rest(name, rest, version)?,
            None => {
                let mut manifest = Manifest::default();
                manifest.add(name, version);
                let version = version.to_owned();
                let parts = Parts { rest, version, hosts: BTreeMap::new(), manifest, expected: None, made: None };
                self.parts.insert(name.clone(), parts);
            }
        }
        self.changed.insert(name.clone());
        Ok(())
    }

    /// Takes a virtual host, or a manifest.
    pub fn put(&mut self, name: &Arc<str>, body: &Any, version: &str) -> Result<(), ResourceRefusal> {
        let Some((whole, parts)) = self.parts_of(name) else { return Ok(()) };
        match Manifest::read(body) {
            Some(expected) => parts.expected = Some(expected),
            None => parts.put(name, body, version)?,
        }
        self.changed.insert(whole);
        Ok(())
    }

    /// A virtual host is gone, or a manifest.
    pub fn remove_host(&mut self, name: &Arc<str>) {
        let Some((whole, parts)) = self.parts_of(name) else { return };
        match parts.hosts.remove(name) {
            Some(told) => parts.manifest.remove(name, &told.version),
            None if *name == Manifest::name_of(&whole) => parts.expected = None,
            None => {}
        }
        self.changed.insert(whole);
    }

    /// A route configuration is gone, or is not divided any more.
    pub fn remove(&mut self, name: &Arc<str>) {
        self.parts.remove(name);
    }

    /// Forgets all but some.
    pub fn keep(&mut self, is_wanted: impl Fn(&Arc<str>) -> bool) {
        self.parts.retain(|name, _| is_wanted(name));
    }

    /// Whether there is one of that name.
    pub fn has(&self, name: &str) -> bool {
        self.parts.contains_key(name)
    }

    /// Whether a virtual host is one that was told, or a manifest of one of them.
    pub fn knows(&self, name: &Arc<str>) -> bool {
        let whole = route_configuration_of(name).and_then(|whole| self.parts.get(whole));
        whole.is_some_and(|parts| parts.hosts.contains_key(name) || name.ends_with('/'))
    }

    /// Whether all that was told of each is in its table.
    pub fn are_whole(&self) -> bool {
        self.parts.values().all(Parts::is_made)
    }

    /// Puts those together that have changed and of which all is there. Those that cannot be are refused.
    pub fn assemble(&mut self) -> (Tables, Refused) {
        let (mut tables, mut refused) = (vec![], vec![]);
        for name in std::mem::take(&mut self.changed) {
            let Some(parts) = self.parts.get_mut(&name).filter(|parts| parts.is_complete() && !parts.is_made()) else { continue };
            match parts.assemble() {
                Ok(table) => tables.push((name, table)),
                Err(refusal) => refused.push((name, refusal)),
            }
        }
        (tables, refused)
    }

    fn parts_of(&mut self, host: &str) -> Option<(Arc<str>, &mut Parts)> {
        let whole = route_configuration_of(host)?;
        let name = self.parts.get_key_value(whole)?.0.clone();
        self.parts.get_mut(whole).map(|parts| (name, parts))
    }
}

impl Parts {
    fn put_rest(&mut self, name: &str, rest: TableRest, version: &str) -> Result<(), ResourceRefusal> {
        if !rest.has_same_for_hosts(&self.rest) {
            let compile = |(name, told): (&Arc<str>, &Told)| {
                let host = compile(&rest, &told.body, None).map_err(|refusal| format!("{name}: {}", refusal.reason()))?;
                Ok((name.clone(), Told { version: told.version.clone(), body: told.body.clone(), host }))
            };
            self.hosts = self.hosts.iter().map(compile).collect::<Result<_, String>>()?;
        }
        self.manifest.remove(name, &self.version);
        self.manifest.add(name, version);
        version.clone_into(&mut self.version);
        self.rest = rest;
        Ok(())
    }

    fn put(&mut self, name: &Arc<str>, body: &Any, version: &str) -> Result<(), ResourceRefusal> {
        rules::check(body)?;
        let known = self.hosts.get(name);
        let host = compile(&self.rest, body, known.map(|known| &known.host))?;
        known.into_iter().for_each(|known| self.manifest.remove(name, &known.version));
        self.manifest.add(name, version);
        self.hosts.insert(name.clone(), Told { version: version.to_owned(), body: body.clone(), host });
        Ok(())
    }

    /// Whether all parts are there, of one version. One that was refused is not.
    fn is_complete(&self) -> bool {
        self.expected == Some(self.manifest)
    }

    fn is_made(&self) -> bool {
        self.is_complete() && self.made.as_ref().is_some_and(|(manifest, _)| *manifest == self.manifest)
    }

    fn assemble(&mut self) -> Result<Arc<RouteTable>, ResourceRefusal> {
        let hosts = self.hosts.values().map(|told| &told.host);
        let made = self.rest.with(hosts, self.made.as_ref().map(|(_, made)| made))?;
        let table = made.table.clone();
        check_table(&table)?;
        self.made = Some((self.manifest, made));
        Ok(table)
    }
}

fn compile(rest: &TableRest, body: &Any, known: Option<&LooseHost>) -> Result<LooseHost, ResourceRefusal> {
    Ok(rest.compile_host(&unpack::<VirtualHost>(body)?, known)?)
}
