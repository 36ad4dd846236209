//! A route configuration whose virtual hosts come one by one (VHDS), as Weir's pilot sends it: what stays in it, the virtual hosts,
//! and the table of both.

use std::sync::Arc;

use weir_xds::core::config_source::ConfigSourceSpecifier;
use weir_xds::route::{RouteConfiguration, VirtualHost as XdsVirtualHost};
use weir_xds::values::metadata_text;

use crate::error::CompileError;
use crate::table::{Inherited, RouteTable, VirtualHost};

/// A virtual host that came by itself, compiled.
#[derive(Debug, Clone)]
pub struct LooseHost {
    domains: Domains,
    host: Arc<VirtualHost>,
}

type Domains = Arc<[Box<str>]>;

/// What stays in a route configuration whose virtual hosts come one by one, compiled.
#[derive(Debug)]
pub struct TableRest {
    table: Arc<RouteTable>,
    inherited: Inherited,
}

/// A table of all its parts.
#[derive(Debug)]
pub struct Assembled {
    /// The table, as if it had come whole.
    pub table: Arc<RouteTable>,
    rest: Arc<RouteTable>,
    domains: Box<[Domains]>,
}

impl TableRest {
    /// Compiles what stays in the route configuration.
    ///
    /// # Errors
    /// If it is not valid, or its virtual hosts do not all come by the stream that it came by.
    pub fn compile(config: &RouteConfiguration) -> Result<Self, CompileError> {
        let source = config.vhds.as_ref().and_then(|vhds| vhds.config_source.as_ref()?.config_source_specifier.as_ref());
        if !matches!(source, Some(ConfigSourceSpecifier::Ads(_))) {
            return Err(CompileError::new("vhds.config_source", "virtual hosts come by the same stream only: must be `ads`"));
        }
        let says = config.metadata.as_ref().and_then(|metadata| metadata_text(metadata, "weir", "virtual_hosts"));
        if says != Some("all") {
            let reason = "only of a server that sends all virtual hosts, and says so by `virtual_hosts: all` in its metadata `weir`";
            return Err(CompileError::new("vhds", reason));
        }
        let whole = RouteConfiguration { vhds: None, ..config.clone() };
        Ok(Self { table: Arc::new(RouteTable::compile(&whole, None)?), inherited: Inherited::of(config) })
    }

    /// Compiles a virtual host; what is as before is shared with `before`.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn compile_host(&self, host: &XdsVirtualHost, before: Option<&LooseHost>) -> Result<LooseHost, CompileError> {
        let compiled = VirtualHost::compile_anew(host, &self.inherited, before.map(|before| &before.host))?;
        let is_same = |known: &&Domains| known.iter().map(|domain| &**domain).eq(host.domains.iter().map(String::as_str));
        let known = before.map(|before| &before.domains).filter(is_same).cloned();
        let domains = known.unwrap_or_else(|| host.domains.iter().map(|domain| domain.as_str().into()).collect());
        Ok(LooseHost { domains, host: compiled })
    }

    /// Whether virtual hosts have the same from another one, so that those compiled for that are as good.
    pub fn has_same_for_hosts(&self, other: &Self) -> bool {
        self.inherited == other.inherited
    }

    /// The table of this and of virtual hosts. Where only their routes are others than before, nothing is filed anew.
    ///
    /// # Errors
    /// If two virtual hosts have the same domain.
    pub fn with<'h>(&self, hosts: impl Iterator<Item = &'h LooseHost>, before: Option<&Assembled>) -> Result<Assembled, CompileError> {
        let mut table = RouteTable::clone(&self.table);
        let first = table.virtual_hosts.len();
        let mut domains = vec![];
        for LooseHost { domains: own, host } in hosts {
            domains.push(own.clone());
            table.virtual_hosts.push(host.clone());
        }
        match before.filter(|before| Arc::ptr_eq(&before.rest, &self.table) && is_filed_alike(&before.domains, &domains)) {
            Some(before) => table.hosts = before.table.hosts.clone(),
            None => {
                let index = Arc::make_mut(&mut table.hosts);
                for (number, own) in domains.iter().enumerate() {
                    let place = first + number;
                    let within = |error: CompileError| error.within(&format!("virtual_hosts[{}]", table.virtual_hosts[place].name));
                    own.iter().try_for_each(|domain| index.insert(domain, place as u32)).map_err(within)?;
                }
            }
        }
        Ok(Assembled { table: Arc::new(table), rest: self.table.clone(), domains: domains.into() })
    }
}

fn is_filed_alike(before: &[Domains], now: &[Domains]) -> bool {
    before.len() == now.len() && before.iter().zip(now).all(|(a, b)| Arc::ptr_eq(a, b))
}
