//! Where a request goes, and why: the way of one [`Call`] through a proxy, step by step.
//!
//! The steps are those of the proxy: a listener ([`listener`]), one of its filter chains ([`chain`]), and for HTTP a virtual
//! host and a route ([`request`]); then what becomes of it ([`outcome`]). Each says what was decided and why, and, where a
//! person's rule decided, the place where it stands.

mod answer;
mod call;
mod chain;
mod listener;
mod outcome;
mod request;
mod words;

use std::cell::OnceCell;
use std::collections::HashMap;

use weir_routing::RouteTable;
use weir_translate::Translation;
use weir_xds::route::RouteConfiguration;

pub use answer::{Answer, Error, Place, Share, Step};
pub use call::{Call, Direction, Protocol, Tls, UNKNOWN_ADDRESS};

/// Explains calls through one proxy. What many calls need is compiled once.
pub struct Explainer<'t> {
    translation: &'t Translation,
    /// Compiled when they are first asked for; a text says why one cannot be.
    tables: HashMap<&'t str, Table<'t>>,
}

type Table<'t> = (&'t RouteConfiguration, OnceCell<Result<RouteTable, String>>);

impl<'t> Explainer<'t> {
    /// For a proxy that gets this.
    pub fn new(translation: &'t Translation) -> Self {
        let tables = translation.routes.iter().map(|routes| (routes.name.as_str(), (routes, OnceCell::new())));
        Self { translation, tables: tables.collect() }
    }

    /// What becomes of a call.
    pub fn explain(&self, call: &Call) -> Answer {
        let mut answer = Answer::default();
        if let Err(error) = self.follow(call, &mut answer) {
            answer.error = Some(error);
        }
        answer
    }

    fn follow(&self, call: &Call, answer: &mut Answer) -> Result<(), Error> {
        let listener = listener::find(&self.translation.listeners, call, answer)?;
        let filters = chain::find(listener, call, answer)?;
        match filters {
            chain::Handler::Tcp(proxy) => self.tcp(&proxy, answer),
            chain::Handler::Http(manager) => self.http(&manager, call, answer)?,
        }
        Ok(())
    }

    /// A route configuration as a proxy would compile it.
    fn table(&self, name: &str) -> Option<(&RouteConfiguration, Result<&RouteTable, &String>)> {
        let (config, table) = self.tables.get(name)?;
        let compile = || RouteTable::compile(config, None).map_err(|error| error.to_string());
        Some((config, table.get_or_init(compile).as_ref()))
    }
}
